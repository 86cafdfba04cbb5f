"""The kinds of value that `router.toml` and the options of plugins are written in.

Validation happens in a `Place`, which knows the folder that relative paths start from and remembers every secret it
resolved, so that the router can keep them out of whatever it prints.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    GetJsonSchemaHandler,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema

from sodarouter.descriptions import descriptions


class Options(BaseModel):
    """The base of every table of `router.toml`, a plugin's own included: strict, unknown keys refused, frozen.

    Write a docstring under each field: the documentation and the JSON Schema are made from it.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        validate_default=True,
        # the input may be a secret that stands where it does not belong
        hide_input_in_errors=True,
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        written = descriptions(cls)
        for name, info in cls.model_fields.items():
            if name in written and (key := info.alias or name) in properties:
                properties[key].setdefault("description", written[name])
        return schema


@dataclass
class Place:
    """Where a configuration is read: pydantic's validation context."""

    folder: Path = field(default_factory=Path)
    secrets: set[str] = field(default_factory=set)
    references: dict[str, str] = field(default_factory=dict)
    """What was found where secrets refer to: each variable and file is read once."""

    def apart(self) -> "Place":
        """The same place for one table, which then knows what that table alone refers to."""
        return Place(self.folder, self.secrets)

    def secret(self, value: str) -> SecretStr:
        """Wraps ``value`` and remembers it for the redaction of everything the router prints."""
        self.secrets.add(value)
        return SecretStr(value)

    def referred(self, reference: str, look: Callable[[], str]) -> SecretStr:
        """The secret behind a reference, which ``look`` reads unless it is known already."""
        if reference not in self.references:
            self.references[reference] = look()
        return self.secret(self.references[reference])


class Inherited(str):
    """A text that was written in another file than the table that it stands in: a path in it starts at that file.

    Args:
        folder: That of the file.
    """

    folder: Path

    def __new__(cls, text: str, folder: Path) -> "Inherited":
        made = super().__new__(cls, text)
        made.folder = folder
        return made

    def __getnewargs__(self) -> tuple[str, Path]:  # type: ignore[override]  # it is made of both
        return str(self), self.folder


OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True, repr=False)
class Given:
    """A table as it was written, and what it takes to make the same options of it once more in another process."""

    table: Mapping[str, Any]
    folder: Path
    references: Mapping[str, str]

    @classmethod
    def at(cls, place: Place, table: Mapping[str, Any]) -> "Given":
        """A table that was validated in a place of its own."""
        return cls(table, place.folder, place.references)

    def validated(self, model: type[OptionsT], secrets: set[str]) -> OptionsT:
        """The options. Neither the environment nor a file is asked again for a secret.

        Args:
            secrets: Gets those that are in them.
        """
        return model.model_validate(self.table, context=Place(self.folder, secrets, dict(self.references)))


def place_of(info: ValidationInfo) -> Place:
    """Where the option that is validated stands."""
    return info.context if isinstance(info.context, Place) else Place()


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")


def parse_duration(text: object) -> float:
    """Seconds from ``"30s"``, ``"1h 30m"``, ``"500ms"`` or ``"30d"``.

    Raises:
        ValueError: It is not written so.
    """
    hint = 'a duration is written like "30s", "5m", "1h 30m" or "7d"'
    if not isinstance(text, str):
        raise ValueError(f"{hint}, not {text!r}")  # noqa: TRY004 (pydantic turns only ValueError into a fault)
    text = text.strip()
    seconds, at = 0.0, 0
    while part := _PART.match(text, at):
        seconds += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    if at != len(text) or not text:
        raise ValueError(f"{hint}, not {text!r}")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration for people, in at most two units: ``90.0`` gives ``1m 30s``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, _UNITS[unit])
        if count:
            parts.append(f"{count:.0f}{unit}")
    return " ".join(parts[:2])


LONGEST = 36_525 * 86_400.0
"""Seconds in a duration; added to a time of today it is still one that can be stored and shown."""


def _duration(value: object) -> float:
    # a default is already in seconds
    seconds = value if isinstance(value, float) else parse_duration(value)
    if not 0 <= seconds <= LONGEST:
        raise ValueError("a duration is not negative, and at most a hundred years")
    return seconds


def read_secret(value: object, info: ValidationInfo) -> SecretStr:
    """What an option that takes a secret was given, or what it refers to.

    Raises:
        ValueError: It cannot be had; the message does not quote it.
    """
    place = place_of(info)
    match value:
        case SecretStr():
            return place.secret(value.get_secret_value())
        case str():
            if not value:
                raise ValueError("a secret must not be empty")
            return place.secret(value)
        case {"env": str(name), **rest} if not rest:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                # it may be the secret itself, so it is not repeated
                raise ValueError("env names an environment variable; the secret itself is not written there")
            return place.referred(f"env {name}", lambda: _variable(name))
        case {"file": str(name), **rest} if not rest:
            path = _folder(name, info) / name
            return place.referred(f"file {path}", lambda: _content(name, path))
        case _:
            raise ValueError('a secret is a string, { env = "NAME" } or { file = "path" }')


def _variable(name: str) -> str:
    found = os.environ.get(name)
    if not found:
        raise ValueError(f"the environment variable {name} is not set or is empty")
    return found


def _content(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the secret's file {name!r} cannot be read: {_cause(error)}") from None
    if not text:
        raise ValueError(f"the secret's file {name!r} is empty")
    return text


def _cause(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is not UTF-8"


def _folder(name: str, info: ValidationInfo) -> Path:
    return name.folder if isinstance(name, Inherited) else place_of(info).folder


def _path(value: object, info: ValidationInfo) -> object:
    return _folder(value, info) / Path(value).expanduser() if isinstance(value, str) and value else value


def _resolve(path: Path, info: ValidationInfo) -> Path:
    return place_of(info).folder / path


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """A range of addresses, from ``"10.0.0.0/8"`` or from one address.

    Raises:
        ValueError: It is not written so.
    """
    if not isinstance(value, str):
        raise ValueError('an address range is written like "10.0.0.0/8"')  # noqa: TRY004 (pydantic's rule)
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f'{value!r} is no address or range such as "192.0.2.7" or "10.0.0.0/8"') from None
    if "/" in value and ip_address(value.partition("/")[0]) != network.network_address:
        raise ValueError(f"{value!r} has bits set beyond its prefix; did you mean '{network}'?")
    if isinstance(network.network_address, IPv6Address) and network.network_address.ipv4_mapped:
        raise ValueError(f"{value!r} is a range of IPv4 addresses; write it as one")
    return network


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)\s*)+$",
            "examples": ["30s", "1h 30m", "7d"],
        }
    ),
]
"""Seconds, written as ``"30s"``."""

Size = ByteSize
"""Bytes, written as ``"2 MiB"`` or a number."""


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


LISTED_SCHEMA = WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}})
"""Of a list of texts, of which one may be written without the brackets; `LISTED` lets it be so."""

LISTED = BeforeValidator(_listed)


def _reference(key: str, value: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}


SECRET_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "minLength": 1},
            _reference("env", {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}),
            _reference("file", {"type": "string"}),
        ]
    }
)

Secret = Annotated[SecretStr, BeforeValidator(read_secret), SECRET_SCHEMA]
"""A value that is never printed: ``{ env = "NAME" }``, ``{ file = "path" }`` or the text itself."""

ConfigPath = Annotated[Path, BeforeValidator(_path), AfterValidator(_resolve), WithJsonSchema({"type": "string"})]
"""A path; a relative one starts at the folder of the file that it is written in."""

Network = Annotated[IPv4Network | IPv6Network, PlainValidator(parse_network), WithJsonSchema({"type": "string"})]
"""An option whose value is an address or a range of them: ``"192.0.2.7"``, ``"10.0.0.0/8"``, ``"2001:db8::/32"``."""
