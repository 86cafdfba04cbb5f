"""Makes the destinations and opens them before anything is delivered to them, and closes them afterwards."""

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
import trio

from sodarouter.config import Config, ConfiguredDestination
from sodarouter.destination import Destination
from sodarouter.errors import ConfigError, Fault
from sodarouter.failures import contained, describe
from sodarouter.lane import Lane
from sodarouter.metrics import Metrics
from sodarouter.outgoing import HttpClient, HttpOptions
from sodarouter.plugins import AnyDestination, DeliverHook

OPEN_TIMEOUT = 30.0
"""Seconds that a destination may take to open."""
CLOSE_TIMEOUT = 5.0
"""Seconds that a destination may take to close."""

log = structlog.get_logger()


@dataclass(frozen=True, eq=False)
class Opened:
    """An open destination, and the lane that delivers to it."""

    configured: ConfiguredDestination
    destination: AnyDestination
    http: HttpClient
    lane: Lane
    metrics: Metrics

    @property
    def health(self) -> Callable[[], object] | None:
        """Asks it how it is; ``None``: its type does not say."""
        if type(self.destination).health is Destination.health:
            return None
        # the attribute of an instance may be anything, so it is looked up where what it does is contained
        return lambda: self.destination.health()

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
    unchanged = {one.lane.name: one for one in kept}
    opened: list[Opened] = []
    faults: list[Fault] = []
    async with AsyncExitStack() as undone:
        for configured in config.destinations:
            one = unchanged.get(configured.name)
            if one is None or one.configured != configured:
                try:
                    # counts go on where only the options are others
                    same = one is not None and one.configured.kind is configured.kind
                    metrics = one.metrics if one and same else Metrics(config.redact)
                    one = await open_destination(config, configured, metrics)
                except ConfigError as error:
                    faults.extend(error.faults)
                    continue
                undone.push_async_callback(one.close)
            opened.append(one)
        if faults:
            raise ConfigError(faults)
        undone.pop_all()
    return opened


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
        raise ConfigError([Fault(place, f"cannot be opened: {config.redact(describe(failures[0]))}")])
    assert scope.cancelled_caught  # noqa: S101 (nothing else ends the block)
    raise ConfigError([Fault(place, f"was not open after {OPEN_TIMEOUT:g} seconds")])


def _lane(configured: ConfiguredDestination, hook: DeliverHook) -> Lane:
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
