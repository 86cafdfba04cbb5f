"""The document: what a `when` expression sees of an event, as plain values under names that are always there.

Built once for an event and shared by the expressions of all routes. What is not known is an empty text, an empty list, 0 or
false, so that no expression fails for want of it; ``null`` are only times, a result's value, and an incident, contract or
agreement that the event does not have.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sodarouter.callback import is_mentioned
from sodarouter.event import Event
from sodarouter.redact import REDACTED, without_callback
from sodarouter.view import Result

FIELDS: Mapping[str, Mapping[str, str]] = {
    "event": {
        "id": "text",
        "type": "text",
        "source": "text",
        "scope": "text",
        "received": "time",
        "late": "truth",
    },
    "result": {
        "id": "text",
        "name": "text",
        "url": "text",
        "definition": "text",
        "column": "text",
        "outcome": "text",
        "value": "any",
        "timestamp": "time",
        "datasets": "dataset list",
        "owners": "person list",
        "tags": "text list",
        "attributes": "named",
        "teams": "text list",
        "previous": "text",
        "became": "text",
        "streak": "whole",
    },
    "dataset": {
        "id": "text",
        "name": "text",
        "label": "text",
        "url": "text",
        "datasource": "text",
        "owners": "person list",
        "tags": "text list",
        "attributes": "named",
    },
    "person": {"id": "text", "email": "text", "name": "text", "kind": "text"},
    "incident": {
        "id": "text",
        "number": "whole",
        "title": "text",
        "description": "text",
        "url": "text",
        "severity": "text",
        "status": "text",
        "created": "time",
        "updated": "time",
        "resolved": "time",
        "resolution_notes": "text",
        "links": "link list",
        "lead": "person",
        "reporter": "person",
        "became": "text list",
    },
    "link": {"url": "text", "name": "text", "integration": "text"},
    "contract": {
        "dataset": "text",
        "datasource": "text",
        "author": "person",
        "contents": "file",
        "changes": "text list",
        "teams": "text list",
    },
    "agreement": {"id": "text", "label": "text", "url": "text", "path": "text", "contents": "file", "author": "person"},
}
"""The fields of everything in the document, each with its kind: a simple one, another table's name, or a list of either."""

VARIABLES: Mapping[str, str] = {
    "event": "event",
    "results": "result list",
    "incident": "incident",
    "contract": "contract",
    "agreement": "agreement",
    "enriched": "named",
}
"""What an expression can name, and the kind of each. `result` comes to these, for those that are asked of every result."""

NULLABLE = ("incident", "contract", "agreement")
"""The variables that are null when the event has none."""

MAX_TEXT = 10_000
"""Characters of a text of a result or an incident. A longer one is cut: loops may ask it ten thousand times."""

MAX_ENTRIES = 200
"""Entries of a list in the document, but for the results. A longer one is cut."""

_LARGEST = 2**63
"""Whole numbers are below this. A larger one is given as a number with a fraction."""


class Moment(datetime):
    """A time. The evaluator takes it for one, also deep in the document, as it has the mark of a protobuf timestamp."""

    class DESCRIPTOR:
        full_name = "google.protobuf.Timestamp"


class Document(dict[str, object]):
    """The document of one event."""

    prepared: tuple[object, Any] | None = None
    """A thread, and what the evaluator made there of the document: that costs more than most expressions, so it is kept."""


def document(event: Event, known: Sequence[Mapping[str, object]], of_event: Mapping[str, object]) -> Document:
    """What expressions see of an event.

    Args:
        event: What is decided.
        known: What is known of each result beside the view, by field, in the order of the results. It may be shorter.
        of_event: The same for ``event``, ``incident``, ``contract`` and ``agreement``, by the name of the variable.

    What is in neither the view nor ``known`` is empty; a field that `FIELDS` does not name is left out.
    """
    view = event.view
    made: dict[str, object] = {
        "event": _object("event", event, of_event.get("event")),
        "results": [
            _result(result, known[index] if index < len(known) else None) for index, result in enumerate(view.results)
        ],
    }
    for name in NULLABLE:
        subject = getattr(view, name)
        made[name] = None if subject is None else _object(name, subject, of_event.get(name))
    made["enriched"] = _named(event.enriched)
    if is_mentioned(event.raw):
        # whoever knows the callback URL can put links onto the incident, and it may stand in any text
        callback = view.incident.callback_url if view.incident else None
        secret = callback.get_secret_value() if callback else ""
        made = {name: _without(value, secret) for name, value in made.items()}
    return Document(made)


def _object(name: str, part: object, known: object = None) -> dict[str, object]:
    """All fields of one table of `FIELDS` of a part of the view, which may be ``None``."""
    made = {field: make(getattr(part, field, None)) for field, make in _MAKERS[name].items()}
    return made | _more(name, known)


def _more(name: str, known: object) -> dict[str, object]:
    makers = _MAKERS[name]
    return {f: makers[f](value) for f, value in known.items() if f in makers} if isinstance(known, Mapping) else {}


def _result(result: Result, known: object) -> dict[str, object]:
    made = _object("result", result)
    datasets = made["datasets"]
    assert isinstance(datasets, list)  # noqa: S101 (for the type checker)
    made["owners"] = _each_once(datasets, "owners")
    made["tags"] = _each_once(datasets, "tags")
    # what a check says of itself counts for more than what is said of its dataset
    attributes: dict[str, object] = {}
    for dataset in datasets:
        attributes |= dataset["attributes"]
    made["attributes"] = attributes | _named(result.attributes)
    return made | _more("result", known)


def _each_once(datasets: list[dict[str, list[object]]], field: str) -> list[object]:
    if len(datasets) == 1:
        return datasets[0][field]
    found: list[object] = []
    for entry in (entry for dataset in datasets for entry in dataset[field]):
        if entry not in found and len(found) < MAX_ENTRIES:
            found.append(entry)
    return found


def _text(value: object) -> str:
    if isinstance(value, str):
        # the evaluator ends a text at a NUL
        return value if len(value) <= MAX_TEXT and "\0" not in value else _file(value[:MAX_TEXT])
    return "" if value is None else str(value)[:MAX_TEXT]


def _file(value: object) -> str:
    """A text of any length: an event that has one has no results for loops to go through."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else ""


def _whole(value: object) -> int:
    return value if isinstance(value, int) and -_LARGEST <= value < _LARGEST else 0


def _time(value: object) -> Moment | None:
    if not isinstance(value, datetime):
        return None
    return Moment.combine(value.date(), value.timetz())


def _any(value: object) -> object:
    """A value of JSON, or what stands for one."""
    match value:
        case str():
            return _text(value)
        case bool() | None | float():
            return value
        case int():
            return value if -_LARGEST <= value < _LARGEST else _as_float(value)
        case datetime():
            return _time(value)
        case Mapping():
            return _named(value)
        case list() | tuple():
            return [_any(entry) for entry in value[:MAX_ENTRIES]]
        case _:
            return str(value)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _named(value: object) -> dict[str, object]:
    return {_text(name): _any(entry) for name, entry in value.items()} if isinstance(value, Mapping) else {}


def _list(make: Callable[[object], object]) -> Callable[[object], list[object]]:
    return lambda value: [make(entry) for entry in value[:MAX_ENTRIES]] if isinstance(value, list | tuple) else []


_SIMPLE: Mapping[str, Callable[[object], object]] = {
    "text": _text,
    "file": _file,
    "whole": _whole,
    "truth": bool,
    "time": _time,
    "any": _any,
    "named": _named,
}


def _maker(kind: str) -> Callable[[object], object]:
    one, _, several = kind.partition(" ")
    make = _SIMPLE.get(one) or (lambda value: _object(one, value))
    return _list(make) if several else make


_MAKERS = {name: {field: _maker(kind) for field, kind in fields.items()} for name, fields in FIELDS.items()}


def _without(value: object, secret: str) -> object:
    match value:
        case str():
            return without_callback(value.replace(secret, REDACTED) if secret else value)
        case dict():
            return {_without(name, secret): _without(entry, secret) for name, entry in value.items()}
        case list():
            return [_without(entry, secret) for entry in value]
        case _:
            return value
