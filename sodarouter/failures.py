"""Whatever a plugin may raise: kept from the router, and said in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


@contextmanager
def contained(failures: list[BaseException]) -> Iterator[None]:
    """Adds to ``failures`` whatever the block raises, each member of a group by itself.

    `trio.Cancelled` alone goes on, also out of a group that holds it together with a plugin's own failure, as happens
    when a clean-up fails while the router stops. ``except* Exception`` would do the same but for the exceptions beside
    ``Exception``: SystemExit, asyncio's CancelledError, the panics of extensions written in Rust.
    """
    try:
        yield
    except BaseException as error:
        group = error if isinstance(error, BaseExceptionGroup) else BaseExceptionGroup("", [error])
        # a coroutine that is thrown away must be allowed to end
        passing, own = group.split((trio.Cancelled, GeneratorExit))
        if own is None:
            raise
        failures.extend(_leaves(own))
        if passing is not None:
            raise passing from None


def describe(error: BaseException) -> str:
    """``ConnectionError: refused``. An exception whose text cannot be made is told by its type."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # it is the plugin's own class
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
