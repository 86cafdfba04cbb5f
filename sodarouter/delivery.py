"""A delivery and what becomes of it: the values that destinations and observers are handed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Where a delivery stands. A leased one is ``pending`` with its next attempt under way."""

    PENDING = "pending"
    LEASED = "leased"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one destination."""

    id: str
    """``EVENT/DESTINATION``: unique, and the same over all retries, so it serves as the idempotency key."""
    destination: str
    attempt: int
    """1 for the first attempt."""
    planned: datetime
    """When a route asked for it, UTC."""
    results: tuple[int, ...] | None = None
    """Which of the event's results travel, as indices; ``None``: the whole event, byte for byte."""


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
    """How long the attempt took."""
    reason: str = ""
    """Why it did not arrive; empty when it did."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for one destination."""

    pending: int = 0
    leased: int = 0
    dead: int = 0
    oldest: datetime | None = None
    """When the oldest undelivered delivery was planned, UTC."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What the spool holds right now."""

    queues: Mapping[str, Queue] = field(default_factory=dict)
    """By destination; the destination ``$route`` is the deciding itself."""
    quarantined: int = 0
    spool_bytes: int = 0
    trouble: str = ""
    """Why nothing can be taken in at the moment; empty when all is well."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A delivery that a decision asks for."""

    destination: str
    results: tuple[int, ...] | None = None
    """As in `Delivery.results`."""
