"""A delivery and what becomes of it: the values that destinations and observers are handed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sodarouter.metrics import Metric


class State(StrEnum):
    """Where a delivery stands. ``leased`` is shown for one that is pending and whose next attempt is under way."""

    PENDING = "pending"
    LEASED = "leased"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISCARDED = "discarded"


class Cause(StrEnum):
    """Why a delivery is a dead letter: the whole set, fit for filters and for a metric's label."""

    REJECTED = "rejected"
    """The destination said never."""
    EXHAUSTED = "exhausted"
    """The retry policy allows no further attempt."""
    EXPIRED = "expired"
    """It is older than the retry policy allows."""
    UNCONFIRMED = "unconfirmed"
    """Its destination is ``at-most-once``, and nobody knows whether the one attempt arrived."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """What a delivery stands in for: the dead letter of another destination."""

    destination: str
    reason: str
    """Why that one gave up."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one destination."""

    id: str
    """``EVENT/DESTINATION``, with ``~PART`` behind it where a route divides the event, and ``/NUMBER`` in a replay: unique,
    and the same over all retries, so it serves as the idempotency key."""
    destination: str
    attempt: int
    """1 for the first attempt."""
    planned: datetime
    """When a route asked for it, UTC."""
    results: tuple[int, ...] | None = None
    """Which of the event's results travel, as indices; ``None``: the whole event, byte for byte."""
    replay: int = 0
    """The number of the replay that asked for it; 0 for what a route asked for when the event came."""
    fallback: Fallback | None = None
    """Set when it stands in for another destination that gave up."""
    part: int = 0
    """Which part of the event, counted from 1, where a route divides its results with ``each``; 0: it is not divided."""
    group: str | None = None
    """What the results of the part have in common: the dataset, owner or team; ``None`` if nothing."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How one attempt of a delivery ended, as observers are told."""

    delivery: Delivery
    event_type: str
    source: str
    received: datetime
    """When the event was taken in, UTC."""
    state: State
    """``delivered``, ``dead``, or ``pending`` when it will be tried again."""
    seconds: float
    """How long the attempt took; 0 if the router was stopped in its middle, as nobody knows then."""
    reason: str = ""
    """Why it did not arrive; empty when it did."""
    cause: Cause | None = None
    """Why it is a dead letter, if it is one now."""


class Breaker(StrEnum):
    """Whether a destination is called at all."""

    CLOSED = "closed"
    """It is."""
    OPEN = "open"
    """It has failed again and again: nothing is tried for a while."""
    HALF_OPEN = "half-open"
    """One delivery is tried to see whether it works again."""


class Halt(StrEnum):
    """What an operator has asked of a destination. Both are remembered over restarts, until it is resumed."""

    PAUSED = "paused"
    """Nothing is delivered; what comes waits."""
    DRAINING = "draining"
    """What was waiting is still delivered; what came later waits."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for one destination."""

    pending: int = 0
    leased: int = 0
    dead: int = 0
    oldest: datetime | None = None
    """When the oldest undelivered delivery was planned, UTC."""
    halt: Halt | None = None
    breaker: Breaker | None = None
    """``None`` for a destination that the running configuration does not have."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration that runs, and what became of the last attempt to load another."""

    config: str = ""
    """12 hex digits that change with any of its files; of a single one the first of its SHA-256."""
    since: datetime | None = None
    """When it was loaded, UTC."""
    failed: datetime | None = None
    """When the last reload failed, UTC, if none has succeeded since."""
    faults: tuple[str, ...] = ()
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How late the event loop was."""

    longest: float = 0.0
    """Seconds that the longest step of the last minute took."""
    blocked: Mapping[str, int] = field(default_factory=dict)
    """How often a step took too long, by whose it was: ``destination NAME``, ``plugin NAME`` (a page of its, or its
    ``enrich``), or ``router``."""


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes that take in."""

    wanted: int
    """How many there are to be."""
    running: int
    """How many serve."""
    restarts: int
    """How many have ended by themselves and were replaced."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a destination or a plugin says of itself."""

    metrics: tuple[Metric, ...] = ()
    """What it has counted and measured with its `Metrics`."""
    health: str | None = None
    """What is wrong; empty: it is well; ``None``: it does not say."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What the router holds right now."""

    queues: Mapping[str, Queue] = field(default_factory=dict)
    """By destination; the destination ``$route`` is the deciding itself."""
    quarantined: int = 0
    spool_bytes: int = 0
    trouble: str = ""
    """Why nothing can be taken in at the moment; empty when all is well."""
    backlog: int = 0
    """Deliveries that are pending, the deciding among them."""
    writer_lag: float = 0.0
    """Seconds that the oldest change which is not on disk yet has waited for it."""
    max_bytes: int = 0
    """The size at which nothing more is taken in; 0: it is not known."""
    max_backlog: int = 0
    """The backlog at which nothing more is taken in; 0: it is not known."""
    loaded: Loaded = Loaded()
    lag: Lag = field(default_factory=Lag)
    workers: Workers | None = None
    """``None``: the router takes in itself."""
    destinations: Mapping[str, Condition] = field(default_factory=dict)
    """What those that are configured say of themselves, if they say anything."""
    plugins: Mapping[str, Condition] = field(default_factory=dict)
    """The same of plugins."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A delivery that a decision asks for."""

    destination: str
    results: tuple[int, ...] | None = None
    """As in `Delivery.results`."""
    keys: tuple[str, ...] = ()
    """What it must not overtake: an earlier delivery to the same destination that has one of these is settled first."""
    part: int = 0
    """As in `Delivery.part`."""
    group: str | None = None
    """As in `Delivery.group`."""
