"""Deletes what is kept no longer, and gives its space back to the file system."""

from contextlib import closing
from sqlite3 import Connection

from sodarouter.spool.sqlite.held import What, held, hold
from sodarouter.spool.sqlite.keeping import expire
from sodarouter.spool.sqlite.remembering import forget
from sodarouter.spool.sqlite.rows import EVER, micros
from sodarouter.spool.values import Keep, Retention

_GIVEN_BACK = 16 * 1024 * 1024
"""Bytes at a time: more would make others wait."""


def prune(connection: Connection, retention: Retention, now: float, limit: int) -> int:
    """As `Spool.prune`."""
    went = [
        _quarantine(connection, retention.quarantine, now, limit),
        _attempts(connection, retention.attempts, now, limit),
        _dead_letters(connection, retention.dead_letters, now, limit),
        _events(connection, retention.events, now, limit),
        forget(connection, micros(now - retention.events.age), limit),
        expire(connection, now, micros(now - retention.events.age), limit),
    ]
    connection.execute(
        "DELETE FROM incident WHERE (source, incident) IN"
        " (SELECT source, incident FROM incident WHERE received < ? LIMIT ?)",
        (micros(now - retention.events.age), limit),
    )
    _give_back(connection)
    return max(went)


def _give_back(connection: Connection) -> None:
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    # one at a time: Python 3.11 does no more than the first step of this statement, which is one page
    for _ in range(min(free, _GIVEN_BACK // page)):
        connection.execute("PRAGMA incremental_vacuum(1)").fetchall()


def _going(connection: Connection, what: What, keep: Keep, now: float, query: str, limit: int) -> tuple[list[int], int]:
    """The keys of what is kept no longer, and its bytes.

    Args:
        query: Takes ``before``; gives of what is older than that, the oldest first, the key, when it began and when it
            ended, and its bytes. It is read no further than need be.
    """
    before = micros(now - keep.age)
    excess = held(connection, what) - keep.size if keep.size is not None else 0
    keys: list[int] = []
    size = 0
    with closing(connection.execute(query, {"before": EVER if excess > 0 else before})) as oldest:
        for key, began, ended, length in oldest:
            if len(keys) == limit or (began >= before and size >= excess):
                break
            if ended < before or size < excess:
                keys.append(key)
                size += length
    return keys, size


def _quarantine(connection: Connection, keep: Keep, now: float, limit: int) -> int:
    oldest = (
        "SELECT seq, received, received, length(raw) FROM quarantine WHERE received < :before ORDER BY received, seq"
    )
    keys, size = _going(connection, "quarantine", keep, now, oldest, limit)
    connection.executemany("DELETE FROM quarantine WHERE seq = ?", [(key,) for key in keys])
    hold(connection, {"quarantine": -size})
    return len(keys)


def _attempts(connection: Connection, keep: Keep, now: float, limit: int) -> int:
    """The attempts of deliveries that are settled, all of one together."""
    oldest = (
        # CROSS JOIN has SQLite go through the attempts, which are in the order in which their deliveries were planned: after
        # one that was planned too late none is old
        "SELECT delivery, planned, max(started), sum(length(attempt.reason) + length(response)) FROM attempt"
        " CROSS JOIN delivery ON delivery.seq = attempt.delivery WHERE delivery.state <> 'pending'"
        " GROUP BY attempt.delivery ORDER BY attempt.delivery"
    )
    keys, size = _going(connection, "attempts", keep, now, oldest, limit)
    connection.executemany("DELETE FROM attempt WHERE delivery = ?", [(key,) for key in keys])
    hold(connection, {"attempts": -size})
    return len(keys)


def _dead_letters(connection: Connection, keep: Keep, now: float, limit: int) -> int:
    oldest = (
        "SELECT delivery.seq, settled, settled, length(raw) FROM delivery JOIN event ON event.seq = delivery.event"
        " WHERE state = 'dead' AND settled < :before ORDER BY settled, delivery.seq"
    )
    keys, size = _going(connection, "dead_letters", keep, now, oldest, limit)
    connection.executemany("UPDATE delivery SET state = 'discarded' WHERE seq = ?", [(key,) for key in keys])
    hold(connection, {"dead_letters": -size})
    return len(keys)


def _events(connection: Connection, keep: Keep, now: float, limit: int) -> int:
    """Events with all that hangs on them; none that has a delivery which is pending or a dead letter."""
    oldest = (
        "SELECT seq, received, received, length(raw) FROM event WHERE received < :before AND NOT EXISTS"
        " (SELECT 1 FROM delivery WHERE delivery.event = event.seq AND state IN ('pending', 'dead'))"
        " ORDER BY received, seq"
    )
    keys, size = _going(connection, "events", keep, now, oldest, limit)
    rows = [(key,) for key in keys]
    said = sum(
        connection.execute(
            "SELECT coalesce(sum(length(attempt.reason) + length(response)), 0) FROM attempt"
            " JOIN delivery ON delivery.seq = attempt.delivery WHERE event = ?",
            row,
        ).fetchone()[0]
        for row in rows
    )
    for statement in (
        # a digest must not outlive its event, whose number is given anew when all events are gone
        "DELETE FROM recent WHERE event = ?",
        "DELETE FROM attempt WHERE delivery IN (SELECT seq FROM delivery WHERE event = ?)",
        "DELETE FROM delivery WHERE event = ?",
        "DELETE FROM decision WHERE event = ?",
        "DELETE FROM callback WHERE event = ?",
        "DELETE FROM enrichment WHERE event = ?",
        "DELETE FROM event WHERE seq = ?",
    ):
        connection.executemany(statement, rows)
    hold(connection, {"events": -size, "attempts": -said})
    return len(keys)
