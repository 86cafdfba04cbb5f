"""What can be seen of a destination type without making one: its word, and the model of its options."""

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic.json_schema import PydanticJsonSchemaWarning

from sodarouter.config.tables import DestinationTable
from sodarouter.contract import check_type
from sodarouter.errors import PluginError
from sodarouter.failures import describe
from sodarouter.options import Options
from sodarouter.plugins import AnyDestination
from sodarouter.testing.report import DoubtfulError, NotWellError

_WORD = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SECRET = re.compile(r"(?i)(^|_)(token|password|passwd|secret|key|credentials?|webhook)$|^(\w*hook_)?url$")


def usable(kind: type[AnyDestination]) -> None:
    """The router can make and call it"""
    try:
        check_type(kind)
    except PluginError as error:
        raise NotWellError(str(error)) from None


def word(kind: type[AnyDestination]) -> None:
    """Its type is a word in lower case, with hyphens where it has several parts"""
    if not _WORD.fullmatch(kind.type):
        raise NotWellError(f"{kind.type!r} is none; people write it in router.toml")


def strict(kind: type[AnyDestination]) -> None:
    """Its options refuse unknown keys and wrong types, and cannot be changed"""
    for model in models(kind.options_type):
        lax = [key for key, value in _STRICT.items() if model.model_config.get(key) != value]
        if lax:
            raise NotWellError(
                f"{model.__name__} has another {' and '.join(lax)} in its model_config than Options; leave it as it is"
            )


_STRICT = {"extra": "forbid", "strict": True, "frozen": True}


def described(kind: type[AnyDestination]) -> None:
    """Every option has a description"""
    # a literal of one value says which table it is, and can have no other
    bare = [
        place
        for place, info in fields(kind.options_type)
        if not info.description and not (get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1)
    ]
    if bare:
        raise NotWellError(f"put a docstring under {', '.join(bare)}")


def own_keys(kind: type[AnyDestination]) -> None:
    """No option has the name of a key that every destination has"""
    taken = kind.options_type.model_fields.keys() & DestinationTable.model_fields.keys()
    if taken:
        raise NotWellError(f"rename {', '.join(sorted(taken))}; the router keeps these itself")


def schema(kind: type[AnyDestination]) -> None:
    """A JSON Schema can be made of its options"""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)  # of defaults that JSON has no word for
            kind.options_type.model_json_schema()
    except Exception as error:
        raise NotWellError(f"{describe(error)}; give that type WithJsonSchema") from None


def secret(kind: type[AnyDestination]) -> None:
    """What looks like a secret is one"""
    plain = [place for place, info in fields(kind.options_type) if _looks_secret(place) and _is_text(info)]
    if plain:
        raise DoubtfulError(f"{', '.join(plain)}: make it a Secret, or an HttpUrl, if whoever knows it can use it")


FORM: tuple[Callable[[type[AnyDestination]], None], ...] = (usable, word, strict, described, own_keys, schema, secret)
"""The checks, in their order. What holds is the first line of the docstring."""


def models(model: type[Options]) -> Iterator[type[Options]]:
    """A model of options, and those inside it."""
    seen: list[type[Options]] = [model]
    for one in seen:
        yield one
        inner = {part for info in one.model_fields.values() for part in _parts(info.annotation)}
        seen += sorted(
            (part for part in inner if isinstance(part, type) and issubclass(part, Options) and part not in seen),
            key=lambda part: part.__name__,
        )


def fields(model: type[Options]) -> Iterator[tuple[str, FieldInfo]]:
    """The options, those inside others too, each with where it stands."""
    for one in models(model):
        for name, info in one.model_fields.items():
            yield (info.alias or name) if one is model else f"{one.__name__}.{info.alias or name}", info


def holds_secret(info: FieldInfo) -> bool:
    """Whether an option may be a `Secret`."""
    return any(isinstance(part, type) and issubclass(part, SecretStr) for part in _parts(info.annotation))


def _looks_secret(place: str) -> bool:
    return bool(_SECRET.search(place.rpartition(".")[2]))


def _is_text(info: FieldInfo) -> bool:
    return str in _parts(info.annotation) and not holds_secret(info)


def _parts(annotation: Any) -> set[Any]:
    """What a type is made of."""
    found = {annotation}
    for inner in get_args(annotation):
        found |= _parts(inner)
    return found
