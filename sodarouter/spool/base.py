"""The spool's interface: the values that go in and come out, and what every engine promises.

One state machine for every delivery, deciding included: pending(next_at) -> delivered | dead | discarded. A lease is
``next_at`` moved forward, and ``attempt`` is the fencing token: `Spool.settle` takes effect only while both the row and
its attempt are still those that were claimed. So a crash makes the row due again, and no reaper is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from sodarouter.delivery import Cause, Delivery, Planned, State, Stats
from sodarouter.event import Event

ROUTE = "$route"
"""The destination of the deciding itself: every new event has one delivery for it."""


class Appended(NamedTuple):
    """``id`` is that of the event on disk: an earlier one's when the same bytes were there already."""

    id: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A leased delivery, with all that its attempt needs. The event is whole: `Delivery.results` says what to cut."""

    key: int
    delivery: Delivery
    event: Event
    tries: int
    """Attempts that the retry policy counts, this one included: those since it was last retried by hand."""
    since: float
    """Unix time from which the retry policy counts the delivery's age."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim found. ``next_due`` is the Unix time at which the next delivery becomes due, if one waits."""

    claims: list[Claim]
    next_due: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, and where that leaves its delivery."""

    claim: Claim
    state: State
    """``delivered``, ``dead``, or ``pending``: then it is due again at ``next_at``."""
    started: float
    """Unix time."""
    seconds: float
    next_at: float = 0.0
    """Unix time."""
    reason: str = ""
    response: str = ""
    cause: Cause | None = None
    """Set when the state is ``dead``."""
    fallback: str | None = None
    """When the state is ``dead``: the destination that is handed the event instead."""


@dataclass(frozen=True, slots=True)
class Routed:
    """A decision: what becomes of a claimed delivery for `ROUTE`."""

    claim: Claim
    trace: Sequence[Mapping[str, Any]]
    planned: Sequence[Planned]
    now: float
    config: str = ""
    """Which configuration decided: `sodarouter.delivery.Loaded.config`."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An authenticated body that could not be made an event: a row of the quarantine."""

    id: str
    source: str
    received: datetime
    raw: bytes
    status: int
    title: str
    detail: str
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery as the spool has it."""

    id: str
    event: str
    destination: str
    state: State
    attempts: int
    planned: datetime
    next_at: datetime | None
    settled: datetime | None
    results: tuple[int, ...] | None
    reason: str


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the spool has it. ``planned`` is ``None`` before the decision, and 0 for an unrouted event."""

    event: Event
    repeats: int
    planned: int | None
    trace: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a delivery."""

    number: int
    started: datetime
    seconds: float
    state: State
    reason: str
    response: str


class Spool(Protocol):
    """What the daemon does with the spool. Times are Unix seconds.

    Durability: every method that changes something returns when the change would survive a loss of power.

    Cancellation: a change that was begun is finished and waited for.

    Raises:
        SpoolFull: `append` and `quarantine`, at the configured size or on a full disk. It passes when there is room.
        SpoolError: The store failed; nothing of the call has happened.
    """

    async def append(self, event: Event, *, window: float) -> Appended:
        """Stores an event and one delivery of it for `ROUTE`.

        The same bytes from the same source within the last ``window`` seconds are the same event: it is counted as
        repeated, and nothing else happens.
        """
        ...

    async def quarantine(self, refused: Refused) -> None: ...

    async def claim(self, wanted: Mapping[str, int], now: float, leases: Mapping[str, float]) -> Claims:
        """Leases due deliveries, the longest due first.

        Args:
            wanted: How many at most, by destination.
            now: The Unix time.
            leases: For how many seconds, by destination.
        """
        ...

    async def settle(self, outcomes: Sequence[Outcome | Routed]) -> list[bool]:
        """Ends attempts. ``False`` for one whose lease was lost: of that one nothing is stored."""
        ...

    async def retry(self, deliveries: Sequence[str], now: float) -> list[str]:
        """Makes dead deliveries pending again, due now and with all their attempts before them. Gives those it did."""
        ...

    async def recover(self, now: float) -> int:
        """Makes due what a dead process had leased. Called once, before the first claim. Gives how many."""
        ...

    async def prune(self, before: float, limit: int) -> int:
        """Deletes up to ``limit`` events received before then, with all that hangs on them, and quarantined bodies alike.

        Never one with a delivery that is pending. Gives how many rows went, events and quarantined bodies together.
        """
        ...

    async def stats(self) -> Stats: ...


class Reader(Protocol):
    """What people see of the spool. Newest first; ``before`` is an id to go on from."""

    def event(self, event_id: str) -> StoredEvent | None: ...

    def events(
        self, *, limit: int, before: str | None = None, event_type: str | None = None, unrouted: bool = False
    ) -> list[StoredEvent]:
        """``unrouted``: only those that no route asked a delivery for; a set-up's ``validate`` is none of them."""
        ...

    def deliveries(
        self,
        *,
        limit: int,
        before: str | None = None,
        event: str | None = None,
        destination: str | None = None,
        state: State | None = None,
    ) -> list[StoredDelivery]: ...

    def attempts(self, delivery: str) -> list[Attempt]:
        """Oldest first."""
        ...

    def quarantined(self, *, limit: int, before: str | None = None) -> list[Refused]: ...

    def refused(self, refused_id: str) -> Refused | None: ...


def digest(event: Event) -> bytes:
    """What makes two events the same: their source and their bytes."""
    return blake2b(event.source.encode() + b"\0" + event.raw, digest_size=16).digest()


def delivery_id(event: str, destination: str) -> str:
    """``EVENT/DESTINATION``: the idempotency key of everything that goes out."""
    return f"{event}/{destination}"
