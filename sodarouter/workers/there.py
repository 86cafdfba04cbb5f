"""Admission to the spool of the router, from a process that takes in for it."""

from functools import partial

import trio

from sodarouter.admit import Admitted, Arrival
from sodarouter.errors import SpoolError
from sodarouter.replies import Reply
from sodarouter.spool import Refused
from sodarouter.wake import rescheduled
from sodarouter.workers import handed, said
from sodarouter.workers.wire import Wire

_WRAP = 1 << 32


class _Asked:
    """What the router was handed and has not answered."""

    def __init__(self, *, awaits_link: bool) -> None:
        self.awaits_link = awaits_link
        self.task = trio.lowlevel.current_task()
        """Who waits for it."""
        self.answer: Admitted | SpoolError


class There:
    """As `sodarouter.admit.Here`, at the other end of a socket."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._number = 0
        self._asked: dict[int, _Asked] = {}
        self._replies: dict[int, Reply] = {}

    async def admit(self, arrival: Arrival) -> Admitted:
        number = self._next()
        self._wire.put(said.EVENT, *said.event(number, arrival))
        return await self._answer(number, awaits_link=arrival.awaits_link)

    async def quarantine(self, refused: Refused) -> None:
        number = self._next()
        self._wire.put(said.QUARANTINE, *said.quarantine(number, refused))
        await self._answer(number, awaits_link=False)

    def refused(self, source: str | None, status: int, reason: str) -> None:
        self._wire.put(said.REFUSED, said.turned(source, status, reason))

    def hear(self, kind: int, data: bytes) -> None:
        """Takes in an answer of the router, or a link."""
        match kind:
            case handed.STORED:
                number, duplicate, name = handed.stored_of(data)
                asked = self._asked.pop(number)
                reply = None
                if asked.awaits_link and not duplicate:
                    # here and not by who waits: the link may be the next that is heard
                    reply = self._replies[number] = Reply(partial(self._end, number))
                self._settle(asked, Admitted(name, duplicate, reply))
            case handed.NOT_STORED:
                number, error = handed.not_stored_of(data)
                self._settle(self._asked.pop(number), error)
            case handed.LINK:
                number, link = handed.link_of(data)
                if (reply := self._replies.get(number)) is not None:
                    reply.hand(link)

    def _settle(self, asked: _Asked, answer: Admitted | SpoolError) -> None:
        asked.answer = answer
        trio.lowlevel.reschedule(asked.task)

    def _end(self, number: int) -> None:
        reply = self._replies.pop(number)
        self._wire.put(said.REPLIED, said.replied(number, reply.sent))

    def _next(self) -> int:
        self._number = (self._number + 1) % _WRAP
        return self._number

    async def _answer(self, number: int, *, awaits_link: bool) -> Admitted:
        asked = self._asked[number] = _Asked(awaits_link=awaits_link)
        # the change may be on its way to the disk
        await rescheduled()
        if isinstance(asked.answer, SpoolError):
            raise asked.answer
        return asked.answer
