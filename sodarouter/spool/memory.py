"""The spool's twin in memory, for tests: the same promises but one, that anything survives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import trio

from sodarouter.delivery import Delivery, Planned, Queue, State, Stats
from sodarouter.event import Event
from sodarouter.spool.base import (
    ROUTE,
    Appended,
    Attempt,
    Claim,
    Claims,
    Outcome,
    Refused,
    Routed,
    StoredDelivery,
    StoredEvent,
    delivery_id,
    digest,
)


@dataclass
class _Row:
    key: int
    event: str
    plan: Planned
    planned: float
    since: float
    next_at: float
    state: State = State.PENDING
    leased: bool = False
    attempt: int = 0
    forgiven: int = 0
    settled: float | None = None
    reason: str = ""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def id(self) -> str:
        return delivery_id(self.event, self.plan.destination)


class MemorySpool:
    """`sodarouter.spool.base.Spool` and `Reader` in dicts."""

    def __init__(self) -> None:
        self._events: dict[str, StoredEvent] = {}
        self._recent: dict[bytes, str] = {}
        self._rows: dict[str, _Row] = {}
        self._keys = 0
        self._refused: dict[str, Refused] = {}

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def append(self, event: Event, *, window: float) -> Appended:
        await trio.lowlevel.checkpoint()
        key = digest(event)
        earlier = self._events.get(self._recent.get(key, ""))
        if earlier and (event.received - earlier.event.received).total_seconds() < window:
            self._events[earlier.event.id] = replace(earlier, repeats=earlier.repeats + 1)
            return Appended(earlier.event.id, duplicate=True)
        self._events[event.id] = StoredEvent(event, repeats=0, planned=None)
        self._recent[key] = event.id
        self._plan(event.id, Planned(ROUTE), event.received.timestamp())
        return Appended(event.id, duplicate=False)

    def _plan(self, event: str, plan: Planned, now: float) -> None:
        self._keys += 1
        row = _Row(self._keys, event, plan, planned=now, since=now, next_at=now)
        self._rows[row.id] = row

    async def quarantine(self, refused: Refused) -> None:
        await trio.lowlevel.checkpoint()
        self._refused[refused.id] = refused

    async def claim(self, wanted: Mapping[str, int], now: float, leases: Mapping[str, float]) -> Claims:
        await trio.lowlevel.checkpoint()
        claims = []
        for destination, limit in wanted.items():
            due = [row for row in self._pending(destination) if row.next_at <= now]
            for row in sorted(due, key=lambda row: (row.next_at, row.key))[:limit]:
                row.leased, row.attempt, row.next_at = True, row.attempt + 1, now + leases[destination]
                delivery = Delivery(row.id, destination, row.attempt, _moment(row.planned), row.plan.results)
                event = self._events[row.event].event
                claims.append(Claim(row.key, delivery, event, row.attempt - row.forgiven, row.since))
        due_at = [row.next_at for destination in wanted for row in self._pending(destination)]
        return Claims(claims, min(due_at, default=None))

    def _pending(self, destination: str) -> list[_Row]:
        return [
            row for row in self._rows.values() if row.plan.destination == destination and row.state is State.PENDING
        ]

    async def settle(self, outcomes: Sequence[Outcome | Routed]) -> list[bool]:
        await trio.lowlevel.checkpoint()
        return [self._settle(outcome) for outcome in outcomes]

    def _settle(self, outcome: Outcome | Routed) -> bool:
        claim = outcome.claim
        row = self._rows.get(claim.delivery.id)
        if not (row and row.key == claim.key and row.attempt == claim.delivery.attempt and row.state is State.PENDING):
            return False
        if isinstance(outcome, Routed):
            del self._rows[row.id]
            self._events[row.event] = replace(
                self._events[row.event], planned=len(outcome.planned), trace=[dict(step) for step in outcome.trace]
            )
            for plan in outcome.planned:
                self._plan(row.event, plan, outcome.now)
            return True
        row.state, row.leased, row.next_at, row.reason = outcome.state, False, outcome.next_at, outcome.reason
        row.settled = None if outcome.state is State.PENDING else outcome.started + outcome.seconds
        row.attempts.append(
            Attempt(
                row.attempt, _moment(outcome.started), outcome.seconds, outcome.state, outcome.reason, outcome.response
            )
        )
        return True

    async def retry(self, deliveries: Sequence[str], now: float) -> list[str]:
        await trio.lowlevel.checkpoint()
        retried = []
        for delivery in deliveries:
            row = self._rows.get(delivery)
            if row and row.state is State.DEAD:
                row.state, row.leased, row.settled, row.reason = State.PENDING, False, None, ""
                row.forgiven, row.since, row.next_at = row.attempt, now, now
                retried.append(delivery)
        return retried

    async def recover(self, now: float) -> int:
        await trio.lowlevel.checkpoint()
        pending = [row for row in self._rows.values() if row.state is State.PENDING]
        leased = [row for row in pending if row.leased or row.planned > now]
        for row in leased:
            row.leased, row.next_at = False, now
        return len(leased)

    async def prune(self, before: float, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        bodies = [r.id for r in self._refused.values() if r.received.timestamp() < before][:limit]
        for body in bodies:
            del self._refused[body]
        busy = {row.event for row in self._rows.values() if row.state is State.PENDING}
        received = {stored.event.id: stored.event.received.timestamp() for stored in self._events.values()}
        old = [event for event, when in received.items() if when < before and event not in busy][:limit]
        for event in old:
            del self._events[event]
        self._rows = {row.id: row for row in self._rows.values() if row.event in self._events}
        return len(bodies) + len(old)

    async def stats(self) -> Stats:
        await trio.lowlevel.checkpoint()
        queues: dict[str, dict[str, Any]] = {}
        for row in self._rows.values():
            counts = queues.setdefault(row.plan.destination, {"pending": 0, "leased": 0, "dead": 0, "oldest": None})
            if row.state is State.PENDING:
                counts["leased" if row.leased else "pending"] += 1
                planned = _moment(row.planned)
                counts["oldest"] = min(counts["oldest"] or planned, planned)
            elif row.state is State.DEAD:
                counts["dead"] += 1
        waiting = {name: Queue(**counts) for name, counts in queues.items() if any(counts.values())}
        return Stats(waiting, len(self._refused), spool_bytes=0)

    def event(self, event_id: str) -> StoredEvent | None:
        return self._events.get(event_id)

    def events(
        self, *, limit: int, before: str | None = None, event_type: str | None = None, unrouted: bool = False
    ) -> list[StoredEvent]:
        newest = sorted(self._events.values(), key=lambda stored: stored.event.id, reverse=True)
        return [
            stored
            for stored in newest
            if (before is None or stored.event.id < before)
            and (event_type is None or stored.event.type == event_type)
            and (not unrouted or (stored.planned == 0 and stored.event.type != "validate"))
        ][:limit]

    def deliveries(
        self,
        *,
        limit: int,
        before: str | None = None,
        event: str | None = None,
        destination: str | None = None,
        state: State | None = None,
    ) -> list[StoredDelivery]:
        newest = sorted(self._rows.values(), key=lambda row: row.key, reverse=True)
        last = self._rows[before].key if before else self._keys + 1
        stored = [_stored(row) for row in newest if row.key < last]
        return [
            delivery
            for delivery in stored
            if (event is None or delivery.event == event)
            and (destination is None or delivery.destination == destination)
            and (state is None or delivery.state is state)
        ][:limit]

    def attempts(self, delivery: str) -> list[Attempt]:
        row = self._rows.get(delivery)
        return list(row.attempts) if row else []

    def quarantined(self, *, limit: int, before: str | None = None) -> list[Refused]:
        newest = sorted(self._refused.values(), key=lambda refused: refused.id, reverse=True)
        return [refused for refused in newest if before is None or refused.id < before][:limit]

    def refused(self, refused_id: str) -> Refused | None:
        return self._refused.get(refused_id)


def _stored(row: _Row) -> StoredDelivery:
    pending = row.state is State.PENDING
    return StoredDelivery(
        id=row.id,
        event=row.event,
        destination=row.plan.destination,
        state=State.LEASED if pending and row.leased else row.state,
        attempts=row.attempt,
        planned=_moment(row.planned),
        next_at=_moment(row.next_at) if pending else None,
        settled=None if row.settled is None else _moment(row.settled),
        results=row.plan.results,
        reason=row.reason,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
