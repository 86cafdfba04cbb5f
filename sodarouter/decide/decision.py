"""The decision: which destinations an event goes to, which of its results travel, and why.

`decide` is a pure function: no clock, no I/O, no globals. The same function serves live traffic and every preview.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sodarouter.decide.facts import Subject, indices
from sodarouter.decide.groups import Each, divide
from sodarouter.decide.match import Condition
from sodarouter.decide.memory import Memory
from sodarouter.decide.rules import VALIDATE, OrderBy, Rule, Rules
from sodarouter.decide.silences import Silence, in_force
from sodarouter.decide.when import When, WhenError
from sodarouter.delivery import Planned
from sodarouter.event import Event

MAX_FOUND = 5
"""Found values that a trace shows for a condition that failed."""
MAX_TEXT = 200
"""Characters of each."""
MAX_KEY = 200
"""Characters of a name in a key. Two long names that begin alike share one, which breaks no order."""

Step = Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """What a decision may know beyond the event itself."""

    memory: Mapping[bytes, Memory] = field(default_factory=dict)
    """Of what the event is about, by the keys of `sodarouter.decide.memory.memory_keys`."""
    silences: Sequence[Silence] = ()
    """All that may have been in force when the event was received."""


@dataclass(frozen=True)
class Decision:
    """The planned deliveries, and what led to them.

    ``trace`` has a step for each rule that matched and whatever else had an effect, in their order; `explain` gives those of
    the other rules too. A step is one of these:

    - ``{route, matched: true, to, results}``; ``results`` is ``null`` for the whole event; with ``each`` in it if it is
      divided, with ``muted``, the name of a window, if nothing goes out because of that, and with ``unanswered``, an error,
      if the expression has no answer for other results, which do not travel then;
    - ``{route, matched: false, to, failed: {key, not, wanted, found}}``, the first condition that failed; with ``by_name``
      in it when the route would have to name ``validate``;
    - ``{route, matched: false, to, failed: {when, error}}``; ``error`` is ``null`` if it is merely false;
    - ``{route, matched: false, to, inactive}``: the names of the windows in none of which the event came;
    - ``{route, matched: false, to, stopped_by}``;
    - ``{silence, author, reason, from, results}``: what was kept from which destinations;
    - ``{unrouted: true, to}``, for an event that matched no route.
    """

    planned: tuple[Planned, ...]
    trace: tuple[Step, ...]
    withheld: bool = False
    """Whether a silence or a muted route kept something back."""


def decide(
    event: Event,
    rules: Rules,
    state: State = State(),
    *,
    subject: Subject | None = None,
    among: Sequence[Rule] | None = None,
) -> Decision:
    """What becomes of an event under these rules.

    Results that several routes send to one destination travel together, in one delivery, and each only once: where routes
    divide them differently, the first of the routes that sends a result there says how. ``validate``, which Soda sends when
    a webhook is set up, goes only where a route names it. Windows and silences are asked about when the event was received.

    Args:
        subject: What was gathered of the event already, with the same memory and for rules with the same teams: for
            whoever tries several rules on one event.
        among: Those of the rules that may match, in their order, if they are known already.
    """
    asked = _Asked(event, rules, state, subject)
    if among is None:
        among = [rules.rules[number] for number in rules.index.candidates(asked.subject.texts, event.type)]
    return _decided(asked, among, every=False)


def explain(event: Event, rules: Rules, state: State = State()) -> Decision:
    """The same decision, with a step of its trace for each rule, matched or not. It asks every one of them."""
    return _decided(_Asked(event, rules, state), rules.rules, every=True)


class _Asked:
    """An event with all that rules can ask about it."""

    def __init__(self, event: Event, rules: Rules, state: State, subject: Subject | None = None) -> None:
        self.event = event
        self.rules = rules
        self.subject = subject or Subject(event, state.memory, rules.teams)
        self.silences = in_force(state.silences, event.received)


class _Plan:
    """What goes where, while the rules are gone through."""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._shares: dict[str, dict[Each, int]] = {}
        self._silenced = [(silence, silence.mask(asked.subject)) for silence in asked.silences]
        self._kept: dict[str, tuple[Silence, int, dict[str, None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._shares)

    def add(self, destination: str, each: Each, mask: int) -> None:
        for silence, silenced in self._silenced:
            if silenced & mask and (not silence.to or destination in silence.to):
                _, before, where = self._kept.get(silence.id, (silence, 0, {}))
                self._kept[silence.id] = (silence, before | silenced & mask, where | {destination: None})
                mask &= ~silenced
        shares = self._shares.get(destination, {})
        for other, taken in shares.items():
            if other != each:
                mask &= ~taken
        if mask:
            shares[each] = shares.get(each, 0) | mask
            self._shares[destination] = shares

    def silence_steps(self) -> Iterable[Step]:
        for silence, mask, where in self._kept.values():
            yield {
                "silence": silence.id,
                "author": silence.author,
                "reason": silence.reason,
                "from": list(where),
                "results": _travelling(self._asked.subject, mask),
            }

    def planned(self) -> Iterable[Planned]:
        subject, order_by = self._asked.subject, self._asked.rules.order_by
        for destination, shares in self._shares.items():
            part = 0
            for each, mask in shares.items():
                divided = each != "event" and subject.count > 0
                for group, those in divide(subject, each, mask):
                    part += divided
                    results = _travelling(subject, those)
                    keys = _keys(subject.event, results, order_by.get(destination))
                    yield Planned(destination, results, keys, part if divided else 0, group)


def _decided(asked: _Asked, rules: Iterable[Rule], *, every: bool) -> Decision:
    event, subject = asked.event, asked.subject
    plan = _Plan(asked)
    trace: list[Step] = []
    matched = muted = False
    stopped_by: str | None = None
    for rule in rules:
        if stopped_by is not None:
            if not every:
                break
            trace.append({"route": rule.name, "matched": False, "to": list(rule.to), "stopped_by": stopped_by})
            continue
        mask, said = _ask(rule, subject, event, every=every)
        if not mask:
            if every or said.get("failed", {}).get("error"):
                trace.append({"route": rule.name, "matched": False, "to": list(rule.to), **said})
            continue
        matched = True
        step = {"route": rule.name, "matched": True, "to": list(rule.to), "results": _travelling(subject, mask), **said}
        if rule.each != "event" and subject.count:
            step["each"] = rule.each
        if window := next((name for name, times in rule.mute if times.contains(event.received)), None):
            muted = True
            step["muted"] = window
        else:
            for destination in rule.to:
                plan.add(destination, rule.each, mask)
        trace.append(step)
        if rule.stop:
            stopped_by = rule.name
    if not matched and event.type != VALIDATE:
        trace.append({"unrouted": True, "to": list(asked.rules.unrouted)})
        for destination in asked.rules.unrouted:
            plan.add(destination, "event", subject.all)
    silenced = list(plan.silence_steps()) if asked.silences else []
    planned = tuple(plan.planned()) if plan else ()
    return Decision(planned, (*trace, *silenced), withheld=muted or bool(silenced))


def _ask(rule: Rule, subject: Subject, event: Event, *, every: bool) -> tuple[int, Step]:
    """The results that match, as bits, and what the trace says of them: why none does, or what kept some away.

    Args:
        every: Whether the trace tells of rules that merely did not match; otherwise nothing is said of these.
    """
    if event.type == VALIDATE and not rule.names_validate:
        failed = {"key": "event", "not": False, "wanted": [VALIDATE], "found": [VALIDATE], "by_name": True}
        return 0, {"failed": failed}
    if rule.active and not any(times.contains(event.received) for _, times in rule.active):
        return 0, {"inactive": [name for name, _ in rule.active]}
    left = subject.all
    for condition in rule.conditions:
        fitting = condition.mask(subject.texts(condition.key))
        before = left
        left &= ~fitting if condition.negated else fitting
        if not left:
            return 0, {"failed": _failure(condition, subject.texts(condition.key), before)} if every else {}
    return (left, {}) if rule.when is None else _ask_when(rule.when, subject, left)


def _ask_when(when: When, subject: Subject, left: int) -> tuple[int, Step]:
    fits, error = _each(when, subject, left) if when.on_result else _once(when, subject, left)
    if fits:
        return fits, {"unanswered": error} if error else {}
    return 0, {"failed": {"when": when.source, "error": error}}


def _once(when: When, subject: Subject, left: int) -> tuple[int, str | None]:
    try:
        return left if when.holds(subject.document) else 0, None
    except WhenError as error:
        return 0, str(error)


def _each(when: When, subject: Subject, left: int) -> tuple[int, str | None]:
    fits, failed = 0, None
    for index in indices(left) if subject.count else ():
        try:
            if when.holds_for(subject.document, index):
                fits |= 1 << index
        except WhenError as error:  # others may have what this one lacks
            failed = str(error)
    return fits, failed


def _failure(condition: Condition, texts: Mapping[str, int], asked: int) -> Step:
    found = sorted(text for text, those in texts.items() if those & asked)
    return {
        "key": condition.key,
        "not": condition.negated,
        "wanted": list(condition.patterns),
        "found": [text[:MAX_TEXT] for text in found[:MAX_FOUND]],
    }


def _travelling(subject: Subject, mask: int) -> tuple[int, ...] | None:
    return None if mask == subject.all else indices(mask)


def _keys(event: Event, results: tuple[int, ...] | None, by: OrderBy | None) -> tuple[str, ...]:
    """``incident:ID``, or ``dataset:NAME`` for each dataset of what travels."""
    if by is None:
        return ()
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
