"""Logs what strangers can repeat as often as they like once a minute, with the number of times."""

import time
from collections.abc import Callable
from typing import Any

EVERY = 60.0
"""Seconds between two lines of the same kind."""
KINDS = 1000
"""Kinds that are remembered; then it begins anew."""


class Sparing:
    """Keeps a line from being written again within a minute; the next one says how many were kept.

    Args:
        most: Lines of a kind in a minute.
    """

    def __init__(self, *, most: int = 1, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._now = now
        self._told: dict[tuple[Any, ...], tuple[float, int]] = {}
        """When the minute of each kind began, and how many were written in it."""
        self._kept: dict[tuple[Any, ...], int] = {}

    def __call__(self, write: Callable[..., None], message: str, *kind: Any, **known: Any) -> None:
        """Writes the line, or counts it.

        Args:
            write: A method of a logger.
            message: The line's message.
            kind: What, beside the message, makes two lines of one kind.
            known: The line's keys.
        """
        key, now = (message, *kind), self._now()
        since, written = self._told.get(key, (-EVERY, 0))
        if now - since >= EVERY:
            since, written = now, 0
        elif written >= self._most:
            self._kept[key] = self._kept.get(key, 0) + 1
            return
        if len(self._told) >= KINDS:
            self._told.clear()
            self._kept.clear()
        self._told[key] = since, written + 1
        more = self._kept.pop(key, 0)
        write(message, **known, **({"more_since": more} if more else {}))
