"""The decision: which destinations an event goes to, which of its results travel, and why.

`decide` is a pure function: no clock, no I/O, no globals. The same function serves live traffic and every preview.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from sodarouter.decide.match import Condition, Facts, Match, Subject, compile_match
from sodarouter.delivery import Planned
from sodarouter.event import Event
from sodarouter.options import Options

VALIDATE = "validate"
MAX_FOUND = 5
"""Found values that a trace shows for a condition that failed."""
MAX_TEXT = 200
"""Characters of each."""
MAX_KEY = 200
"""Characters of a name in a key. Two long names that begin alike share one, which breaks no order."""

OrderBy = Literal["incident", "dataset"]
"""What the deliveries to a destination are ordered by."""


class Route(Options):
    """A `[[route]]` table: which events, and which of their results, go to which destinations."""

    name: str | None = None
    """What the trace calls it; `route 1` and so on by default."""
    match: Match = Match()
    """The conditions; without any, every event matches."""
    to: list[str] = Field(min_length=1)
    """The destinations."""
    stop: bool = False
    """Whether an event that matches here is kept from the routes below."""


@dataclass(frozen=True)
class Rule:
    """A compiled route."""

    name: str
    conditions: tuple[Condition, ...]
    to: tuple[str, ...]
    stop: bool

    @property
    def names_validate(self) -> bool:
        return any(c.key == "event" and not c.negated and VALIDATE in c.patterns for c in self.conditions)


@dataclass(frozen=True)
class Rules:
    """All routes in their order, where events go that match none, and the destinations that ask for an order."""

    rules: tuple[Rule, ...]
    unrouted: tuple[str, ...] = ()
    order_by: Mapping[str, OrderBy] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What a decision may know beyond the event itself. Nothing that routes can ask for today needs a memory."""


@dataclass(frozen=True)
class Decision:
    """The planned deliveries, at most one for each destination, and one step of trace for each rule.

    A step is one of these:

    - ``{route, matched: true, to, results}``; ``results`` is ``null`` for the whole event;
    - ``{route, matched: false, failed: {key, not, wanted, found}}``, the first condition that failed; with ``by_name`` in
      it when the route would have to name ``validate``;
    - ``{route, matched: false, stopped_by}``;
    - ``{unrouted: true, to}``, the last one of an event that matched no route.
    """

    planned: tuple[Planned, ...]
    trace: tuple[Mapping[str, Any], ...]


def compile_rules(
    routes: Iterable[Route], unrouted: Iterable[str] = (), order_by: Mapping[str, OrderBy] | None = None
) -> Rules:
    """The rules that `decide` takes, made once when the configuration is loaded."""
    rules = (
        Rule(route.name or f"route {number}", compile_match(route.match), tuple(route.to), route.stop)
        for number, route in enumerate(routes, 1)
    )
    return Rules(tuple(rules), tuple(unrouted), order_by or {})


def decide(event: Event, rules: Rules, state: State = State()) -> Decision:
    """What becomes of an event under these rules.

    Results that several routes send to one destination travel together, in one delivery. ``validate``, which Soda sends
    when a webhook is set up, goes only where a route names it.
    """
    subject = Subject(event)
    trace: list[Mapping[str, Any]] = []
    travelling: dict[str, tuple[int, ...] | None] = {}
    stopped_by: str | None = None
    for rule in rules.rules:
        if stopped_by is not None:
            trace.append({"route": rule.name, "matched": False, "stopped_by": stopped_by})
            continue
        results, failed = _matching(rule, subject, event)
        if failed is not None:
            trace.append({"route": rule.name, "matched": False, "failed": failed})
            continue
        trace.append({"route": rule.name, "matched": True, "to": list(rule.to), "results": results})
        for destination in rule.to:
            travelling[destination] = _union(travelling[destination], results) if destination in travelling else results
        if rule.stop:
            stopped_by = rule.name
    if not travelling and event.type != VALIDATE:
        trace.append({"unrouted": True, "to": list(rules.unrouted)})
        travelling = dict.fromkeys(rules.unrouted)
    every = tuple(range(len(event.view.results)))
    planned = (
        Planned(name, None if results == every else results, _keys(event, results, rules.order_by.get(name)))
        for name, results in travelling.items()
    )
    return Decision(tuple(planned), tuple(trace))


def _keys(event: Event, results: tuple[int, ...] | None, by: OrderBy | None) -> tuple[str, ...]:
    """``incident:ID``, or ``dataset:NAME`` for each dataset of what travels."""
    view = event.view
    names: list[str | None] = []
    if by == "incident" and view.incident:
        names = [view.incident.id]
    elif by == "dataset":
        travelling = view.results if results is None else [view.results[index] for index in results]
        # in all of Soda's vocabularies there is the name; a contract puts the path before it
        names = [dataset.name or dataset.label or dataset.id for result in travelling for dataset in result.datasets]
        if view.contract and view.contract.dataset:
            names.append(view.contract.dataset.rpartition("/")[2])
    return tuple(dict.fromkeys(f"{by}:{name[:MAX_KEY]}" for name in names if name))


def _matching(rule: Rule, subject: Subject, event: Event) -> tuple[tuple[int, ...] | None, Mapping[str, Any] | None]:
    """The results that match, ``None`` for the whole event; or, second, the condition that failed."""
    if event.type == VALIDATE and not rule.names_validate:
        return None, {"key": "event", "not": False, "wanted": [VALIDATE], "found": [VALIDATE], "by_name": True}
    left: Sequence[int] | None = None
    for condition in rule.conditions:
        if not condition.on_result:
            if not condition.holds(subject.event):
                return None, _failure(condition, [subject.event])
            continue
        before = range(len(subject.results)) if left is None else left
        left = [index for index in before if condition.holds(subject.results[index])]
        if not left:
            return None, _failure(condition, [subject.results[index] for index in before])
    if left is None or len(left) == len(subject.results):
        return None, None
    return tuple(left), None


def _failure(condition: Condition, asked: Iterable[Facts]) -> Mapping[str, Any]:
    found = sorted({text for facts in asked for text in facts.of(condition.key)})
    return {
        "key": condition.key,
        "not": condition.negated,
        "wanted": list(condition.patterns),
        "found": [text[:MAX_TEXT] for text in found[:MAX_FOUND]],
    }


def _union(one: tuple[int, ...] | None, other: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if one is None or other is None else tuple(sorted({*one, *other}))
