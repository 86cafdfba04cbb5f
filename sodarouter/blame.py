"""Who kept the loop, where code of a plugin's runs in a step of somebody else's task."""

import time
from contextvars import Context, ContextVar

SLOW = 0.1
"""Seconds from which it is told: nothing else goes on in the router meanwhile."""

_last: ContextVar[tuple[str, float]] = ContextVar("blame")


def blame(who: str) -> None:
    """Says whose the time was that has just passed.

    Args:
        who: Such as ``plugin NAME``.
    """
    _last.set((who, time.perf_counter()))


def blamed(context: Context, since: float) -> str | None:
    """Who was blamed in a context since then, on the clock of `time.perf_counter`."""
    who, when = context.get(_last, (None, 0.0))
    return who if when >= since else None
