"""Writes JSON lines: to standard output, or to a file that then has all of them or is not there."""

import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from sodarouter import folders
from sodarouter.cli.output import counted, err, plain
from sodarouter.cli.progress import progress
from sodarouter.errors import SodarouterError

OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to this file; it is there once all of it is on disk."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")]


def write_lines(
    documents: Iterable[Any], output: Path | None, *, force: bool, things: str, count: int | None = None
) -> None:
    """Writes each as JSON on a line of its own, and says how many they were unless standard output shows it.

    Durability: when this returns, the file would survive a loss of power.

    Args:
        force: Whether a file that is there is replaced.
        things: What they are, in words.
        count: How many there will be, for a progress bar.

    Raises:
        SodarouterError: The file is there already or cannot be written; one that was there before is as it was.
    """
    # in ASCII: it has to be JSON also where the locale has no other letters
    lines = (json.dumps(plain(document)) + "\n" for document in documents)
    if output is None:
        sys.stdout.writelines(lines)
        return
    if output.exists() and not output.is_dir() and not force:
        raise SodarouterError(f"{output} is there already; --force replaces it")
    part = output.with_name(f"{output.name}.part")
    try:
        # what Soda sent is nobody else's business
        with os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
            written = 0
            with progress(things) as tell:
                for line in lines:
                    file.write(line)
                    written += 1
                    tell(written, count)
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
        folders.sync(output.parent)
    except OSError as error:
        raise SodarouterError(f"{output} cannot be written: {(error.strerror or '').lower()}") from None
    finally:
        with suppress(OSError):
            part.unlink()
    err.print(f"{counted(written, 'line')} written to {output}", markup=False)
