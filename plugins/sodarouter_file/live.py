"""The file that is appended to."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from sodarouter_file.options import FileOptions
from sodarouter_file.rotated import RotatedFiles, sync_folder


class LiveFile:
    """The file that is appended to, for one thread at a time.

    Other destinations and routers may append to it and rotate it too, and anyone may move it away or delete it.
    """

    def __init__(self, options: FileOptions, rotated: RotatedFiles) -> None:
        self._path = options.path
        self._options = options
        self._rotated = rotated
        self._fd: int | None = None
        # no file system tells everywhere when a file was begun, and `mtime` and `ctime` change with every line; the first
        # line's own time will not do either: the event may have waited for days, and a bare payload has none.
        # Hidden, so that a log shipper's events.jsonl* passes it over
        self._since = self._path.with_name(f".{self._path.name}.since")

    def open(self) -> None:
        """Raises OSError if nothing can be written there."""
        with self._locked():
            pass

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def append(self, data: bytes) -> bool:
        """Writes whole lines, all of them or none. Gives whether the file was rotated before.

        Raises:
            OSError: None of it is in the file.
        """
        rotated = False
        while True:
            with self._locked() as fd:
                size = os.fstat(fd).st_size
                if size and self._is_due(fd, size + len(data)):
                    self._path.rename(self._rotated.free_name())
                    rotated = True
                    continue  # the name is free now: `_locked` makes the next file
                if not size and self._options.rotate_age is not None:
                    self._begin(datetime.now(UTC))
                self._write(fd, size, data)
                return rotated

    def _write(self, fd: int, size: int, data: bytes) -> None:
        if size and os.pread(fd, 1, size - 1) != b"\n":
            data = b"\n" + data  # a crash left half a line
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(fd, rest) :]
            if self._options.fsync:
                os.fsync(fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(fd, size)
            raise

    def _is_due(self, fd: int, size: int) -> bool:
        if self._options.rotate_size is not None and size > self._options.rotate_size:
            return True
        if self._options.rotate_age is None:
            return False
        try:
            begun = datetime.fromisoformat(self._since.read_text()).astimezone(UTC)
        except (OSError, ValueError):  # the file is older than this option; its last line is the best guess there is
            begun = datetime.fromtimestamp(os.fstat(fd).st_mtime, UTC)
            self._begin(begun)
        return (datetime.now(UTC) - begun).total_seconds() > self._options.rotate_age

    def _begin(self, begun: datetime) -> None:
        self._since.write_text(begun.isoformat(timespec="seconds"))

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file that has the name now, locked against other routers and destinations.

        Appending alone would keep their lines apart. The lock keeps one from writing to what another has just rotated and
        compresses, and makes it safe to cut a failed write off again.
        """
        while True:
            fd = self._fd = self._opened() if self._fd is None else self._fd
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, self._path):
                break
            self.close()
        try:
            yield fd
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def _opened(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # not for everyone to read: events hold people's e-mail addresses
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", str(self._path))
        if self._options.fsync:
            sync_folder(self._path.parent)
        return fd


def _is_at(fd: int, path: Path) -> bool:
    """Whether the open file is still the one that the path names."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
