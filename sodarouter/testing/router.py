"""A router in miniature: destinations made from their tables, and delivered to by the parts that a router delivers with."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import trio
from pydantic import JsonValue

from sodarouter.deliver import Deliverer
from sodarouter.delivery import Planned, Settled, State
from sodarouter.destination import Destination
from sodarouter.enrich import Enrichment
from sodarouter.errors import PluginError
from sodarouter.event import Event
from sodarouter.health import Checkup
from sodarouter.ids import new_id
from sodarouter.lanes import Opened, open_destinations
from sodarouter.metrics import Metric
from sodarouter.observe import Observers
from sodarouter.outgoing import Outgoing
from sodarouter.plugins import AnyDestination
from sodarouter.preview import Preview
from sodarouter.rehearsal import rehearse
from sodarouter.spool import LINK, ROUTE, Decided, DeliveryFilter, Routed, StoredDelivery
from sodarouter.testing.configuration import LOOPBACK, Table, configure, named
from sodarouter.testing.losing import LosingSpool
from sodarouter.testing.tried import Tried
from sodarouter.testing.watch import Watch

MANY = 1_000_000
"""More than a test has."""


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
            types, add to events, and are told what happens. ``None``: those that are installed, if a table names a type by
            a word.
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
        self._planning = trio.Lock()
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
            event: Plugins add to it before it is delivered.
            crash: The router is stopped ``"during"`` the attempts, once every ``deliver`` has begun, or ``"after"`` them and
                before their ends are on disk. It starts again, and so each destination is handed the same delivery again.

        Raises:
            Exception: A destination's fault, unless `keep_faults`.
        """
        return await self._send([event], crash)

    async def send_all(self, events: Sequence[Event]) -> list[Tried]:
        """As `send`, for several that wait already when the destinations are asked: one that takes batches is handed them
        together. Gives all attempts, those of the first event first.

        Raises:
            Exception: A destination's fault, unless `keep_faults`.
        """
        return await self._send(events)

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

    async def enriched(self, event: Event) -> Event:
        """The event with what plugins add to it, without delivering it.

        Raises:
            PluginError: One cannot add to it, unless `keep_faults`.
        """
        (found,) = await self._added([event])
        self._raise()
        return found

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
        found = self._one(name).destination
        if not isinstance(found, Destination):
            raise PluginError("with isolation = 'process' the instance is in another process")
        return found

    @property
    def deliveries(self) -> list[StoredDelivery]:
        """Where every delivery stands, the oldest first."""
        found = self._spool.deliveries(DeliveryFilter(), limit=MANY)
        return [delivery for delivery in reversed(found) if delivery.destination not in (ROUTE, LINK)]

    def kept(self, destination: str | None = None) -> dict[str, JsonValue]:
        """What a destination keeps in its store, by key; that of the first one by default."""
        entries = self._spool.entries(self._one(destination).lane.name, self._now(), limit=MANY)
        return {key: json.loads(kept.value) for key, kept in entries}

    def metrics(self, destination: str | None = None) -> dict[str, Metric]:
        """What a destination has counted and measured since it was opened, by name; the first one by default."""
        return {metric.name: metric for metric in self._one(destination).metrics.now()}

    async def health(self, destination: str | None = None) -> str:
        """What a destination says is wrong with it, as the router shows it; the first one by default. Empty: nothing is."""
        one = self._one(destination)
        return await Checkup(self.config.redact)(f"destination {one.lane.name}", one.health) if one.health else ""

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
        """What destinations raised that was neither `Retry` nor `Reject`, and a `PluginError` for each event that a plugin
        could not add to."""
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
        self._enrichment = Enrichment(self.config.plugins.enrichers(), self.config.redact)
        lanes = [one.lane for one in self._opened]
        self._deliverer = Deliverer(lanes, self._spool, observers, self.config.redact, now=self._now)
        self._ended = trio.Event()
        self._scope: trio.CancelScope = await self._running.start(self._run, self._deliverer, self._ended)

    async def _run(
        self, deliverer: Deliverer, ended: trio.Event, task_status: trio.TaskStatus[trio.CancelScope]
    ) -> None:
        try:
            with trio.CancelScope() as scope:
                async with self._enrichment.working():
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

    async def _send(self, events: Sequence[Event], crash: Literal["during", "after"] | None = None) -> list[Tried]:
        events = [replace(event, id=new_id()) if event.id in self._sent else event for event in events]
        names = [one.lane.name for one in self._opened]
        wanted = len(events) * len(names)
        begun = self._watch.begun
        self._spool.losing = crash == "after"
        await self._plan(events, names)
        if crash == "during":
            await self._until(lambda: self._watch.begun >= begun + wanted)
            await self.restart()
        elif crash == "after":
            await self._until(lambda: self._spool.lost >= wanted)
            self._spool.losing, self._spool.lost = False, 0
            await self.restart()
        ids = [event.id for event in events]
        await self._until(lambda: len(self._first_of(ids)) >= wanted)
        self._raise()
        place = {(event, name): number for number, (event, name) in enumerate(product(ids, names))}
        return sorted(self._first_of(ids), key=lambda tried: place[tried.event.id, tried.delivery.destination])

    async def _plan(self, events: Sequence[Event], destinations: Sequence[str]) -> None:
        async with self._planning:
            for event in events:
                self._sent[event.id] = event
                await self._spool.append(event, window=0.0)
                self._observers.event_accepted(event, duplicate=False)
            self._sent |= {event.id: event for event in await self._added(events)}
            now = max(self._now(), *(event.received.timestamp() for event in events))
            found = await self._spool.claim({ROUTE: len(events)}, now, {ROUTE: 60.0})
            # all at once, so that a destination that takes batches finds all of them
            await self._spool.settle(
                [
                    Routed(
                        claim,
                        Decided(
                            (),
                            [Planned(name) for name in destinations],
                            self._now(),
                            enriched=json.dumps(self._sent[claim.event.id].enriched),
                        ),
                    )
                    for claim in found.claims
                ]
            )
        self._deliverer.wake.set()

    async def _added(self, events: Sequence[Event]) -> list[Event]:
        """The events with what plugins add to them."""
        found = await self._enrichment.of(events)
        self._watch.faults += [
            PluginError(f"plugin {name}: enrich fails: {fault}")
            for enriched in found
            for name, fault in enriched.failed.items()
        ]
        return [event.with_enriched(enriched.added) for event, enriched in zip(events, found, strict=True)]

    def _now(self) -> float:
        return self._start + trio.current_time() + self._ahead

    def _raise(self) -> None:
        if self._raised < len(self.faults) and not self._keep_faults:
            self._raised = len(self.faults)
            raise self.faults[-1]

    def _settled(self, settled: Settled) -> None:
        delivery = settled.delivery
        told = self._spool.attempts(delivery.id)[-1]
        event, link = self._sent[delivery.id.partition("/")[0]], self._spool.made.get(delivery.id)
        self.attempts.append(
            Tried(event, delivery, settled.state, told.reason, told.response, settled.cause, settled.seconds, link)
        )
        self._pulse()

    def _pulse(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _until(self, done: Callable[[], bool]) -> None:
        self._spool.pulse = self._pulse
        while not done():
            await self._changed.wait()

    def _one(self, name: str | None) -> Opened:
        return next(one for one in self._opened if name in (None, one.lane.name))

    def _first_of(self, events: Sequence[str]) -> list[Tried]:
        """The first attempt of each of their deliveries that was settled."""
        found: dict[str, Tried] = {}
        for tried in self.attempts:
            if tried.event.id in events:
                found.setdefault(tried.delivery.id, tried)
        return list(found.values())
