"""One process at a time."""

import fcntl
import os
from pathlib import Path

from sodarouter import folders
from sodarouter.errors import SpoolError


class Lock:
    """Keeps a spool for one process: two that write would corrupt it.

    Raises:
        SpoolError: Another process has it, or its folder cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        try:
            folders.make(path.parent)
            self._file = path.with_name(path.name + ".lock").open("a+", encoding="ascii")
        except OSError as error:
            why = f"{error.filename or path.parent}: {(error.strerror or '').lower()}"
            hint = "this user must be able to make its folder, and to write there"
            raise SpoolError(f"the spool {path} cannot be opened: {why}; {hint}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise SpoolError(f"the spool {path} is in use by another sodarouter, process {holder}") from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()
