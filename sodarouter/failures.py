"""Whatever a plugin may raise: kept from the router, and said in one line."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import trio

MAX_STORED = 4096
"""Characters of a reason or response that are stored with an attempt."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""The control characters but for the tab and the end of a line."""


class FaultElsewhere(Exception):
    """The fault of a plugin in a process of its own: the text is what `describe` said there, or how the process ended."""


@contextmanager
def contained(failures: list[BaseException]) -> Iterator[None]:
    """Adds to ``failures`` whatever the block raises, each member of a group by itself.

    Only a `trio.Cancelled` that comes from outside the block goes on, also out of a group that holds it together with a
    plugin's own failure, as happens when a clean-up fails while the router stops. ``except* Exception`` would do the same
    but for the exceptions beside ``Exception``: SystemExit, asyncio's CancelledError, the panics of extensions written in
    Rust, a ``Cancelled`` that a plugin had kept.
    """
    try:
        yield
    except BaseException as error:
        group = error if isinstance(error, BaseExceptionGroup) else BaseExceptionGroup("", [error])
        # a coroutine that is thrown away must be allowed to end
        passing, own = group.split((trio.Cancelled, GeneratorExit) if _ending() else ())
        if own is None:
            raise
        failures.extend(_leaves(own))
        if passing is not None:
            raise passing from None


def _ending() -> bool:
    """Whether this task is cancelled or thrown away. Otherwise a plugin has raised what it had kept of another scope."""
    try:
        return trio.current_effective_deadline() == -math.inf
    except RuntimeError:  # trio has ended
        return True


def describe(error: BaseException) -> str:
    """``ConnectionError: refused``. An exception whose text cannot be made is told by its type."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # it is the plugin's own class
        text = ""
    if isinstance(error, FaultElsewhere):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def storable(text: str) -> str:
    """What others say of a failure, fit to be stored and shown; secrets are to be taken out before."""
    # what other servers answer must not reach a terminal as commands to it
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text[:MAX_STORED])
    # a file's name that is no UTF-8 comes as surrogates, which no store takes
    return text.encode(errors="backslashreplace").decode()
