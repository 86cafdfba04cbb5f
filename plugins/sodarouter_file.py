"""The destination type ``file``: JSON Lines, one event a line.

Deliveries that arrive while a write is under way wait for it and are then written together, with one write and one fsync:
the first of them to get its turn writes for all. There is no task in the background, and a delivery ends when its own
line is in the file.
"""

import errno
import fcntl
import gzip
import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

import trio
from pydantic import Field, model_validator

from sodarouter import ConfigPath, Delivery, Destination, Duration, Event, Options, Retry, Size, hookimpl


class FileOptions(Options):
    """A ``[destination.NAME]`` table with ``type = "file"``."""

    path: ConfigPath
    """The file. It and the folders above it are made when they are missing."""
    format: Literal["event", "payload"] = "event"
    """`event`: what the router knows of it, the normalised view and the payload. `payload`: what Soda sent, alone."""
    fsync: bool = False
    """Whether a delivery ends only when its line would survive a loss of power."""
    rotate_size: Annotated[Size, Field(gt=0)] | None = None
    """The file is rotated before it would grow beyond this. A batch of lines is never split."""
    rotate_age: Annotated[Duration, Field(gt=0)] | None = None
    """The file is rotated when its first line is older than this and another one comes."""
    keep: int = Field(default=10, ge=1)
    """How many rotated files are kept; older ones are deleted."""
    gzip: bool = False
    """Whether rotated files are compressed."""

    @property
    def rotates(self) -> bool:
        return self.rotate_size is not None or self.rotate_age is not None

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        if not self.rotates and self.model_fields_set & {"keep", "gzip"}:
            raise ValueError("keep and gzip are about rotated files: set rotate_size or rotate_age too")
        return self


@hookimpl
def destination_types() -> list[type["File"]]:
    return [File]


@dataclass(eq=False, slots=True)
class _Line:
    """One delivery that waits for its line to be written. Until that has happened, it has failed."""

    event: Event
    delivery: Delivery
    taken: bool = False
    failure: Exception | None = field(default_factory=lambda: Retry("the line was not written"))


class File(Destination[FileOptions]):
    """Appends events to a file.

    Cancellation: a delivery that still waits for its turn leaves no line. The one that writes for all the others finishes
    first, as they depend on it.
    """

    type = "file"
    default_concurrency = 64

    def __init__(self, name: str, options: FileOptions) -> None:
        super().__init__(name, options)
        self._waiting: list[_Line] = []
        self._turn = trio.Lock()
        # one of its own: a write cannot be cancelled, so it must not wait for other plugins to give trio's shared ones back
        self._thread = trio.CapacityLimiter(1)
        self._rotated = _RotatedFiles(options)
        self._live = _LiveFile(options, self._rotated)
        self._tidier = ThreadPoolExecutor(1, thread_name_prefix=f"tidy {name}")
        self._stopping = threading.Event()

    async def open(self) -> None:
        await trio.to_thread.run_sync(self._live.open)
        if self.options.rotates:
            self._tidier.submit(self._tidy)  # what a crash may have left

    async def close(self) -> None:
        """Waits for rotated files to be compressed; one that is not done when this is cancelled is done after a restart."""
        try:
            await trio.to_thread.run_sync(self._tidier.shutdown, abandon_on_cancel=True)
        finally:
            self._stopping.set()
            self._tidier.shutdown(wait=False)
            self._live.close()

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        line = _Line(event, delivery)
        self._waiting.append(line)
        try:
            async with self._turn:
                if not line.taken:
                    batch, self._waiting = self._waiting, []
                    for each in batch:
                        each.taken = True
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(self._write, batch, limiter=self._thread)
        finally:
            if not line.taken:
                self._waiting.remove(line)
        if line.failure is not None:
            raise line.failure

    def _write(self, batch: list[_Line]) -> None:
        texts = []
        made = []
        for line in batch:
            try:
                texts.append(_as_event(line) if self.options.format == "event" else _as_payload(line.event))
                made.append(line)
            except Exception as error:  # whatever is wrong with one event must not fail its neighbours
                line.failure = error
        try:
            if self._live.append(b"".join(texts)):
                self._tidier.submit(self._tidy)
        except OSError as error:
            for line in made:
                line.failure = Retry(f"cannot write to {self.options.path}: {error.strerror or error}")
        else:
            for line in made:
                line.failure = None

    def _tidy(self) -> None:
        try:
            self._rotated.tidy(self._stopping)
        except Exception:  # nobody asks this thread how it ended
            self.log.exception("rotated files cannot be tidied up", path=str(self.options.path))


def _as_event(line: _Line) -> bytes:
    record = line.event.as_dict()
    if line.delivery.replay:
        record["replay"] = line.delivery.replay
    if fallback := line.delivery.fallback:
        record["fallback"] = {"destination": fallback.destination, "reason": fallback.reason}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


_STRING_OR_SPACE = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")|[ \t\r\n]+')


def _as_payload(event: Event) -> bytes:
    # not parsed and written anew: that would change how numbers are spelt. A line break inside a string is always escaped
    return _STRING_OR_SPACE.sub(rb"\1", event.raw_redacted) + b"\n"


class _LiveFile:
    """The file that is appended to, for one thread at a time.

    Other destinations and routers may append to it and rotate it too, and anyone may move it away or delete it.
    """

    def __init__(self, options: FileOptions, rotated: "_RotatedFiles") -> None:
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
            _sync_folder(self._path.parent)
        return fd


def _is_at(fd: int, path: Path) -> bool:
    """Whether the open file is still the one that the path names."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_tidying = threading.Lock()
"""Destinations that share a path must not compress the same file at the same time."""

_CHUNK = 1 << 20


class _RotatedFiles:
    """What a file has been rotated to: ``NAME.20261123T201500Z``, or ``…Z-1`` if that is taken, and ``.gz``."""

    def __init__(self, options: FileOptions) -> None:
        self._path = options.path
        self._options = options
        self._name = re.compile(re.escape(self._path.name) + r"\.(\d{8}T\d{6}Z)(?:-(\d+))?(?:\.gz)?")

    def free_name(self) -> Path:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        taken = [number for (when, number), _ in self._found() if when == stamp]
        return self._path.with_name(f"{self._path.name}.{stamp}" + (f"-{max(taken) + 1}" if taken else ""))

    def tidy(self, stopping: threading.Event) -> None:
        """Deletes all but the newest and compresses the rest; does nothing where that is done already."""
        with _tidying:
            found = self._found()
            kept = sorted({key for key, _ in found})[-self._options.keep :]
            for key, path in found:
                if key not in kept:
                    path.unlink(missing_ok=True)
                elif self._options.gzip and path.suffix != ".gz" and not stopping.is_set():
                    _compress(path, stopping)

    def _found(self) -> list[tuple[tuple[str, int], Path]]:
        """Oldest first."""
        named = ((self._name.fullmatch(path.name), path) for path in self._path.parent.iterdir())
        return sorted(((match[1], int(match[2] or 0)), path) for match, path in named if match and path.is_file())


def _compress(path: Path, stopping: threading.Event) -> None:
    partial = path.with_name(f".{path.name}.gz.partial")
    try:
        with path.open("rb") as source, partial.open("wb") as file:
            shutil.copymode(path, partial)
            with gzip.GzipFile(path.name, "wb", fileobj=file) as target:
                while chunk := source.read(_CHUNK):
                    if stopping.is_set():
                        return
                    target.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path.with_name(f"{path.name}.gz"))
        _sync_folder(path.parent)
        path.unlink()
    finally:
        partial.unlink(missing_ok=True)
