"""Matchers: what a route can ask of an event, compiled once when the configuration is loaded.

Every fact about an event is a set of texts, so that one rule serves all keys: a condition holds when one of its patterns
fits one of the texts. A result is matched by itself: all conditions on results must hold on the same one.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from sodarouter.decide.facts import EVENT_KEYS, FOLDED, WORDS
from sodarouter.options import LISTED_SCHEMA, Options


def _as_list(value: object) -> object:
    if not isinstance(value, str | list):
        raise ValueError("a pattern is text, or a list of texts")  # noqa: TRY004 (pydantic turns only ValueError into a fault)
    return [value] if isinstance(value, str) else value


_COUNT = re.compile(r"(>=|<=|>|<)?\s*(\d{1,9})")


def _as_counts(value: object) -> object:
    """A whole number of TOML is as good as its text."""
    values = value if isinstance(value, list) else [value]
    texts = [str(one) if type(one) is int else one for one in values]
    if not all(isinstance(one, str) for one in texts):
        raise ValueError('a count is written like 3, ">=3" or "<10"')
    return texts


def _counts(value: list[str]) -> list[str]:
    for text in value:
        if not _COUNT.fullmatch(text):
            raise ValueError(f'a count is written like 3, ">=3" or "<10", not {text!r}')
    return value


_Texts = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    Field(min_length=1),
    BeforeValidator(_as_list),
]
Patterns = Annotated[_Texts, LISTED_SCHEMA]
"""A pattern or a list of patterns, of which one must fit. ``*``, ``?`` and ``[…]`` are as in file names."""

Counts = Annotated[
    _Texts,
    BeforeValidator(_as_counts),
    AfterValidator(_counts),
    WithJsonSchema({"type": ["string", "integer", "array"], "items": {"type": ["string", "integer"]}}),
]
"""A count or a list of counts, of which one must fit: ``3``, ``">=3"``, ``"<10"``."""


def _as_paths(value: object) -> object:
    """Tables in tables, as TOML makes them of dotted keys, with the names on the way joined again."""
    if not isinstance(value, Mapping):
        return value
    found: dict[object, object] = {}
    for name, entry in value.items():
        inner = _as_paths(entry)
        if isinstance(inner, Mapping):
            found |= {f"{name}.{rest}": patterns for rest, patterns in inner.items()}
        else:
            found[name] = inner
    return found


class DatasetConditions(Options):
    """What a dataset can be asked. All that are given must hold."""

    dataset: Patterns | None = None
    """A dataset's name, its label, its id, or `datasource/name`; a contract's full dataset name."""
    datasource: Patterns | None = None
    """The name of a dataset's data source."""
    owner: Patterns | None = None
    """A dataset's owner: e-mail address, name or id; upper and lower case are the same."""
    tag: Patterns | None = None
    """One of a dataset's tags."""
    attribute: dict[str, Patterns] | None = None
    """Attributes of a dataset or a check by name, such as `{ data_domain = "Product" }`."""


class Conditions(DatasetConditions):
    """What an event, or one of its results, can be asked. All that are given must hold."""

    event: Patterns | None = None
    """Soda's event type: `checkEvaluation`, `incident*` …"""
    scope: Patterns | None = None
    """`alert_notification`, `incidents`, `contracts` or `agreements`."""
    source: Patterns | None = None
    """The name of the source that took it in."""
    severity: Patterns | None = None
    """An incident's severity: `low`, `medium`, `high`, `critical`; Soda's `minor` and `major` will do too."""
    status: Patterns | None = None
    """An incident's status: `reported`, `in_progress`, `resolved`, or one of Soda's own words, such as `fixing`."""
    incident: Patterns | None = None
    """What has become of the incident since it was last heard of: `opened`, `raised`, `reopened`, `resolved` …"""
    author: Patterns | None = None
    """Who published the contract: e-mail address, name or id."""
    contract: Patterns | None = None
    """What has changed in the contract since it was last published: `breaking`, `tightened`, `loosened` …"""
    enriched: Annotated[dict[str, Patterns], BeforeValidator(_as_paths)] | None = None
    """What plugins have added to the event, by plugin and name, such as `{ catalog.tier = "gold" }`."""
    outcome: Patterns | None = None
    """A result's outcome: `pass`, `warn`, `fail`, `error`, `not_evaluated`, `excluded`."""
    previous: Patterns | None = None
    """The outcome that the check had before."""
    result: Patterns | None = None
    """What has become of the check: `first_failure`, `still_failing`, `recovery`."""
    streak: Counts | None = None
    """How many times in a row the check has passed, warned or failed, this result included: `3`, `>=3`."""
    team: Patterns | None = None
    """The team that a dataset belongs to."""
    column: Patterns | None = None
    """The column a check is about."""
    check: Patterns | None = None
    """A check's name or id."""


class Match(Conditions):
    """Conditions, and under `not` those of which none may hold."""

    not_: Conditions | None = Field(default=None, alias="not")
    """What must not be: an event or result that any of these fits is left out."""


@dataclass(frozen=True)
class Condition:
    """One compiled condition. ``key`` is as in `sodarouter.decide.facts.Subject.texts`."""

    key: str
    patterns: tuple[str, ...]
    negated: bool
    on_result: bool
    literals: frozenset[str]
    fits: Callable[[str], object] | None
    """Whether one of the patterns that are no literals fits a text; ``None`` without such patterns."""

    def mask(self, texts: Mapping[str, int]) -> int:
        """The results, as bits, that one of the patterns fits, whether that is wanted or not.

        Args:
            texts: As from `sodarouter.decide.facts.Subject.texts`.
        """
        mask = 0
        for literal in self.literals:
            mask |= texts.get(literal, 0)
        if self.fits is not None:
            for text, those in texts.items():
                if those & ~mask and self.fits(text):
                    mask |= those
        return mask


MAGIC = re.compile(r"[*?\[]")


def compile_match(all_of: DatasetConditions, none_of: DatasetConditions | None = None) -> tuple[Condition, ...]:
    """The conditions of a ``match`` table and of the ``not`` in it, those on the event first: they cost least."""
    conditions = [*_conditions(all_of, negated=False), *(_conditions(none_of, negated=True) if none_of else ())]
    return tuple(sorted(conditions, key=lambda condition: condition.on_result))


_REMEMBERED = frozenset({"previous", "result", "streak", "incident", "contract"})


def asks_memory(conditions: Iterable[Condition]) -> bool:
    """Whether one of them can only be answered with what is remembered of the events before."""
    return any(condition.key in _REMEMBERED for condition in conditions)


def _conditions(asked: DatasetConditions, *, negated: bool) -> Iterator[Condition]:
    for key in type(asked).model_fields:
        value = getattr(asked, key) if key != "not_" else None
        if isinstance(value, dict):
            for name, patterns in value.items():
                yield _condition(f"{key}.{name}", patterns, negated=negated)
        elif value is not None:
            yield _condition(key, value, negated=negated)


def _condition(key: str, patterns: Iterable[str], *, negated: bool) -> Condition:
    on_result = key.partition(".")[0] not in EVENT_KEYS
    if key == "streak":
        texts = tuple(patterns)
        return Condition(key, texts, negated, on_result, frozenset(), _any_count(texts))
    fold = FOLDED.get(key, str)
    # a glob is no word, and `[a-m]*` must stay what it is
    folded = tuple(pattern.lower() if key in WORDS and MAGIC.search(pattern) else fold(pattern) for pattern in patterns)
    return Condition(
        key,
        folded,
        negated,
        on_result,
        frozenset(pattern for pattern in folded if not MAGIC.search(pattern)),
        _any_glob([pattern for pattern in folded if MAGIC.search(pattern)]),
    )


def _any_glob(globs: Sequence[str]) -> Callable[[str], object] | None:
    # most globs are a beginning or an end, which needs no pattern: compiling one takes a quarter of a millisecond
    begins, ends, others = [], [], []
    for glob in globs:
        if glob.endswith("*") and not MAGIC.search(glob[:-1]):
            begins.append(glob[:-1])
        elif glob.startswith("*") and not MAGIC.search(glob[1:]):
            ends.append(glob[1:])
        else:
            others.append(fnmatch.translate(glob))
    match = re.compile("|".join(others)).match if others else None
    if not (begins or ends):
        return match
    first, last = tuple(begins), tuple(ends)
    return lambda text: text.startswith(first) or text.endswith(last) or (match is not None and match(text))


def _any_count(patterns: Iterable[str]) -> Callable[[str], bool]:
    wanted = [(found[1] or "=", int(found[2])) for text in patterns if (found := _COUNT.fullmatch(text))]
    return lambda text: any(_COMPARED[how](int(text), count) for how, count in wanted)


_COMPARED: Mapping[str, Callable[[int, int], bool]] = {
    "=": int.__eq__,
    ">=": int.__ge__,
    "<=": int.__le__,
    ">": int.__gt__,
    "<": int.__lt__,
}
