"""The processes that take in, together: started, given what to serve, replaced when they end, and stopped."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog
import trio

from sodarouter.admit import Here
from sodarouter.config import Config
from sodarouter.delivery import Lag, Workers
from sodarouter.errors import ConfigError, Fault
from sodarouter.front import limits_of, tls_of
from sodarouter.lag import ROUTER
from sodarouter.receive import Intake
from sodarouter.serve import Listener
from sodarouter.workers.handed import Setup, Start
from sodarouter.workers.hearing import Known
from sodarouter.workers.worker import Worker

START_TIMEOUT = 60.0
"""Seconds that the processes may take to start."""
TAKE_UP = 10.0
"""Seconds that they may take to take up another configuration."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds before one is replaced that has ended soon after it was started, the more often the longer. If all have, who
connects meanwhile waits, and Soda does so for 10 seconds."""
SOON = 60.0
LAST_WORDS = 5.0
"""Seconds, beside those that requests have, in which they have to end."""

log = structlog.get_logger()


class Crew:
    """As `sodarouter.front.IntakeFront`, with `[server] workers` processes.

    Args:
        config: With which it begins.
        listeners: What they accept on. They stay open here until it stops, so that connections wait while a process
            is replaced.
    """

    def __init__(self, config: Config, listeners: Sequence[Listener], admission: Here) -> None:
        server = config.file.server
        self._admission = admission
        self._listeners = listeners
        self._count = server.workers
        self._place = config.origins.of("server.workers")
        self._stop_timeout = server.stop_timeout
        self._tls = tls_of(server, config.origins.of("server.tls"))
        self._start = Start(
            tuple(sys.path),
            [(listener.address, listener.socket.fileno()) for listener in listeners],
            self._tls,
            # of its share
            replace(limits_of(server), max_connections=Intake.of(server).max_requests),
            server.http,
            {plugin.name: plugin.given for plugin in config.plugins.found if plugin.sources or plugin.verifications},
        )
        self._workers: set[Worker] = set()
        self._restarts = 0
        self._blocked: Counter[str] = Counter()
        """As those have told it that have ended."""
        owners = frozenset({ROUTER, *(f"plugin {name}" for name in self._start.plugins)})
        self._known = Known({}, owners, 0, 0)
        self._setup = self._set_up(config, 0)

    def _set_up(self, config: Config, number: int) -> Setup:
        sources = {one.name.encode(): (one.name, one.table.duplicate_window) for one in config.sources}
        intake = Intake.of(config.file.server)
        # what is under way may be of a source that is gone, and larger than what is taken now
        known = self._known
        self._known = Known(
            {**known.sources, **sources}, known.owners, max(known.largest, intake.max_body), intake.max_requests
        )
        given = {one.name: one.given for one in config.sources}
        return Setup(number, given, intake, config.file.log.level, config.file.log.format)

    def prepare(self) -> None:
        if self._tls:
            self._tls.check()

    def replace(self, config: Config) -> None:
        self._setup = self._set_up(config, self._setup.number + 1)
        for worker in self._workers:
            worker.set_up(self._setup)

    async def taken_up(self) -> None:
        """As `sodarouter.front.IntakeFront.taken_up`. A process that cannot is replaced."""
        number, waiting = self._setup.number, tuple(self._workers)
        with trio.move_on_after(TAKE_UP):
            for worker in waiting:
                await worker.until_taken_up(number)
            return
        for worker in waiting:
            if not worker.has_taken_up(number):
                worker.give_up(f"it has not taken up the configuration within {TAKE_UP:g} seconds")

    def lag(self, own: Lag) -> Lag:
        blocked = Counter(own.blocked) + self._blocked
        for worker in self._workers:
            blocked.update(worker.hearing.lag.blocked)
        return Lag(max([own.longest, *(worker.hearing.lag.longest for worker in self._workers)]), dict(blocked))

    @property
    def workers(self) -> Workers:
        return Workers(self._count, sum(worker.serves for worker in self._workers), self._restarts)

    async def serve(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self.prepare()
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(START_TIMEOUT) as starting:
                async with trio.open_nursery() as together:
                    for _ in range(self._count):
                        together.start_soon(nursery.start, self._keep, stopping)
            if starting.cancelled_caught:
                raise self._unstarted(f"it has not begun after {START_TIMEOUT:g} seconds")
            task_status.started()
            await stopping.wait()
            for worker in self._workers:
                worker.stop()
            for listener in self._listeners:
                listener.close()  # who comes now is refused, and does not wait for nobody
            nursery.cancel_scope.deadline = trio.current_time() + self._stop_timeout + LAST_WORDS

    async def _keep(self, stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        """Keeps one running."""
        served, pause = False, 0.0

        def serving() -> None:
            nonlocal served
            if not served:
                served = True
                task_status.started()

        while not stopping.is_set():
            began = trio.current_time()
            pid, how = await self._one(serving)
            if not served:
                raise self._unstarted(how)
            if stopping.is_set():
                return
            self._restarts += 1
            soon = trio.current_time() - began < SOON
            log.error("an intake process is lost and is replaced", pid=pid, how=how, pause=pause)
            with trio.move_on_after(pause):
                await stopping.wait()
            pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE) if soon else 0.0

    async def _one(self, serving: Callable[[], None]) -> tuple[int | None, str]:
        """Runs one to its end. Gives its number, if it was started, and how it has ended."""
        try:
            worker = Worker(self._admission, lambda: self._known, serving)
        except OSError as error:  # there are no more descriptors, say, which may pass
            return None, f"it cannot be started: {error.strerror}"
        self._workers.add(worker)
        try:
            how = await worker.run(self._start, self._setup)
        finally:
            self._workers.discard(worker)
            self._blocked.update(worker.hearing.lag.blocked)
        return worker.pid, how

    def _unstarted(self, how: str) -> ConfigError:
        return ConfigError([Fault(self._place, f"an intake process cannot serve: {how}", "0 does without them")])
