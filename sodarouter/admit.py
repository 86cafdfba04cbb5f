"""Takes in what was received: an event that is admitted is on disk, and whoever has to know of it knows."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import structlog
import trio

from sodarouter.event import Event
from sodarouter.observe import Observers
from sodarouter.replies import Replies, Reply
from sodarouter.spool import Appended, Refused, Spool

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
        coming: Told of each event before it is on disk.
        forget: Told of one that is a repeat, or could not be stored.
        arrived: Called when a new one is.
        replies: Where answers wait for links.
    """

    def __init__(
        self,
        spool: Spool,
        observers: Observers,
        coming: Callable[[Event], None],
        forget: Callable[[Event], None],
        arrived: Callable[[], None],
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
        event, window, awaits_link = arrival
        if len(event.raw) > LARGE:
            # what asks for its view on the way to the disk must not be the one to make it
            await trio.to_thread.run_sync(lambda: event.view, limiter=self._looking)
        # before it is on disk: afterwards a link may be made at any time
        reply = self._replies.expect(event.id) if awaits_link else None
        # the sender may hang up now, but the spool finishes what it has begun: a repeat will then be known as one
        stored: Appended | None = None
        try:
            self._coming(event)
            stored = await self._spool.append(event, window=window)
        finally:
            if stored is None or stored.duplicate:
                self._forget(event)
                if reply is not None:
                    reply.end()
        if not stored.duplicate:
            self._arrived()
        self._observers.event_accepted(event, duplicate=stored.duplicate)
        return Admitted(stored.id, stored.duplicate, None if stored.duplicate else reply)

    async def quarantine(self, refused: Refused) -> None:
        await self._spool.quarantine(refused)
        why = f"{refused.status} {refused.title}" + (f": {refused.detail}" if refused.detail else "")
        log.warning("a body went to quarantine", source=refused.source, quarantine=refused.id, error=why)

    def refused(self, source: str | None, status: int, reason: str) -> None:
        self._observers.event_refused(source, status, reason)
