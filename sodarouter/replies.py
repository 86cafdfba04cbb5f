"""Answers that wait for a link: Soda takes one with the answer to an ``incidentCreated``, or at its callback URL."""

from collections.abc import Callable
from functools import partial

import trio

from sodarouter.link import IncidentLink


class Reply:
    """One answer that waits. `end` it in any case.

    Args:
        ended: Called at the end.
    """

    def __init__(self, ended: Callable[[], object]) -> None:
        self.sent = False
        """To be set when the answer has gone out with the link."""
        self._link: IncidentLink | None = None
        self._tell: Callable[[IncidentLink], object] | None = None
        self._waiting = True
        self._given = trio.Event()
        self._over = trio.Event()
        self._ended = ended

    async def wait(self, seconds: float) -> IncidentLink | None:
        """The link, if it is made in time. Afterwards none is taken any more."""
        try:
            with trio.move_on_after(seconds):
                await self._given.wait()
        finally:
            self._waiting = False
        return self._link

    def tell(self, told: Callable[[IncidentLink], object]) -> None:
        """Has the link told when it is made, where nobody waits for it."""
        self._tell = told
        if self._link is not None:
            told(self._link)

    def hand(self, link: IncidentLink) -> bool:
        """Hands over the link. Gives whether it is taken."""
        if not self._waiting:
            return False
        self._link = link
        self._given.set()
        if self._tell is not None:
            self._tell(link)
        return True

    async def give(self, link: IncidentLink) -> bool:
        """Hands over the link. Gives whether it went out with the answer."""
        if not self.hand(link):
            return False
        await self._over.wait()
        return self.sent

    def end(self) -> None:
        """Lets whoever has handed over a link know what became of it."""
        self._waiting = False
        self._over.set()
        self._ended()


class Replies:
    """The answers that wait, by the ids of their events."""

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}

    def expect(self, event: str) -> Reply:
        """Lets the answer to an event wait, before there can be a link."""
        reply = self._replies[event] = Reply(partial(self._replies.pop, event))
        return reply

    def is_awaited(self, event: str) -> bool:
        return event in self._replies

    async def offer(self, event: str, link: IncidentLink) -> bool:
        """Gives whether the link went out with the answer to this event."""
        reply = self._replies.get(event)
        return reply is not None and await reply.give(link)
