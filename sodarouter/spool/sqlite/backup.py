"""Copies of a spool: one moment of it, checked, in a single file that opens without any other beside it."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkstemp
from urllib.parse import quote

from sodarouter import folders
from sodarouter.errors import SpoolError
from sodarouter.spool.sqlite.contents import Contents, contents, stamp
from sodarouter.spool.sqlite.schema import MIGRATIONS

PAGES = 1024
"""Pages copied in one step, 4 MiB: after each they are on disk, progress is told, and Ctrl-C is heard."""

Progress = Callable[[int, int], None]
"""Is told how many bytes of how many are copied. What it raises ends the copying."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that has no name of its own yet. ``file`` lies in the folder where it is to be."""

    file: Path
    contents: Contents


def back_up(spool: Path, file: Path, progress: Progress) -> Contents:
    """Writes a copy of a spool to a file, which is replaced if it is there. A router may run on the spool meanwhile.

    Durability: when this returns, the copy would survive a loss of power. Until then the file is what it was.

    Raises:
        SpoolError: The spool cannot be read or is damaged, or the copy cannot be written.
    """
    with copied(spool, file, progress, stamped=True) as copy:
        put_in_place(copy.file, file)
        return copy.contents


@contextmanager
def copied(source: Path, target: Path, progress: Progress, *, stamped: bool = False) -> Iterator[Copy]:
    """A whole copy beside ``target``, on disk and checked. It is deleted at the end if it still has that name.

    Args:
        stamped: Whether it is written into the copy when and of what it was made.

    Raises:
        SpoolError: The source is no spool, is damaged or of a newer version, or the copy cannot be written.
    """
    with _writing(target):
        descriptor, name = mkstemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent)  # its mode is 0600
        os.close(descriptor)
    part = Path(name)
    try:
        with _writing(target):
            found = _copy(source, part, progress, stamped=stamped)
            folders.sync(part)
        yield Copy(part, found)
    finally:
        for suffix in ("", "-wal", "-journal"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)


def put_in_place(file: Path, target: Path) -> None:
    """Gives a file that is on disk its name, for good."""
    with _writing(target):
        file.replace(target)
        folders.sync(target.parent)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(f"{target} cannot be written: {error.strerror}") from error


def _copy(source: Path, part: Path, progress: Progress, *, stamped: bool) -> Contents:
    try:
        # The reader neither writes nor checkpoints, which is the writer's alone: with mode=ro SQLite opens the database
        # O_RDONLY, nothing but a commit goes into the -wal, and it stays as it is when the reader closes.
        with closing(connect(source, "mode=ro")) as reader, closing(connect(part)) as writer:
            # all steps read what was there at this moment; without it each commit of the router would begin them anew
            reader.execute("BEGIN")
            _must_be_known(source, reader)
            # what is not finished is thrown away, so SQLite need not sync; nor lock, as nobody else knows the file
            writer.execute("PRAGMA synchronous = OFF")
            writer.execute("PRAGMA locking_mode = EXCLUSIVE")
            _copy_pages(reader, writer, part, progress)
            # the router need not keep its -wal for us any longer
            reader.close()
            # without a -wal there is one file to carry about, and it can be read where nothing can be written
            writer.execute("PRAGMA journal_mode = DELETE")
            _check(source, writer)
            if stamped:
                stamp(writer, source)
            return contents(writer)
    except sqlite3.Error as error:
        raise SpoolError(f"{source} cannot be copied to {part.parent}: {error}") from error


def _copy_pages(reader: sqlite3.Connection, writer: sqlite3.Connection, part: Path, progress: Progress) -> None:
    size, pages = (reader.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count"))
    needed, free = size * pages, shutil.disk_usage(part.parent).free
    if needed > free:
        # a disk that a backup has filled is full for the router too
        raise SpoolError(
            f"a copy takes {needed:,} bytes, and the disk under {part.parent} has {free:,}; free some room on it"
        )

    def step(_: int, left: int, total: int) -> None:
        # a little at a time: the router's commits would wait while the disk takes in a whole copy
        folders.sync(part)
        progress(size * (total - left), size * total)

    reader.backup(writer, pages=PAGES, progress=step)


def connect(path: Path, mode: str = "mode=rw") -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def _must_be_known(source: Path, connection: sqlite3.Connection) -> None:
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    if schema > len(MIGRATIONS):
        raise SpoolError(
            f"{source} has schema version {schema} and this sodarouter knows {len(MIGRATIONS)}: "
            "it was made by a newer one; install that"
        )
    tables = {row["name"] for row in connection.execute("SELECT name FROM sqlite_schema")}
    if not schema or not {"event", "delivery", "quarantine"} <= tables:
        raise SpoolError(f"{source} is no spool of sodarouter")


def _check(source: Path, connection: sqlite3.Connection) -> None:
    connection.set_progress_handler(lambda: 0, 100_000)  # where Ctrl-C is heard
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise SpoolError(f"{source} is damaged, so its copy is not kept: {found.splitlines()[-1]}")
