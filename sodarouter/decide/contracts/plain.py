"""Reads YAML that strangers wrote into plain values: no tags, no dates, no aliases, nothing that can explode.

The values are made here, from the events of the parser, as Soda's own reader sees them (YAML 1.2): a date stays text, a
number is exact, and what is too deep is given up before it costs anything.
"""

import re
from collections.abc import Hashable, Iterable, Iterator
from decimal import Decimal

import yaml

MAX_SIZE = 256 * 1024
"""Bytes of a contract. Real ones have a few kilobytes."""
MAX_VALUES = 20_000
"""Texts, numbers, lists and tables in it: a column with two checks has about fourteen. A quarter of a megabyte of single
digits would take ten seconds to compare."""
MAX_DEPTH = 32
"""Lists and tables in one another. The language of contracts needs nine."""

Plain = str | Decimal | bool | None | list["Plain"] | dict[str, "Plain"]
Table = dict[str, Plain]

# so short that it is neither slow nor out of range
_NUMBER = re.compile(r"[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(Exception):
    """It cannot be read. The message goes on where a sentence begins with what cannot be read."""


def read(text: str) -> Table:
    """The table that a text of YAML is.

    Raises:
        Unreadable: It is none, or more than is looked at.
    """
    if len(text) > MAX_SIZE or len(text.encode("utf-8", "surrogatepass")) > MAX_SIZE:
        raise Unreadable(f"has more than {MAX_SIZE // 1024} KiB")
    try:
        value = _document(_counted(yaml.parse(text, Loader=_LOADER)))
    except (yaml.YAMLError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise Unreadable(f"is no YAML, line {mark.line + 1}" if mark else "is no YAML") from None
    if not isinstance(value, dict):
        raise Unreadable("is no table")
    return value


def _document(events: Iterator[yaml.Event]) -> Plain:
    value: Plain = None
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        elif isinstance(event, yaml.NodeEvent):
            value = _value(event, events, 0)
    if documents > 1:
        raise Unreadable("has more than one document")
    return value


def _counted(events: Iterable[yaml.Event]) -> Iterator[yaml.Event]:
    values = 0
    for event in events:
        values += isinstance(event, yaml.NodeEvent)
        if values > MAX_VALUES:
            raise Unreadable(f"has more than {MAX_VALUES:,} values")
        yield event


def _value(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Plain:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise Unreadable("has an anchor or an alias")
    if isinstance(event, yaml.ScalarEvent):
        return number_or_word(event.value) if event.implicit[0] else event.value
    if depth == MAX_DEPTH:
        raise Unreadable(f"is nested deeper than {MAX_DEPTH} levels")
    if isinstance(event, yaml.SequenceStartEvent):
        return [_value(inner, events, depth + 1) for inner in _until(yaml.SequenceEndEvent, events)]
    table: Table = {}
    for key in _until(yaml.MappingEndEvent, events):
        if not isinstance(key, yaml.ScalarEvent) or key.anchor is not None:
            raise Unreadable("has a key that is no text")
        if key.value in table:
            raise Unreadable(f"has the key {key.value[:40]!r} twice in one table")
        table[key.value] = _value(next(events), events, depth + 1)
    return table


def _until(end: type[yaml.Event], events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
    for event in events:
        if isinstance(event, end):
            return
        yield event


def number_or_word(text: str) -> Plain:
    """What a text without quotes means."""
    if text in _WORDS:
        return _WORDS[text]
    return Decimal(text) if _NUMBER.fullmatch(text) else text


def frozen(value: Plain) -> Hashable:
    """The same for two values that say the same: the order of keys makes no difference, the kind of a value does."""
    if isinstance(value, dict):
        return frozenset((key, frozen(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return tuple(map(frozen, value))
    return type(value), value
