"""A router in miniature: destinations made from their tables, and delivered to by the parts that a router delivers with."""

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import trio

from sodarouter.deliver import Deliverer
from sodarouter.delivery import Cause, Delivery, Planned, Settled, State
from sodarouter.destination import Destination
from sodarouter.errors import PluginError
from sodarouter.event import Event
from sodarouter.ids import new_id
from sodarouter.lanes import Opened, open_destinations
from sodarouter.observe import Observers
from sodarouter.outgoing import Outgoing
from sodarouter.plugins import AnyDestination
from sodarouter.preview import Preview
from sodarouter.rehearsal import rehearse
from sodarouter.spool import ROUTE, DeliveryFilter, Routed, StoredDelivery
from sodarouter.testing.configuration import LOOPBACK, Table, configure, named
from sodarouter.testing.losing import LosingSpool
from sodarouter.testing.watch import Watch


@dataclass(frozen=True)
class Tried:
    """One attempt, and where it left its delivery."""

    event: Event
    """As it was sent."""
    delivery: Delivery
    state: State
    """``delivered``, ``dead``, or ``pending``: it will be tried again."""
    reason: str
    """Why it did not arrive; secrets are taken out, as where the router stores it."""
    response: str
    """What the other side answered, if it did not arrive; likewise."""
    cause: Cause | None
    """Why it is a dead letter, if it is one now."""
    seconds: float


class FakeRouter:
    """Runs destinations as the router does, with a spool in memory and no configuration file::

        async with FakeRouter({"type": "notes", "path": tmp_path / "notes.md"}) as router:
            (tried,) = await router.send(sample("incidentCreated"))
            assert tried.state is State.DELIVERED

    Options are validated as those of `router.toml`; attempts, time limits, retries, breakers and dead letters are the
    router's own. Every event goes to every destination. It waits on trio's clock, so with pytest-trio's ``autojump_clock``
    it waits for nothing; leave that out where something talks to a real server.

    Args:
        tables: The destinations, each named after its type, the second ``TYPE-2``.
        destinations: Others, by their names.
        plugins: Modules, `Plugin` classes or other objects with hooks, by the names of their entry points. They offer the
            types and are told what happens. ``None``: those that are installed, if a table names a type by a word.
        folder: Where relative paths start. ``None``: a new folder that goes with the router.
        outgoing: What `[outgoing]` says. By default loopback can be reached.
        keep_faults: A fault of a destination, which is whatever it raises that is neither `Retry` nor `Reject`, is raised
            where the test waits for the attempt. With this it is only kept in `faults`.

    Raises:
        ConfigError: On entering: an option is wrong, or a destination cannot be opened.
        PluginError: On entering: a class or a plugin breaks the contract.
    """

    def __init__(
        self,
        *tables: Table,
        destinations: Mapping[str, Table] | None = None,
        plugins: Mapping[str, object] | None = None,
        folder: Path | None = None,
        outgoing: Outgoing = LOOPBACK,
        keep_faults: bool = False,
    ) -> None:
        self._tables = named(tables) | {name: dict(table) for name, table in (destinations or {}).items()}
        self._targets = plugins
        self._folder = folder
        self._outgoing = outgoing
        self._keep_faults = keep_faults
        self._ahead = 0.0
        self._spool = LosingSpool()
        self._sent: dict[str, Event] = {}
        self._opened: list[Opened] = []
        self._watch = Watch(self._pulse)
        self._raised = 0
        self._changed = trio.Event()
        self.attempts: list[Tried] = []
        """All that have ended, in that order."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if self._folder is None:
                self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sodarouter-")))
            self.config, self._secrets = configure(self._tables, self._targets, self._folder, self._outgoing)
            self._start = time.time() - trio.current_time()
            self._nursery = trio.open_nursery()
            self._running = await self._nursery.__aenter__()
            try:
                await self._open()
            except BaseException:
                # closed by itself, so that the fault is raised alone and not in a group
                self._running.cancel_scope.cancel()
                await self._nursery.__aexit__(None, None, None)
                raise
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._close()
        finally:
            try:
                self._running.cancel_scope.cancel()
                await self._nursery.__aexit__(None, None, None)
            finally:
                await self._stack.aclose()

    # what a test does

    async def send(self, event: Event, *, crash: Literal["during", "after"] | None = None) -> list[Tried]:
        """Takes in an event and returns once each destination has had one attempt. Gives these, in the destinations' order.

        One that was sent before is taken in as another event.

        Args:
            crash: The router is stopped ``"during"`` the attempts, once every ``deliver`` has begun, or ``"after"`` them and
                before their ends are on disk. It starts again, and so each destination is handed the same delivery again.

        Raises:
            Exception: A destination's fault, unless `keep_faults`.
        """
        if event.id in self._sent:
            event = replace(event, id=new_id())
        self._sent[event.id] = event
        wanted = len(self._opened)
        begun = self._watch.begun
        self._spool.losing = crash == "after"
        await self._plan(event)
        if crash == "during":
            await self._until(lambda: self._watch.begun >= begun + wanted)
            await self.restart()
        elif crash == "after":
            await self._until(lambda: self._spool.lost >= wanted)
            self._spool.losing, self._spool.lost = False, 0
            await self.restart()
        await self._until(lambda: len(self._of(event)) >= wanted)
        self._raise()
        order = {one.lane.name: number for number, one in enumerate(self._opened)}
        return sorted(self._of(event), key=lambda tried: order[tried.delivery.destination])

    async def retry(self) -> list[Tried]:
        """Lets the time pass until the next pending delivery is due, and returns once that had its attempt. Gives it.

        It takes no time, with whatever clock. Nothing is given if nothing is pending.

        Raises:
            Exception: A destination's fault, unless `keep_faults`.
        """
        waiting = [found.next_at for found in self.deliveries if found.state is State.PENDING and found.next_at]
        if not waiting:
            return []
        before = len(self.attempts)
        self._ahead += max(0.0, min(waiting).timestamp() - self._now()) + 0.001
        self._deliverer.wake.set()
        await self._until(lambda: len(self.attempts) > before)
        self._raise()
        return self.attempts[before:]

    async def restart(self) -> None:
        """Ends as a router that is stopped at once, and starts again: attempts under way are cancelled, the destinations
        closed, and others made in their place. What was under way is delivered again."""
        await self._close()
        await self._spool.recover(self._now(), {})
        await self._open()

    def preview(self, event: Event, destination: str | None = None) -> Preview | None:
        """What would be sent, as people are shown it: without its secrets. ``None``: the destination does not say.

        Args:
            destination: The first one by default.

        Raises:
            PluginError: Nothing would be sent, or ``preview`` fails; it says why.
        """
        name = destination or self._opened[0].lane.name
        (rehearsed,) = rehearse(self.config, event, [Planned(name)])
        if rehearsed.fault:
            raise PluginError(rehearsed.fault)
        return rehearsed.preview

    # what a test looks at

    def destination(self, name: str | None = None) -> AnyDestination:
        """The instance that is delivered to; the first one by default.

        Raises:
            PluginError: It is in a process of its own.
        """
        found = next(one.destination for one in self._opened if name in (None, one.lane.name))
        if not isinstance(found, Destination):
            raise PluginError("with isolation = 'process' the instance is in another process")
        return found

    @property
    def deliveries(self) -> list[StoredDelivery]:
        """Where every delivery stands, the oldest first."""
        found = self._spool.deliveries(DeliveryFilter(), limit=1_000_000)
        return [delivery for delivery in reversed(found) if delivery.destination != ROUTE]

    @property
    def delivered(self) -> list[Event]:
        """The events that have arrived, in that order, each once for every destination that has taken it."""
        return [tried.event for tried in self.attempts if tried.state is State.DELIVERED]

    @property
    def dead(self) -> list[Event]:
        """Those that will not be tried again."""
        return [tried.event for tried in self.attempts if tried.state is State.DEAD]

    @property
    def pending(self) -> list[Event]:
        """Those that wait for another attempt."""
        return [self._sent[found.event] for found in self.deliveries if found.state is State.PENDING]

    @property
    def faults(self) -> list[BaseException]:
        """What destinations raised that was neither `Retry` nor `Reject`."""
        return self._watch.faults

    @property
    def swallowed(self) -> list[str]:
        """The destinations whose ``deliver`` returned, or raised something else, after it was cancelled. That is right only
        if what it did was done."""
        return self._watch.swallowed

    @property
    def secrets(self) -> frozenset[str]:
        """Those of the options, for a look whether one has got out."""
        return self._secrets

    # how it works

    async def _open(self) -> None:
        self._opened = await open_destinations(self.config)
        for one in self._opened:
            one.lane.call = self._watch.over(one.lane)
        told = self.config.plugins.observers
        observers = Observers(
            told("event_accepted"),
            told("event_refused"),
            [*told("delivery_settled"), ("testing", self._settled)],
        )
        self._observers = observers
        lanes = [one.lane for one in self._opened]
        self._deliverer = Deliverer(lanes, self._spool, observers, self.config.redact, now=self._now)
        self._ended = trio.Event()
        self._scope: trio.CancelScope = await self._running.start(self._run, self._deliverer, self._ended)

    async def _run(
        self, deliverer: Deliverer, ended: trio.Event, task_status: trio.TaskStatus[trio.CancelScope]
    ) -> None:
        try:
            with trio.CancelScope() as scope:
                task_status.started(scope)
                await deliverer.run()
        finally:
            ended.set()

    async def _close(self) -> None:
        opened, self._opened = self._opened, []
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self._ended.wait()
            for one in opened:
                await one.close()

    async def _plan(self, event: Event) -> None:
        await self._spool.append(event, window=0.0)
        self._observers.event_accepted(event, duplicate=False)
        planned = [Planned(one.lane.name) for one in self._opened]
        now = max(self._now(), event.received.timestamp())
        found = await self._spool.claim({ROUTE: 1}, now, {ROUTE: 60.0})
        await self._spool.settle([Routed(claim, (), planned, self._now()) for claim in found.claims])
        self._deliverer.wake.set()

    def _now(self) -> float:
        return self._start + trio.current_time() + self._ahead

    def _raise(self) -> None:
        if self._raised < len(self.faults) and not self._keep_faults:
            self._raised = len(self.faults)
            raise self.faults[-1]

    def _settled(self, settled: Settled) -> None:
        delivery = settled.delivery
        told = self._spool.attempts(delivery.id)[-1]
        event = self._sent[delivery.id.partition("/")[0]]
        self.attempts.append(
            Tried(event, delivery, settled.state, told.reason, told.response, settled.cause, settled.seconds)
        )
        self._pulse()

    def _pulse(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _until(self, done: Callable[[], bool]) -> None:
        self._spool.pulse = self._pulse
        while not done():
            await self._changed.wait()

    def _of(self, event: Event) -> list[Tried]:
        """The first attempt of each of its deliveries that was settled."""
        found: dict[str, Tried] = {}
        for tried in self.attempts:
            if tried.event is event:
                found.setdefault(tried.delivery.id, tried)
        return list(found.values())
