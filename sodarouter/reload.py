"""Puts another configuration in the place of the one that runs.

All that can fail is done before anything live is touched: the file is read, validated and compiled, and the destinations
that are new or have changed are opened. Then everything is swapped at once. What is under way ends under the rules it
began with, and the destinations that are replaced are closed when nothing of theirs is under way any more.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import structlog
import trio

from sodarouter.config import Config, load
from sodarouter.delivery import Loaded
from sodarouter.errors import ConfigError, Fault
from sodarouter.lane import Lane
from sodarouter.lanes import Opened, open_destinations

log = structlog.get_logger()


class Live:
    """The configuration that runs, and its open destinations.

    Args:
        config: The one to begin with.
        opened: Its destinations.
        nursery: Where replaced destinations are closed.
    """

    def __init__(self, config: Config, opened: Sequence[Opened], nursery: trio.Nursery) -> None:
        self.config = config
        self.loaded = Loaded(config.hash, datetime.now(UTC))
        self._opened = list(opened)
        self._nursery = nursery
        self._one_at_a_time = trio.Lock()
        # its own: a plugin may keep all those of the pool that everybody shares
        self._thread = trio.CapacityLimiter(1)
        self._prepare: Callable[[], None] = lambda: None
        self._change: Callable[[], None] = lambda: None
        self._changed: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint

    @property
    def opened(self) -> Sequence[Opened]:
        """The destinations that are open."""
        return tuple(self._opened)

    @property
    def lanes(self) -> list[Lane]:
        return [one.lane for one in self._opened]

    def taken_up_by(
        self, change: Callable[[], None], *, prepare: Callable[[], None], changed: Callable[[], Awaitable[None]]
    ) -> None:
        """Says who goes on under another configuration.

        Args:
            change: Called when `config` and `lanes` have become others. It must not fail.
            prepare: Called before; what it raises as `ConfigError` are faults like any others.
            changed: Called afterwards; returns when all have taken it up.
        """
        self._change, self._prepare, self._changed = change, prepare, changed

    async def reload(self) -> Sequence[Fault]:
        """Reads the file again. Gives its faults; when there are some, nothing has changed.

        Cancellation: the old configuration or the new one is in place, never something between.
        """
        async with self._one_at_a_time:
            try:
                # it compiles every rule, and the loop has other work
                config = await trio.to_thread.run_sync(load, self.config.path, self.config, limiter=self._thread)
                self._prepare()
                opened = await open_destinations(config, self._opened)
            except ConfigError as error:
                faults = tuple(map(str, error.faults))
                self.loaded = replace(self.loaded, failed=datetime.now(UTC), faults=faults)
                log.error("the configuration cannot be used; the router goes on with the one it has", faults=faults)
                return error.faults
            same = config.hash == self.config.hash
            replaced = [one for one in self._opened if one not in opened]
            self.config, self._opened = config, opened
            self.loaded = Loaded(config.hash, datetime.now(UTC))
            for one in replaced:
                self._nursery.start_soon(self._close, one)
            self._change()
            await self._changed()
            for warning in config.warnings:
                log.warning(str(warning))
            told = (
                "the configuration was read again; its files are as they were"
                if same
                else "another configuration is in place"
            )
            log.info(told, config=config.hash, replaced=[one.lane.name for one in replaced])
            return ()

    async def _close(self, one: Opened) -> None:
        try:
            await one.lane.retired()
        finally:
            await one.close()

    async def close(self) -> None:
        """Closes the destinations that are open."""
        for one in reversed(self._opened):
            await one.close()


@asynccontextmanager
async def going_live(config: Config) -> AsyncIterator[Live]:
    """Opens the destinations, and closes at the end of the block those that are open then.

    Raises:
        ConfigError: With the faults of all that cannot be opened.
    """
    opened = await open_destinations(config)
    async with trio.open_nursery() as nursery:
        live = Live(config, opened, nursery)
        try:
            yield live
        finally:
            nursery.cancel_scope.cancel()
            await live.close()
