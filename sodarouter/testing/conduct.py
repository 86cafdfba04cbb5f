"""How a destination behaves between its first and its last event, whatever it delivers to."""

import gc
import os
import threading
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import trio

from sodarouter.delivery import State
from sodarouter.errors import Reject
from sodarouter.failures import describe
from sodarouter.health import FAILS
from sodarouter.lag import LagMonitor, monitored
from sodarouter.preview import Preview
from sodarouter.testing.bench import NAME, Bench, finder
from sodarouter.testing.report import DoubtfulError, NotCheckedError, NotWellError
from sodarouter.testing.router import FakeRouter
from sodarouter.testing.samples import sample, sample_delivery, sample_events
from sodarouter.testing.tried import Tried

CROWD = 40
"""Deliveries that are under way together."""
LIVES = 5
"""How often it is opened and closed, to see whether it leaves something behind."""
LONG = 0.5
"""Seconds of one step of an async destination from which it blocks the router. The router itself tells of a tenth; a
busy machine can take that much by itself."""
AT_ONCE = 5.0
"""Seconds that a destination may take to end when it is cancelled; the router waits no longer for one that closes."""


async def opens(bench: Bench) -> None:
    """It opens and closes, with and without a delivery in between, and again"""
    for sent in (0, 1, 0):
        async with bench.router() as router:
            for _ in range(sent):
                await router.send(bench.event())
            well(router)
    if closing := bench.heard.of("to close"):
        raise NotWellError(f"close fails: {closing.strip().splitlines()[-1]}")


async def takes_samples(bench: Bench) -> None:
    """It takes, puts off or rejects every sample event, and fails at none"""
    untaken: list[tuple[str, Tried]] = []
    async with bench.router() as router:
        for name, event in sample_events().items():
            (tried,) = await router.send(event)
            note(bench, tried)
            if router.faults:
                raise NotWellError(f"at the sample {name}: {describe(router.faults[0])}")
            if tried.state is not State.DELIVERED:
                untaken.append((name, tried))
    waiting = [(name, tried) for name, tried in untaken if tried.state is State.PENDING]
    if waiting:
        name, tried = waiting[0]
        raise DoubtfulError(f"it puts off {len(waiting)} of them; {name}: {tried.reason}. Are these options good?")
    if untaken:
        told = ", ".join(f"{name} ({tried.reason})" for name, tried in untaken[:3])
        raise DoubtfulError(
            f"it rejects {len(untaken)} of them: {told}. Each is a dead letter; to ignore an event, return"
        )


async def alone(bench: Bench) -> None:
    """Two instances do not get into each other's way"""
    table = bench.table()
    first = FakeRouter(destinations={"one": table}, folder=bench.start, keep_faults=True)
    async with FakeRouter(destinations={"other": table}, folder=bench.start, keep_faults=True) as other:
        async with first:
            await first.send(bench.event())
            await other.send(bench.event())
        await other.send(bench.event())
        well(first, other)
        states = [tried.state for tried in (*first.attempts, *other.attempts)]
        if len(set(states)) > 1:
            last = next(tried for tried in other.attempts if tried.state is not State.DELIVERED)
            raise NotWellError(f"beside another one, or after that was closed, it does not deliver: {last.reason}")


async def repeats(bench: Bench) -> None:
    """It bears the same delivery again, as after a crash, in a new instance"""
    async with bench.router() as router:
        (usual,) = await router.send(bench.event())
        (tried,) = await router.send(bench.event(), crash="after")
        well(router)
        if (usual.state, tried.state) == (State.DELIVERED, State.PENDING):
            raise NotWellError(f"the second time it does not deliver: {tried.reason}")


async def crowd(bench: Bench) -> None:
    """It takes many at once"""
    async with bench.router(concurrency=CROWD) as router, trio.open_nursery() as nursery:
        for number in range(CROWD):
            nursery.start_soon(router.send, bench.event(number))
    well(router)
    ids = {tried.delivery.id for tried in router.attempts}
    if len(ids) != CROWD:
        raise NotWellError(f"of {CROWD} deliveries {len(ids)} ended")
    others = [tried for tried in router.attempts if tried.state is not State.DELIVERED]
    if others and len(others) < CROWD:
        raise DoubtfulError(f"{len(others)} of {CROWD} did not arrive: {others[0].reason}")


async def cancelled(bench: Bench) -> None:
    """It lets a cancellation pass"""
    async with bench.router() as router:
        (usual,) = await router.send(bench.event())
        with trio.move_on_after(AT_ONCE) as scope:
            (tried,) = await router.send(bench.event(), crash="during")
        if scope.cancelled_caught:
            raise NotWellError(f"it has not ended {AT_ONCE:g} seconds after it was cancelled")
        well(router)
        if (usual.state, tried.state) == (State.DELIVERED, State.PENDING):
            raise NotWellError(f"after an attempt that was cancelled it does not deliver: {tried.reason}")


async def restarts(bench: Bench) -> None:
    """After a restart it goes on"""
    async with bench.router() as router:
        (before,) = await router.send(bench.event())
        await router.restart()
        (after,) = await router.send(bench.event())
        well(router)
        if (before.state, after.state) == (State.DELIVERED, State.PENDING):
            raise NotWellError(f"it does not deliver any more: {after.reason}")


async def previews(bench: Bench) -> None:
    """Its preview sends nothing, says the same twice, and shows no secret"""
    before = bench.asked
    async with bench.router() as router:
        configured = router.config.destinations[0]
        has_secret = finder(router.secrets)
        shown = 0
        silent = ""
        for name, event in sample_events().items():
            delivery = sample_delivery(event, NAME)
            found: list[Preview | None] = []
            for _ in range(2):
                try:
                    # as the router does: of an instance that was never opened
                    found.append(configured.kind(NAME, configured.options).preview(event, delivery))
                except Reject:
                    break
                except Exception as error:
                    raise NotWellError(f"at the sample {name}: {describe(error)}") from error
            if len(found) < 2:
                continue
            first, second = found
            if first is None or second is None:
                silent = silent or name
                continue
            shown += 1
            if (first.target, first.body) != (second.target, second.body):
                raise NotWellError(f"the sample {name} is shown in two ways")
            texts = (first.target, first.body.decode(errors="replace"), str(dict(first.headers)))
            if any(map(has_secret, texts)):
                raise NotWellError(f"a secret of its options stands in what it shows of the sample {name}")
    if bench.asked != before:
        raise NotWellError("asking for a preview sends something")
    if not shown:
        raise NotCheckedError("it has none, so `sodarouter route` cannot show what would be sent")
    if silent:
        raise DoubtfulError(
            f'it gives None for the sample {silent}: if nothing is sent of that, show Preview.nothing("…")'
        )


async def takes_batches(bench: Bench) -> None:
    """It takes many in one batch, and answers for each"""
    async with bench.router(concurrency=1) as router:
        tried = await router.send_all(list(sample_events().values()))
        well(router)
    waiting = [one for one in tried if one.state is State.PENDING]
    if waiting:
        raise NotWellError(f"{len(waiting)} of {len(tried)} do not arrive: {waiting[0].reason}")


async def speaks(bench: Bench) -> None:
    """Its health can be asked for, and the labels of its metrics hold nothing that grows without an end"""
    async with bench.router() as router:
        said = [await router.health()]
        tried = await router.send_all([bench.event(), sample("incidentCreated"), sample("incidentUpdated")])
        said.append(await router.health())
        if failing := next((one for one in said if one.startswith(FAILS)), ""):
            raise NotWellError(failing)
        metrics = router.metrics()
    incidents = [one.event.view.incident for one in tried]
    ids = {one.event.id for one in tried} | {str(incident.id) for incident in incidents if incident}
    for name, metric in metrics.items():
        values = [value for found in metric.samples for value in found.labels]
        if any(one in value for one in ids for value in values):
            raise DoubtfulError(f"{name} has the id of an event or an incident in a label: there is no end to these")


async def leaves_nothing(bench: Bench) -> None:
    """Closed, it leaves no tasks, threads, files or sockets behind"""
    counted: list[tuple[int, int, int]] = []
    gc.freeze()  # so that only what its lives leave is looked through
    try:
        for _ in range(LIVES):
            async with bench.router() as router:
                await router.send(bench.event())
            with trio.move_on_after(AT_ONCE):
                await bench.sink.until_closed()
            gc.collect()
            counted.append((_tasks(), _threads(), _files()))
    finally:
        gc.unfreeze()
    # the first life may load or keep what all later ones use
    for what, numbers in zip(("tasks", "threads", "files or sockets"), zip(*counted[1:], strict=True), strict=True):
        if all(later > earlier for earlier, later in pairwise(numbers)):
            raise NotWellError(f"it leaves {what} behind each time: {', '.join(map(str, numbers))}")


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def _threads() -> int:
    return sum(not thread.daemon for thread in threading.enumerate())


def _files() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.is_dir() else 0  # noqa: PTH208 (the listing itself has one open)


async def quick(bench: Bench) -> None:
    """It does not block the event loop"""
    if (longest := _blocked(bench.monitor)) < LONG:
        await trio.lowlevel.checkpoint()
        return
    # a busy machine can take a second by itself, but hardly time after time
    for _ in range(2):
        with monitored() as monitor:
            async with bench.router() as router:
                for event in (bench.event(), *sample_events().values()):
                    await router.send(event)
        if _blocked(monitor) < LONG:
            raise DoubtfulError(f"a step took {longest:.1f} s, but not always; was the machine busy?")
    raise NotWellError(f"a step took {longest:.1f} s: leave out async, and deliver runs in a thread")


def _blocked(monitor: LagMonitor) -> float:
    """Seconds that the longest step took while the destination blocked the loop; 0 if it did not."""
    lag = monitor.lag()
    return lag.longest if lag.blocked.get(f"destination {NAME}") else 0.0


async def returns(bench: Bench) -> None:
    """What deliver returns can be used"""
    if fault := bench.heard.fault("breaks its contract"):
        raise NotWellError(fault)
    if fault := bench.heard.fault("a link cannot be put onto an incident"):
        raise NotWellError(f"its link cannot be put onto an incident: {fault}")
    await trio.lowlevel.checkpoint()


async def keeps_secrets(bench: Bench) -> None:
    """Secrets of its options are in no reason, answer, log or repr"""
    async with bench.router() as router:
        destination, redact, has_secret = router.destination(), router.config.redact, finder(router.secrets)
        if not router.secrets:
            raise NotCheckedError("its options have no secret")
        if has_secret(repr(destination)) or has_secret(str(destination)):
            raise NotWellError("one stands in its repr")
    known = finder(router.secrets | {bench.token})
    for what, texts in (("what it logs", bench.heard.texts), ("the reason or answer of an attempt", bench.shown)):
        for text in texts:
            if known(redact(text)):
                raise NotWellError(f"one stands in {what}, in a form that the router does not know it by")
    if any(map(known, bench.heard.texts)):
        raise DoubtfulError("one stands in what it logs; the router takes it out, and it should not be there")


CONDUCT: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    opens,
    takes_samples,
    alone,
    repeats,
    crowd,
    cancelled,
    restarts,
    previews,
    speaks,
    leaves_nothing,
)
"""The checks, in their order. What holds is the first line of the docstring."""

AFTERWARDS = (quick, returns, keeps_secrets)
"""Those that look back at all the others."""


def well(*routers: FakeRouter) -> None:
    """Looks whether all went well so far.

    Raises:
        NotWellError: A destination has failed.
    """
    for router in routers:
        if router.faults:
            raise NotWellError(f"deliver fails: {describe(router.faults[0])}")


def note(bench: Bench, tried: Tried) -> None:
    """Keeps what the router would show of an attempt."""
    bench.shown += [tried.reason, tried.response]


def timed_out(tried: Tried) -> bool:
    return tried.reason.startswith("timed out after ")
