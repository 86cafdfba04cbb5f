"""Makes the destinations and opens them before anything is delivered to them, and closes them afterwards."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import trio

from sodarouter.config import Config, ConfiguredDestination
from sodarouter.destination import Destination
from sodarouter.errors import ConfigError, Fault
from sodarouter.failures import contained, plainly
from sodarouter.lane import Lane
from sodarouter.metrics import Metrics
from sodarouter.outgoing import HttpClient, HttpOptions
from sodarouter.plugins import AnyDestination, DeliverHook

if TYPE_CHECKING:
    from sodarouter.isolation.pool import Isolated

OPEN_TIMEOUT = 30.0
"""Seconds that a destination may take to open."""
CLOSE_TIMEOUT = 5.0
"""Seconds that a destination may take to close."""

log = structlog.get_logger()


@dataclass(frozen=True, eq=False)
class Opened:
    """An open destination, and the lane that delivers to it."""

    configured: ConfiguredDestination
    destination: "AnyDestination | Isolated"
    http: HttpClient
    lane: Lane
    metrics: Metrics

    @property
    def health(self) -> Callable[[], object] | None:
        """Asks it how it is; ``None``: its type does not say."""
        destination = self.destination
        # one in processes of its own is not asked
        if not isinstance(destination, Destination) or type(destination).health is Destination.health:
            return None
        # the attribute of an instance may be anything, so it is looked up where what it does is contained
        return lambda: destination.health()

    async def close(self) -> None:
        """Never raises, and takes `CLOSE_TIMEOUT` at most.

        Cancellation: it is finished all the same.
        """
        failures: list[BaseException] = []
        with contained(failures), trio.move_on_after(CLOSE_TIMEOUT, shield=True) as scope:
            try:
                await self.destination.close()
            finally:
                await self.http.close()
        if failures:
            log.error("a destination failed to close", destination=self.lane.name, exc_info=failures[0])
        elif scope.cancelled_caught:
            log.error("a destination took too long to close", destination=self.lane.name, limit=CLOSE_TIMEOUT)


async def open_destinations(config: Config, kept: Iterable[Opened] = ()) -> list[Opened]:
    """Opens every destination but those that are open already and have not changed: these are given as they are.

    Args:
        config: What is to be open.
        kept: What is open.

    Raises:
        ConfigError: With the faults of all that cannot be opened. What this call has opened is closed again.
    """
    wanted = {configured.name: configured for configured in config.destinations}
    earlier = {one.lane.name: one for one in kept}
    opened = {name: one for name, one in earlier.items() if wanted.get(name) == one.configured}
    missing = [configured for configured in config.destinations if configured.name not in opened]
    faults: dict[str, Sequence[Fault]] = {}
    async with AsyncExitStack() as undone:

        async def open_one(configured: ConfiguredDestination) -> None:
            # counts go on where only the options are others
            before = earlier.get(configured.name)
            same = before is not None and before.configured.kind is configured.kind
            metrics = before.metrics if before and same else Metrics(config.redact)
            try:
                one = opened[configured.name] = await open_destination(config, configured, metrics)
            except ConfigError as error:
                faults[configured.name] = error.faults
            else:
                undone.push_async_callback(one.close)

        async def open_apart(configured: ConfiguredDestination) -> None:
            async with processors:
                await open_one(configured)

        async with trio.open_nursery() as nursery:
            # a process of its own takes half a second of one to start
            processors = trio.CapacityLimiter(os.cpu_count() or 1)
            for configured in missing:
                if configured.isolated:
                    nursery.start_soon(open_apart, configured)
            for configured in missing:
                if not configured.isolated:
                    await open_one(configured)
        if faults:
            raise ConfigError([fault for one in missing for fault in faults.get(one.name, ())])
        undone.pop_all()
    return [opened[configured.name] for configured in config.destinations]


async def open_destination(config: Config, configured: ConfiguredDestination, metrics: Metrics) -> Opened:
    """Makes one of the destinations of a configuration, and opens it.

    Args:
        metrics: What it counts and measures with.

    Raises:
        ConfigError: It cannot be opened.
    """
    failures: list[BaseException] = []
    http = HttpClient(configured.options, configured.outgoing)
    with contained(failures), trio.move_on_after(OPEN_TIMEOUT) as scope:
        if configured.isolated:
            from sodarouter.isolation.pool import Isolated  # most routers have none

            isolated = Isolated(config, configured, metrics)
            await isolated.open()
            return Opened(configured, isolated, http, _lane(configured, isolated), metrics)
        destination = configured.kind(configured.name, configured.options)
        destination.http = http
        destination.metrics = metrics
        if isinstance(configured.options, HttpOptions):
            http.open()  # what is wrong with it shows now, and the first delivery need not wait for it
        hook = DeliverHook(destination)
        await destination.open()
        return Opened(configured, destination, http, _lane(configured, hook), metrics)
    await http.close()
    place = config.origins.of(f"destination.{configured.name}")
    if failures:
        raise ConfigError([Fault(place, f"cannot be opened: {config.redact(plainly(failures[0]))}")])
    assert scope.cancelled_caught  # noqa: S101 (nothing else ends the block)
    raise ConfigError([Fault(place, f"was not open after {OPEN_TIMEOUT:g} seconds")])


def _lane(configured: ConfiguredDestination, hook: "DeliverHook | Isolated") -> Lane:
    table = configured.table
    return Lane(
        name=configured.name,
        call=hook.batch if hook.batched else hook,
        threaded=hook.threaded,
        timeout=table.timeout,
        concurrency=configured.concurrency,
        policy=None if table.mode == "at-most-once" else table.retry,
        rate=table.rate,
        breaker=table.breaker,
        fallback=table.fallback,
        batch=configured.batch_size,
    )
