"""Deciding: from an event, the rules and what is known beside them to all that is stored of its decision.

The same for an event that is decided in the transaction that stores it (`AtOnce`) and for one that waits for its turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import structlog

from sodarouter.decide import VALIDATE, Rules, Silence, State, Step, decide
from sodarouter.decide.facts import Subject
from sodarouter.decide.memory import dump_memory, dump_state, parse_state
from sodarouter.event import Event
from sodarouter.spool import Decided, Recollection, StoredSilence

log = structlog.get_logger()


@dataclass(frozen=True)
class Ruleset:
    """The rules that decide, and what is kept of them for whoever asks later why."""

    rules: Rules
    config: str = ""
    """`sodarouter.delivery.Loaded.config`."""
    text: str = ""
    """As `sodarouter.decide.Routing.dump` gives it."""

    @cached_property
    def expressions(self) -> int:
        """How many routes have one."""
        return sum(rule.when is not None for rule in self.rules.rules)


class Silences:
    """Compiles stored silences, each once and not at every look. Threads may share it."""

    def __init__(self) -> None:
        self._compiled: dict[StoredSilence, Silence | None] = {}
        """``None`` for what cannot be read."""
        self._last: tuple[Sequence[StoredSilence], list[Silence]] = ((), [])
        """What was asked for last, for the other events of a commit."""

    def of(self, stored: Sequence[StoredSilence]) -> list[Silence]:
        """Those of them that can be read."""
        last, silences = self._last
        if stored is not last:
            known = self._compiled
            # not read back: another thread may put its own in that place meanwhile
            compiled = {one: known[one] if one in known else _restored(one) for one in stored}
            silences = [silence for silence in compiled.values() if silence]
            self._compiled, self._last = compiled, (stored, silences)
        return silences


def _restored(stored: StoredSilence) -> Silence | None:
    silence = Silence.restored(stored.value, stored.ends)
    if silence is None:
        log.error("a silence cannot be read by this version, and keeps nothing back", silence=stored.id)
    return silence


@dataclass(frozen=True)
class AtOnce:
    """Decides an event in the transaction that stores it: a `sodarouter.spool.Deciding`."""

    event: Event
    keys: Sequence[bytes]
    ruleset: Ruleset
    silences: Silences

    def __call__(self, known: Recollection, *, late: bool) -> Decided:
        event = self.event.as_late() if late else self.event
        return decided(event, self.keys, self.ruleset, known, self.silences, event.received.timestamp())


def decided(
    event: Event,
    keys: Sequence[bytes],
    ruleset: Ruleset,
    known: Recollection,
    silences: Silences,
    now: float,
    *,
    replay: int = 0,
    failed: Sequence[Step] = (),
    enriched: str | None = None,
) -> Decided:
    """A decision, with all that is stored of it.

    Args:
        event: What is decided.
        keys: Of the memory, as `sodarouter.decide.memory.memory_keys` gives them.
        ruleset: By which it is decided.
        known: With what the decision before this one has left.
        silences: Those that have been compiled.
        now: The Unix time.
        replay: Somebody asked for this one: the event sees what it saw then, no silence keeps it back, and nothing is
            remembered of it.
        failed: Steps that tell of plugins which should have added something.
        enriched: What plugins have just added, a JSON object.
    """
    learnt: Mapping[bytes, str] = {}
    marks: tuple[Step, ...] = ()
    if replay:
        text = known.states.get(event.id)
        state = State(parse_state(event, text) if text is not None else {})
        marks = ({"replay": replay},)
    else:
        text = dump_state(keys, known.memory)
        state = State(parse_state(event, text), silences.of(known.silences))
    # the rules may ask of the memory what has to be told it anyway
    subject = Subject(event, state.memory, ruleset.rules.teams)
    if not replay:
        learnt = {key: dump_memory(memory) for key, memory in subject.recalled.after.items()}
    decision = decide(event, ruleset.rules, state, subject=subject)
    return Decided(
        (*marks, *failed, *decision.trace),
        decision.planned,
        now,
        ruleset.config,
        decision.withheld,
        text,
        learnt,
        enriched,
    )


def tell(event: Event, made: Decided) -> None:
    """Logs that an event goes nowhere, and why, once that is on disk."""
    if not made.planned and event.type != VALIDATE:
        log.info("event planned for no destination", event_id=event.id, type=event.type, because=_because(made.trace))


def _because(trace: Sequence[Step]) -> str:
    kept = [f"silence {step['silence']}" for step in trace if "silence" in step]
    kept += [f"window {step['muted']}" for step in trace if "muted" in step]
    return ", ".join(kept) or "no route matched"
