"""What an operator may ask of the router: over its admin API, or of the spool itself while no router runs."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import trio

from sodarouter.decide import NewSilence, Silence
from sodarouter.delivery import Halt
from sodarouter.errors import Malformed, PluginFailed, SodarouterError
from sodarouter.event import Event
from sodarouter.faults import suggestion
from sodarouter.http import WebhookRequest
from sodarouter.ids import new_id
from sodarouter.options import LONGEST
from sodarouter.parse import parse
from sodarouter.shares import Overloaded
from sodarouter.spool import LINK, Refused, Spool, StoredSilence
from sodarouter.translate import Translator

BATCH = 500
"""How many things are asked for at once: each is a row or more in one transaction, for which the intake waits."""
MOST_SILENCES = 200
"""In force and to come: each is asked of every event, and costs it two microseconds."""
MAX_SILENCE = 16 * 1024
"""Characters of one, written as JSON."""
GONE = "it is not in the quarantine any more"


class NoSuchDestination(SodarouterError):
    """An operator named a destination that the configuration does not have."""


class NoSuchReplay(SodarouterError):
    """An operator named a replay that was never begun."""


class Impossible(SodarouterError):
    """An operator asked for what cannot be."""


@dataclass
class Readmitted:
    """What became of quarantined bodies that were tried again."""

    events: dict[str, str] = field(default_factory=dict)
    """By the id that each had in the quarantine, the id of the event that it is."""
    left: dict[str, str] = field(default_factory=dict)
    """Of each that is none, why."""


@dataclass(frozen=True)
class Operations:
    """Does what an operator asks. Times are Unix seconds.

    Args:
        spool: What is changed.
        refused: Looks into the quarantine. It may block: it is called in a thread.
        destinations: The names of those that are configured.
        changed: Called after every change: something may be due.
        readmitted: Told of each event that comes out of the quarantine.
        translator: Gives what reads the bodies of a source, if its sender does not speak as Soda does.

    Raises:
        NoSuchDestination: `halt`, `replay` and `silence`, for one that is not configured. Nothing has happened then.
        SpoolError: The spool failed. Of one call nothing has happened, but for `readmit`, which goes body by body.
    """

    spool: Spool
    refused: Callable[[str], Refused | None]
    destinations: Callable[[], Collection[str]]
    changed: Callable[[], None] = lambda: None
    readmitted: Callable[[Event], None] = lambda _: None
    now: Callable[[], float] = time.time
    translator: Callable[[str], Translator | None] = lambda _: None
    thread: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    async def retry(self, deliveries: Sequence[str]) -> list[str]:
        """As `Spool.retry`."""
        retried = await self.spool.retry(deliveries, self.now())
        self.changed()
        return retried

    async def discard(self, deliveries: Sequence[str]) -> list[str]:
        """As `Spool.discard`."""
        discarded = await self.spool.discard(deliveries, self.now())
        self.changed()  # what had to wait for one of them is due
        return discarded

    async def begin_replay(self) -> int:
        """The number of a new replay."""
        return await self.spool.begin_replay(self.now())

    async def replay(
        self, number: int, events: Sequence[str], to: Sequence[str], *, after: float = 0.0, every: float = 0.0
    ) -> int:
        """Plans deliveries of stored events once more. Gives how many; what this replay has planned already is skipped.

        Args:
            number: From `begin_replay`.
            events: Their ids; one that is gone is skipped.
            to: Destinations. None: the events are decided anew, under the rules of today.
            after: Seconds until the first is due.
            every: Seconds between one event and the next.

        Raises:
            NoSuchDestination: One of ``to`` is not configured.
            NoSuchReplay: It was never begun. Its deliveries would be those of the one that comes to have this number.
            Impossible: The last of the events would be due in more than a hundred years.
        """
        self._must_exist(to)
        if after + every * (len(events) - 1) > LONGEST:
            raise Impossible("the last of these events would be due in more than a hundred years")
        now = self.now()
        planned = await self.spool.replay(number, events, to, now, first=now + after, every=every)
        if planned is None:
            raise NoSuchReplay(f"no replay {number} was begun")
        self.changed()
        return planned

    async def halt(self, destination: str, halt: Halt | None) -> None:
        """Pauses, drains or (``None``) resumes a destination. One that is no longer configured can be resumed."""
        if halt is not None and destination != LINK:
            self._must_exist([destination])
        await self.spool.halt(destination, halt, self.now())
        self.changed()

    async def forget(self, destination: str, keys: Sequence[str]) -> list[str]:
        """As `Spool.forget`. What an attempt that is under way has set comes back with it."""
        return await self.spool.forget(destination, keys)

    async def silence(self, asked: NewSilence) -> Silence:
        """Adds a silence. One that was to start in the past starts now: what was decided already is not undone.

        Raises:
            Impossible: Its end is not in the future or too far in it, it says more than `MAX_SILENCE`, or there are
                `MOST_SILENCES` already.
        """
        self._must_exist(asked.to)
        now = self.now()
        moment = datetime.fromtimestamp(now, UTC)
        starts = max(asked.starts or moment, moment)
        if asked.ends <= starts:
            raise Impossible("a silence has to end after it starts, and in the future")
        if asked.ends - moment > timedelta(seconds=LONGEST):
            raise Impossible("a silence ends within a hundred years")
        if len(asked.dump()) > MAX_SILENCE:
            raise Impossible(f"a silence has at most {MAX_SILENCE:,} characters; ask for less, or add several")
        if len((await self.spool.recall((), (), now)).silences) >= MOST_SILENCES:
            raise Impossible(f"there are {MOST_SILENCES:,} silences in force or to come already; end some of them")
        added = Silence.made(asked, id=new_id(), starts=starts, ends=asked.ends)
        await self.spool.add_silence(StoredSilence(added.id, added.starts, added.ends, added.dump()))
        self.changed()
        return added

    async def end_silence(self, silence: str) -> bool:
        """As `Spool.end_silence`."""
        ended = await self.spool.end_silence(silence, self.now())
        self.changed()
        return ended

    async def readmit(self, bodies: Iterable[str]) -> Readmitted:
        """Tries quarantined bodies again: what can be parsed today is an event with the time at which it came."""
        found = Readmitted()
        try:
            for name in bodies:
                refused = await trio.to_thread.run_sync(self.refused, name, limiter=self.thread)
                try:
                    event = await event_of(refused, self.translator(refused.source)) if refused else None
                except UNREADABLE as error:
                    found.left[name] = str(error)
                    continue
                if event is not None and await self.spool.readmit(name, event):
                    found.events[name] = event.id
                    self.readmitted(event)
                else:
                    found.left[name] = GONE
        finally:
            self.changed()
        return found

    async def dismiss(self, bodies: Sequence[str]) -> list[str]:
        """As `Spool.dismiss`."""
        return await self.spool.dismiss(bodies)

    def _must_exist(self, destinations: Iterable[str]) -> None:
        configured = self.destinations()
        for name in destinations:
            if name not in configured:
                hint = suggestion(name, configured)
                raise NoSuchDestination(f"no destination {name!r} is configured" + (f"; {hint}" if hint else ""))


UNREADABLE = (Malformed, PluginFailed, Overloaded)
"""What `event_of` raises."""


async def event_of(refused: Refused, translator: Translator | None) -> Event:
    """The event that a quarantined body is, read by the rules of today.

    Args:
        translator: That of its source. It is handed the body alone: nothing else of the request was kept.

    Raises:
        Malformed: It is none.
        PluginFailed: The plugin that should say so fails,
        Overloaded: or is busy.
    """
    if translator is None:
        return Event.taken_in(refused.source, refused.received, refused.raw, parse(refused.raw))
    made = await translator.event(WebhookRequest(refused.raw), refused.received)
    if not isinstance(made, Event):
        raise Malformed(422, "No event", "its source's type only answers it")
    return made
