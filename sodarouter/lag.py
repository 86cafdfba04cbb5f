"""How late the event loop is: times every step of every task, and names whose step kept all the others waiting.

A plugin that blocks in ``async`` code blocks the whole router. That cannot be contained, so it is measured and told.
"""

import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf

import structlog
import trio

from sodarouter.blame import blamed
from sodarouter.delivery import Lag
from sodarouter.sparing import Sparing

BLOCKING = 0.1
"""Seconds from which a step is told of. asyncio's debug mode draws the line there too; the longest of the router's own, on
a busy machine under load, took less than half of it."""
STUCK = 5.0
"""Seconds after which a step is told of while it lasts: it may never end."""
NOTABLE = 0.001
"""Seconds below which a step is no lag at all."""
SLOT = 10.0
SLOTS = 6
"""A peak is remembered to a slot's precision, for a minute at least: a scrape every minute misses none."""
LOOK_EVERY = 1.0
ROUTER = "router"
OWNERS = ("destination ", "plugin ")
"""What the names of tasks begin with that work for a plugin."""

log = structlog.get_logger()


class Recent:
    """The largest value of the last minute."""

    def __init__(self) -> None:
        self._slots: deque[tuple[float, float]] = deque(maxlen=SLOTS + 1)

    def add(self, now: float, value: float) -> None:
        slot = now // SLOT
        if self._slots and self._slots[-1][0] == slot:
            value = max(value, self._slots.pop()[1])
        self._slots.append((slot, value))

    def largest(self, now: float) -> float:
        oldest = now // SLOT - SLOTS
        return max((value for slot, value in self._slots if slot >= oldest), default=0.0)


class LagMonitor(trio.abc.Instrument):
    """What `monitored` puts into the loop. Memory: a number for each name that the router gives a task, see `owner`."""

    def __init__(self, *, now: Callable[[], float] = time.perf_counter, stuck: float = STUCK) -> None:
        self._now = now
        self._stuck = stuck
        self._task: trio.lowlevel.Task | None = None
        """Whose step is being done."""
        self._began = inf
        self._recent = Recent()
        self._blocked: Counter[str] = Counter()
        self._sparing = Sparing()

    def lag(self) -> Lag:
        return Lag(self._recent.largest(self._now()), dict(self._blocked))

    # A step ends where the next one begins or the loop waits: that is one call a step, where `after_task_step` would make
    # it two. A call takes 0.65 us and a request about ten steps, a hundredth of its time.

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        now = self._now()
        if now - self._began > NOTABLE:
            self._note(now)
        self._task = task
        self._began = now

    def before_io_wait(self, timeout: float) -> None:
        now = self._now()
        if now - self._began > NOTABLE:
            self._note(now)
        self._began = inf
        self._task = None

    def _note(self, now: float) -> None:
        took, task = now - self._began, self._task
        self._recent.add(now, took)
        if took >= BLOCKING and task is not None:
            by = blamed(task.context, self._began) or owner(task)
            self._blocked[by] += 1
            known = {"by": by, "task": task.name, "seconds": round(took, 3)}
            self._sparing(log.warning, "the event loop was blocked", by, **known)

    def watch(self, loop: int, ended: threading.Event, every: float = LOOK_EVERY) -> None:
        """Tells of a step that does not end, from a thread of its own, until ``ended``.

        Args:
            loop: The identifier of the thread that the loop runs in.
            ended: Set to return.
            every: Seconds between two looks.
        """
        told = inf
        while not ended.wait(every):
            began, task = self._began, self._task
            seconds = self._now() - began
            if seconds >= self._stuck and began != told and task is not None:
                told = began
                where = "".join(traceback.format_stack(sys._current_frames().get(loop), limit=8))
                log.error("the event loop is blocked", by=owner(task), seconds=round(seconds, 3), where=where)


@contextmanager
def monitored(
    *, now: Callable[[], float] = time.perf_counter, stuck: float = STUCK, every: float = LOOK_EVERY
) -> Iterator[LagMonitor]:
    """Measures the loop that it is entered in, and a thread watches over it, until it is left."""
    monitor, ended = LagMonitor(now=now, stuck=stuck), threading.Event()
    watching = threading.Thread(
        target=monitor.watch, args=(threading.get_ident(), ended, every), name="lag", daemon=True
    )
    trio.lowlevel.add_instrument(monitor)
    watching.start()
    try:
        yield monitor
    finally:
        ended.set()
        with suppress(KeyError):  # trio itself takes one out that has failed
            trio.lowlevel.remove_instrument(monitor)
        watching.join()


def owner(task: trio.lowlevel.Task) -> str:
    """Whose a task is: ``destination NAME`` or ``plugin NAME`` if it, or one that it was started by, is called so.

    The outermost such name counts. It is the router's, while those below are the plugin's own and may be any number.
    """
    found = ROUTER
    above: trio.lowlevel.Task | None = task
    while above is not None:
        if above.name.startswith(OWNERS):
            found = above.name
        above = above.parent_nursery.parent_task if above.parent_nursery else None
    return found
