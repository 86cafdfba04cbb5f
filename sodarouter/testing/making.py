"""Makes what a test calls itself: the types of plugins with their options, and events of bodies of one's own."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from sodarouter.errors import ConfigError, Fault
from sodarouter.event import Event
from sodarouter.faults import faults
from sodarouter.options import Options, Place
from sodarouter.parse import parse
from sodarouter.plugin import Plugin
from sodarouter.plugin import making as telling
from sodarouter.redact import Redactor
from sodarouter.source import SourceType
from sodarouter.testing.samples import MOMENT
from sodarouter.verification import VerificationType

MadeT = TypeVar("MadeT", bound="Plugin[Any] | SourceType[Any] | VerificationType")
OptionsT = TypeVar("OptionsT", bound=Options)


def make(
    kind: type[MadeT], options: Mapping[str, Any] | None = None, *, name: str = "made", folder: Path | None = None
) -> MadeT:
    """An instance of a `SourceType`, a `VerificationType` or a `Plugin`, as the router makes it of a table of `router.toml`.

    Args:
        kind: The class.
        options: The keys of the table; by default the class's own `example`.
        name: That of the source or of the plugin.
        folder: Where relative paths start.

    Raises:
        ConfigError: With every fault of the options.
    """
    return made(kind, options, name, Place(folder or Path()))


def made(kind: type[MadeT], options: Mapping[str, Any] | None, name: str, place: Place) -> MadeT:
    """As `make`, in a place that gets to know the secrets."""
    table = dict(kind.example if options is None else options)
    of: Any = kind
    result: MadeT
    if issubclass(kind, VerificationType):
        word = kind.model_fields["type"].default
        result = validated(of, {"type": word} | table, place, "source", name, "verify", word)
    elif issubclass(kind, SourceType):
        result = of(name, validated(kind.options_type, table, place, "source", name))
    else:
        own = validated(of.options_type, table, place, "plugin", name)
        with telling(name, Redactor(place.secrets)):
            result = of(own)
    return result


def validated(model: type[OptionsT], table: Mapping[str, Any], place: Place, *keys: str) -> OptionsT:
    """The options that a table gives.

    Args:
        keys: Where the table stands.

    Raises:
        ConfigError: With every fault.
    """
    try:
        return model.model_validate(table, context=place)
    except ValidationError as error:
        hide = Redactor(place.secrets)
        told = faults(error, model, table, *keys)
        raise ConfigError([Fault(one.place, hide(one.fault), one.hint) for one in told]) from None


def event_of(body: bytes | Mapping[str, Any], *, source: str = "soda", received: datetime = MOMENT) -> Event:
    """The event that a body becomes which Soda sends, or to which a source type translates.

    Args:
        body: JSON, or what is to be JSON.
        source: The name of the source that took it in.
        received: When.

    Raises:
        Malformed: It is no event; the sender would be answered with the text.
    """
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Event.taken_in(source, received, raw, parse(raw))
