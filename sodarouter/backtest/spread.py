"""Samples of a stream of which nobody knows how long it is: the first, and others spread over all of it."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Spread(Generic[T]):
    """Keeps every so many that are offered, and lets go of every other one when there are too many. No chance is in it:
    the same stream gives the same samples.

    Args:
        most: How many are kept at most.
    """

    def __init__(self, most: int) -> None:
        self.kept: list[T] = []
        self.seen = 0
        self._most = most
        self._every = 1

    def offer(self, make: Callable[[], T]) -> None:
        """Offers what ``make`` makes: it is only called for what is kept."""
        if self._most and self.seen % self._every == 0:
            if len(self.kept) == self._most:
                self.kept = self.kept[::2]
                self._every *= 2
            if len(self.kept) < self._most and self.seen % self._every == 0:
                self.kept.append(make())
        self.seen += 1
