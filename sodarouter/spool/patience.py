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


class Outage:
    """Tells the log when a spool begins to fail, and when all that has failed works again, however many ask it."""

    def __init__(self) -> None:
        self._failing: set[object] = set()
        """Who has failed and has not had success since."""
        self._told: set[str] = set()

    def fails(self, who: object, error: SpoolError) -> None:
        """Each reason is told once."""
        self._failing.add(who)
        if (reason := str(error)) not in self._told:
            self._told.add(reason)
            log.error("the spool fails; what waits for it asks again every second", error=reason)

    def works(self, who: object) -> None:
        """It has done for somebody what it could not do before."""
        if who in self._failing:
            self._failing.remove(who)
            if not self._failing:
                self._told.clear()
                log.info("the spool works again")


async def patiently(outage: Outage, ask: Callable[[], Awaitable[T]]) -> T:
    """The answer, once the spool gives one.

    Args:
        outage: The spool's.
        ask: Asks it.
    """
    who = object()
    while True:
        try:
            answer = await ask()
        except SpoolError as error:
            outage.fails(who, error)
            await trio.sleep(PAUSE)
        else:
            outage.works(who)
            return answer
