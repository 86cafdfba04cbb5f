"""Takes in what was received: an event that is admitted is on disk, and whoever has to know of it knows."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog
import trio

from sodarouter.event import Event
from sodarouter.observe import Observers
from sodarouter.replies import Replies, Reply
from sodarouter.spool import Appended, Decided, Deciding, Refused, Spool

LARGE = 64 * 1024
"""Bytes of a body that is parsed in a thread: this much takes a few milliseconds, in which the loop would stand still."""

log = structlog.get_logger()


class Arrival(NamedTuple):
    """An event that was received and is not on disk yet."""

    event: Event
    window: float
    """Seconds within which the same bytes are the same event."""
    awaits_link: bool = False
    """Whether its answer waits for a link."""


class Admitted(NamedTuple):
    """An event on disk."""

    id: str
    """That of an earlier one when it was there already."""
    duplicate: bool
    reply: Reply | None = None
    """What waits for its link. To be ended in any case."""

    @classmethod
    def of(cls, stored: Appended, reply: Reply | None) -> "Admitted":
        return cls(stored.id, stored.duplicate, None if stored.duplicate else reply)


class Admission(Protocol):
    """What is behind the intake: in this process, or at the other end of a socket.

    Cancellation: what was begun is finished and waited for.

    Raises:
        SpoolError: It could not be stored.
    """

    async def admit(self, arrival: Arrival) -> Admitted:
        """Stores an event."""
        ...

    async def quarantine(self, refused: Refused) -> None:
        """Keeps a body that could not be made an event."""
        ...

    def refused(self, source: str | None, status: int, reason: str) -> None:
        """Told of each request that was answered with an error."""
        ...


class Here:
    """Admission to the spool of this process.

    Args:
        coming: Told of each event before it is on disk; gives what decides it there.
        forget: Told of one that is a repeat, or could not be stored.
        arrived: Told of a new one that is, and of its decision, if that is too.
        replies: Where answers wait for links.
    """

    def __init__(
        self,
        spool: Spool,
        observers: Observers,
        coming: Callable[[Event], Deciding | None],
        forget: Callable[[Event], None],
        arrived: Callable[[Event, Decided | None], None],
        replies: Replies,
    ) -> None:
        self._spool = spool
        self._observers = observers
        self._coming = coming
        self._forget = forget
        self._arrived = arrived
        self._replies = replies
        # pydantic keeps Python's lock while it parses: a second large body at a time would only take memory
        self._looking = trio.CapacityLimiter(1)

    async def admit(self, arrival: Arrival) -> Admitted:
        event, window, _ = arrival
        if len(event.raw) > LARGE:
            # what asks for its view on the way to the disk must not be the one to make it
            await trio.to_thread.run_sync(lambda: event.view, limiter=self._looking)
        reply = self._expect(arrival)
        try:
            deciding = self._coming(event)
            # the sender may hang up now, but the spool finishes what it has begun: a repeat will then be known as one
            stored = await self._spool.append(event, window=window, deciding=deciding)
        except BaseException:
            self._lost(event, reply)
            raise
        self._tell(event, stored, reply)
        return Admitted.of(stored, reply)

    async def admit_all(
        self, arrivals: Sequence[Arrival], answer: Callable[[Sequence[Admitted | BaseException]], None]
    ) -> None:
        """As `admit` for each, none of which is large.

        Args:
            answer: Called with what became of each, or what `admit` would raise for it. Only then are observers told:
                there are many to be told of, and the senders need not wait for that.
        """
        replies = [self._expect(arrival) for arrival in arrivals]
        try:
            found = await self._spool.append_all(
                [(event, window, self._coming(event)) for event, window, _ in arrivals]
            )
        except BaseException:
            for (event, _, _), reply in zip(arrivals, replies, strict=True):
                self._lost(event, reply)
            raise
        ended = list(zip(found, replies, strict=True))
        answer([one if isinstance(one, BaseException) else Admitted.of(one, reply) for one, reply in ended])
        for (event, _, _), (stored, reply) in zip(arrivals, ended, strict=True):
            if isinstance(stored, BaseException):
                self._lost(event, reply)
            else:
                self._tell(event, stored, reply)

    def _expect(self, arrival: Arrival) -> Reply | None:
        # before it is on disk: afterwards a link may be made at any time
        return self._replies.expect(arrival.event.id) if arrival.awaits_link else None

    def _lost(self, event: Event, reply: Reply | None) -> None:
        self._forget(event)
        if reply is not None:
            reply.end()

    def _tell(self, event: Event, stored: Appended, reply: Reply | None) -> None:
        if stored.duplicate:
            self._lost(event, reply)
        else:
            self._arrived(event, stored.decided)
        self._observers.event_accepted(event, duplicate=stored.duplicate)

    async def quarantine(self, refused: Refused) -> None:
        await self._spool.quarantine(refused)
        why = f"{refused.status} {refused.title}" + (f": {refused.detail}" if refused.detail else "")
        log.warning("a body went to quarantine", source=refused.source, quarantine=refused.id, error=why)

    def refused(self, source: str | None, status: int, reason: str) -> None:
        self._observers.event_refused(source, status, reason)
