"""The spool's interface: what every engine promises.

One state machine for every delivery, deciding included: pending(next_at) -> delivered | dead | discarded. A lease is
``next_at`` moved forward, and ``attempt`` is the fencing token: `Spool.settle` takes effect only while both the row and
its attempt are still those that were claimed. So a crash makes the row due again, and no reaper is needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from sodarouter.delivery import Halt, State, Stats
from sodarouter.event import Event
from sodarouter.link import IncidentLink
from sodarouter.spool.patience import Outage
from sodarouter.spool.values import (
    EVERY_DELIVERY,
    EVERY_EVENT,
    Appended,
    Attempt,
    Claims,
    Deciding,
    DeliveryFilter,
    EventFilter,
    Outcome,
    Recollection,
    Recovered,
    Refused,
    Retention,
    Routed,
    StoredDelivery,
    StoredEvent,
    StoredSilence,
)
from sodarouter.store import Kept


class Spool(Protocol):
    """What the daemon does with the spool. Times are Unix seconds.

    Durability: every method that changes something returns when the change would survive a loss of power; but a lease need
    not, see `claim`.

    Cancellation: a change that was begun is finished and waited for.

    Raises:
        SpoolFull: `append` and `quarantine`, at a configured limit or on a full disk. It passes when there is room.
        SpoolError: The store failed; nothing of the call has happened.
    """

    outage: Outage
    """For those who ask until it works, with `sodarouter.spool.patiently`."""

    async def append(self, event: Event, *, window: float, deciding: Deciding | None = None) -> Appended:
        """Stores an event together with its decision, or else with one delivery of it for `ROUTE`.

        The same bytes from the same source within the last ``window`` seconds are the same event: it is counted as
        repeated, and nothing else happens. An incident's update that is older than one that was stored before is ``late``.

        Args:
            event: What came.
            window: Seconds.
            deciding: Decides it, if it can be decided at once: that is not done while another event waits for its decision,
                but for replays, so that each decision finds what those about earlier events have left.
        """
        ...

    async def append_all(
        self, events: Sequence[tuple[Event, float, Deciding | None]]
    ) -> list[Appended | BaseException]:
        """As `append` for each of these events, with its ``window`` and what decides it. What it would raise for one of them
        is given instead."""
        ...

    async def quarantine(self, refused: Refused) -> None: ...

    async def readmit(self, refused: str, event: Event) -> bool:
        """Moves a body from the quarantine to the events, as `append` would, but never as a repeat.

        ``False``: it is not in the quarantine any more.
        """
        ...

    async def dismiss(self, refused: Sequence[str]) -> list[str]:
        """Deletes bodies from the quarantine. Gives those that were there."""
        ...

    async def claim(self, wanted: Mapping[str, int], now: float, leases: Mapping[str, float]) -> Claims:
        """Leases due deliveries, the longest due first; none that its order or a halt of its destination holds back.

        Durability: a loss of power may take the lease back. It makes the delivery due again, as it would be anyway.

        Args:
            wanted: How many at most, by destination.
            now: The Unix time.
            leases: For how many seconds, by destination.
        """
        ...

    async def exchange(
        self,
        outcomes: Sequence[Outcome],
        wanted: Mapping[str, int],
        now: float,
        leases: Mapping[str, float],
        *,
        once: bool,
    ) -> tuple[list[bool], Claims]:
        """Ends attempts, as `settle` does, and leases others in their place, as `claim` does: one transaction for both.

        Args:
            outcomes: How the attempts have ended.
            wanted: How many are leased at most, by destination.
            now: The Unix time.
            leases: For how many seconds, by destination.
            once: Whether a destination is among them that must be sent nothing twice: then leases survive a loss of power.
        """
        ...

    async def settle(self, outcomes: Sequence[Outcome | Routed]) -> list[bool]:
        """Ends attempts. ``False`` for one whose lease was lost: of that one nothing is stored."""
        ...

    async def retry(self, deliveries: Sequence[str], now: float) -> list[str]:
        """Makes dead deliveries pending again, due now and with all their attempts before them. Gives those it did."""
        ...

    async def discard(self, deliveries: Sequence[str], now: float) -> list[str]:
        """Gives up deliveries that are dead or wait, for good; none that is under way. Gives those it did."""
        ...

    async def begin_replay(self, now: float) -> int:
        """The number of a new replay, for `replay`."""
        ...

    async def replay(
        self, number: int, events: Sequence[str], destinations: Sequence[str], now: float, *, first: float, every: float
    ) -> int | None:
        """Plans deliveries of stored events once more. Gives how many, or ``None`` if there is no such replay. What this
        replay has planned already is skipped.

        Args:
            number: From `begin_replay`.
            events: Their ids; one that is gone is skipped.
            destinations: Each is handed what of the event it was handed before, or else the whole. None: they are
                decided anew, under the rules of today.
            now: The Unix time.
            first: When the first is due, as a Unix time.
            every: Seconds between one event and the next.
        """
        ...

    async def recall(self, keys: Sequence[bytes], events: Sequence[str], since: float) -> Recollection:
        """What decisions need.

        Args:
            keys: Of the memory.
            events: Those of which it is asked what the memory said when they were decided first.
            since: A Unix time: silences that had ended by then are left out.
        """
        ...

    async def keep_routing(self, config: str, routing: str, now: float) -> None:
        """Keeps what of a configuration decides, as long as there may be decisions by it.

        Args:
            config: `sodarouter.delivery.Loaded.config`.
            routing: A JSON object.
            now: The Unix time.
        """
        ...

    async def kept(self, destination: str, key: str, now: float) -> str | None:
        """What a destination keeps under a key, as JSON."""
        ...

    async def forget(self, destination: str, keys: Sequence[str]) -> list[str]:
        """Takes out what a destination keeps under these keys. Gives those that were there."""
        ...

    async def link(self, source: str, incident: str) -> IncidentLink | None:
        """The link that was chosen to be put onto an incident."""
        ...

    async def choose_links(self, prefer: Sequence[str], now: float) -> int:
        """Plans to put links onto incidents that waited for another one, which no attempt will say any more that it does
        not come: its delivery was discarded, say, or it is preferred no longer. Gives how many.

        Args:
            prefer: The destinations whose links are preferred, as in `sodarouter.link.choose`.
            now: The Unix time.
        """
        ...

    async def add_silence(self, silence: StoredSilence) -> None: ...

    async def end_silence(self, silence: str, now: float) -> bool:
        """Ends a silence now, or before it has begun. ``False``: there is none, or it has ended."""
        ...

    async def halt(self, destination: str, halt: Halt | None, now: float) -> None:
        """Pauses, drains or (``None``) resumes a destination."""
        ...

    async def recover(self, now: float, once: Mapping[str, str | None]) -> Recovered:
        """Makes due what a dead process had leased. Called once, before the first claim.

        Args:
            now: The Unix time.
            once: The at-most-once destinations, each with its fallback, if it has one: what was under way to these is
                a dead letter now, as nobody knows whether it arrived.
        """
        ...

    async def prune(self, retention: Retention, now: float, limit: int) -> int:
        """Deletes what is kept no longer, up to ``limit`` of each kind. Gives how many at most of one kind went."""
        ...

    async def stats(self) -> Stats:
        """``breaker``, ``loaded`` and ``lag`` are not the spool's to tell."""
        ...


class Reader(Protocol):
    """What people see of the spool. Newest first; ``before`` is an id to go on from."""

    def event(self, event_id: str) -> StoredEvent | None: ...

    def events(
        self, wanted: EventFilter = EVERY_EVENT, *, limit: int, before: str | None = None
    ) -> list[StoredEvent]: ...

    def event_ids(self, wanted: EventFilter, *, limit: int, after: str | None = None) -> list[str]:
        """Oldest first, in the order in which they came; ``after`` is an id to go on from."""
        ...

    def count_events(self, wanted: EventFilter) -> int: ...

    def stream(self, wanted: EventFilter) -> Iterator[StoredEvent]:
        """All events that are wanted, oldest first, without their traces. It holds a few at a time, however many there are,
        and nothing back that a running router does."""
        ...

    def deliveries(
        self, wanted: DeliveryFilter = EVERY_DELIVERY, *, limit: int, before: str | None = None
    ) -> list[StoredDelivery]: ...

    def count_deliveries(self, wanted: DeliveryFilter) -> dict[State, int]:
        """How many there are in each state; a state in which there is none is left out."""
        ...

    def attempts(self, delivery: str) -> list[Attempt]:
        """Oldest first."""
        ...

    def quarantined(self, *, limit: int, before: str | None = None, source: str | None = None) -> list[Refused]: ...

    def refused(self, refused_id: str) -> Refused | None: ...

    def halts(self) -> dict[str, Halt]: ...

    def replays(self) -> int:
        """How many were begun: the number of the last."""
        ...

    def silences(self) -> list[StoredSilence]: ...

    def routing(self, config: str) -> str | None:
        """What of a configuration decided, a JSON object, if it is still known."""
        ...

    def recollection(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """What is remembered under these keys."""
        ...

    def entries(self, destination: str, now: float, *, limit: int, after: str = "") -> list[tuple[str, Kept]]:
        """What a destination keeps, in the order of the keys; ``after`` is a key to go on from."""
        ...

    def stats(self) -> Stats: ...
