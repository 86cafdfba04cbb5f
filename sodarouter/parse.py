"""From bytes to a body, or to an error that tells the sender what to mend.

The sender sees these errors, and so does whoever reads the log, so they name places and never repeat values of the body.
"""

import re
from collections import defaultdict
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from sodarouter import soda
from sodarouter.errors import Fault, Malformed

MAX_TYPE = 200
"""Characters of an event's type: it becomes a column, a label, a line of a log."""

MAX_VALUES = 200_000
"""Values that a body may have: keys and elements. A check evaluation has some 45 for each result, so this is more than
fits into the largest body that is taken by default. Half a million empty results, 1.5 MB, would take 7 s and 500 MB."""

MAX_FAULTS = 20
"""How many faults an error lists."""

_SEARCH_LIMIT = 256 * 1024
"""Bytes of a body up to which all faults are looked for, as each look costs another validation."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

_Path = tuple[str | int, ...]

_WANTED = {"model_type": "an object", "dict_type": "an object", "list_type": "an array", "string_type": "a string"}


def parse(raw: bytes) -> dict[str, Any]:
    """A webhook's body, as JSON types.

    Raises:
        Malformed: With the status 400 if it is no JSON object with an ``event``; with 422 if it is a known event in a
            shape that cannot be walked, such as ``checkResults`` that is no array. A field that is missing, null or
            unknown is no fault, and neither is an unknown event.
    """
    if not raw.strip():
        raise Malformed(400, "Empty body", "a webhook's body is a JSON object")
    if len(raw) > MAX_VALUES:
        _refuse_many(raw)
    try:
        body = soda.read(raw)
    except ValidationError as error:
        raise _malformed(raw, error) from None
    except ValueError as error:
        # pydantic takes these for numbers; RFC 8259 does not, nor does what the event is passed on to
        place = str(error).rpartition(" at ")[2]
        raise Malformed(400, "Unreadable JSON", f"NaN and Infinity are no JSON numbers: {place}") from None
    event: str = body["event"]
    if not event.strip():
        raise _no_event()
    if len(event) > MAX_TYPE:
        raise Malformed(400, "Event type too long", f'"event" has more than {MAX_TYPE} characters')
    return body


def _refuse_many(raw: bytes) -> None:
    if _separators(raw) <= MAX_VALUES:
        return
    if _separators(_STRING.sub(b"", raw)) > MAX_VALUES:
        raise Malformed(400, "Too many values", f"the body has more than {MAX_VALUES:,} keys and elements")


def _separators(raw: bytes) -> int:
    """At least as many as there are values, and at most twice."""
    return raw.count(b",") + raw.count(b"{") + raw.count(b"[")


def _malformed(raw: bytes, error: ValidationError) -> Malformed:
    first = error.errors(include_url=False, include_input=False)[0]
    match first["type"], first["loc"]:
        case "json_invalid", _:
            return _unreadable(raw, str(first["ctx"]["error"]))
        case "dict_type" | "model_type", ():
            return Malformed(400, "Not an object", "a webhook's body is a JSON object")
        case ("union_tag_not_found", _) | (_, ("event",)):
            return _no_event()
    faults, all_found = _faults(raw, error)
    shown = faults[:MAX_FAULTS]
    more = f" (and {len(shown) - 1} more)" if len(shown) > 1 else ""
    if not all_found:
        more = f" (the first {len(shown)} of perhaps more)"
    return Malformed(422, "Unexpected shape", f"in this {first['loc'][0]} event, {shown[0]}{more}", shown)


def _no_event() -> Malformed:
    return Malformed(400, "No event", 'the object needs an "event": a string that is not empty')


def _unreadable(raw: bytes, problem: str) -> Malformed:
    if problem.startswith("recursion limit exceeded"):
        place = problem.partition(" at ")[2]
        return Malformed(400, "Nested too deep", f"the nesting is deeper than 200 levels at {place}")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return Malformed(400, "Not UTF-8", f"the byte at offset {error.start} belongs to no UTF-8 character")
    return Malformed(400, "Unreadable JSON", problem.replace("EOF while parsing", "the body ends inside"))


def _faults(raw: bytes, error: ValidationError) -> tuple[list[Fault], bool]:
    """The faults of a known event, sorted by place, and whether these are all.

    One validation reports only the first faulty element of an array (`sodarouter.soda.Array` says why). So what was
    found is set to null, which is never a fault, and the rest is validated again.
    """
    body = from_json(raw)
    wanted = _wanted(error)
    rest: ValidationError | None = error
    while rest and len(wanted) <= MAX_FAULTS and len(raw) <= _SEARCH_LIMIT:
        for path in _wanted(rest):
            _set_null(body, path)
        rest = _error(to_json(body))
        wanted |= _wanted(rest) if rest else {}
    faults = [Fault(_place(path), f"must be {kind}") for path, kind in sorted(wanted.items())]
    return faults, rest is None and len(faults) <= MAX_FAULTS


def _error(raw: bytes) -> ValidationError | None:
    try:
        soda.validate(raw)
    except ValidationError as error:
        return error
    return None


def _wanted(error: ValidationError) -> dict[_Path, str]:
    """What belongs where, by path in Soda's own spelling.

    Pydantic's paths also name the kind of event and the members of unions, and where a union of an array and an object
    holds a faulty element, it reports the union as well.
    """
    kinds: dict[_Path, list[str]] = defaultdict(list)
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        path = tuple(part for part in fault["loc"][1:] if isinstance(part, int) or part in soda.FIELDS)
        kinds[path].append(_WANTED[fault["type"]])
    return {
        path: " or ".join(dict.fromkeys(wanted))
        for path, wanted in kinds.items()
        if not any(other[: len(path)] == path and other != path for other in kinds)
    }


def _set_null(body: Any, path: _Path) -> None:
    *parents, last = path
    for part in parents:
        body = body[part]
    body[last] = None


def _place(path: _Path) -> str:
    return re.sub(r"\.\[", "[", ".".join(f"[{part}]" if isinstance(part, int) else part for part in path))
