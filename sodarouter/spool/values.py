"""The values that go into the spool and come out of it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from sodarouter.delivery import Cause, Delivery, Fallback, Planned, Settled, State
from sodarouter.event import Event
from sodarouter.link import IncidentLink
from sodarouter.store import Kept

ROUTE = "$route"
"""The destination of the deciding itself: an event that is not decided as it is stored has one delivery for it."""
LINK = "$link"
"""The destination that puts a link onto an incident: one delivery for each incident of which a link was made."""
INTERNAL = frozenset({ROUTE, LINK})
"""The destinations that no configuration names."""
LARGEST = 1_000_000_000
"""Of whole numbers that a spool is asked about: more than there will be of anything, and less than it could not store."""
INTERRUPTED = "unconfirmed: the router was stopped in the middle of the only attempt"
"""The reason of an at-most-once delivery that a dead process had under way."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, and all that is stored of it."""

    trace: Sequence[Mapping[str, Any]]
    planned: Sequence[Planned]
    now: float
    """When it was made, as a Unix time: its deliveries are due from then on."""
    config: str = ""
    """Which configuration decided: `sodarouter.delivery.Loaded.config`."""
    withheld: bool = False
    """Whether a silence or a window kept something back."""
    state: str | None = None
    """What the memory said of the event, for whoever decides it again; ``None`` if nobody knows any more."""
    memory: Mapping[bytes, str] = field(default_factory=dict)
    """What is to be remembered from now on."""
    enriched: str | None = None
    """What plugins have added to the event just now, a JSON object; ``None``: nothing."""


class Deciding(Protocol):
    """Decides one event in the transaction that stores it."""

    @property
    def keys(self) -> Sequence[bytes]:
        """Of the memory: what it has to be told."""
        ...

    def __call__(self, known: "Recollection", *, late: bool) -> Decided:
        """It may be called in any thread, and again if the transaction is made again: so it depends on nothing but its event
        and what it is told. If it raises anything, the event is stored as one that waits for its decision.

        Args:
            known: What is known of its ``keys``, and perhaps of others.
            late: Whether the event comes after a newer update of its incident.
        """
        ...


class Appended(NamedTuple):
    """``id`` is that of the event on disk: an earlier one's when the same bytes were there already."""

    id: str
    duplicate: bool
    decided: Decided | None = None
    """The decision that was stored with it; ``None``: it waits for one, or is a duplicate."""


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
    """What a claim found. ``next_due`` is the Unix time at which the next delivery becomes due, if one waits, to one of the
    destinations that were given less than they wanted."""

    claims: list[Claim]
    next_due: float | None


class Linking(NamedTuple):
    """What an attempt has to do with the link of an incident."""

    incident: str
    """Soda's id of it."""
    link: IncidentLink | None
    """What was made of it, if something was."""
    prefer: Sequence[str] = ()
    """As in `sodarouter.link.choose`."""
    answering: bool = False
    """Whether the sender of this very event waits for the link: then no callback URL is needed."""


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
    kept: Mapping[str, Kept | None] = field(default_factory=dict)
    """What its destination keeps from now on, by key; ``None``: no longer."""
    linking: Linking | None = None


@dataclass(frozen=True, slots=True)
class Routed:
    """What becomes of a claimed delivery for `ROUTE`."""

    claim: Claim
    decided: Decided


class Recovered(NamedTuple):
    """What a dead process had under way, and what became of it."""

    due: int
    """How many deliveries are due again."""
    given_up: Sequence[Settled]
    """Those to at-most-once destinations, which are dead letters now."""


@dataclass(frozen=True, slots=True)
class Recollection:
    """What the spool remembers for decisions."""

    memory: Mapping[bytes, str]
    """Of the keys that were asked for, those that are known."""
    states: Mapping[str, str]
    """By event, what the memory said when it was decided first, if that was noted."""
    silences: Sequence["StoredSilence"] = ()


@dataclass(frozen=True, slots=True)
class StoredSilence:
    """A silence as the spool has it. Only its end can change."""

    id: str
    starts: datetime
    ends: datetime
    value: str
    """The rest of it, a JSON object."""


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
    cause: Cause | None = None
    """Why it is a dead letter, or was one before it was discarded."""
    replay: int = 0
    fallback: Fallback | None = None
    config: str = ""
    """The configuration that planned it; empty for what a replay asked for by name."""
    part: int = 0
    """As in `sodarouter.delivery.Delivery.part`."""
    group: str | None = None
    """As in `sodarouter.delivery.Delivery.group`."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the spool has it. ``planned`` is ``None`` before the decision; an unrouted event has 0, and nothing was
    withheld."""

    event: Event
    repeats: int
    planned: int | None
    trace: list[dict[str, Any]] = field(default_factory=list)
    config: str = ""
    """The configuration that decided."""
    withheld: bool = False
    """Whether a silence or a window kept something back."""
    state: str | None = None
    """What the memory said of the event; ``None`` if that was not noted."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a delivery."""

    number: int
    started: datetime
    seconds: float
    state: State
    reason: str
    response: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events; what is ``None`` is not asked for."""

    event_type: str | None = None
    source: str | None = None
    since: datetime | None = None
    """Received then or later."""
    until: datetime | None = None
    """Received before then."""
    unrouted: bool = False
    """Only those that no route asked a delivery for; a set-up's ``validate`` is none of them."""
    withheld: bool = False
    """Only those of which a silence or a window kept something back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries; what is ``None`` is not asked for."""

    event: str | None = None
    destination: str | None = None
    state: State | None = None
    cause: Cause | None = None
    part: int | None = None
    replay: int | None = None
    event_type: str | None = None
    source: str | None = None
    since: datetime | None = None
    """Whose event was received then or later."""
    until: datetime | None = None
    """Whose event was received before then."""


EVERY_EVENT = EventFilter()
EVERY_DELIVERY = DeliveryFilter()


@dataclass(frozen=True, slots=True)
class Keep:
    """How much of one kind is kept: what is older goes, and the oldest goes while there are more bytes."""

    age: float
    """Seconds."""
    size: int | None = None
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept of each kind. An event with a pending delivery or a dead letter is kept in any case.

    A dead letter whose time has come is discarded, and its event then goes with the others. The size of a dead letter is
    that of its event's body, the size of an attempt that of what it says.
    """

    events: Keep
    attempts: Keep
    quarantine: Keep
    dead_letters: Keep


def digest(event: Event) -> bytes:
    """What makes two events the same: their source and their bytes."""
    return blake2b(event.source.encode() + b"\0" + event.raw, digest_size=16).digest()


def delivery_id(event: str, destination: str, replay: int = 0, part: int = 0) -> str:
    """``EVENT/DESTINATION``, ``EVENT/DESTINATION~PART``, in a replay with ``/NUMBER`` behind it: the idempotency key of
    everything that goes out."""
    # of the characters that no destination's name has, this is one that URLs and headers take as it is
    name = f"{event}/{destination}~{part}" if part else f"{event}/{destination}"
    return f"{name}/{replay}" if replay else name


def covers(deliveries: Iterable[tuple[int, ...] | None], results: tuple[int, ...] | None) -> bool:
    """Whether all of these results are in some of these deliveries. ``None`` is the whole event."""
    handed: set[int] = set()
    for one in deliveries:
        if one is None:
            return True
        handed.update(one)
    return results is not None and handed.issuperset(results)


class DeliveryKey(NamedTuple):
    """What a delivery's id says."""

    event: str
    destination: str
    part: int
    replay: int


def delivery_key(delivery: str) -> DeliveryKey:
    """What an id of `delivery_id` says. What is no such id gives a key that no delivery has."""
    event, _, rest = delivery.partition("/")
    name, replayed, number = rest.partition("/")
    destination, divided, part = name.partition("~")
    return DeliveryKey(event, destination, _number(part) if divided else 0, _number(number) if replayed else 0)


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,14}", text) else -1


class IncidentUpdate(NamedTuple):
    """Which incident an event tells of, and when that was last updated."""

    incident: str
    updated: datetime


def incident_update(event: Event) -> IncidentUpdate | None:
    """What tells whether an event about an incident comes late; ``None`` for others, and when Soda did not say."""
    if event.scope != "incidents":
        return None
    incident = event.view.incident
    if incident is None or incident.id is None or incident.updated is None:
        return None
    return IncidentUpdate(incident.id, incident.updated)
