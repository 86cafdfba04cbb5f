"""The daemon: what starts in which order, and what stops in which.

All that can fail at start, the spool, the destinations and the addresses, is opened before anything is served.
"""

import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from sodarouter.address import Address
from sodarouter.config import Config
from sodarouter.deliver import Deliverer
from sodarouter.errors import ConfigError, Fault, SpoolError
from sodarouter.lanes import open_lanes
from sodarouter.observe import Observers
from sodarouter.receive import Intake, Receiver, Source
from sodarouter.route import Router
from sodarouter.serve import Limits, Listener, Tls, bind, serve
from sodarouter.serve.asgi import App
from sodarouter.spool import ROUTE, Lock, Retention, Spool, SqliteSpool
from sodarouter.tables import ListenerTable
from sodarouter.web import Pages, admin_app

PRUNE_EVERY = 3600.0
PRUNE_PAUSE = 0.1
PRUNE_BATCH = 500
"""Old events are deleted this many at a time."""
DESCRIPTORS = 65_536
"""File descriptors that the process may have, if the system allows it."""
SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that wants Python's lock gets it."""
LAST_RESORT = 15.0
"""Seconds after the limits of a stop at which the process ends even if a plugin will not."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Running:
    """Where a started daemon listens, with the ports it was given."""

    server: Sequence[Address]
    admin: Sequence[Address]


async def run(
    config: Config, stopping: trio.Event, *, task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED
) -> None:
    """Runs the router until ``stopping`` is set, then stops it: the intake first, then the deliveries, then the rest.

    Raises:
        ConfigError: A destination cannot be opened, or an address cannot be listened on.
        SpoolError: The spool cannot be opened, or another process has it.
    """
    server, admin = config.file.server, config.file.admin
    async with _open_spool(config) as spool, open_lanes(config) as lanes:
        # trio looks names up in threads of one pool: one destination's dead resolver must not take those of the others
        trio.to_thread.current_default_thread_limiter().total_tokens += sum(lane.concurrency for lane in lanes)
        observers = _observers(config)
        deliverer = Deliverer(lanes, spool, observers, config.redact)
        router = Router(config.rules, spool, config.redact, deliverer.wake.set)
        receiver = Receiver(
            _sources(config), spool, observers, _intake(config), router.coming, router.forget, router.arrived
        )

        def look_again() -> None:
            router.arrived()
            deliverer.wake.set()

        token = admin.token.get_secret_value() if admin.token else None
        app = admin_app(_pages(config, spool, look_again, stopping), config.plugins.routes, token)
        with _bound(config, "server", server) as public, _bound(config, "admin", admin) as private:
            async with trio.open_nursery() as background:
                background.start_soon(router.run)
                background.start_soon(_prune, spool, config.file.spool.retention.kept())
                await background.start(_serving(app, private, config, admin, trio.Event()))
                async with trio.open_nursery() as deliveries:
                    deliveries.start_soon(deliverer.run)
                    async with trio.open_nursery() as intake:
                        await intake.start(_serving(receiver, public, config, server, stopping))
                        running = Running([one.address for one in public], [one.address for one in private])
                        _tell_ready(config, running)
                        task_status.started(running)
                    # the intake has ended: `stopping` is set and the last sender has its answer
                    deliverer.stop()
                    deliveries.cancel_scope.deadline = trio.current_time() + server.stop_timeout
                background.cancel_scope.cancel()
    log.info("stopped")


async def run_until_signalled(config: Config) -> None:
    """As `run`, until SIGTERM or SIGINT. A second signal, or a plugin that will not end, ends the process at once."""
    # the spool's thread asks for Python's lock at every statement: a tenth more intake than with the usual 5 ms
    sys.setswitchinterval(SWITCH_INTERVAL)
    # every connection takes a descriptor, and the spool and the destinations must still get theirs
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    stopping = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                async for number in signals:
                    if stopping.is_set():
                        log.error("stopped at once, as asked twice", signal=signal.Signals(number).name)
                        os._exit(1)
                    log.info("stopping", signal=signal.Signals(number).name, limit=config.file.server.stop_timeout)
                    stopping.set()
                    # a thread, because what keeps trio from ending may keep it from running anything
                    end = threading.Timer(2 * config.file.server.stop_timeout + LAST_RESORT, os._exit, (1,))
                    end.daemon = True
                    end.start()

            nursery.start_soon(listen)
            await run(config, stopping)
            nursery.cancel_scope.cancel()


def _tell_ready(config: Config, running: Running) -> None:
    for warning in config.warnings():
        log.warning(str(warning))
    # the modules, models and rules that are there by now stay: the collector need not walk them again and again
    gc.collect()
    gc.freeze()
    log.info(
        "ready",
        listen=list(map(str, running.server)),
        admin=list(map(str, running.admin)),
        sources={name: table.path for name, table in config.file.source.items()},
        destinations=[destination.name for destination in config.destinations],
    )


def _serving(
    app: App, listeners: Sequence[Listener], config: Config, table: ListenerTable, stopping: trio.Event
) -> Callable[..., Awaitable[None]]:
    server = config.file.server
    limits = Limits(
        max_connections=server.max_connections,
        keep_alive_timeout=server.keep_alive,
        header_timeout=server.header_timeout,
        graceful_timeout=server.stop_timeout,
    )
    tls = Tls(table.tls.cert, table.tls.key, table.tls.client_ca) if table.tls else None
    return partial(serve, app, listeners, tls=tls, limits=limits, stopping=stopping)


@contextmanager
def _bound(config: Config, name: str, table: ListenerTable) -> Iterator[list[Listener]]:
    try:
        listeners = bind(table.listen)
    except ConfigError as error:
        place = f"{config.path.name}: {name}.listen"
        raise ConfigError([Fault(f"{place}: {f.place}", f.fault, f.hint) for f in error.faults]) from None
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


@asynccontextmanager
async def _open_spool(config: Config) -> AsyncIterator[SqliteSpool]:
    table = config.file.spool
    lock = Lock(table.path)
    try:
        spool = SqliteSpool(table.path, table.max_size, table.max_backlog)
        try:
            recovered = await spool.recover(time.time(), {})
            if recovered:
                log.info("deliveries of an earlier run are due again", count=recovered)
            await _tell_homeless(config, spool)
            yield spool
        finally:
            await spool.aclose()
    finally:
        lock.release()


async def _tell_homeless(config: Config, spool: Spool) -> None:
    """Deliveries for a destination that is no longer configured stay in the spool, and the operator should know."""
    known = {ROUTE, *(destination.name for destination in config.destinations)}
    for name, queue in (await spool.stats()).queues.items():
        if name not in known and queue.pending:
            log.warning(
                "deliveries wait for a destination that is not configured", destination=name, count=queue.pending
            )


def _observers(config: Config) -> Observers:
    told = config.plugins.observers
    return Observers(told("event_accepted"), told("event_refused"), told("delivery_settled"))


def _sources(config: Config) -> list[Source]:
    return [
        Source(name, table.path, tuple(table.verify), table.duplicate_window)
        for name, table in config.file.source.items()
    ]


def _intake(config: Config) -> Intake:
    server = config.file.server
    return Intake(server.max_body, server.body_timeout, tuple(server.trusted_proxies))


def _pages(config: Config, spool: Spool, look_again: Callable[[], None], stopping: trio.Event) -> Pages:
    async def not_ready() -> Mapping[str, str]:
        reasons = {"daemon": "it is stopping"} if stopping.is_set() else {}
        try:
            trouble = (await spool.stats()).trouble
        except SpoolError as error:
            trouble = str(error)
        return reasons | ({"spool": trouble} if trouble else {})

    async def retry(deliveries: list[str]) -> list[str]:
        retried = await spool.retry(deliveries, time.time())
        look_again()
        return retried

    return Pages(not_ready, spool.stats, retry)


async def _prune(spool: Spool, retention: Retention) -> None:
    while True:
        pause = PRUNE_EVERY
        try:
            if await spool.prune(retention, time.time(), PRUNE_BATCH) >= PRUNE_BATCH:
                # there is more; what comes in and goes out gets its turns in between
                pause = PRUNE_PAUSE
        except SpoolError as error:
            log.error("old events could not be deleted", error=str(error))
        await trio.sleep(pause)
