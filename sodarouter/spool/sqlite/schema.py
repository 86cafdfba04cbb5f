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
    """
    ALTER TABLE event ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE event ADD COLUMN sealed BLOB;        -- the secrets that were cut out of raw, encrypted
    ALTER TABLE quarantine ADD COLUMN sealed BLOB;
    ALTER TABLE decision ADD COLUMN config TEXT NOT NULL DEFAULT '';
    CREATE INDEX quarantine_received ON quarantine (received);

    -- made anew, as what is unique in it is another: a replay delivers an event once more
    CREATE TABLE delivery_2 (
        seq         INTEGER PRIMARY KEY,
        event       INTEGER NOT NULL,
        destination TEXT    NOT NULL,
        replay      INTEGER NOT NULL DEFAULT 0,
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
        cause       TEXT,            -- why it is a dead letter, or was one
        fallback_of TEXT,            -- the destination that it stands in for
        fallback_reason TEXT,
        config      TEXT    NOT NULL DEFAULT '',
        keys        TEXT,            -- a JSON array; what it must not overtake, while it is pending
        blocked     INTEGER NOT NULL DEFAULT 0,  -- something is ahead of it that it must not overtake
        UNIQUE (event, destination, replay)
    ) STRICT;
    INSERT INTO delivery_2 (seq, event, destination, state, leased, attempt, forgiven, planned, since, next_at, settled,
            results, reason, cause)
        SELECT seq, event, destination, state, leased, attempt, forgiven, planned, since, next_at, settled, results,
            reason, CASE WHEN state = 'dead' THEN CASE
                WHEN reason LIKE 'rejected%' THEN 'rejected' WHEN reason LIKE 'expired%' THEN 'expired'
                ELSE 'exhausted' END END
        FROM delivery;
    DROP TABLE delivery;
    ALTER TABLE delivery_2 RENAME TO delivery;
    CREATE INDEX delivery_due ON delivery (destination, blocked, next_at, seq) WHERE state = 'pending';
    CREATE INDEX delivery_dead ON delivery (destination, seq) WHERE state = 'dead';
    CREATE INDEX delivery_given_up ON delivery (settled, seq) WHERE state = 'dead';
    CREATE INDEX delivery_replayed ON delivery (replay, seq) WHERE replay > 0;

    -- what a pending delivery must not overtake, and what must not overtake it
    CREATE TABLE ordering (
        destination TEXT    NOT NULL,
        key         TEXT    NOT NULL,
        delivery    INTEGER NOT NULL,
        PRIMARY KEY (destination, key, delivery)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ordering_delivery ON ordering (delivery);

    CREATE TABLE halt (
        destination TEXT    PRIMARY KEY,
        halt        TEXT    NOT NULL,
        since       INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE replay (
        number INTEGER PRIMARY KEY,
        begun  INTEGER NOT NULL
    ) STRICT;

    -- the newest update of each incident, by which an older one that comes later is known
    CREATE TABLE incident (
        source   TEXT    NOT NULL,
        incident TEXT    NOT NULL,
        updated  INTEGER NOT NULL,
        received INTEGER NOT NULL,
        PRIMARY KEY (source, incident)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX incident_received ON incident (received);

    -- how much there is of what has a limit: counting would read the whole file
    CREATE TABLE held (
        what   TEXT    PRIMARY KEY,
        amount INTEGER NOT NULL      -- bytes; of the backlog, deliveries
    ) STRICT, WITHOUT ROWID;
    INSERT INTO held
        SELECT 'backlog', count(*) FROM delivery WHERE state = 'pending'
        UNION ALL
        SELECT 'events', coalesce(sum(length(raw)), 0) FROM event
        UNION ALL SELECT 'quarantine', coalesce(sum(length(raw)), 0) FROM quarantine
        UNION ALL SELECT 'attempts', coalesce(sum(length(reason) + length(response)), 0) FROM attempt
        UNION ALL SELECT 'dead_letters', coalesce(sum(length(raw)), 0)
            FROM delivery JOIN event ON event.seq = delivery.event WHERE state = 'dead';
    """,
    """
    ALTER TABLE decision ADD COLUMN withheld INTEGER NOT NULL DEFAULT 0;  -- a silence or a window kept something back
    -- last, as a contract in it may have many pages
    ALTER TABLE decision ADD COLUMN state TEXT;      -- what the memory said of the event; NULL: nobody asked it yet
    DROP INDEX decision_unrouted;
    CREATE INDEX decision_unrouted ON decision (event) WHERE planned = 0 AND withheld = 0;
    CREATE INDEX decision_withheld ON decision (event) WHERE withheld = 1;

    -- made anew, as what is unique in it is another: a route may divide an event into parts
    CREATE TABLE delivery_3 (
        seq         INTEGER PRIMARY KEY,
        event       INTEGER NOT NULL,
        destination TEXT    NOT NULL,
        part        INTEGER NOT NULL DEFAULT 0,
        replay      INTEGER NOT NULL DEFAULT 0,
        state       TEXT    NOT NULL DEFAULT 'pending',
        leased      INTEGER NOT NULL DEFAULT 0,
        attempt     INTEGER NOT NULL DEFAULT 0,
        forgiven    INTEGER NOT NULL DEFAULT 0,  -- attempts that the retry policy no longer counts
        planned     INTEGER NOT NULL,
        since       INTEGER NOT NULL,            -- from when on the retry policy counts its age
        next_at     INTEGER NOT NULL,
        settled     INTEGER,
        results     TEXT,            -- indices as a JSON array; NULL for the whole event
        shared      TEXT,            -- what the results of a part have in common
        reason      TEXT    NOT NULL DEFAULT '',
        cause       TEXT,            -- why it is a dead letter, or was one
        fallback_of TEXT,            -- the destination that it stands in for
        fallback_reason TEXT,
        config      TEXT    NOT NULL DEFAULT '',
        keys        TEXT,            -- a JSON array; what it must not overtake, while it is pending
        blocked     INTEGER NOT NULL DEFAULT 0,  -- something is ahead of it that it must not overtake
        UNIQUE (event, destination, part, replay)
    ) STRICT;
    INSERT INTO delivery_3 (seq, event, destination, replay, state, leased, attempt, forgiven, planned, since, next_at,
            settled, results, reason, cause, fallback_of, fallback_reason, config, keys, blocked)
        SELECT seq, event, destination, replay, state, leased, attempt, forgiven, planned, since, next_at,
            settled, results, reason, cause, fallback_of, fallback_reason, config, keys, blocked FROM delivery;
    DROP TABLE delivery;
    ALTER TABLE delivery_3 RENAME TO delivery;
    CREATE INDEX delivery_due ON delivery (destination, blocked, next_at, seq) WHERE state = 'pending';
    CREATE INDEX delivery_dead ON delivery (destination, seq) WHERE state = 'dead';
    CREATE INDEX delivery_given_up ON delivery (settled, seq) WHERE state = 'dead';
    CREATE INDEX delivery_replayed ON delivery (replay, seq) WHERE replay > 0;

    -- what is known of checks, incidents and contracts from the events before
    CREATE TABLE memory (
        key      BLOB    PRIMARY KEY,
        seen     INTEGER NOT NULL,   -- when an event was decided that said so, the last one
        value    TEXT    NOT NULL    -- a JSON array
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX memory_seen ON memory (seen);

    CREATE TABLE silence (
        id       TEXT    PRIMARY KEY,
        starts   INTEGER NOT NULL,
        ends     INTEGER NOT NULL,
        value    TEXT    NOT NULL    -- a JSON object
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX silence_ends ON silence (ends);

    -- what of each configuration decided, so that its decisions can be explained when it is no longer in use
    CREATE TABLE configuration (
        hash     TEXT    PRIMARY KEY,
        used     INTEGER NOT NULL,   -- until when, as far as is known
        routing  TEXT    NOT NULL    -- a JSON object
    ) STRICT, WITHOUT ROWID;
    """,
    """
    -- what destinations keep for themselves
    CREATE TABLE store (
        destination TEXT    NOT NULL,
        key         TEXT    NOT NULL,
        value       TEXT    NOT NULL,   -- JSON
        expires     INTEGER NOT NULL,
        PRIMARY KEY (destination, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX store_expires ON store (expires);

    -- the last event of each incident that had its callback URL
    CREATE TABLE callback (
        source   TEXT    NOT NULL,
        incident TEXT    NOT NULL,
        event    INTEGER NOT NULL,
        PRIMARY KEY (source, incident)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX callback_event ON callback (event);

    -- what destinations made of incidents; one of them is put onto the incident
    CREATE TABLE link (
        source      TEXT    NOT NULL,
        incident    TEXT    NOT NULL,
        destination TEXT    NOT NULL,
        url         TEXT    NOT NULL,
        text        TEXT    NOT NULL,
        made        INTEGER NOT NULL,
        chosen      INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (source, incident, destination)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX link_made ON link (made);

    -- what plugins added to events before these were decided; beside the event, as most have none
    CREATE TABLE enrichment (
        event    INTEGER PRIMARY KEY,
        value    TEXT    NOT NULL    -- a JSON object
    ) STRICT;
    """,
    """
    -- as long as one is in it, events that come have to wait for their turn too: one look before each commit
    CREATE INDEX delivery_undecided ON delivery (destination)
        WHERE destination = '$route' AND state = 'pending' AND replay = 0;
    -- made anew, in the order in which things were first heard of: the checks of one event are neighbours then, where by
    -- their keys, which are digests, each would be on a page of its own that is written again with every event
    CREATE TABLE memory_5 (
        seq      INTEGER PRIMARY KEY,
        key      BLOB    NOT NULL UNIQUE,
        seen     INTEGER NOT NULL,   -- when an event was decided that said so, the last one
        value    TEXT    NOT NULL    -- a JSON array
    ) STRICT;
    INSERT INTO memory_5 (key, seen, value) SELECT key, seen, value FROM memory ORDER BY seen, key;
    DROP TABLE memory;
    ALTER TABLE memory_5 RENAME TO memory;
    CREATE INDEX memory_seen ON memory (seen);
    -- so that nobody goes through all that was delivered long ago. Without what is decided, which comes and goes; and only a
    -- statement that leaves it out too is led here, as others have narrower indexes
    CREATE INDEX delivery_of ON delivery (destination, seq) WHERE destination <> '$route';
    CREATE INDEX delivery_discarded ON delivery (seq) WHERE state = 'discarded';
    CREATE INDEX link_unchosen ON link (source, incident) WHERE chosen = 0;
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
