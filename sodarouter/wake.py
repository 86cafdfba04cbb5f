"""Waiting for a call: to look again, for a task that waits for work, or to go on."""

from math import inf

import trio

LONGEST = 60.0
"""Seconds. The wall clock, which says what is due, may be set while trio's, which waits, goes on."""


class Wake:
    """An event that can be set again and again. What is set while nobody waits is not lost."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._by = inf
        """When it is set by itself, on trio's clock."""
        self._waiting = trio.CancelScope()
        """Of the last wait."""

    def set(self) -> None:
        self._event.set()

    def within(self, seconds: float) -> None:
        """As `set`, once there was so much time for more to come."""
        self._waiting.deadline = self._by = min(self._by, trio.current_time() + seconds)

    async def wait(self, seconds: float | None = None) -> None:
        """Returns when set since the last wait, or after ``seconds``, a minute at most."""
        self.within(LONGEST if seconds is None else min(max(seconds, 0.0), LONGEST))
        self._waiting = trio.CancelScope(deadline=self._by)
        with self._waiting:
            await self._event.wait()
        self._event = trio.Event()
        self._by = inf


async def rescheduled() -> None:
    """Waits until somebody reschedules this task, whatever is cancelled meanwhile.

    As a shielded wait for an event would, without making a scope and an event for every time.
    """
    await trio.lowlevel.wait_task_rescheduled(_not_to_be_aborted)


def _not_to_be_aborted(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
