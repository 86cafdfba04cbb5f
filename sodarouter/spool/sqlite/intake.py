"""What comes in: events with their duplicates, and the quarantine."""

import json
from collections.abc import Sequence
from sqlite3 import Connection
from typing import NamedTuple

from sodarouter.event import Event
from sodarouter.spool.base import ROUTE, Appended, Refused, digest
from sodarouter.spool.sqlite.rows import insert, micros, placeholders

FORGOTTEN = 3
"""Digests beyond the window that are deleted for each event that comes: this keeps the table at the size of the window
without a sweep that others would wait for."""


class Arrival(NamedTuple):
    """An event and the window, in seconds, within which the same bytes are the same event."""

    event: Event
    window: float


def append(connection: Connection, arrivals: Sequence[Arrival]) -> list[Appended]:
    """As `Spool.append`, for all events of a commit at once."""
    keys = [digest(arrival.event) for arrival in arrivals]
    seen: dict[bytes, tuple[int, int, str]] = {
        key: (until, seq, event)
        for key, until, seq, event in connection.execute(
            "SELECT digest, until, seq, event.id FROM recent JOIN event ON event.seq = recent.event"
            f" WHERE digest IN ({placeholders(len(keys))})",
            keys,
        )
    }
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
    appended, fresh, repeated = [], [], []
    for key, (event, window) in zip(keys, arrivals, strict=True):
        received = micros(event.received)
        before = seen.get(key)
        if before and received < before[0]:
            repeated.append((before[1],))
            appended.append(Appended(before[2], duplicate=True))
            continue
        last += 1
        seen[key] = (received + micros(window), last, event.id)
        fresh.append((last, event.id, event.source, received, event.type, event.raw))
        appended.append(Appended(event.id, duplicate=False))
    if fresh:
        insert(connection, "event", ("seq", "id", "source", "received", "type", "raw"), fresh)
        work = [(seq, ROUTE, received, received, received) for seq, _, _, received, _, _ in fresh]
        insert(connection, "delivery", ("event", "destination", "planned", "since", "next_at"), work)
        _remember(
            connection, [(key, seq, until) for key, (until, seq, _) in seen.items()], min(row[3] for row in fresh)
        )
    connection.executemany("UPDATE event SET repeats = repeats + 1 WHERE seq = ?", repeated)
    return appended


def _remember(connection: Connection, rows: Sequence[Sequence[object]], now: int) -> None:
    connection.execute(
        "DELETE FROM recent WHERE digest IN (SELECT digest FROM recent WHERE until <= ? LIMIT ?)",
        (now, FORGOTTEN * len(rows)),
    )
    insert(connection, "recent", ("digest", "event", "until"), rows, verb="INSERT OR REPLACE")


def quarantine(connection: Connection, refused: Sequence[Refused]) -> list[None]:
    """As `Spool.quarantine`, for all bodies of a commit at once."""
    columns = ("id", "source", "received", "raw", "status", "title", "detail", "faults")
    rows = [
        (r.id, r.source, micros(r.received), r.raw, r.status, r.title, r.detail, json.dumps(r.faults)) for r in refused
    ]
    insert(connection, "quarantine", columns, rows)
    return [None] * len(rows)


def probe(connection: Connection, asked: Sequence[None]) -> list[None]:
    """Writes something that changes nothing: shows whether the file can be written at all."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version}")
    return [None] * len(asked)
