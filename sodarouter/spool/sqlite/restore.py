"""Puts a copy in the place of a spool, and keeps what was there."""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sodarouter import folders
from sodarouter.errors import SpoolError
from sodarouter.spool.sqlite.backup import Copy, connect, put_in_place

_LOGS = ("-wal", "-journal")
"""What belongs to a database, and would damage another."""


def put_back(copy: Copy, spool: Path) -> Path | None:
    """Puts a copy that was made beside the spool in its place. Gives the name under which what was there is kept.

    Hold the spool's `Lock` from before the copy was made.

    Durability: when this returns, it would survive a loss of power. Until then the spool is the old one, whole; of one
    that is damaged, all there was is under the other name.

    Raises:
        SpoolError: The spool is still the old one: another process reads it, or its folder cannot be written.
    """
    _fold(spool)
    kept = None
    try:
        if os.geteuid() == 0:
            # the router may run as another user, who could not open what root has made
            owner = (spool if spool.exists() else spool.parent).stat()
            os.chown(copy.file, owner.st_uid, owner.st_gid)
        kept = _keep(spool)
        for suffix in (*_LOGS, "-shm"):
            _beside(spool, suffix).unlink(missing_ok=True)
        # an old -wal that comes back after a loss of power would be applied to the new database
        folders.sync(spool.parent)
        put_in_place(copy.file, spool)
    except OSError as error:
        raise SpoolError(f"the spool {spool} cannot be replaced: {error.strerror}") from error
    return kept


def _fold(spool: Path) -> None:
    """Moves what the -wal holds into the database: they are two files, and only one can be replaced at a time."""
    if not _is_whole(spool):
        return  # which may be why it is replaced: its files are kept as they are
    with closing(connect(spool)) as connection:
        connection.execute("PRAGMA busy_timeout = 1000")
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise SpoolError(f"another process reads the spool {spool}; try again when it has ended")


def _is_whole(spool: Path) -> bool:
    if not spool.exists() or spool.stat().st_size == 0:
        return False  # SQLite deletes the -wal of an empty database
    try:
        with closing(connect(spool, "mode=ro")) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError:
        return False


def _keep(spool: Path) -> Path | None:
    """Gives the files of a spool a second name each, so that there is always one under the first."""
    kept = _beside(spool, f".replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    present = [suffix for suffix in ("", *_LOGS) if _beside(spool, suffix).exists()]
    for suffix in present:
        os.link(_beside(spool, suffix), _beside(kept, suffix))
    return kept if present else None


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
