"""What SQLite and the disk complain of, in words that say what to do."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sodarouter.errors import SpoolError, SpoolFull

_HINTS = {
    sqlite3.SQLITE_FULL: "free some room on it",
    sqlite3.SQLITE_READONLY: "its file or folder cannot be written; see to whom they belong",
    sqlite3.SQLITE_CANTOPEN: "its file or folder cannot be opened; see to whom they belong",
    sqlite3.SQLITE_IOERR: "the disk under it reports an error",
    sqlite3.SQLITE_CORRUPT: "its file is damaged: stop the router, keep a copy of it, and restore a backup or move it away",
    sqlite3.SQLITE_NOTADB: "its file is no SQLite database; move it away, or name another as spool.path",
}
_KIND = 0xFF
"""The bits of a code that say of which kind the error is; the others say what exactly."""
_EXACTLY = {sqlite3.SQLITE_IOERR_SHMSIZE: _HINTS[sqlite3.SQLITE_FULL]}
"""What has a hint of its own: a full disk shows first where the index to the log should grow."""


def explained(error: BaseException) -> BaseException:
    """The `SpoolError` for what SQLite raised; anything else as it is."""
    if not isinstance(error, sqlite3.Error):
        return error
    code = _code(error)
    if code & _KIND == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
        return SpoolFull("the disk under the spool is full; free some room and it goes on by itself")
    return SpoolError(f"the spool fails: {_with_hint(error)}")


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0)  # an error of Python's own module has none


def _with_hint(error: sqlite3.Error) -> str:
    code = _code(error)
    hint = _EXACTLY.get(code) or _HINTS.get(code & _KIND)
    return f"{error}; {hint}" if hint else str(error)


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Says of every failure that it is this spool's that cannot be opened."""
    try:
        yield
    except OSError as error:
        raise SpoolError(f"the spool {path} cannot be opened: {error.strerror}; see to whom it belongs") from error
    except sqlite3.DatabaseError as error:
        raise SpoolError(f"the spool {path} cannot be opened: {_with_hint(error)}") from error


class Identity:
    """Which file a path named when it was opened.

    A file that is deleted while it is open can still be written, and all of it is gone when it is closed: a 200 for what
    was written there would be a lie.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is = self._now()

    def check(self) -> None:
        """Looks whether the path still names that file.

        Raises:
            SpoolError: The path names another file now, or none.
        """
        if self._now() != self._is:
            raise SpoolError(
                f"the spool {self._path} was deleted or replaced while it was open: nothing is taken in any more; "
                "put it back, or restart the router to begin a new one"
            )

    def _now(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 (a third of the time, and before every commit)
        except OSError:
            return None
        return found.st_dev, found.st_ino
