"""The command line: ``sodarouter --config router.toml`` runs the router, its commands look at it and try it out."""

import os
import sys
from io import TextIOWrapper

from sodarouter.cli.app import app
from sodarouter.cli.output import print_error, print_faults
from sodarouter.cli.run import run
from sodarouter.errors import ConfigError, SodarouterError


def main() -> None:
    """The console script. Exit status 2 for the configuration and the command line, 1 for the rest."""
    _replace_closed()
    out = sys.stdout  # a plugin may put something else there
    if isinstance(out, TextIOWrapper):
        # a dataset's name may have letters that the locale has not
        out.reconfigure(errors="backslashreplace")
    try:
        try:
            app(prog_name="sodarouter")
        finally:
            out.flush()
    except ConfigError as error:
        print_faults(error.faults)
        sys.exit(2)
    except UnicodeEncodeError as error:  # an argument with bytes that are no text in this locale
        print_error(f"{error.object[error.start : error.end]!r} is no text")
        sys.exit(2)
    except SodarouterError as error:
        print_error(str(error))
        sys.exit(1)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # then the reader has seen enough
            print_error(f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror}")
        # what is left in the buffer must not fail once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        sys.exit(1)


def _replace_closed() -> None:
    """Puts something in the place of standard streams that were closed before this process began."""
    # else the next file that is opened, such as the spool, would have the number that others print to
    for name, mode, access in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            # what is asked for and cannot be printed is a failure, which needs somewhere to be told
            setattr(sys, name, os.fdopen(os.open(os.devnull, access), mode))


__all__ = ["app", "main", "run"]
