"""Looks into a spool's file from another process, while the daemon runs or not. Opens it read-only."""

import json
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sodarouter.delivery import State
from sodarouter.errors import SpoolError
from sodarouter.event import Event
from sodarouter.spool.base import Attempt, Refused, StoredDelivery, StoredEvent, delivery_id
from sodarouter.spool.sqlite.rows import indices, moment
from sodarouter.spool.sqlite.schema import MIGRATIONS
from sodarouter.spool.sqlite.trouble import explained, opening


class SqliteReader:
    """`sodarouter.spool.base.Reader` on a file.

    Raises:
        SpoolError: There is no spool, it is no spool, or it is of another version.
    """

    def __init__(self, path: Path) -> None:
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

    def events(
        self, *, limit: int, before: str | None = None, event_type: str | None = None, unrouted: bool = False
    ) -> list[StoredEvent]:
        where, values = _where({"id < ?": before, "type = ?": event_type, **(_UNROUTED if unrouted else {})})
        listed, newest = (_UNROUTED_EVENTS, "decision.event") if unrouted else (_EVENTS, "event.seq")
        query = f"{listed} {where} ORDER BY {newest} DESC LIMIT ?"
        return [_event(row) for row in self._rows(query, *values, limit)]

    def deliveries(
        self,
        *,
        limit: int,
        before: str | None = None,
        event: str | None = None,
        destination: str | None = None,
        state: State | None = None,
    ) -> list[StoredDelivery]:
        last = before.partition("/") if before else ("", "", "")
        where, values = _where(
            {
                "delivery.seq < (SELECT d.seq FROM delivery d JOIN event e ON e.seq = d.event"
                " WHERE e.id = ? AND d.destination = ?)": (last[0], last[2]) if before else None,
                "event.id = ?": event,
                "destination = ?": destination,
                **_state(state),
            }
        )
        query = f"SELECT delivery.*, event.id FROM delivery JOIN event ON event.seq = delivery.event {where}"
        return [_delivery(row) for row in self._rows(f"{query} ORDER BY delivery.seq DESC LIMIT ?", *values, limit)]

    def attempts(self, delivery: str) -> list[Attempt]:
        event, _, destination = delivery.partition("/")
        rows = self._rows(
            "SELECT attempt.* FROM attempt JOIN delivery ON delivery.seq = attempt.delivery"
            " JOIN event ON event.seq = delivery.event WHERE event.id = ? AND destination = ? ORDER BY number",
            event,
            destination,
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

    def quarantined(self, *, limit: int, before: str | None = None) -> list[Refused]:
        where, values = _where({"id < ?": before})
        query = f"SELECT * FROM quarantine {where} ORDER BY seq DESC LIMIT ?"
        return [_refused(row) for row in self._rows(query, *values, limit)]

    def refused(self, refused_id: str) -> Refused | None:
        rows = self._rows("SELECT * FROM quarantine WHERE id = ?", refused_id)
        return _refused(rows[0]) if rows else None

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise explained(error) from error


_EVENTS = "SELECT event.*, planned, trace FROM event LEFT JOIN decision ON decision.event = event.seq"
# CROSS JOIN has SQLite begin at the few decisions that planned nothing
_UNROUTED_EVENTS = "SELECT event.*, planned, trace FROM decision CROSS JOIN event ON event.seq = decision.event"
_UNROUTED = {"planned = 0": True, "type <> 'validate'": True}


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
    event = Event(row["id"], row["source"], moment(row["received"]), row["type"], row["raw"])
    return StoredEvent(event, row["repeats"], row["planned"], json.loads(row["trace"] or "[]"))


def _delivery(row: sqlite3.Row) -> StoredDelivery:
    pending = row["state"] == State.PENDING
    return StoredDelivery(
        id=delivery_id(row["id"], row["destination"]),
        event=row["id"],
        destination=row["destination"],
        state=State.LEASED if pending and row["leased"] else State(row["state"]),
        attempts=row["attempt"],
        planned=moment(row["planned"]),
        next_at=moment(row["next_at"]) if pending else None,
        settled=moment(row["settled"]) if row["settled"] is not None else None,
        results=indices(row["results"]),
        reason=row["reason"],
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
