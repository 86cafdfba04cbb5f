"""A call to look again, for a task that waits for work."""

import trio

LONGEST = 60.0
"""Seconds. The wall clock, which says what is due, may be set while trio's, which waits, goes on."""


class Wake:
    """An event that can be set again and again. What is set while nobody waits is not lost."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Returns when set since the last wait, or after ``seconds``, a minute at most."""
        with trio.move_on_after(LONGEST if seconds is None else min(max(seconds, 0.0), LONGEST)):
            await self._event.wait()
        self._event = trio.Event()
