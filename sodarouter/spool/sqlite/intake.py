"""What comes in: events with their duplicates, and the quarantine."""

import json
from collections.abc import Sequence
from sqlite3 import Connection
from typing import NamedTuple

from sodarouter.event import Event
from sodarouter.spool.sqlite.decisions import Made, decide_at_once, record
from sodarouter.spool.sqlite.held import hold
from sodarouter.spool.sqlite.planning import Plan, plan
from sodarouter.spool.sqlite.rows import insert, micros, placeholders
from sodarouter.spool.values import ROUTE, Appended, Decided, Deciding, IncidentUpdate, Refused, digest

FORGOTTEN = 3
"""Digests beyond the window that are deleted for each event that comes: this keeps the table at the size of the window
without a sweep that others would wait for."""


class Arrival(NamedTuple):
    """An event and the window, in seconds, within which the same bytes are the same event."""

    event: Event
    window: float
    update: IncidentUpdate | None
    raw: bytes
    """The body without its secrets."""
    sealed: bytes | None
    """The secrets of the body, encrypted; ``None`` if it has none."""
    incident: str | None = None
    """Soda's id of the incident whose callback URL is among them."""
    deciding: Deciding | None = None
    """As `Spool.append` takes it."""


class Detained(NamedTuple):
    """A body for the quarantine, and it without its secrets, as in `Arrival`."""

    refused: Refused
    raw: bytes
    sealed: bytes | None


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
    for key, arrival in zip(keys, arrivals, strict=True):
        event, window = arrival.event, arrival.window
        received = micros(event.received)
        before = seen.get(key)
        if before and received < before[0]:
            repeated.append((before[1],))
            appended.append(Appended(before[2], duplicate=True))
            continue
        last += 1
        seen[key] = (received + micros(window), last, event.id)
        fresh.append((last, arrival))
        appended.append(Appended(event.id, duplicate=False))
    decided: dict[str, Decided] = {}
    if fresh:
        decided = _store(connection, fresh)
        now = min(micros(arrival.event.received) for _, arrival in fresh)
        _remember(connection, [(key, seq, until) for key, (until, seq, _) in seen.items()], now)
    connection.executemany("UPDATE event SET repeats = repeats + 1 WHERE seq = ?", repeated)
    return [one if one.duplicate else one._replace(decided=decided.get(one.id)) for one in appended]


def _store(connection: Connection, fresh: Sequence[tuple[int, Arrival]]) -> dict[str, Decided]:
    """Inserts events under their numbers, each with its decision, which is given by the event's id, or the work of it."""
    rows, asked, size = [], [], 0
    for seq, (event, _, update, raw, sealed, incident, deciding) in fresh:
        received = micros(event.received)
        late = update is not None and _is_late(connection, event.source, update, received)
        rows.append((seq, event.id, event.source, received, event.type, raw, sealed, int(late)))
        asked.append((deciding, late))
        if incident is not None:
            connection.execute(
                "INSERT OR REPLACE INTO callback (source, incident, event) VALUES (?, ?, ?)",
                (event.source, incident, seq),
            )
        size += len(raw)
    insert(connection, "event", ("seq", "id", "source", "received", "type", "raw", "sealed", "late"), rows)
    decided = decide_at_once(connection, asked, min(arrival.event.received for _, arrival in fresh).timestamp())
    planned = record(connection, [Made(row[0], 0, one) for row, one in zip(rows, decided, strict=False)])
    waiting = [Plan(seq, ROUTE, received, received) for seq, _, _, received, *_ in rows[len(decided) :]]
    hold(connection, {"backlog": planned + plan(connection, waiting), "events": size})
    return {row[1]: one for row, one in zip(rows, decided, strict=False)}


def _is_late(connection: Connection, source: str, update: IncidentUpdate, received: int) -> bool:
    """Whether a newer update of this incident is known; remembers this one if it is the newest."""
    updated = micros(update.updated)
    newest = connection.execute(
        "SELECT updated FROM incident WHERE source = ? AND incident = ?", (source, update.incident)
    ).fetchone()
    if newest is not None and newest[0] > updated:
        return True
    connection.execute(
        "INSERT OR REPLACE INTO incident (source, incident, updated, received) VALUES (?, ?, ?, ?)",
        (source, update.incident, updated, received),
    )
    return False


def _remember(connection: Connection, rows: Sequence[Sequence[object]], now: int) -> None:
    connection.execute(
        "DELETE FROM recent WHERE digest IN (SELECT digest FROM recent WHERE until <= ? LIMIT ?)",
        (now, FORGOTTEN * len(rows)),
    )
    insert(connection, "recent", ("digest", "event", "until"), rows, verb="INSERT OR REPLACE")


def quarantine(connection: Connection, detained: Sequence[Detained]) -> list[None]:
    """As `Spool.quarantine`, for all bodies of a commit at once."""
    columns = ("id", "source", "received", "raw", "sealed", "status", "title", "detail", "faults")
    rows = [
        (r.id, r.source, micros(r.received), raw, sealed, r.status, r.title, r.detail, json.dumps(r.faults))
        for r, raw, sealed in detained
    ]
    insert(connection, "quarantine", columns, rows)
    hold(connection, {"quarantine": sum(len(raw) for _, raw, _ in detained)})
    return [None] * len(rows)


def readmit(connection: Connection, refused: str, arrival: Arrival) -> bool:
    """As `Spool.readmit`."""
    if not dismiss(connection, [refused]):
        return False
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
    _store(connection, [(last + 1, arrival)])
    return True


def dismiss(connection: Connection, refused: Sequence[str]) -> list[str]:
    """As `Spool.dismiss`."""
    gone, size = [], 0
    for name in refused:
        for (length,) in connection.execute("DELETE FROM quarantine WHERE id = ? RETURNING length(raw)", (name,)):
            gone.append(name)
            size += length
    hold(connection, {"quarantine": -size})
    return gone


def probe(connection: Connection, asked: Sequence[None]) -> list[None]:
    """Writes something that changes nothing: shows whether the file can be written at all."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version}")
    return [None] * len(asked)
