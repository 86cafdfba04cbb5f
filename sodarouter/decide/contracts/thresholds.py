"""What a check allows, from the three ways in which Soda's languages say it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from sodarouter.decide.contracts import bounds
from sodarouter.decide.contracts.bounds import ANYTHING, NOT_NEGATIVE, ZERO, Bounds
from sodarouter.decide.contracts.plain import Plain, Table

COUNTS_FAULTS = frozenset({"missing", "invalid", "duplicate", "failed_rows"})
"""Families of checks that count rows which are not as they should be."""

_Comparison = Callable[[Decimal], Bounds]
_COMPARISONS: dict[str, _Comparison] = {
    "must_be": bounds.exactly,
    "must_not_be": bounds.anything_but,
    "must_be_greater_than": bounds.above,
    "must_be_greater_than_or_equal": bounds.from_,
    "must_be_less_than": bounds.below,
    "must_be_less_than_or_equal": bounds.up_to,
}
_ENDS: dict[str, _Comparison] = {
    "greater_than": bounds.above,
    "greater_than_or_equal": bounds.from_,
    "less_than": bounds.below,
    "less_than_or_equal": bounds.up_to,
}
_BETWEEN, _OUTSIDE = "must_be_between", "must_be_not_between"
_SAID = (*_COMPARISONS, _BETWEEN, _OUTSIDE)
_OPERATORS: dict[str, _Comparison] = {
    "=": bounds.exactly,
    "!=": bounds.anything_but,
    "<>": bounds.anything_but,
    ">": bounds.above,
    ">=": bounds.from_,
    "<": bounds.below,
    "<=": bounds.up_to,
}
_OPERATOR = re.compile(r"<=|>=|!=|<>|=|<|>|\bnot between\b|\bbetween\b")
_CONDITION = re.compile(rf"(?:when )?({_OPERATOR.pattern}) ?(.+)")
_WORDS = {"must_be": "exactly", "must_not_be": "not"}
"""Comparisons that are told in other words than those after ``must_be``."""
_NUMBER = re.compile(r"([-+]?\d{1,40}(?:\.\d{1,40})?) ?%?")
_DURATION = re.compile(r"(?:(\d{1,9})d)? ?(?:(\d{1,9})h)? ?(?:(\d{1,9})m)?")
_MINUTES = {"minute": Decimal(1), "hour": Decimal(60), "day": Decimal(24 * 60)}

_DEFAULTS = {**dict.fromkeys(COUNTS_FAULTS, ZERO), "row_count": bounds.above(Decimal(0))}
"""What Soda holds a check against that has no threshold, by family."""


@dataclass(frozen=True)
class Threshold:
    """The numbers at which a check does not fail, and those at which it does not warn either."""

    unfailing: Bounds
    passing: Bounds
    metric: str
    text: str
    """As it is told to people."""


def split_line(line: str) -> tuple[str, Table]:
    """``missing_count(id) < 5`` of SodaCL is a type with a condition, ``missing`` a type alone."""
    line = " ".join(line.split())
    found = _OPERATOR.search(line)
    if not found or not found.start():
        return line, {}
    return line[: found.start()].rstrip(), {"condition": line[found.start() :]}


def threshold_keys(body: Table) -> set[str]:
    """The keys of a check that say what it allows."""
    levels = {level for level in ("fail", "warn") if _condition(body.get(level))}
    return {key for key in body if key in _SAID} | {"threshold", "condition"} | levels


def read_threshold(kind: str, family: str, body: Table) -> Threshold | None:
    """What a check allows; ``None`` if that cannot be told, as when there is a variable in it.

    Args:
        kind: Its type.
        family: The family that this belongs to, or nothing.
        body: All its other keys.
    """
    allowed = {"fail": ANYTHING, "warn": ANYTHING}
    texts = []
    for level, numbers, text in _parts(kind, body):
        if numbers is None:
            return None
        allowed[level] &= numbers
        texts.append(f"{text} (warning)" if level == "warn" else text)
    if not texts:
        if family not in _DEFAULTS:
            return None
        allowed["fail"], texts = _DEFAULTS[family], ["the default"]
    if family:
        # nothing that these measure is ever less
        allowed = {level: numbers & NOT_NEGATIVE for level, numbers in allowed.items()}
    metric = str(_table(body.get("threshold")).get("metric") or "count")
    return Threshold(allowed["fail"], allowed["fail"] & allowed["warn"], metric, ", ".join(texts))


def _parts(kind: str, body: Table) -> Iterator[tuple[str, Bounds | None, str]]:
    """Each part of the threshold: its level, the numbers that it allows, and how it is told."""
    table = _table(body.get("threshold"))
    own: Table = {key: value for key, value in body.items() if key in _SAID}
    unit = str(table.get("unit") or ("hour" if kind == "freshness" else ""))
    measure = f"{unit}s" if unit else str(table.get("metric") or "")
    for one in (table, _table(table.get("additional")), own):
        if not one.keys().isdisjoint(_SAID):
            level = "warn" if str(one.get("level")).lower() == "warn" else "fail"
            yield level, _allowed(one, _MINUTES.get(unit, Decimal(1))), _told(one, measure)
    if condition := _condition(body.get("condition")):
        yield "fail", _meant(condition), condition[0]
    for level in ("fail", "warn"):
        if condition := _condition(body.get(level)):
            # it says when the check does not pass
            numbers = _meant(condition)
            yield level, numbers and ~numbers, f"not {condition[0].removeprefix('when ')}"


def _table(value: Plain) -> Table:
    return value if isinstance(value, dict) else {}


def _allowed(table: Table, factor: Decimal) -> Bounds | None:
    """What all comparisons of a table allow together."""
    together = ANYTHING
    for key in _SAID:
        if key not in table:
            continue
        compare = _COMPARISONS.get(key)
        value = table[key]
        part = _compared(value, compare, factor) if compare else _range(value, factor, outside=key == _OUTSIDE)
        if part is None:
            return None
        together &= part
    return together


def _compared(value: Plain, compare: _Comparison, factor: Decimal) -> Bounds | None:
    if isinstance(value, str) and (found := _NUMBER.fullmatch(value)):
        value = Decimal(found[1])
    return compare(value * factor) if isinstance(value, Decimal) else None


def _range(value: Plain, factor: Decimal, *, outside: bool) -> Bounds | None:
    """``{greater_than: 1, less_than: 5}``; the older contracts have ``[1, 5]``. What is outside is less or greater."""
    if isinstance(value, list) and len(value) == 2:
        first, last = ("less_than", "greater_than") if outside else ("greater_than_or_equal", "less_than_or_equal")
        value = {first: value[0], last: value[1]}
    if not isinstance(value, dict) or not value or not value.keys() <= _ENDS.keys():
        return None
    together = Bounds(()) if outside else ANYTHING
    for key, end in value.items():
        part = _compared(end, _ENDS[key], factor)
        if part is None:
            return None
        together = together | part if outside else together & part
    return together


def _condition(value: Plain) -> tuple[str, str, str] | None:
    """Of ``when < 5%``, the whole, its operator and its operand."""
    found = _CONDITION.fullmatch(" ".join(value.split())) if isinstance(value, str) else None
    return (found[0], found[1], found[2]) if found else None


def _meant(condition: tuple[str, str, str]) -> Bounds | None:
    """The numbers that ``< 5%``, ``between 1 and 5`` or ``< 1d6h`` holds for."""
    _, operator, operand = condition
    numbers = [number for number in map(_number, operand.split(" and ")) if number is not None]
    if len(numbers) != operand.count(" and ") + 1:
        return None
    if operator in _OPERATORS:
        return _OPERATORS[operator](numbers[0]) if len(numbers) == 1 else None
    if len(numbers) != 2:
        return None
    between = bounds.from_(numbers[0]) & bounds.up_to(numbers[1])
    return ~between if operator == "not between" else between


def _number(text: str) -> Decimal | None:
    """Of a duration, its minutes."""
    if found := _NUMBER.fullmatch(text):
        return Decimal(found[1])
    if text and (found := _DURATION.fullmatch(text)):
        days, hours, minutes = (Decimal(part or 0) for part in found.groups())
        return (days * 24 + hours) * 60 + minutes
    return None


def _told(table: Table, measure: str) -> str:
    """``less than 5 percent``."""
    words = []
    for key in (key for key in _SAID if key in table):
        value = table[key]
        joint = " or " if key == _OUTSIDE else " and "
        if isinstance(value, dict):
            words.append(joint.join(f"{end} {number}" for end, number in sorted(value.items())))
        else:
            said = joint.join(map(str, value)) if isinstance(value, list) else str(value)
            words.append(f"{_WORDS.get(key, key.removeprefix('must_be_'))} {said}")
    return " and ".join(words).replace("_", " ") + (f" {measure}" if measure not in {"", "count"} else "")
