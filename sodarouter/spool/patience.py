"""Asks a spool that fails again and again: a full disk is a pause for the deliveries, not their end."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import trio

from sodarouter.errors import SpoolError

T = TypeVar("T")

PAUSE = 1.0
"""Seconds between two tries."""

log = structlog.get_logger()


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer, once the spool gives one. Its failures are logged when they change."""
    told = ""
    while True:
        try:
            answer = await ask()
        except SpoolError as error:
            if str(error) != told:
                told = str(error)
                log.error("the spool fails; it is asked again every second", error=told)
            await trio.sleep(PAUSE)
        else:
            if told:
                log.info("the spool works again")
            return answer
