"""Counts what two sides make of events: it holds numbers and a few samples, however many events there are."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo

from sodarouter.backtest.clock import Clock
from sodarouter.backtest.report import NIGHT, Change, Kind, Report, Sample, Unrouted, Volume
from sodarouter.backtest.spread import Spread
from sodarouter.decide import Decision, Step
from sodarouter.delivery import Planned
from sodarouter.event import Event

Carried = tuple[tuple[int, ...] | None, str | None]
"""What a delivery carries: which results, and what these have in common. Two that carry the same are the same, whichever
number they have among the parts of their event."""


class Tally:
    """Of the events of one backtest.

    Args:
        zone: For days and hours; ``None`` for that of this machine.
        samples: How many are kept of each kind, for each destination.
        describe: What an event is about, in one line.
    """

    def __init__(self, zone: tzinfo | None, samples: int, describe: Callable[[Event], str]) -> None:
        self._clock = Clock(zone)
        self._zone = zone
        self._samples = samples
        self._describe = describe
        self._events = self._differing = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._unrouted = [0, 0]
        self._withheld = [0, 0]
        self._routing = {kind: Spread[Sample](samples) for kind in (Kind.UNROUTED, Kind.ROUTED)}
        self._volumes: dict[str, _Volume] = {}

    def add(self, event: Event, before: Decision, after: Decision) -> None:
        self._events += 1
        self._first = self._first or event.received
        self._last = event.received
        self._withheld[0] += before.withheld
        self._withheld[1] += after.withheld
        unrouted = (was := _is_unrouted(before)), was if after is before else _is_unrouted(after)
        self._unrouted[0] += unrouted[0]
        self._unrouted[1] += unrouted[1]
        differs = self._compare(event, before, after)
        if unrouted[0] != unrouted[1]:
            differs = True
            kind = Kind.UNROUTED if unrouted[1] else Kind.ROUTED
            self._routing[kind].offer(lambda: self._sample(kind, event, before.trace, after.trace))
        self._differing += differs

    def _compare(self, event: Event, before: Decision, after: Decision) -> bool:
        if not before.planned and not after.planned:
            return False
        day, hour = self._clock.of(event.received)
        if before.planned == after.planned:
            for name, count in Counter([planned.destination for planned in before.planned]).items():
                self._volume(name).same(day, hour, count)
            return False
        differs = False
        sent, sends = _by_destination(before.planned), _by_destination(after.planned)
        for name in {**sent, **sends}:
            volume = self._volume(name)
            for kind in volume.compare(day, hour, sent.get(name, []), sends.get(name, [])):
                differs = True
                volume.samples[kind].offer(
                    lambda kind=kind, name=name: self._sample(  # type: ignore[misc]  # mypy cannot infer defaults of a lambda
                        kind, event, _concerning(name, before.trace), _concerning(name, after.trace)
                    )
                )
        return differs

    def _volume(self, name: str) -> "_Volume":
        found = self._volumes.get(name)
        if found is None:
            kinds = (Kind.ADDED, Kind.REMOVED, Kind.CHANGED)
            found = self._volumes[name] = _Volume({kind: Spread[Sample](self._samples) for kind in kinds})
        return found

    def _sample(self, kind: Kind, event: Event, before: Sequence[Step], after: Sequence[Step]) -> Sample:
        subject = self._describe(event)
        return Sample(kind, event.id, event.received, event.source, event.type, subject, before, after)

    def report(self) -> Report:
        newly, no_longer = self._routing[Kind.UNROUTED], self._routing[Kind.ROUTED]
        return Report(
            str(self._zone or "local time"),
            self._events,
            self._differing,
            self._first,
            self._last,
            Unrouted(Change(*self._unrouted), newly.seen, no_longer.seen, (*newly.kept, *no_longer.kept)),
            Change(*self._withheld),
            {name: self._volumes[name].made() for name in sorted(self._volumes)},
        )


def _is_unrouted(decision: Decision) -> bool:
    if decision.withheld:  # only the steps of silences come after its own
        return any("unrouted" in step for step in decision.trace)
    return bool(decision.trace) and "unrouted" in decision.trace[-1]


def _by_destination(planned: Sequence[Planned]) -> dict[str, list[Carried]]:
    found: dict[str, list[Carried]] = {}
    for one in planned:
        found.setdefault(one.destination, []).append((one.results, one.group))
    return found


def _concerning(destination: str, trace: Sequence[Step]) -> list[Step]:
    return [step for step in trace if destination in step.get("to", ()) or destination in step.get("from", ())]


@dataclass
class _Volume:
    """As `sodarouter.backtest.report.Volume`, while it is counted."""

    samples: dict[Kind, Spread[Sample]]
    counts: dict[Kind | None, int] = field(default_factory=lambda: dict.fromkeys((None, *Kind), 0))
    events: list[int] = field(default_factory=lambda: [0, 0])
    days: dict[str, list[int]] = field(default_factory=dict)
    hours: list[list[int]] = field(default_factory=lambda: [[0, 0] for _ in range(24)])

    def same(self, day: str, hour: int, count: int) -> None:
        """So many deliveries of an event, the same ones on both sides."""
        self.counts[None] += count
        self._count(day, hour, count, count)

    def compare(self, day: str, hour: int, before: list[Carried], after: list[Carried]) -> Iterator[Kind]:
        """The deliveries of an event on either side. Gives in which ways they differ."""
        self._count(day, hour, len(before), len(after))
        gone, new = Counter(before), Counter(after)
        same = (gone & new).total()
        removed, added = len(before) - same, len(after) - same
        changed = min(removed, added)
        self.counts[None] += same
        for kind, count in (
            (Kind.ADDED, added - changed),
            (Kind.REMOVED, removed - changed),
            (Kind.CHANGED, changed),
        ):
            if count:
                self.counts[kind] += count
                yield kind

    def _count(self, day: str, hour: int, before: int, after: int) -> None:
        self.events[0] += before > 0
        self.events[1] += after > 0
        on_day = self.days.get(day)
        if on_day is None:
            on_day = self.days[day] = [0, 0]
        for counts in (on_day, self.hours[hour]):
            counts[0] += before
            counts[1] += after

    def made(self) -> Volume:
        days = {day: Change(*self.days[day]) for day in sorted(self.days)}
        hours = [Change(*counts) for counts in self.hours]
        return Volume(
            _sum(hours),
            self.counts[None],
            self.counts[Kind.ADDED],
            self.counts[Kind.REMOVED],
            self.counts[Kind.CHANGED],
            Change(*self.events),
            _sum(hours[hour] for hour in NIGHT),
            _sum(change for day, change in days.items() if date.fromisoformat(day).weekday() > 4),
            days,
            hours,
            [sample for spread in self.samples.values() for sample in spread.kept],
        )


def _sum(changes: Iterable[Change]) -> Change:
    listed = list(changes)
    return Change(sum(change.before for change in listed), sum(change.after for change in listed))
