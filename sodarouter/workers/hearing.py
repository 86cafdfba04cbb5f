"""What a process that takes in says, taken in by the router: many events at a time, and nothing that was not looked at."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import structlog
import trio

from sodarouter.admit import LARGE, Admitted, Arrival, Here
from sodarouter.delivery import Lag
from sodarouter.errors import SpoolError
from sodarouter.event import Event
from sodarouter.ids import new_id
from sodarouter.receive import REASONS
from sodarouter.replies import Reply
from sodarouter.workers import handed, said
from sodarouter.workers.wire import BadFrame, Frame, Wire

ASIDE = 8
"""Large bodies, and bodies for the quarantine, that are taken in beside what comes after them."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Known:
    """What the router knows itself, and need not believe."""

    sources: Mapping[bytes, tuple[str, float]]
    """Each that is configured or was: its name, and its `sodarouter.receive.Source.duplicate_window`."""
    owners: frozenset[str]
    """Who may be said to have blocked a loop."""
    largest: int
    """Bytes that a body may have, or might have."""
    requests: int
    """How many requests a process may have under way."""


class Hearing:
    """Takes in what one process says, and answers.

    Args:
        known: Gives what is known now.
    """

    def __init__(self, wire: Wire, admission: Here, known: Callable[[], Known]) -> None:
        self.lag = Lag()
        """What it has told last of its loop."""
        self._wire = wire
        self._admission = admission
        self._known = known
        self._replies: dict[int, Reply] = {}
        self._places = trio.Semaphore(ASIDE)

    async def hear(self, frames: Sequence[Frame], nursery: trio.Nursery) -> None:
        """Takes in what has come, and returns when it is on disk and answered, but for what takes longer.

        Args:
            nursery: For that.

        Raises:
            BadFrame: It is nothing that such a process says.
        """
        known, now = self._known(), datetime.now(UTC)
        numbers: list[int] = []
        arrivals: list[Arrival] = []
        for kind, data in frames:
            if kind != said.EVENT:
                await self._other(kind, data, known, now, nursery)
                continue
            number, awaits_link, named, type_, raw = said.event_of(data)
            if named not in known.sources:
                raise BadFrame("an event of a source that there is not")
            source, window = known.sources[named]
            if awaits_link and len(self._replies) > known.requests + len(known.sources):
                raise BadFrame("an event of a request that it may not have")
            event = Event(new_id(), source, now, type_, raw)
            arrival = Arrival(event, window, awaits_link)
            if len(raw) > LARGE:
                await self._beside(nursery, number, partial(self._admission.admit, arrival))
                continue
            try:
                # on the way to the disk all ask for it, and one body must not be the end of the others
                _ = event.view
            except Exception as error:
                self._answer(number, error)
                continue
            numbers.append(number)
            arrivals.append(arrival)
        if arrivals:
            await self._admission.admit_all(arrivals, partial(self._answer_all, numbers))

    def end(self) -> None:
        """Gives up what still waits: the process has gone."""
        for reply in tuple(self._replies.values()):
            reply.end()

    async def _other(self, kind: int, data: bytes, known: Known, now: datetime, nursery: trio.Nursery) -> None:
        match kind:
            case said.QUARANTINE:
                number, kept, raw = said.quarantine_of(data)
                if kept.source.encode() not in known.sources:
                    raise BadFrame("a body of a source that there is not")
                await self._beside(nursery, number, partial(self._keep, kept, now, raw))
            case said.REFUSED:
                turned = said.turned_of(data)
                if turned.source is not None and turned.source.encode() not in known.sources:
                    raise BadFrame("a request for a source that there is not")
                if turned.reason not in REASONS:
                    raise BadFrame("a request that was refused for no reason")
                self._admission.refused(turned.source, turned.status, turned.reason)
            case said.REPLIED:
                number, sent = said.replied_of(data)
                reply = self._replies.pop(number, None)
                if reply is None:
                    raise BadFrame("an answer that nobody has waited with")
                reply.sent = sent
                reply.end()
            case said.PULSE:
                pulse = said.pulse_of(data)
                if not pulse.blocked.keys() <= known.owners:
                    raise BadFrame("somebody who cannot have blocked it")
                self.lag = Lag(pulse.longest, pulse.blocked)
            case _:
                raise BadFrame("something that nobody says")

    async def _keep(self, kept: said.Kept, now: datetime, raw: bytes) -> Admitted:
        await self._admission.quarantine(kept.refused(now, raw))
        return Admitted("", duplicate=False)

    async def _beside(self, nursery: trio.Nursery, number: int, work: Callable[[], Awaitable[Admitted]]) -> None:
        await self._places.acquire()
        nursery.start_soon(self._do, number, work)

    async def _do(self, number: int, work: Callable[[], Awaitable[Admitted]]) -> None:
        found: Admitted | BaseException
        try:
            found = await work()
        except Exception as error:  # as above
            found = error
        finally:
            self._places.release()
        self._answer(number, found)

    def _answer_all(self, numbers: Sequence[int], found: Sequence[Admitted | BaseException]) -> None:
        for number, one in zip(numbers, found, strict=True):
            self._answer(number, one)
        # while the rest is done here, the process has something to do
        self._wire.flush()

    def _answer(self, number: int, found: Admitted | BaseException) -> None:
        if not isinstance(found, Admitted):
            if not isinstance(found, SpoolError):
                log.error("an event could not be stored", exc_info=found)
            self._wire.put(handed.NOT_STORED, *handed.not_stored(number, found))
            return
        self._wire.put(handed.STORED, *handed.stored(number, found))
        if found.reply is not None:
            self._replies[number] = found.reply
            found.reply.tell(lambda link: self._wire.put(handed.LINK, *handed.link(number, link)))
