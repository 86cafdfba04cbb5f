"""Divides what the intake has among the sources, so that a flood of one leaves the others theirs."""

from collections.abc import Iterable
from typing import Self


class Overloaded(Exception):
    """A source has used its share; the text says of what."""


class Shares:
    """Each source has an equal share of the requests that are handled at once, and of the bytes that they hold.

    Nobody can take what is another's, so a source is never refused for what the others do.

    Args:
        sources: Their names.
        requests: At once, of all together.
        memory: Bytes of bodies at once, of all together.
        largest: Bytes of the largest body: a share has room for one in any case.
    """

    def __init__(self, sources: Iterable[str], requests: int, memory: int, largest: int) -> None:
        self._requests = dict.fromkeys(sources, 0)
        self._held = dict.fromkeys(self._requests, 0)
        count = max(len(self._requests), 1)
        self.requests = max(requests // count, 1)
        """Of each source."""
        self.memory = max(memory // count, largest)
        """Of each source."""

    def request(self, source: str) -> "Holding":
        """A place among the requests, and what this one holds, for a ``with``.

        Raises:
            Overloaded: The source has none left.
        """
        if self._requests[source] >= self.requests:
            raise Overloaded(f"{self.requests} requests of it are under way")
        self._requests[source] += 1
        return Holding(self, source)

    def end(self, source: str, held: int) -> None:
        self._requests[source] -= 1
        self._held[source] -= held

    def take(self, source: str, size: int) -> None:
        if self._held[source] + size > self.memory:
            raise Overloaded(f"its requests under way have {self._held[source]:,} of {self.memory:,} bytes")
        self._held[source] += size


class Holding:
    """The bytes that one request holds."""

    def __init__(self, shares: Shares, source: str) -> None:
        self._shares = shares
        self._source = source
        self.held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shares.end(self._source, self.held)

    def reach(self, size: int) -> None:
        """Has the request hold so many bytes, or more if it did.

        Raises:
            Overloaded: The source has not enough left.
        """
        if size > self.held:
            self._shares.take(self._source, size - self.held)
            self.held = size
