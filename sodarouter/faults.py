"""Makes faults that people can act on from what pydantic says: place, fault, hint."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sodarouter.errors import Fault

MISSING = "is missing"
_A_TABLE = "must be a table"
_SAID = {
    "missing": MISSING,
    "string_type": "must be text",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "list_type": "must be a list",
    "too_long": "must have at most {max_length} entries",
    "dict_type": _A_TABLE,
    "model_type": _A_TABLE,
    "model_attributes_type": _A_TABLE,
    "byte_size": 'must be a size, like "2 MiB"',
    "byte_size_unit": 'must be a size, like "2 MiB"',
    "path_type": "must be a path",
}

_BARE = re.compile(r"[A-Za-z0-9_-]+")
Location = tuple[str | int, ...]


def faults(
    error: ValidationError,
    model: type[BaseModel],
    table: Mapping[str, Any],
    *place: str,
    also: Iterable[str] = (),
    partial: bool = False,
) -> Iterator[Fault]:
    """The faults of a table of the configuration, one for each mistake.

    Args:
        error: What pydantic raised.
        model: The model that the table was validated with.
        table: The table itself. Only its keys are ever shown: its values may be secrets.
        place: The keys that lead to the table.
        also: Keys that somebody else takes out of the table; an unknown one may be a near miss of these.
        partial: Whether others complete the table: then it is no fault that keys are missing, or do not fit together.
    """
    details = error.errors(include_url=False)
    missing = {detail["loc"] for detail in details if detail["type"] == "missing"}
    meant: dict[Location, str] = {}
    for location in (detail["loc"] for detail in details if detail["type"] == "extra_forbidden"):
        *above, key = location
        # a key that is missing is the likelier to have been meant
        absent = [str(other[-1]) for other in missing if list(other[:-1]) == above]
        known = [*_keys(_models(_walk(model, table, above)[0])), *(() if above else also)]
        meant[location] = nearest(key, absent, cutoff=0.4) or nearest(key, known)
    missing -= {(*location[:-1], key) for location, key in meant.items()}
    if partial:
        missing = {location for location in missing if location[:-1]}
    found: dict[str, Fault] = {}
    for detail in details:
        location = detail["loc"]
        if location in meant:
            _, shown = _walk(model, table, location[:-1])
            told = Fault(dotted(place, shown, location[-1:]), "unknown key", did_you_mean(meant[location]))
        elif (detail["type"] == "missing" and location not in missing) or (partial and not location):
            continue
        else:
            here, shown = _walk(model, table, location)
            told = _fault(dict(detail), dotted(place, shown), here)
            if not told.hint and told.fault == _A_TABLE:
                told = replace(told, hint=_unnamed(model, place, shown))
        # every member of a union has something to say of one place; the last is the most general
        found[told.place] = told
    yield from found.values()


def in_words(error: ValidationError) -> str:
    """The first fault of a single value that stands in no table."""
    return _fault(dict(error.errors(include_url=False)[0]), "", []).fault


def without_type(place: str, table: Iterable[str], types: Iterable[str]) -> Fault:
    """The fault of a table that lacks the ``type`` on which everything else in it depends."""
    misspelt = nearest("type", table)
    if misspelt:
        return Fault(f"{place}.{misspelt}", "unknown key", did_you_mean("type"))
    return Fault(f"{place}.type", MISSING, f"one of {', '.join(types)}")


def suggestion(word: object, known: Iterable[str], *, otherwise: str = "") -> str:
    """``did you mean 'file'?`` if one of the known words is near."""
    return did_you_mean(nearest(word, known)) or otherwise


def nearest(word: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known word that is most like this one; empty if none is."""
    return next(iter(difflib.get_close_matches(str(word), list(known), n=1, cutoff=cutoff)), "")


def did_you_mean(word: str) -> str:
    return f"did you mean {word!r}?" if word else ""


def dotted(*parts: Iterable[str | int]) -> str:
    """``("source", "soda", "verify", 0, "name")`` gives ``source.soda.verify[0].name``."""
    text = ""
    for part in (item for group in parts for item in group):
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False))
    return text


def _fault(detail: dict[str, Any], place: str, here: list[Any]) -> Fault:
    kind, message, context = detail["type"], detail["msg"], detail.get("ctx", {})
    match kind:
        case "union_tag_not_found":
            return without_type(place, detail["input"], map(_tag, _models(here)))
        case "union_tag_invalid":
            tags = [_tag(model) for model in _models(here)]
            return Fault(f"{place}.type", f"must be one of {', '.join(tags)}", suggestion(context["tag"], tags))
        case "too_short" | "string_too_short":
            least = context["min_length"]
            return Fault(place, "must not be empty" if least == 1 else f"must have a length of at least {least}")
        case "value_error":
            return Fault(place, message.removeprefix("Value error, "))
        case "string_pattern_mismatch" if re.fullmatch(r"\^[/\w]+", context["pattern"]):
            return Fault(place, f"must begin with {context['pattern'][1:]}")
        case "list_type":
            return Fault(place, _SAID[kind], _as_list(detail["input"], place, here))
        case "is_instance_of" if context["class"] == "Path":
            return Fault(place, "must not be empty" if detail["input"] == "" else "must be a path")
    if kind in _SAID:
        whole = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in context.items()}
        return Fault(place, _SAID[kind].format_map(whole))
    message = message.replace("Input should be", "must be")
    return Fault(place, message[:1].lower() + message[1:])


def _unnamed(model: type[BaseModel], place: Iterable[str], shown: list[str | int]) -> str:
    """The hint for a key that stands where the name of a table belongs, as in ``[source]`` for ``[source.NAME]``."""
    match shown:
        case [str(above), str()] if above in model.model_fields:
            if get_origin(model.model_fields[above].annotation) is dict:
                return f"a {above} has a name: write [{dotted(place, [above])}.NAME]"
    return ""


def _as_list(value: object, place: str, here: list[Any]) -> str:
    """The hint for a value that should have been a list. The value itself may be a secret."""
    tables = bool(_models(_beneath(here, 0)))
    if isinstance(value, dict) and tables:
        return f"write [[{place}]]" if _BARE.fullmatch(place) else "write [{ … }]"
    return 'write ["…"]' if isinstance(value, str) and not tables else ""


def _walk(model: type[BaseModel], table: object, location: Iterable[str | int]) -> tuple[list[Any], list[str | int]]:
    """The annotations of what may stand at a location, and the location without what pydantic alone puts into it.

    That is the tags of unions, the names of their members, and the index of a value that stands for a list of one.
    """
    here: list[Any] = [model]
    shown: list[str | int] = []
    for step in location:
        models = _models(here)
        tagged = [one for one in models if _tag(one) == step]
        if len(models) > 1 and tagged:
            here = tagged
            continue
        is_key = isinstance(table, Mapping) and (step in table or any(step in _keys([one]) for one in models))
        is_index = isinstance(table, list) and isinstance(step, int)
        if is_key or is_index:
            shown.append(step)
            table = _at(table, step)
        if is_key or isinstance(step, int):
            here = list(_beneath(here, step))
    return here, shown


def _at(table: Any, step: Any) -> object:
    try:
        return table[step]
    except LookupError:
        return None


def _models(annotations: Iterable[Any]) -> list[type[BaseModel]]:
    return [one for one in annotations if isinstance(one, type) and issubclass(one, BaseModel)]


def _tag(model: type[BaseModel]) -> str:
    """What its ``type`` always is, if it is one of several that a ``type`` tells apart."""
    field = model.model_fields.get("type")
    return field.default if field and isinstance(field.default, str) else ""


def _beneath(annotations: Iterable[Any], step: str | int) -> Iterator[Any]:
    """What may stand at a key or an index of what these annotations allow."""
    for one in annotations:
        if _models([one]):
            for name, info in one.model_fields.items():
                if step in (name, info.alias):
                    yield from _members(info.annotation)
        else:
            for inner in get_args(one)[-1:]:
                yield from _members(inner)


def _members(annotation: Any) -> Iterator[Any]:
    """The members of a union, any depth of it; another annotation by itself."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _keys(models: Iterable[type[BaseModel]]) -> list[str]:
    return [info.alias or name for model in models for name, info in model.model_fields.items()]
