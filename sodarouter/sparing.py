"""Logs what strangers can repeat as often as they like once a minute, with the number of times."""

import time
from collections.abc import Callable
from typing import Any

EVERY = 60.0
"""Seconds between two lines of the same kind."""
KINDS = 1000
"""Kinds that are remembered; then it begins anew."""


class Sparing:
    """Keeps a line from being written again within a minute; the next one says how many were kept."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told: dict[tuple[Any, ...], float] = {}
        self._kept: dict[tuple[Any, ...], int] = {}

    def __call__(self, write: Callable[..., None], message: str, *kind: Any, **known: Any) -> None:
        """
        Args:
            write: A method of a logger.
            message: The line's message.
            kind: What, beside the message, makes two lines of one kind.
            known: The line's keys.
        """
        key, now = (message, *kind), self._now()
        if now - self._told.get(key, -EVERY) < EVERY:
            self._kept[key] = self._kept.get(key, 0) + 1
            return
        if len(self._told) >= KINDS:
            self._told.clear()
            self._kept.clear()
        self._told[key] = now
        more = self._kept.pop(key, 0)
        write(message, **known, **({"more_since": more} if more else {}))
