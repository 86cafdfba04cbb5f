"""Makes faults that people can act on from what pydantic says: place, fault, hint."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sodarouter.errors import Fault

_SAID = {
    "missing": "is missing",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "byte_size": 'must be a size, like "2 MiB"',
    "byte_size_unit": 'must be a size, like "2 MiB"',
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "path_type": "must be a path",
}


def faults(error: ValidationError, model: type[BaseModel], *place: str) -> Iterator[Fault]:
    """The faults of a table of the configuration.

    Args:
        error: What pydantic raised. Its input values are never used: they may be secrets.
        model: The model that the table was validated with.
        place: The keys that lead to the table.
    """
    for detail in error.errors(include_url=False):
        location = detail["loc"]
        models, shown = _walk(model, location if detail["type"] != "extra_forbidden" else location[:-1])
        if detail["type"] == "extra_forbidden":
            key = str(location[-1])
            yield Fault(dotted(place, [*shown, key]), "unknown key", suggestion(key, _keys(models)))
        else:
            yield Fault(dotted(place, shown), *_fault(dict(detail)))


def suggestion(word: object, known: Iterable[str], *, otherwise: str = "") -> str:
    """``did you mean 'file'?`` if one of the known words is near."""
    near = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else otherwise


def dotted(*parts: Iterable[str | int]) -> str:
    """``("source", "soda", "verify", 0, "name")`` gives ``source.soda.verify[0].name``."""
    text = ""
    for part in (item for group in parts for item in group):
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _fault(detail: dict[str, Any]) -> tuple[str, str]:
    kind, message, context = detail["type"], detail["msg"], detail.get("ctx", {})
    if kind in _SAID:
        return _SAID[kind], ""
    if kind == "union_tag_not_found":
        return "has no type", f"give it one of {context.get('expected_tags', 'the known types')}" if context else ""
    if kind == "union_tag_invalid":
        return f"type must be one of {context['expected_tags']}", suggestion(
            context["tag"], [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        )
    message = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return message[:1].lower() + message[1:], ""


def _walk(model: type[BaseModel], location: Iterable[str | int]) -> tuple[set[type[BaseModel]], list[str | int]]:
    """The models that may stand at a location, and the location without the tags that pydantic puts into it."""
    models, shown = {model}, list[str | int]()
    for step in location:
        if isinstance(step, str):
            fields = [info for m in models for name, info in m.model_fields.items() if step in (name, info.alias)]
            tags = {m.model_fields["type"].default for m in models if "type" in m.model_fields}
            if fields:
                models = {inner for info in fields for inner in _inside(info.annotation)}
            elif step in tags:
                models = {m for m in models if m.model_fields["type"].default == step}
                continue
            elif "[" in step or "(" in step:  # the name of a validator or of a member of a union
                continue
        shown.append(step)
    return models, shown


def _inside(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)


def _keys(models: Iterable[type[BaseModel]]) -> list[str]:
    return [info.alias or name for model in models for name, info in model.model_fields.items()]
