"""The command line: ``sodarouter --config router.toml`` runs the router, its commands look at it and try it out."""

import sys

from sodarouter.cli import check, look, retry, run, simulate  # noqa: F401 (each adds its commands)
from sodarouter.cli.app import app
from sodarouter.errors import ConfigError, SodarouterError


def main() -> None:
    """The console script. Exit status 2 for the configuration and the command line, 1 for the rest."""
    try:
        app()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except SodarouterError as error:
        sys.stderr.write(f"sodarouter: {error}\n")
        sys.exit(1)


__all__ = ["app", "main"]
