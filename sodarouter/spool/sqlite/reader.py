"""Looks into a spool's file from another process, while the daemon runs or not. Opens it read-only."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sodarouter.delivery import Cause, Halt, Queue, State, Stats
from sodarouter.errors import SpoolError
from sodarouter.event import Event
from sodarouter.spool.sqlite.rows import MANY, enriched, fallback, indices, micros, moment, placeholders
from sodarouter.spool.sqlite.schema import MIGRATIONS
from sodarouter.spool.sqlite.seals import Seals
from sodarouter.spool.sqlite.stream import stream
from sodarouter.spool.sqlite.trouble import explained, opening
from sodarouter.spool.values import (
    EVERY_DELIVERY,
    EVERY_EVENT,
    ROUTE,
    Attempt,
    DeliveryFilter,
    EventFilter,
    Refused,
    StoredDelivery,
    StoredEvent,
    StoredSilence,
    delivery_id,
    delivery_key,
)
from sodarouter.store import Kept


class SqliteReader:
    """`sodarouter.spool.base.Reader` on a file.

    Args:
        path: The file.
        seals: Bodies are shown with their secrets; without, these stay sealed.

    Raises:
        SpoolError: There is no spool, it is no spool, or it is of another version.
    """

    def __init__(self, path: Path, seals: Seals | None = None) -> None:
        self._seals = seals
        if not path.exists():
            raise SpoolError(f"there is no spool at {path}; it is made when the router first starts")
        with opening(path):
            self._connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        self._connection.row_factory = sqlite3.Row
        try:
            self._check_version(path)
        except SpoolError:
            self.close()
            raise

    def _check_version(self, path: Path) -> None:
        with opening(path):
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version != len(MIGRATIONS):
            raise SpoolError(f"the spool {path} has schema version {version}, this sodarouter reads {len(MIGRATIONS)}")

    def close(self) -> None:
        self._connection.close()

    def event(self, event_id: str) -> StoredEvent | None:
        rows = self._rows(f"{_EVENTS} WHERE id = ?", event_id)
        return _event(rows[0]) if rows else None

    def events(self, wanted: EventFilter = EVERY_EVENT, *, limit: int, before: str | None = None) -> list[StoredEvent]:
        where, values = _where(_of_events(wanted) | {_place(wanted, "<"): before})
        query = f"{_listed(wanted)} {where} ORDER BY {_order(wanted, 'DESC')} LIMIT ?"
        return [_event(row) for row in self._rows(query, *values, limit)]

    def event_ids(self, wanted: EventFilter, *, limit: int, after: str | None = None) -> list[str]:
        where, values = _where(_of_events(wanted) | {_place(wanted, ">"): after})
        query = f"SELECT id FROM ({_listed(wanted)} {where} ORDER BY {_order(wanted, 'ASC')} LIMIT ?)"
        return [row["id"] for row in self._rows(query, *values, limit)]

    def count_events(self, wanted: EventFilter) -> int:
        where, values = _where(_of_events(wanted))
        decided = "JOIN decision ON decision.event = event.seq" if _decided(wanted) else ""
        return int(self._rows(f"SELECT count(*) FROM event {decided} {where}", *values)[0][0])

    def stream(self, wanted: EventFilter) -> Iterator[StoredEvent]:
        return stream(self._connection, *_where(_of_events(wanted)))

    def deliveries(
        self, wanted: DeliveryFilter = EVERY_DELIVERY, *, limit: int, before: str | None = None
    ) -> list[StoredDelivery]:
        # the plus keeps SQLite from going through all deliveries for the sake of the order when few are in a state
        order = "+delivery.seq" if wanted.state in _FEW and wanted.destination is None else "delivery.seq"
        earlier = {f"{order} < {_PLACE}": delivery_key(before) if before else None}
        where, values = _where(earlier | _of_deliveries(wanted))
        query = f"SELECT delivery.*, event.id FROM delivery JOIN event ON event.seq = delivery.event {where}"
        return [_delivery(row) for row in self._rows(f"{query} ORDER BY {order} DESC LIMIT ?", *values, limit)]

    def count_deliveries(self, wanted: DeliveryFilter) -> dict[State, int]:
        where, values = _where(_of_deliveries(wanted))
        query = f"SELECT state, leased, count(*) FROM delivery JOIN event ON event.seq = delivery.event {where}"
        rows = self._rows(f"{query} GROUP BY state, leased", *values)
        return {State.LEASED if leased else State(state): count for state, leased, count in rows}

    def attempts(self, delivery: str) -> list[Attempt]:
        rows = self._rows(
            "SELECT attempt.* FROM attempt JOIN delivery ON delivery.seq = attempt.delivery"
            " JOIN event ON event.seq = delivery.event WHERE event.id = ? AND destination = ? AND part = ? AND replay = ?"
            " ORDER BY number",
            *delivery_key(delivery),
        )
        return [
            Attempt(
                row["number"],
                moment(row["started"]),
                row["seconds"],
                State(row["state"]),
                row["reason"],
                row["response"],
            )
            for row in rows
        ]

    def quarantined(self, *, limit: int, before: str | None = None, source: str | None = None) -> list[Refused]:
        where, values = _where({"id < ?": before, "source = ?": source})
        query = f"SELECT * FROM quarantine {where} ORDER BY seq DESC LIMIT ?"
        return [_refused(row) for row in self._rows(query, *values, limit)]

    def refused(self, refused_id: str) -> Refused | None:
        rows = self._rows("SELECT * FROM quarantine WHERE id = ?", refused_id)
        found = _refused(rows[0]) if rows else None
        if found is None or self._seals is None:
            return found
        return replace(found, raw=self._seals.unseal(found.raw, rows[0]["sealed"], refused_id))

    def silences(self) -> list[StoredSilence]:
        rows = self._rows("SELECT * FROM silence ORDER BY starts, id")
        return [StoredSilence(row["id"], moment(row["starts"]), moment(row["ends"]), row["value"]) for row in rows]

    def routing(self, config: str) -> str | None:
        rows = self._rows("SELECT routing FROM configuration WHERE hash = ?", config)
        return str(rows[0]["routing"]) if rows else None

    def recollection(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for start in range(0, len(keys), MANY):
            some = keys[start : start + MANY]
            rows = self._rows(f"SELECT key, value FROM memory WHERE key IN ({placeholders(len(some))})", *some)
            found.update((row["key"], row["value"]) for row in rows)
        return found

    def entries(self, destination: str, now: float, *, limit: int, after: str = "") -> list[tuple[str, Kept]]:
        rows = self._rows(
            "SELECT key, value, expires FROM store WHERE destination = ? AND key > ? AND expires > ? ORDER BY key LIMIT ?",
            destination,
            after,
            micros(now),
            limit,
        )
        return [(row["key"], Kept(row["value"], row["expires"] / 1_000_000)) for row in rows]

    def halts(self) -> dict[str, Halt]:
        return {row["destination"]: Halt(row["halt"]) for row in self._rows("SELECT destination, halt FROM halt")}

    def replays(self) -> int:
        return int(self._rows("SELECT coalesce(max(number), 0) FROM replay")[0][0])

    def stats(self) -> Stats:
        """Without what only the running router knows: ``spool_bytes``, ``trouble`` and ``writer_lag``."""
        counts: dict[str, dict[str, Any]] = defaultdict(dict)
        for row in self._rows(
            "SELECT destination, sum(1 - leased) AS pending, sum(leased) AS leased, min(planned) AS oldest"
            " FROM delivery WHERE state = 'pending' GROUP BY destination"
        ):
            waiting = {"pending": row["pending"], "leased": row["leased"], "oldest": moment(row["oldest"])}
            counts[row["destination"]] |= waiting
        for name, dead in self._rows(
            "SELECT destination, count(*) FROM delivery WHERE state = 'dead' GROUP BY destination"
        ):
            counts[name]["dead"] = dead
        for name, halt in self.halts().items():
            counts[name]["halt"] = halt
        (quarantined,) = self._rows("SELECT count(*) FROM quarantine")[0]
        (backlog,) = self._rows("SELECT amount FROM held WHERE what = 'backlog'")[0]
        return Stats({name: Queue(**found) for name, found in counts.items()}, quarantined, backlog=backlog)

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise explained(error) from error


_EVENTS = (
    "SELECT event.*, planned, trace, config, withheld, decision.state, enrichment.value AS enriched"
    " FROM event LEFT JOIN decision ON decision.event = event.seq LEFT JOIN enrichment ON enrichment.event = event.seq"
)
# CROSS JOIN has SQLite begin at the few decisions that planned nothing, or withheld something
_BY_DECISION = (
    "SELECT event.*, planned, trace, config, withheld, decision.state, enrichment.value AS enriched"
    " FROM decision CROSS JOIN event ON event.seq = decision.event"
    " LEFT JOIN enrichment ON enrichment.event = event.seq"
)


def _listed(wanted: EventFilter) -> str:
    return _BY_DECISION if _decided(wanted) else _EVENTS


def _decided(wanted: EventFilter) -> bool:
    """Whether the decision is asked for."""
    return wanted.unrouted or wanted.withheld


def _place(wanted: EventFilter, compared: str) -> str:
    if _decided(wanted):
        return f"decision.event {compared} (SELECT seq FROM event WHERE id = ?)"
    return f"(event.received, event.seq) {compared} (SELECT received, seq FROM event WHERE id = ?)"


def _order(wanted: EventFilter, direction: str) -> str:
    # by the index that leads to what is asked for
    columns = ("decision.event",) if _decided(wanted) else ("event.received", "event.seq")
    return ", ".join(f"{column} {direction}" for column in columns)


def _of_events(wanted: EventFilter) -> dict[str, Any]:
    unrouted = True if wanted.unrouted else None
    return {
        "type = ?": wanted.event_type,
        "source = ?": wanted.source,
        "planned = 0": unrouted,
        "withheld = 0": unrouted,
        "withheld = 1": True if wanted.withheld else None,
        "type <> 'validate'": unrouted,
        **_between(wanted.since, wanted.until),
    }


_FEW = (State.PENDING, State.LEASED, State.DEAD)
_PLACE = (
    "(SELECT d.seq FROM delivery d JOIN event e ON e.seq = d.event"
    " WHERE e.id = ? AND d.destination = ? AND d.part = ? AND d.replay = ?)"
)


def _of_deliveries(wanted: DeliveryFilter) -> dict[str, Any]:
    by_destination = wanted.destination not in (None, ROUTE) and wanted.state not in _FEW
    return {
        "event.id = ?": wanted.event,
        "destination = ?": wanted.destination,
        # as below
        f"destination <> '{ROUTE}'": True if by_destination else None,
        "cause = ?": wanted.cause,
        "part = ?": wanted.part,
        "replay = ?": wanted.replay,
        # written out, so that the partial index serves
        "replay > 0": True if wanted.replay else None,
        "event.type = ?": wanted.event_type,
        "event.source = ?": wanted.source,
        **_between(wanted.since, wanted.until),
        **_state(wanted.state),
    }


def _between(since: datetime | None, until: datetime | None) -> dict[str, Any]:
    return {
        "event.received >= ?": None if since is None else micros(since),
        "event.received < ?": None if until is None else micros(until),
    }


def _where(conditions: dict[str, Any]) -> tuple[str, list[object]]:
    """A WHERE clause of the conditions whose value is not ``None``; a tuple fills several placeholders, ``True`` none."""
    asked = {text: value for text, value in conditions.items() if value is not None}
    values: list[object] = []
    for value in asked.values():
        if value is not True:
            values.extend(value if isinstance(value, tuple) else (value,))
    return ("WHERE " + " AND ".join(asked) if asked else ""), values


def _state(state: State | None) -> dict[str, Any]:
    match state:
        case None:
            return {}
        case State.LEASED:
            return {"state = 'pending'": True, "leased = 1": True}
        case State.PENDING:
            return {"state = 'pending'": True, "leased = 0": True}
        case _:
            # written out, not bound, so that the partial indexes serve
            return {f"state = '{state.value}'": True}


def _event(row: sqlite3.Row) -> StoredEvent:
    event = Event(
        row["id"],
        row["source"],
        moment(row["received"]),
        row["type"],
        row["raw"],
        bool(row["late"]),
        enriched=enriched(row["enriched"]),
    )
    trace = json.loads(row["trace"] or "[]")
    return StoredEvent(
        event, row["repeats"], row["planned"], trace, row["config"] or "", bool(row["withheld"]), row["state"]
    )


def _delivery(row: sqlite3.Row) -> StoredDelivery:
    pending = row["state"] == State.PENDING
    return StoredDelivery(
        id=delivery_id(row["id"], row["destination"], row["replay"], row["part"]),
        event=row["id"],
        destination=row["destination"],
        state=State.LEASED if pending and row["leased"] else State(row["state"]),
        attempts=row["attempt"],
        planned=moment(row["planned"]),
        next_at=moment(row["next_at"]) if pending else None,
        settled=moment(row["settled"]) if row["settled"] is not None else None,
        results=indices(row["results"]),
        reason=row["reason"],
        cause=None if row["cause"] is None else Cause(row["cause"]),
        replay=row["replay"],
        fallback=fallback(row),
        config=row["config"],
        part=row["part"],
        group=row["shared"],
    )


def _refused(row: sqlite3.Row) -> Refused:
    return Refused(
        row["id"],
        row["source"],
        moment(row["received"]),
        row["raw"],
        row["status"],
        row["title"],
        row["detail"],
        tuple(json.loads(row["faults"])),
    )
