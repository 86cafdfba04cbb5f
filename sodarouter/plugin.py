"""What a plugin marks its hooks with, and the base of one that has options of its own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Generic, TypeVar, get_args

import pluggy
import structlog

from sodarouter.metrics import Metrics
from sodarouter.options import Options

API_VERSION = "1.0"
"""The version of what plugins are written against: the front door and the hooks. It is no version of the router.

The minor version grows when something is added, and the major one when something is removed or changes its meaning.
"""

hookimpl = pluggy.HookimplMarker("sodarouter")
"""Marks a function or method as the implementation of a hook of `sodarouter.hookspecs`."""

OptionsT = TypeVar("OptionsT", bound=Options)


class Configured(Generic[OptionsT]):
    """What is made with validated options, whose model a subclass names in brackets: ``class Mine(Plugin[MyOptions])``."""

    options_type: ClassVar[type[Options]] = Options
    example: ClassVar[Mapping[str, Any]] = {}
    """Keys of a table that it can be tested with, by `sodarouter plugin verify`. In a text, ``{folder}`` becomes a new
    folder; of a destination ``{sink}`` also the URL of an HTTP server that takes all, and ``{address}`` the same without
    ``http://``, and ``{host}`` only its host and port."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Options):
                    cls.options_type = argument


_name: ContextVar[str] = ContextVar("name")
_redact: ContextVar[Callable[[str], str]] = ContextVar("redact", default=str)


@contextmanager
def making(name: str, redact: Callable[[str], str]) -> Iterator[None]:
    """Tells the plugin that is made in the block what it is not called with: its own contract has the options alone.

    Args:
        name: Its name.
        redact: Takes secrets out of what it says of itself.
    """
    tokens = _name.set(name), _redact.set(redact)
    try:
        yield
    finally:
        _name.reset(tokens[0])
        _redact.reset(tokens[1])


class Plugin(Configured[OptionsT]):
    """A plugin whose entry point names this class is made once, with the options of its ``[plugin.NAME]`` table.

    A plugin without options needs no class: its entry point may name a module or any object that implements hooks.
    """

    def __init__(self, options: OptionsT) -> None:
        self.options = options
        self.metrics = Metrics(_redact.get())
        self.log: structlog.stdlib.BoundLogger = structlog.get_logger(plugin=_name.get(type(self).__name__))
