"""Makes the destinations, opens them before the router starts, and closes them after it has stopped."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio

from sodarouter.config import Config, ConfiguredDestination
from sodarouter.deliver import Lane
from sodarouter.errors import ConfigError, Fault
from sodarouter.failures import contained, describe
from sodarouter.plugins import AnyDestination

OPEN_TIMEOUT = 30.0
"""Seconds that a destination may take to open."""
CLOSE_TIMEOUT = 5.0
"""Seconds that a destination may take to close."""

log = structlog.get_logger()


@asynccontextmanager
async def open_lanes(config: Config) -> AsyncIterator[list[Lane]]:
    """A lane for every destination, made and opened.

    Raises:
        ConfigError: With the faults of all that cannot be.
    """
    opened: list[tuple[ConfiguredDestination, AnyDestination]] = []
    faults: list[Fault] = []
    try:
        for configured in config.destinations:
            failures: list[BaseException] = []
            destination: AnyDestination | None = None
            with contained(failures), trio.move_on_after(OPEN_TIMEOUT) as scope:
                destination = configured.kind(configured.name, configured.options)
                await destination.open()
            place = f"{config.path.name}: destination.{configured.name}"
            if failures:
                faults.append(Fault(place, f"cannot be opened: {config.redact(describe(failures[0]))}"))
            elif scope.cancelled_caught:
                faults.append(Fault(place, f"was not open after {OPEN_TIMEOUT:g} seconds"))
            elif destination is not None:
                opened.append((configured, destination))
        if faults:
            raise ConfigError(faults)
        yield _lanes(config, opened)
    finally:
        for _, destination in reversed(opened):
            await _close(destination)


def _lanes(config: Config, opened: list[tuple[ConfiguredDestination, AnyDestination]]) -> list[Lane]:
    deliverers = config.plugins.deliverers(destination for _, destination in opened)
    return [
        Lane(
            name=configured.name,
            call=deliverers[configured.name],
            threaded=deliverers[configured.name].threaded,
            timeout=configured.table.timeout,
            concurrency=configured.concurrency,
            policy=configured.table.retry,
        )
        for configured, _ in opened
    ]


async def _close(destination: AnyDestination) -> None:
    failures: list[BaseException] = []
    with contained(failures), trio.move_on_after(CLOSE_TIMEOUT, shield=True) as scope:
        await destination.close()
    if failures:
        log.error("a destination failed to close", destination=destination.name, exc_info=failures[0])
    elif scope.cancelled_caught:
        log.error("a destination took too long to close", destination=destination.name, limit=CLOSE_TIMEOUT)
