"""Whatever a plugin may raise: kept from the router, and said in one line."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard, TypeVar

import trio

from sodarouter.errors import SodarouterError

MAX_STORED = 4096
"""Characters of a reason or response that are stored with an attempt."""
MAX_LOOKED_AT = 64 * 1024
"""Characters of a text that are looked at: to search ten million for secrets would keep the loop for a second."""
MAX_NAME = 200
"""Characters of the name of a plugin's class."""

T = TypeVar("T")

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
        leaves, passing = _leaves(error), []
        if _ending():
            # a coroutine that is thrown away must be allowed to end
            passing = [leaf for leaf in leaves if is_a(leaf, trio.Cancelled) or is_a(leaf, GeneratorExit)]
        if len(passing) == len(leaves):
            raise
        going = set(map(id, passing))
        failures.extend(leaf for leaf in leaves if id(leaf) not in going)
        if passing:
            raise BaseExceptionGroup("", passing) from None


def _ending() -> bool:
    """Whether this task is cancelled or thrown away. Otherwise a plugin has raised what it had kept of another scope."""
    try:
        return trio.current_effective_deadline() == -math.inf
    except RuntimeError:  # trio has ended
        return True


def describe(error: BaseException) -> str:
    """``ConnectionError: refused``. An exception whose text cannot be made is told by its type."""
    try:
        text = " ".join(plain(str(error)).split())
    except BaseException:  # it is the plugin's own class
        text = ""
    if is_a(error, FaultElsewhere):
        return text
    return f"{kind_of(error)}: {text}" if text else kind_of(error)


def plainly(error: BaseException) -> str:
    """As `describe`, but what the system says in its own words: ``/proc/x: no such file or directory``."""
    if is_a(error, OSError) and type(said := _said(error)) is str:
        return f"{name}: {said.lower()}" if type(name := _file(error)) is str else said.lower()
    told = describe(error)
    return told.removeprefix(f"{kind_of(error)}: ") if is_a(error, OSError) or is_a(error, SodarouterError) else told


# A subclass may bring code of the plugin's along, which must not run where nothing contains it: not even isinstance
# leaves a value alone, it asks for its ``__class__``.


def plain(text: str, most: int = MAX_LOOKED_AT) -> str:
    """The beginning of a text, as nothing but text."""
    return str.__getitem__(text, slice(most))


def is_a(value: object, kind: type[T]) -> TypeGuard[T]:
    """Whether a value is an instance of a class, by its type alone."""
    return issubclass(type(value), kind)


def kind_of(value: object) -> str:
    """The name of a value's class."""
    return plain(_name(type(value)), MAX_NAME)


_name = vars(type)["__name__"].__get__
_said = vars(OSError)["strerror"].__get__
_file = vars(OSError)["filename"].__get__
_inner = vars(BaseExceptionGroup)["exceptions"].__get__


def _leaves(error: BaseException) -> list[BaseException]:
    """In their order; groups may be nested deeper than functions can call themselves."""
    leaves: list[BaseException] = []
    left = [error]
    while left:
        one = left.pop()
        if is_a(one, BaseExceptionGroup):
            left.extend(reversed(_inner(one)))
        else:
            leaves.append(one)
    return leaves


def storable(text: str) -> str:
    """What others say of a failure, fit to be stored and shown; secrets are to be taken out before."""
    # what other servers answer must not reach a terminal as commands to it
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text[:MAX_STORED])
    # a file's name that is no UTF-8 comes as surrogates, which no store takes
    return text.encode(errors="backslashreplace").decode()
