"""Decisions in hindsight: what an event that is in the spool was decided with, so that any rules can be tried on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sodarouter.decide import Decision, Rules, Silence, State, Step, compile_rules, explain, parse_routing
from sodarouter.decide.memory import parse_state
from sodarouter.delivery import Planned
from sodarouter.spool import DeliveryFilter, Reader, StoredEvent, StoredSilence

MOST = 10_000
"""Deliveries of one event that are looked at."""


def silences_of(stored: Iterable[StoredSilence]) -> list[Silence]:
    """Stored silences, compiled, but for those that cannot be read."""
    return [silence for one in stored if (silence := Silence.restored(one.value, one.ends))]


def state_of(stored: StoredEvent, silences: Sequence[Silence]) -> State:
    """What the decision about an event knew beside it. One that a replay asked for was kept back by no silence."""
    memory = parse_state(stored.event, stored.state) if stored.state is not None else {}
    replayed = any("replay" in step for step in stored.trace)
    return State(memory, () if replayed else silences)


Going = tuple[str, int, tuple[int, ...] | None]
"""A destination, the part of the event that goes there, and its results."""


def going(planned: Iterable[Planned]) -> frozenset[Going]:
    """What of planned deliveries two decisions can be compared by."""
    return frozenset((plan.destination, plan.part, plan.results) for plan in planned)


@dataclass(frozen=True)
class Told:
    """Why an event went where it went."""

    steps: Sequence[Step]
    planned: frozenset[Going]
    whole: bool
    """Whether there is a step for every rule; otherwise only what was stored, as the rules are not known any more."""


def why(reader: Reader, stored: StoredEvent) -> Told:
    """The stored trace of a decision, with the steps that are not stored: those of rules that did not match.

    They are made anew by the rules of then, which are stored too. Should these not lead to the same trace, which a newer
    version of the router may be the cause of, only what was stored is told.
    """
    routing = reader.routing(stored.config)
    if routing is None:
        return _stored(reader, stored)
    try:
        rules = compile_rules(parse_routing(routing))
    except ValueError:  # another version of the router wrote it, or what an expression needs is not there any more
        return _stored(reader, stored)
    again = explain(stored.event, rules, state_of(stored, silences_of(reader.silences())))
    marks = [step for step in stored.trace if "replay" in step or "enrich" in step]
    if stored.trace != [*marks, *effective(again)]:
        return _stored(reader, stored)
    return Told([*marks, *again.trace], going(again.planned), whole=True)


def _stored(reader: Reader, stored: StoredEvent) -> Told:
    """Without the rules: the deliveries tell what was planned, but for those that stand in for others."""
    replay = max((step["replay"] for step in stored.trace if "replay" in step), default=0)
    found = reader.deliveries(DeliveryFilter(event=stored.event.id, replay=replay), limit=MOST)
    planned = ((one.destination, one.part, one.results) for one in found if one.fallback is None)
    return Told(stored.trace, frozenset(planned), whole=False)


def effective(decision: Decision) -> list[Step]:
    """The steps that are stored: all but those of rules that merely did not match. As JSON has them."""
    return [_as_json(step) for step in decision.trace if step.get("matched", True) or _failed(step)]


def _failed(step: Step) -> bool:
    return bool(step.get("failed", {}).get("error"))


def _as_json(step: Step) -> Step:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in step.items()}


def now(stored: StoredEvent, rules: Rules, silences: Sequence[Silence]) -> Decision:
    """What these rules would make of the event, with a step for each of them."""
    return explain(stored.event, rules, state_of(stored, silences))
