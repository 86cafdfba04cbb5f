"""What people see of the spool in memory."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from sodarouter.delivery import Halt, State
from sodarouter.event import Event
from sodarouter.spool.memory.rows import Made, Row, stored
from sodarouter.spool.patience import Outage
from sodarouter.spool.values import (
    EVERY_DELIVERY,
    EVERY_EVENT,
    Attempt,
    DeliveryFilter,
    EventFilter,
    Refused,
    StoredDelivery,
    StoredEvent,
    StoredSilence,
)
from sodarouter.store import Kept


class MemoryReader:
    """`sodarouter.spool.base.Reader` in dicts, which a `MemorySpool` fills."""

    def __init__(self) -> None:
        self.outage = Outage()
        self._events: dict[str, StoredEvent] = {}
        self._recent: dict[bytes, tuple[str, float]] = {}
        self._rows: dict[str, Row] = {}
        self._keys = 0
        self._refused: dict[str, Refused] = {}
        self._updates: dict[tuple[str, str], datetime] = {}
        self._halts: dict[str, tuple[Halt, float]] = {}
        self._replays = 0
        self._silences: dict[str, StoredSilence] = {}
        self._routings: dict[str, tuple[str, float]] = {}
        """Each with when it was last in use."""
        self._memory: dict[bytes, tuple[str, float]] = {}
        """Each with when it was told last."""
        self._kept: dict[tuple[str, str], Kept] = {}
        self._callbacks: dict[tuple[str, str], str] = {}
        """By source and incident the last event that had the callback URL."""
        self._links: dict[tuple[str, str], dict[str, Made]] = {}
        """By source and incident, and by destination."""

    def event(self, event_id: str) -> StoredEvent | None:
        return self._events.get(event_id)

    def events(self, wanted: EventFilter = EVERY_EVENT, *, limit: int, before: str | None = None) -> list[StoredEvent]:
        newest = self._listed(wanted)[::-1]
        return _after(newest, lambda known: known.event.id, before)[:limit]

    def event_ids(self, wanted: EventFilter, *, limit: int, after: str | None = None) -> list[str]:
        return _after([known.event.id for known in self._listed(wanted)], str, after)[:limit]

    def count_events(self, wanted: EventFilter) -> int:
        return len(self._listed(wanted))

    def stream(self, wanted: EventFilter) -> Iterator[StoredEvent]:
        return (replace(known, trace=[]) for known in self._listed(wanted))

    def _listed(self, wanted: EventFilter) -> list[StoredEvent]:
        oldest = sorted(self._events.values(), key=lambda known: known.event.received)
        return [
            known
            for known in oldest
            if _asked(known.event, wanted.event_type, wanted.source, wanted.since, wanted.until)
            and (not wanted.unrouted or (known.planned == 0 and not known.withheld and known.event.type != "validate"))
            and (not wanted.withheld or known.withheld)
        ]

    def deliveries(
        self, wanted: DeliveryFilter = EVERY_DELIVERY, *, limit: int, before: str | None = None
    ) -> list[StoredDelivery]:
        newest = sorted(self._rows.values(), key=lambda row: row.key, reverse=True)
        last = self._rows[before].key if before else self._keys + 1
        return self._wanted([stored(row) for row in newest if row.key < last], wanted)[:limit]

    def count_deliveries(self, wanted: DeliveryFilter) -> dict[State, int]:
        return dict(Counter(one.state for one in self._wanted(map(stored, self._rows.values()), wanted)))

    def _wanted(self, deliveries: Iterable[StoredDelivery], wanted: DeliveryFilter) -> list[StoredDelivery]:
        return [
            delivery
            for delivery in deliveries
            if wanted.event in {None, delivery.event}
            and wanted.destination in {None, delivery.destination}
            and wanted.state in {None, delivery.state}
            and wanted.cause in {None, delivery.cause}
            and wanted.part in {None, delivery.part}
            and wanted.replay in {None, delivery.replay}
            and _asked(self._events[delivery.event].event, wanted.event_type, wanted.source, wanted.since, wanted.until)
        ]

    def attempts(self, delivery: str) -> list[Attempt]:
        row = self._rows.get(delivery)
        return list(row.attempts) if row else []

    def quarantined(self, *, limit: int, before: str | None = None, source: str | None = None) -> list[Refused]:
        newest = sorted(self._refused.values(), key=lambda refused: refused.id, reverse=True)
        return [
            refused
            for refused in newest
            if (before is None or refused.id < before) and source in {None, refused.source}
        ][:limit]

    def refused(self, refused_id: str) -> Refused | None:
        return self._refused.get(refused_id)

    def halts(self) -> dict[str, Halt]:
        return {name: halt for name, (halt, _) in self._halts.items()}

    def silences(self) -> list[StoredSilence]:
        return sorted(self._silences.values(), key=lambda silence: (silence.starts, silence.id))

    def routing(self, config: str) -> str | None:
        return self._routings[config][0] if config in self._routings else None

    def recollection(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        return {key: self._memory[key][0] for key in keys if key in self._memory}

    def entries(self, destination: str, now: float, *, limit: int, after: str = "") -> list[tuple[str, Kept]]:
        own = {key: kept for (name, key), kept in self._kept.items() if name == destination}
        return [(key, own[key]) for key in sorted(own) if key > after and own[key].expires > now][:limit]


def _after(listed: list[Any], name: Callable[[Any], str], last: str | None) -> list[Any]:
    names = [name(one) for one in listed]
    return listed if last is None else listed[names.index(last) + 1 :]


def _asked(
    event: Event, event_type: str | None, source: str | None, since: datetime | None, until: datetime | None
) -> bool:
    return (
        event_type in {None, event.type}
        and source in {None, event.source}
        and (since is None or event.received >= since)
        and (until is None or event.received < until)
    )
