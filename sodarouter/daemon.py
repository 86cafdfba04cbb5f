"""The daemon: what starts in which order, and what stops in which.

All that can fail at start, the spool, the destinations and the addresses, is opened before anything is served.
"""

import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog
import trio

from sodarouter import collector
from sodarouter.address import Address
from sodarouter.config import Config
from sodarouter.errors import ConfigError, Fault
from sodarouter.front import Alone, Front, IntakeFront
from sodarouter.lag import monitored
from sodarouter.reload import going_live
from sodarouter.serve import Listener, bind
from sodarouter.spool import Lock, SqliteSpool
from sodarouter.stations import Stations
from sodarouter.systemd import Notifier
from sodarouter.upkeep import choose_links, prune, tell_homeless, tell_silences
from sodarouter.workers.crew import Crew

log = structlog.get_logger()


@dataclass(frozen=True)
class Running:
    """Where a started daemon listens, with the ports it was given, and what is asked of it while it runs."""

    server: Sequence[Address]
    admin: Sequence[Address]
    reload: Callable[[], Awaitable[Sequence[Fault]]]
    """Reads the configuration again. Gives its faults; when there are some, nothing has changed."""


async def run(
    config: Config,
    stopping: trio.Event,
    *,
    applied: Callable[[Config], None] = lambda _: None,
    notifier: Notifier | None = None,
    inherited: Mapping[Address, socket.socket] = {},
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Runs the router until ``stopping`` is set, then stops it: the intake first, then the deliveries, then the rest.

    Args:
        config: With which it starts.
        stopping: Set from outside.
        applied: Told of each configuration that a reload has put in place.
        notifier: Tells systemd how the router is.
        inherited: From `sodarouter.systemd.inherited_sockets`.

    Raises:
        ConfigError: A destination cannot be opened, or an address cannot be listened on.
        SpoolError: The spool cannot be opened, or another process has it.
    """
    notifier = notifier or Notifier()
    async with _open_spool(config) as spool, going_live(config) as live:
        await tell_homeless(config, spool)
        collector.spare()
        with (
            monitored() as monitor,
            _bound(config, "server", inherited) as public,
            _bound(config, "admin", inherited) as private,
        ):
            status = f"serving on {', '.join(str(listener.address) for listener in [*public, *private])}"

            async def reload() -> Sequence[Fault]:
                await notifier.reloading()
                faults: Sequence[Fault] = ()
                try:
                    faults = await live.reload()
                finally:
                    # also after a failure, or when who asked has gone: systemd would wait for it
                    failed = f"the last reload failed, {faults[0]}; " if faults else ""
                    with trio.CancelScope(shield=True):
                        await notifier.ready(failed + status)
                return faults

            stations = Stations(
                live, spool, lambda: server.lag(monitor.lag()), lambda: server.workers, stopping.is_set, reload
            )
            taking_in = Crew if config.file.server.workers else Alone
            server: IntakeFront = taking_in(config, public, stations.admission)
            admin = Front(stations.admin, private, config, "admin")

            def prepare() -> None:
                server.prepare()
                admin.prepare()

            def change() -> None:
                stations.change()
                applied(live.config)
                server.replace(live.config)
                admin.renew()

            live.taken_up_by(change, prepare=prepare, changed=server.taken_up)
            running = Running(
                [listener.address for listener in public], [listener.address for listener in private], reload
            )
            async with trio.open_nursery() as background:
                background.start_soon(stations.survey.run)
                background.start_soon(stations.router.run)
                background.start_soon(prune, spool, lambda: live.config)
                background.start_soon(tell_silences, spool, stations.silences)
                background.start_soon(
                    choose_links, spool, lambda: live.config, stations.links, stations.deliverer.wake.set
                )
                await background.start(admin.serve, trio.Event())
                async with trio.open_nursery() as deliveries:
                    deliveries.start_soon(stations.deliverer.run)
                    async with trio.open_nursery() as intake:
                        await intake.start(server.serve, stopping)
                        _tell_ready(config, running)
                        await notifier.ready(status)
                        background.start_soon(notifier.feed_watchdog, spool.is_alive)
                        task_status.started(running)
                    # the intake has ended: `stopping` is set and the last sender has its answer
                    stations.deliverer.stop()
                    deliveries.cancel_scope.deadline = trio.current_time() + config.file.server.stop_timeout
                background.cancel_scope.cancel()
            await stations.aclose()
    log.info("stopped")


def _tell_ready(config: Config, running: Running) -> None:
    for warning in config.warnings:
        log.warning(str(warning))
    workers = config.file.server.workers
    log.info(
        "ready",
        listen=list(map(str, running.server)),
        admin=list(map(str, running.admin)),
        sources={source.name: source.table.path for source in config.sources},
        destinations=[destination.name for destination in config.destinations],
        config=config.hash,
        **({"workers": workers} if workers else {}),
    )


@contextmanager
def _bound(config: Config, name: str, inherited: Mapping[Address, socket.socket]) -> Iterator[list[Listener]]:
    try:
        listeners = bind(getattr(config.file, name).listen, inherited=inherited)
    except ConfigError as error:
        place = config.origins.of(f"{name}.listen")
        raise ConfigError([Fault(f"{place}: {f.place}", f.fault, f.hint) for f in error.faults]) from None
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


@asynccontextmanager
async def _open_spool(config: Config) -> AsyncIterator[SqliteSpool]:
    table = config.file.spool
    once = {d.name: d.table.fallback for d in config.destinations if d.table.mode == "at-most-once"}
    lock = Lock(table.path)
    try:
        spool = SqliteSpool(table.path, table.max_size, table.max_backlog, table.keys)
        try:
            recovered = await spool.recover(time.time(), once)
            if recovered:
                log.info("deliveries of an earlier run are due again", count=recovered)
            yield spool
        finally:
            await spool.aclose()
    finally:
        lock.release()
