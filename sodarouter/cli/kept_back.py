"""What a silence has kept back, and what one would have kept back that is not set yet."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from heapq import nlargest

from sodarouter.cli.output import counted, moment, out, print_table, shown
from sodarouter.cli.progress import progress
from sodarouter.cli.reading import each_event
from sodarouter.cli.told import subject
from sodarouter.decide import Silence, Teams, parse_routing
from sodarouter.hindsight import would_keep
from sodarouter.spool import EventFilter, SqliteReader, StoredEvent
from sodarouter.view import SEVERITIES

LISTED = 20
"""Events that are named; of these first those that somebody would have been woken by."""


@dataclass(frozen=True)
class Kept:
    """An event of which something is kept back."""

    id: str
    received: datetime
    severity: str | None
    subject: str
    destinations: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, datetime]:
        urgency = SEVERITIES.index(self.severity) if self.severity in SEVERITIES else -1
        return urgency, self.received


@dataclass
class Tally:
    """How much is kept back."""

    events: int = 0
    destinations: Counter[str] = field(default_factory=Counter)
    """By destination, the events of which it would have had something."""
    listed: list[Kept] = field(default_factory=list)

    def add(self, destinations: tuple[str, ...]) -> None:
        self.events += 1
        self.destinations.update(destinations)


def kept_back(reader: SqliteReader, silence: Silence) -> Tally:
    """What it has kept back up to now, as the stored decisions say."""
    tally = Tally()
    chosen = EventFilter(withheld=True, since=silence.starts, until=silence.ends)
    for stored in each_event(reader, chosen):
        for step in stored.trace:
            if step.get("silence") == silence.id:
                tally.add(tuple(step["from"]))
    return tally


def tried(reader: SqliteReader, silence: Silence, chosen: EventFilter) -> Tally:
    """What a silence would have kept back of stored events."""
    tally = Tally()

    @lru_cache(maxsize=32)
    def teams(config: str) -> Teams:
        # those of then: the event was decided by them, and they need no secret
        text = reader.routing(config)
        return Teams(parse_routing(text).team if text else [])

    def each() -> Iterator[Kept]:
        with progress("trying it on history") as tell:
            total = reader.count_events(chosen)
            for number, stored in enumerate(each_event(reader, chosen), 1):
                if where := tuple(would_keep(silence, stored, teams(stored.config))):
                    tally.add(where)
                    yield _kept(stored, where)
                tell(number, total)

    tally.listed = nlargest(LISTED, each(), key=lambda kept: kept.rank)
    return tally


def _kept(stored: StoredEvent, where: tuple[str, ...]) -> Kept:
    event = stored.event
    incident = event.view.incident
    return Kept(event.id, event.received, incident.severity if incident else None, subject(event), where)


def print_tally(tally: Tally) -> None:
    """How many for each destination, and those that are named."""
    for name, count in tally.destinations.most_common():
        out.print(shown(f"  {name}: {counted(count, 'event')}"))
    if tally.listed:
        out.print()
        print_table(
            ["id", "received", "severity", "destinations", "subject"],
            [
                [
                    one.id,
                    moment(one.received),
                    shown(one.severity or ""),
                    ", ".join(one.destinations),
                    shown(one.subject),
                ]
                for one in tally.listed
            ],
            empty="",
        )
