"""What can be seen of a type without making one: its word, and the model of its options."""

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic.json_schema import PydanticJsonSchemaWarning

from sodarouter.config.tables import DestinationTable, SourceTable
from sodarouter.contract import check_source, check_type, check_verification
from sodarouter.descriptions import descriptions
from sodarouter.errors import PluginError
from sodarouter.failures import describe
from sodarouter.options import Options
from sodarouter.plugins import AnyDestination
from sodarouter.source import SourceType
from sodarouter.testing.report import DoubtfulError, NotWellError
from sodarouter.verification import VerificationType

_WORD = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SECRET = re.compile(r"(?i)(^|_)(token|password|passwd|secret|credentials?|(api|access|secret|private)_?key)$")
_PERHAPS = re.compile(r"(?i)(^|_)(key|webhook)$|^(\w*hook_)?url$")
"""What has one of these names is a secret with some services, and none with others."""


@dataclass(frozen=True)
class Form:
    """A type that a plugin offers."""

    kind: type
    usable: Callable[[type], object]
    """Raises `PluginError` if the router cannot call it."""
    taken: Collection[str] = ()
    """Names that its options cannot have, as every table of its sort has these keys."""

    @property
    def word(self) -> str:
        fields: Any = getattr(self.kind, "model_fields", {})
        return str(fields["type"].default if "type" in fields else getattr(self.kind, "type", self.kind.__name__))

    @property
    def options(self) -> type[Options]:
        """The model of its options; a verification is one itself."""
        found: type[Options] = getattr(self.kind, "options_type", self.kind)
        return found


def form_of_destination(kind: type[AnyDestination]) -> Form:
    return Form(kind, check_type, DestinationTable.model_fields)


def form_of_source(kind: type[SourceType[Any]]) -> Form:
    return Form(kind, check_source, SourceTable.model_fields)


def form_of_verification(kind: type[VerificationType]) -> Form:
    return Form(kind, check_verification)


def usable(form: Form) -> None:
    """The router can make and call it"""
    try:
        form.usable(form.kind)
    except PluginError as error:
        raise NotWellError(str(error)) from None


def word(form: Form) -> None:
    """Its type is a word in lower case, with hyphens where it has several parts"""
    if not _WORD.fullmatch(form.word):
        raise NotWellError(f"{form.word!r} is none; people write it in router.toml")


def strict(form: Form) -> None:
    """Its options refuse unknown keys and wrong types, and cannot be changed"""
    for model in models(form.options):
        lax = [key for key, value in _STRICT.items() if model.model_config.get(key) != value]
        if lax:
            raise NotWellError(
                f"{model.__name__} has another {' and '.join(lax)} in its model_config than Options; leave it as it is"
            )


_STRICT = {"extra": "forbid", "strict": True, "frozen": True}


def described(form: Form) -> None:
    """Every option has a description"""
    # a literal of one value says which table it is, and can have no other
    bare = [
        place
        for place, info in fields(form.options, _without_description)
        if not (get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1)
    ]
    if bare:
        raise NotWellError(f"put a docstring under {', '.join(bare)}")


def own_keys(form: Form) -> None:
    """No option has the name of a key that is there anyway"""
    taken = form.options.model_fields.keys() & set(form.taken)
    if taken:
        raise NotWellError(f"rename {', '.join(sorted(taken))}; the router keeps these itself")


def schema(form: Form) -> None:
    """A JSON Schema can be made of its options"""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)  # of defaults that JSON has no word for
            form.options.model_json_schema()
    except Exception as error:
        raise NotWellError(f"{describe(error)}; give that type WithJsonSchema") from None


def secret(form: Form) -> None:
    """What looks like a secret is one"""
    plain = [place for place, info in fields(form.options) if _is_text(info)]
    if certain := [place for place in plain if _SECRET.search(place.rpartition(".")[2])]:
        raise NotWellError(f"make {', '.join(certain)} a Secret; text is shown, logged and stored")
    if perhaps := [place for place in plain if _PERHAPS.search(place.rpartition(".")[2])]:
        raise DoubtfulError(f"{', '.join(perhaps)}: make it a Secret, or an HttpUrl, if whoever knows it can use it")


FORM: tuple[Callable[[Form], None], ...] = (usable, word, strict, described, own_keys, schema, secret)
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


def fields(
    model: type[Options], wanted: Callable[[type[Options]], Iterable[str]] = lambda one: one.model_fields
) -> Iterator[tuple[str, FieldInfo]]:
    """The options, those inside others too, each with where it stands.

    Args:
        wanted: Which of a model.
    """
    for one in models(model):
        for name in wanted(one):
            info = one.model_fields[name]
            yield (info.alias or name) if one is model else f"{one.__name__}.{info.alias or name}", info


def _without_description(model: type[Options]) -> list[str]:
    written = descriptions(model)
    return [name for name, info in model.model_fields.items() if not (info.description or name in written)]


def holds_secret(info: FieldInfo) -> bool:
    """Whether an option may be a `Secret`."""
    return any(isinstance(part, type) and issubclass(part, SecretStr) for part in _parts(info.annotation))


def _is_text(info: FieldInfo) -> bool:
    return str in _parts(info.annotation) and not holds_secret(info)


def _parts(annotation: Any) -> set[Any]:
    """What a type is made of."""
    found = {annotation}
    for inner in get_args(annotation):
        found |= _parts(inner)
    return found
