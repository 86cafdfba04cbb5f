"""The report of a backtest: what two sides make of the same events, and where that differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sodarouter.decide import Step

NIGHT = frozenset({22, 23, 0, 1, 2, 3, 4, 5})
"""The hours of the day, from 22:00 to 06:00, in which a page wakes somebody."""


@dataclass(frozen=True, slots=True)
class Change:
    """How many there are on one side and on the other."""

    before: int = 0
    after: int = 0


class Kind(StrEnum):
    """How the two sides differ over an event."""

    ADDED = "added"
    """A delivery that there was not before."""
    REMOVED = "removed"
    """A delivery that there is no more."""
    CHANGED = "changed"
    """A delivery of other results, or of another part."""
    UNROUTED = "unrouted"
    """No route matches any more."""
    ROUTED = "routed"
    """A route matches where none did before."""


@dataclass(frozen=True)
class Sample:
    """An event over which the sides differ."""

    kind: Kind
    event: str
    """Its id."""
    received: datetime
    source: str
    type: str
    subject: str
    """What it is about, in one line."""
    before: Sequence[Step]
    """The steps of the decision that have to do with it: for a destination, those that sent to it or kept from it."""
    after: Sequence[Step]


@dataclass(frozen=True)
class Volume:
    """The deliveries to one destination."""

    deliveries: Change = Change()
    same: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    events: Change = Change()
    """Events that it is handed something of."""
    night: Change = Change()
    """Deliveries in the hours of `NIGHT`."""
    weekend: Change = Change()
    """Deliveries on Saturdays and Sundays."""
    days: Mapping[str, Change] = field(default_factory=dict)
    """Deliveries by the date, ISO 8601, on which their event was received; one on which there was none is left out."""
    hours: Sequence[Change] = (Change(),) * 24
    """Deliveries by the hour of the day in which their event was received."""
    samples: Sequence[Sample] = ()

    @property
    def differs(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True)
class Unrouted:
    """The events that no route matches. They may go somewhere all the same, where `[unrouted]` says."""

    events: Change = Change()
    newly: int = 0
    no_longer: int = 0
    samples: Sequence[Sample] = ()


@dataclass(frozen=True)
class Report:
    """What one side and the other make of the same events. Days and hours are those of ``timezone``."""

    timezone: str
    events: int = 0
    differing: int = 0
    """Events over which the sides differ."""
    first: datetime | None = None
    """When the first of them was received."""
    last: datetime | None = None
    unrouted: Unrouted = Unrouted()
    withheld: Change = Change()
    """Events of which a silence or a window kept something back."""
    destinations: Mapping[str, Volume] = field(default_factory=dict)
    """By name: those to which either side sends something."""

    @property
    def differs(self) -> bool:
        return self.differing > 0
