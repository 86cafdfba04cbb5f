"""Holds two sides against each other, event by event: the configuration in use and a candidate, or one more silence."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from sodarouter.backtest.past import Past
from sodarouter.backtest.report import Report
from sodarouter.backtest.tally import Tally
from sodarouter.decide import Rules, Silence, State, decide
from sodarouter.decide.facts import Subject
from sodarouter.decide.index import Index
from sodarouter.decide.rules import Rule
from sodarouter.event import Event
from sodarouter.spool import StoredEvent

SAMPLES = 3
"""Events that are kept of each kind of difference, for each destination."""


@dataclass(frozen=True)
class Side:
    """What decides."""

    rules: Rules
    silences: Sequence[Silence] = ()
    """All that may have been in force when an event was received."""

    @property
    def remember(self) -> bool:
        """Whether any of them asks the memory."""
        return self.rules.remember or any(silence.remember for silence in self.silences)


def compare(
    events: Iterable[StoredEvent],
    before: Side,
    after: Side,
    *,
    zone: tzinfo | None = UTC,
    samples: int = SAMPLES,
    describe: Callable[[Event], str] = lambda event: event.type,
    event_type: str | None = None,
    earlier: Callable[[], Iterable[StoredEvent]] = tuple,
) -> Report:
    """What each side makes of the events, and where that differs. It takes no more room for more events.

    Both sides decide anew, and what was decided when the events came is not asked: that may have been by rules which neither
    of them has. What the memory said then is, as it depends on the events before and on no rule.

    Args:
        events: Oldest first. Without gaps, if one of the sides asks the memory.
        before: The rules that are in use, and what silences there are.
        after: The candidate.
        zone: For days and hours; ``None`` for that of this machine.
        samples: How many are kept of each kind of difference, for each destination.
        describe: What an event is about, in one line.
        event_type: Only events of this type are counted; the others are there for the memory.
        earlier: The events before the first, oldest first. They are asked for if the memory has to be gathered from them.
    """
    tally = Tally(zone, samples, describe)
    remember = before.remember or after.remember
    past = Past(earlier)
    same_teams = before.rules.teams.tables == after.rules.teams.tables
    # with these, rules of one meaning decide alike
    same_rest = before.silences == after.silences and before.rules.unrouted == after.rules.unrouted
    states = State({}, before.silences), State({}, after.silences)
    both = _Both(before.rules, after.rules)
    for stored in events:
        event = stored.event
        if remember:
            memory = past.of(stored)
            states = State(memory, before.silences), State(memory, after.silences)
        subject = Subject(event, states[0].memory, before.rules.teams)
        if remember:
            past.learn(subject.recalled.after)
        if event_type not in (None, event.type):
            continue
        if not same_teams:
            tally.add(event, decide(event, before.rules, states[0]), decide(event, after.rules, states[1]))
            continue
        # what is gathered of the event for one side serves the other
        among, then = both.candidates(subject)
        decision = decide(event, before.rules, states[0], subject=subject, among=among)
        if same_rest and [rule.meaning for rule in among] == [rule.meaning for rule in then]:
            tally.add(event, decision, decision)
        else:
            tally.add(event, decision, decide(event, after.rules, states[1], subject=subject, among=then))
    return tally.report()


class _Both:
    """Finds the rules of both sides that may match an event in one go."""

    def __init__(self, before: Rules, after: Rules) -> None:
        self._rules = (*before.rules, *after.rules)
        self._first = len(before.rules)
        self._index = Index([rule.conditions for rule in self._rules])

    def candidates(self, subject: Subject) -> tuple[list[Rule], list[Rule]]:
        """Those of either side, in their order."""
        numbers = self._index.candidates(subject.texts, subject.event.type)
        found, split = [self._rules[number] for number in numbers], bisect_left(numbers, self._first)
        return found[:split], found[split:]


def without_and_with(rules: Rules, silences: Sequence[Silence], silence: Silence) -> tuple[Side, Side]:
    """The sides that tell what a silence would have kept back, had it been there all along: in its recurring windows, if it
    has any, and else always.

    Args:
        rules: Those in use.
        silences: Those that there are; the silence itself may be one of them.
        silence: Saved or not yet. Its start and its end are not asked.
    """
    others = [one for one in silences if one.id != silence.id]
    return Side(rules, others), Side(rules, [*others, silence.model_copy(update=_ALWAYS)])


_ALWAYS = {"starts": datetime.min.replace(tzinfo=UTC), "ends": datetime.max.replace(tzinfo=UTC)}
