"""Looks at what the router holds for all who ask: one look at a time, and nobody waits for it longer than a limit.

The spool finishes what it has begun even if whoever asked is cancelled, so a limit round the question itself would not
hold when the disk hangs, and every probe would leave one more question in its queue.
"""

from collections.abc import Awaitable, Callable

import trio

from sodarouter.delivery import Stats
from sodarouter.errors import SpoolError

PATIENCE = 5.0
"""Seconds: less than the 10 after which Prometheus gives a scrape up."""


class _Look:
    def __init__(self) -> None:
        self.wanted = trio.Event()
        self.done = trio.Event()
        self.stats = Stats()
        self.failure: Exception | None = None


class Survey:
    """Called, it gives the `Stats` of a moment after the call; all who call while it looks share the next look.

    Args:
        look: Takes as long as it likes.
        patience: Seconds.

    Raises:
        SpoolError: ``look`` has not answered within ``patience``. Beside it, whatever ``look`` raises.
    """

    def __init__(self, look: Callable[[], Awaitable[Stats]], *, patience: float = PATIENCE) -> None:
        self._look = look
        self._patience = patience
        self._next = _Look()

    async def run(self) -> None:
        """Looks whenever somebody asks, until it is cancelled."""
        while True:
            look = self._next
            await look.wanted.wait()
            self._next = _Look()
            try:
                look.stats = await self._look()
            except Exception as error:  # it is for those who ask
                look.failure = error
            look.done.set()

    async def __call__(self) -> Stats:
        look = self._next
        look.wanted.set()
        with trio.move_on_after(self._patience):
            await look.done.wait()
            if look.failure is not None:
                raise look.failure
            return look.stats
        raise SpoolError(f"the spool has not answered for {self._patience:g} seconds; see to the disk under it")
