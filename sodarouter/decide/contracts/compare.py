"""Compares two versions of a contract, and says in sentences what changed."""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from sodarouter.decide.contracts.bounds import ZERO
from sodarouter.decide.contracts.checks import Check
from sodarouter.decide.contracts.classes import CLASSES, Changes, ContractClass
from sodarouter.decide.contracts.document import Contract, read_contract
from sodarouter.decide.contracts.plain import Plain, Table, Unreadable, frozen
from sodarouter.decide.contracts.strictness import (
    LOOSER,
    STRICTER,
    UNKNOWN,
    VALUE_LISTS,
    of_allowance,
    of_presence,
    of_validity,
)
from sodarouter.decide.contracts.thresholds import COUNTS_FAULTS

MAX_CHANGES = 50
"""Sentences; if there are more changes, the last says how many."""
MAX_TEXT = 200
"""Characters of a sentence."""
_MAX_VALUE = 60
"""Characters of a value in it."""

_TYPE_KEYS = ("data_type", "character_maximum_length", "numeric_precision", "numeric_scale", "datetime_precision")
_ALLOWANCES = frozenset({"allow_extra_columns", "allow_other_column_order"})
_KINDS: dict[int, tuple[ContractClass, str]] = {
    STRICTER: ("tightened", " (stricter)"),
    LOOSER: ("loosened", " (looser)"),
    UNKNOWN: ("changed", ""),
}


@dataclass(frozen=True)
class _Change:
    kind: ContractClass
    text: str


def compare(before: str | None, after: str) -> Changes:
    """See `sodarouter.decide.contracts.classify`."""
    try:
        now = read_contract(after)
    except Unreadable as why:
        return Changes(frozenset({"unreadable"}), (f"the contract {why}",))
    if before is None:
        return Changes(frozenset({"first"}))
    try:
        was = read_contract(before)
    except Unreadable as why:
        return Changes(frozenset({"unreadable"}), (f"the contract before {why}",))
    found = sorted(_compared(was, now), key=lambda change: CLASSES.index(change.kind))
    if not found:
        return Changes(frozenset({"same"}))
    sentences = [_short(change.text, MAX_TEXT) for change in found[:MAX_CHANGES]]
    if len(found) > MAX_CHANGES:
        sentences[-1] = f"and {len(found) - MAX_CHANGES + 1} more"
    return Changes(frozenset(change.kind for change in found), tuple(sentences))


def _compared(before: Contract, after: Contract) -> Iterator[_Change]:
    for key, was, now in _differences(before.subject, after.subject):
        yield _Change("breaking", _step(key, was, now))
    yield from _columns(before, after)
    yield from _checks(before, after)
    for key, was, now in _differences(before.rest, after.rest):
        yield _told(key, was, now, -of_presence(was, now) if key == "filter" else UNKNOWN)


def _columns(before: Contract, after: Contract) -> Iterator[_Change]:
    yield from (_Change("breaking", f"column {name} removed") for name in before.columns if name not in after.columns)
    yield from (_Change("added", f"column {name} added") for name in after.columns if name not in before.columns)
    kept = [name for name in before.columns if name in after.columns]
    if kept != [name for name in after.columns if name in before.columns]:
        yield _Change("changed", "columns in another order")
    for name in kept:
        for key, was, now in _differences(before.columns[name], after.columns[name]):
            label = f"column {name}: {key}"
            if key in _TYPE_KEYS and was is not None and now is not None:
                yield _Change("breaking", _step(label, was, now))
            elif key in _TYPE_KEYS:
                yield _told(label, was, now, of_presence(was, now))
            elif key == "optional":
                yield _told(label, was, now, of_allowance(was, now))
            else:
                # it stands for all checks of the column, and those on validity are meant
                yield _told(label, was, now, of_validity(key, was, now, "invalid") if "valid" in key else UNKNOWN)


def _checks(before: Contract, after: Contract) -> Iterator[_Change]:
    """The changes of checks. Those of a column that was added or removed go with it."""
    gone = before.columns.keys() ^ after.columns.keys()
    groups: dict[tuple[str, str], tuple[list[Check], list[Check]]] = defaultdict(lambda: ([], []))
    for side, contract in enumerate((before, after)):
        for check in contract.checks:
            if check.place not in gone:
                groups[check.place, check.type][side].append(check)
    for was, now in (pair for group in groups.values() for pair in _pairs(*group)):
        if was and now:
            yield from _check(was, now)
        elif was:
            yield _Change("loosened", f"{_label(was)} removed")
        elif now:
            yield _Change("tightened", f"{_label(now)} added")


def _pairs(before: list[Check], after: list[Check]) -> Iterator[tuple[Check | None, Check | None]]:
    """Which check is which, of those of one type in one place: first by what names it, then by all that it says, and what
    is left by its turn.
    """
    if len(before) == len(after) == 1:
        yield before[0], after[0]
        return
    for identity in (_named("id"), _named("qualifier"), _named("name"), lambda check: frozen(check.body)):
        waiting: dict[Hashable, deque[Check]] = defaultdict(deque)
        for check in after:
            waiting[identity(check)].append(check)
        nameless = waiting.pop(None, ())
        left = []
        for check in before:
            if same := waiting.get(identity(check)):
                yield check, same.popleft()
            else:
                left.append(check)
        unpaired = {id(check) for checks in (nameless, *waiting.values()) for check in checks}
        before, after = left, [check for check in after if id(check) in unpaired]
    yield from zip_longest(before, after)


def _named(key: str) -> Callable[[Check], Hashable]:
    return lambda check: frozen(name) if (name := check.body.get(key)) else None


def _check(was: Check, now: Check) -> Iterator[_Change]:
    if frozen(was.body) == frozen(now.body):
        return
    label = _label(now)
    yield from _threshold(label, was, now)
    # of a check that wants many of what it counts, more of it are no sign of strictness
    wants_few = now.family in COUNTS_FAULTS and all(
        check.threshold and check.threshold.passing.less_is_better for check in (was, now)
    )
    family = now.family if wants_few else ""
    for key, was_value, now_value in _differences(was.rest, now.rest):
        direction = of_validity(key, was_value, now_value, family)
        if key in {"filter", "where"} and wants_few:
            direction = -of_presence(was_value, now_value)
        elif key in _ALLOWANCES:
            direction = of_allowance(was_value, now_value)
        yield _told(f"{label}: {key}", was_value, now_value, direction)


def _threshold(label: str, was: Check, now: Check) -> Iterator[_Change]:
    if frozen(was.said) == frozen(now.said):
        return
    one, two = was.threshold, now.threshold
    if not one or not two:
        yield _Change("changed", f"{label}: threshold changed")
        return
    looser = one.unfailing <= two.unfailing and one.passing <= two.passing
    stricter = two.unfailing <= one.unfailing and two.passing <= one.passing
    # none of all rows is none of them in percent too; no other number says the same
    if one.metric != two.metric and ZERO not in (one.passing, two.passing):
        looser = stricter = False
    elif looser and stricter:
        return
    yield _told(f"{label}: threshold", one.text, two.text, looser * LOOSER + stricter * STRICTER)


def _differences(was: Table, now: Table) -> Iterator[tuple[str, Plain, Plain]]:
    """The keys whose values differ, with both of them. A key without a value is the same as none."""
    for key in dict.fromkeys((*was, *now)):
        one, two = was.get(key), now.get(key)
        if _meant(key, one) != _meant(key, two):
            yield key, one, two


def _meant(key: str, value: Plain) -> Hashable:
    """What makes a difference in a value."""
    if key in VALUE_LISTS and isinstance(value, list):
        return frozenset(map(frozen, value))
    return " ".join(value.lower().split()) if key == "data_type" and isinstance(value, str) else frozen(value)


def _told(label: str, was: Plain, now: Plain, direction: int) -> _Change:
    kind, how = _KINDS[direction]
    return _Change(kind, _step(label, was, now) + how)


def _step(label: str, was: Plain, now: Plain) -> str:
    one, two = _shown(was), _shown(now)
    if was is None or now is None:
        return f"{label} {two or one} {'added' if was is None else 'removed'}".replace("  ", " ")
    return f"{label} {one} -> {two}" if one and two and one != two else f"{label} changed"


def _label(check: Check) -> str:
    name = check.body.get("name")
    return f"check {_short(check.type, _MAX_VALUE)}{f' ({_shown(name)})' if name else ''}" + (
        f" of {check.place}" if check.place else ""
    )


def _shown(value: Plain) -> str:
    """A value, or a list of them; empty for what is more than that."""
    if isinstance(value, dict) or value is None:
        return ""
    if isinstance(value, list):
        return f"[{_short(', '.join(filter(None, map(_shown, value[:20]))), _MAX_VALUE)}]"
    return _short(str(value).lower() if isinstance(value, bool) else str(value), _MAX_VALUE)


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
