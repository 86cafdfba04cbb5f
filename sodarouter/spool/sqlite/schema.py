"""The tables of the SQLite spool, and the steps from each version of them to the next.

Times are Unix microseconds. ``PRAGMA user_version`` holds the number of steps that a file has had.
"""

import sqlite3

from sodarouter.errors import SpoolError

MIGRATIONS = (
    """
    CREATE TABLE event (
        seq      INTEGER PRIMARY KEY,
        id       TEXT    NOT NULL UNIQUE,
        source   TEXT    NOT NULL,
        received INTEGER NOT NULL,
        type     TEXT    NOT NULL,
        raw      BLOB    NOT NULL,
        repeats  INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX event_received ON event (received);

    -- beside the event, not in it: that would write the body a second time
    CREATE TABLE decision (
        event    INTEGER PRIMARY KEY,
        planned  INTEGER NOT NULL,   -- deliveries that it asked for
        trace    TEXT    NOT NULL    -- a JSON array
    ) STRICT;
    CREATE INDEX decision_unrouted ON decision (event) WHERE planned = 0;

    -- every time-ordered key is appended to; only this small table, pruned after the window, is hit at random
    CREATE TABLE recent (
        digest   BLOB    PRIMARY KEY,
        event    INTEGER NOT NULL,
        until    INTEGER NOT NULL    -- the end of its window, which each source sets for itself
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX recent_until ON recent (until);
    CREATE INDEX recent_event ON recent (event);

    CREATE TABLE delivery (
        seq         INTEGER PRIMARY KEY,
        event       INTEGER NOT NULL,
        destination TEXT    NOT NULL,
        state       TEXT    NOT NULL DEFAULT 'pending',
        leased      INTEGER NOT NULL DEFAULT 0,
        attempt     INTEGER NOT NULL DEFAULT 0,
        forgiven    INTEGER NOT NULL DEFAULT 0,  -- attempts that the retry policy no longer counts
        planned     INTEGER NOT NULL,
        since       INTEGER NOT NULL,            -- from when on the retry policy counts its age
        next_at     INTEGER NOT NULL,
        settled     INTEGER,
        results     TEXT,            -- indices as a JSON array; NULL for the whole event
        reason      TEXT    NOT NULL DEFAULT '',
        UNIQUE (event, destination)
    ) STRICT;
    CREATE INDEX delivery_due ON delivery (destination, next_at, seq) WHERE state = 'pending';
    CREATE INDEX delivery_dead ON delivery (destination, seq) WHERE state = 'dead';

    CREATE TABLE attempt (
        delivery INTEGER NOT NULL,
        number   INTEGER NOT NULL,
        started  INTEGER NOT NULL,
        seconds  REAL    NOT NULL,
        state    TEXT    NOT NULL,
        reason   TEXT    NOT NULL,
        response TEXT    NOT NULL,
        PRIMARY KEY (delivery, number)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE quarantine (
        seq      INTEGER PRIMARY KEY,
        id       TEXT    NOT NULL UNIQUE,
        source   TEXT    NOT NULL,
        received INTEGER NOT NULL,
        raw      BLOB    NOT NULL,
        status   INTEGER NOT NULL,
        title    TEXT    NOT NULL,
        detail   TEXT    NOT NULL,
        faults   TEXT    NOT NULL    -- a JSON array of strings
    ) STRICT;
    """,
)

OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables; RETURNING is older."""


def migrate(connection: sqlite3.Connection) -> None:
    """Brings a file to the newest version, each step in a transaction of its own.

    Raises:
        SpoolError: The file was made by a newer sodarouter.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise SpoolError(
            f"the spool has schema version {version} and this sodarouter knows {len(MIGRATIONS)}: "
            "it was made by a newer one; install that, or use another spool"
        )
    for number, step in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; COMMIT;")
