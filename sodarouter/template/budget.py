"""What one rendering may spend, so that no template can hold the router up or fill its memory.

A sandbox alone does not: ``'x' * 10**9`` is one allocation, lists that hold one another twice are compared for ever, and a
loop that prints nothing never ends. So the clock is read wherever a template can go round, and what would become large
is weighed before it is made.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, timedelta
from datetime import time as time_of_day
from typing import Any

from jinja2 import Undefined
from pydantic import SecretStr

SECONDS = 1.0
"""Of computing. Not of the clock on the wall: a machine that is busy with other things must not make dead letters."""
LARGEST = 1 << 24
"""Characters of one value, counting an item of a list as `ITEM`; a body of 5 MiB fits, written as indented JSON."""
MOST_PRINTED = 1 << 26
"""Characters that are printed in all, inside macros and blocks too."""
ITEM = 16
_TICKS = 64
"""The clock is read once in so many ticks: asking for a thread's own time is a system call."""

_PER_TICK = 1 << 12
"""Characters that are made in about the time of a tick."""

_PLAIN = (str, range, int, float, complex, bytes, date, time_of_day, timedelta, SecretStr, Undefined, type(None))


class Exceeded(Exception):
    """The template does more than one rendering may."""


class NoText(TypeError):
    """An object of the router's is printed as a whole, which gives nothing that people should see."""


class Budget:
    """Of one rendering, in one thread."""

    def __init__(self) -> None:
        self._until = time.thread_time() + SECONDS
        self._ticks = 0
        self._printed = 0
        self._kept = 0
        self._weights: dict[int, tuple[int, object]] = {}

    def tick(self, count: int = 1) -> None:
        """Called wherever a template can go round.

        Raises:
            Exceeded: The time is over.
        """
        self._ticks += count
        if self._ticks < _TICKS:
            return
        self._ticks = 0
        if time.thread_time() > self._until:
            raise Exceeded(f"it was stopped after {SECONDS:g} s of computing")

    def printed(self, length: int) -> None:
        """To be told of each text that is printed.

        Raises:
            Exceeded: With these characters, more has been printed than may be.
        """
        self._printed += length
        if self._printed > MOST_PRINTED:
            raise Exceeded(f"it prints more than {MOST_PRINTED:,} characters, in blocks and macros too")

    def allow(self, weight: int) -> None:
        """To be called before something of this weight is made.

        Raises:
            Exceeded: It is too large.
        """
        if weight > LARGEST:
            raise Exceeded(f"it makes a value of more than {LARGEST:,} characters")
        self.tick(1 + weight // _PER_TICK)

    def weigh(self, value: Any) -> int:
        """About how many characters a value has when it is written out, however often it holds the same thing.

        Raises:
            Exceeded: It is too large.
        """
        if isinstance(value, str | bytes):
            return len(value)
        if isinstance(value, int):
            return 1 + value.bit_length() // 3
        if not _holds(value):
            return ITEM
        # nothing in the sandbox changes a container, and one that is kept here keeps its id from others
        if known := self._weights.get(id(value)):
            return known[0]
        parts = (part for pair in value.items() for part in pair) if isinstance(value, Mapping) else value
        weight = ITEM
        for part in parts:
            weight += ITEM + self.weigh(part)
            self.tick()
            if weight > LARGEST:
                break
        self.allow(weight)
        self._kept += weight
        if self._kept > LARGEST:
            # what a loop has made and left must not be kept for its weight alone
            self._weights.clear()
            self._kept = weight
        self._weights[id(value)] = weight, value
        return weight

    def weighed(self, value: Any) -> Any:
        """The value, or what is lazily made with a tick for each item.

        Raises:
            Exceeded: It is too large.
        """
        if not isinstance(value, str) and isinstance(value, Iterator):
            return self.ticking(value)
        self.allow(self.weigh(value))
        return value

    def ticking(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self.tick()
            yield value

    def gathered(self, values: Iterable[Any], between: int = 0) -> list[Any]:
        """What is about to be joined.

        Args:
            values: Of any number.
            between: Characters that will stand between two of them.

        Raises:
            Exceeded: Together they are too large.
        """
        parts, weight = [], 0
        for value in values:
            weight += self.text(value) + between
            self.allow(weight)
            parts.append(value)
        return parts

    def text(self, value: object) -> int:
        """The weight of what is about to be made text.

        Raises:
            Exceeded: It is too large.
            NoText: It has fields to print, but is no text.
        """
        weight = self.weigh(value)
        if not isinstance(value, str):
            self._check(value)
        self.allow(weight)
        return weight

    def _check(self, value: Any) -> None:
        self.tick()
        if _holds(value):
            for part in value.values() if isinstance(value, Mapping) else value:
                self._check(part)
        elif not isinstance(value, _PLAIN):
            kind = type(value).__name__
            raise NoText(f"{'an' if kind[0] in 'AEIO' else 'a'} {kind} is no text; print one of its fields")


_kinds: dict[type, bool] = {}


def _holds(value: object) -> bool:
    """Whether it holds other values. Asking the abstract classes each time would take half of a rendering."""
    kind = type(value)
    if (known := _kinds.get(kind)) is None:
        known = issubclass(kind, Mapping | Sequence | Set) and not issubclass(kind, str | bytes | range)
        _kinds[kind] = known
    return known


_current: ContextVar[Budget] = ContextVar("budget")


def current() -> Budget:
    """That of the rendering that is under way in this thread.

    Raises:
        LookupError: There is none.
    """
    return _current.get()


@contextmanager
def spending() -> Iterator[None]:
    """One rendering, with a budget of its own."""
    token = _current.set(Budget())
    try:
        yield
    finally:
        _current.reset(token)
