"""What a copy of a spool tells of itself, of whichever version it is."""

import os
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from sodarouter.delivery import Queue
from sodarouter.spool.sqlite.rows import micros, moment


@dataclass(frozen=True, slots=True)
class Origin:
    """What a copy says of itself."""

    made: datetime
    """UTC."""
    host: str
    spool: str
    """The file that it is a copy of."""
    by: str
    """The version of sodarouter that made it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a copy of a spool holds."""

    origin: Origin | None
    """``None`` if it was not made by `back_up`."""
    version: int
    """That of its tables."""
    events: int
    newest: datetime | None
    """When the newest event was received, UTC."""
    queues: Mapping[str, Queue]
    """By destination, as in `sodarouter.delivery.Stats`: what is pending, leased and dead."""
    quarantined: int


def stamp(connection: sqlite3.Connection, source: Path) -> None:
    """Writes into a copy when and of what it was made: for people, and for `contents`."""
    connection.execute("CREATE TABLE IF NOT EXISTS backup (made INTEGER, host TEXT, spool TEXT, by TEXT) STRICT")
    connection.execute("DELETE FROM backup")
    made = (micros(time.time()), os.uname().nodename, str(source.absolute()), version("sodarouter"))
    connection.execute("INSERT INTO backup VALUES (?, ?, ?, ?)", made)


def contents(connection: sqlite3.Connection) -> Contents:
    stamped = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'backup'").fetchone()
    found = connection.execute("SELECT made, host, spool, by FROM backup").fetchone() if stamped else None
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    events, newest = connection.execute("SELECT count(*), max(received) FROM event").fetchone()
    queues = connection.execute(
        "SELECT destination, sum(state = 'pending' AND NOT leased), sum(state = 'pending' AND leased), sum(state = 'dead')"
        " FROM delivery WHERE state IN ('pending', 'dead') GROUP BY destination"
    )
    (quarantined,) = connection.execute("SELECT count(*) FROM quarantine").fetchone()
    return Contents(
        origin=Origin(moment(found["made"]), found["host"], found["spool"], found["by"]) if found else None,
        version=schema,
        events=events,
        newest=None if newest is None else moment(newest),
        queues={name: Queue(*counts) for name, *counts in queues},
        quarantined=quarantined,
    )
