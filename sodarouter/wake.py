"""A call to look again, for a task that waits for work."""

import math

import trio


class Wake:
    """An event that can be set again and again. What is set while nobody waits is not lost."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Returns when set since the last wait, or after ``seconds``; ``None`` waits as long as it takes."""
        with trio.move_on_after(math.inf if seconds is None else max(seconds, 0.0)):
            await self._event.wait()
        self._event = trio.Event()
