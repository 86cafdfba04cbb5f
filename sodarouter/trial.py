"""Runs the `[[test]]` tables of a configuration: payloads, and what has to become of them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sodarouter.config import Config
from sodarouter.config.tables import Payload, TestTable
from sodarouter.decide import Decision, State, Step, explain
from sodarouter.decide.memory import Memory, recall
from sodarouter.errors import Fault, Malformed, SodarouterError
from sodarouter.event import Event
from sodarouter.faults import dotted
from sodarouter.parse import parse
from sodarouter.rehearsal import rehearse
from sodarouter.simulate import VOCABULARIES, override, simulate

Stored = Callable[[str], Event | None]
"""Finds an event of the spool by its id."""

MAX_SHOWN = 500
"""Characters of what would be sent that a failure shows."""


class Unusable(SodarouterError):
    """The payload of a test cannot be had."""


@dataclass(frozen=True)
class Tried:
    """How a test ended."""

    name: str
    failures: tuple[Fault, ...]
    """With their places; none if it passed."""
    steps: tuple[Step, ...] = ()
    """Of the decision, those that tell why it went elsewhere. It has to be told here: nobody else knows what came before."""


def run_tests(config: Config, stored: Stored) -> Iterator[Tried]:
    """Runs all tests of a configuration, in their order.

    Args:
        stored: For those that take their payload from the spool.
    """
    for number, test in enumerate(config.file.test):
        place = dotted(["test", number])
        steps: list[Step] = []
        failures = tuple(config.origins.told(fault) for fault in _failures(config, test, place, stored, steps))
        yield Tried(test.name or f"test {number + 1}", failures, tuple(steps))


def _failures(config: Config, test: TestTable, place: str, stored: Stored, steps: list[Step]) -> Iterator[Fault]:
    source = test.source or next(iter(config.file.source))
    memory: dict[bytes, Memory] = {}
    try:
        # one second apart, as no two events are received at once
        moments = [test.received - timedelta(seconds=count) for count in range(len(test.after), 0, -1)]
        for number, (before, moment) in enumerate(zip(test.after, moments, strict=True)):
            place_of = f"{place}.after[{number}]"
            memory.update(recall(_event(before, source, moment, stored), memory).after)
        place_of = place
        event = _event(test, source, test.received, stored).with_enriched(_enriched(test, stored))
    except Unusable as error:
        yield Fault(place_of, str(error))
        return
    decision = explain(event, config.rules, State(memory))
    went = dict.fromkeys(planned.destination for planned in decision.planned)
    if went.keys() != set(test.to):
        steps += _reasons(decision, missing=set(test.to) - went.keys(), unwanted=went.keys() - set(test.to))
        yield Fault(f"{place}.to", f"it goes to {_listed(went)}, not to {_listed(test.to)}")
    yield from _wrong_words(config, test, place, event, decision)


def _reasons(decision: Decision, *, missing: set[str], unwanted: set[str]) -> Iterator[Step]:
    for step in decision.trace:
        about = missing | unwanted if step.get("matched", True) else missing
        if not about.isdisjoint([*step.get("to", ()), *step.get("from", ())]):
            yield step


def _wrong_words(config: Config, test: TestTable, place: str, event: Event, decision: Decision) -> Iterator[Fault]:
    sent: dict[str, str] = {}
    bodies: dict[str, str] = {}
    if not (test.contains or test.lacks):
        return
    for one in rehearse(config, event, decision.planned):
        name = one.delivery.destination
        sent[name] = sent.get(name, "") + one.text() + "\n"
        bodies[name] = bodies.get(name, "") + one.body() + "\n"
    for key, wanted, right in (("contains", test.contains, True), ("lacks", test.lacks, False)):
        for name, texts in wanted.items():
            for text in texts:
                if name in sent and (text in sent[name]) != right:
                    what = "does not contain" if right else "contains"
                    shown = " ".join(bodies[name][:MAX_SHOWN].split())
                    yield Fault(f"{place}.{dotted([key, name])}", f"what is sent {what} {text!r}: {shown}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nowhere"


def _event(asked: Payload, source: str, received: datetime, stored: Stored) -> Event:
    raw = _raw(asked, received, stored)
    try:
        if asked.set:
            settings = [(path, json.dumps(value, default=str)) for path, value in asked.set.items()]
            raw = json.dumps(override(json.loads(raw), settings), ensure_ascii=False).encode()
        return Event.taken_in(source, received, raw, parse(raw))
    except Malformed as error:
        raise Unusable(f"the payload is no event: {error.detail or error.title}") from None
    except ValueError as error:
        raise Unusable(f"set: {error}") from None


def _enriched(test: TestTable, stored: Stored) -> Mapping[str, Any]:
    if test.enriched is not None:
        made: dict[str, Any] = json.loads(json.dumps(test.enriched, default=str))
        return made
    found = stored(test.event) if test.event is not None else None
    return found.enriched if found else {}


def _raw(asked: Payload, received: datetime, stored: Stored) -> bytes:
    if asked.file is not None:
        try:
            return asked.file.read_bytes()
        except OSError as error:
            raise Unusable(f"file: {asked.file} cannot be read: {(error.strerror or '').lower()}") from None
    if asked.event is not None:
        found = stored(asked.event)
        if found is None:
            raise Unusable(f"event: the spool has no event {asked.event}")
        return found.raw
    vocabulary, _, kind = (asked.sample or "").rpartition("/")
    spoken = next((known for known in VOCABULARIES if known == vocabulary), None)
    if vocabulary and spoken is None:
        raise Unusable(f"sample: there is no vocabulary {vocabulary!r}; it is one of {', '.join(VOCABULARIES)}")
    try:
        made = simulate(kind, vocabulary=spoken, random=Random(0), now=received)  # noqa: S311 (no secrets are drawn)
    except ValueError as error:
        raise Unusable(f"sample: {error}") from None
    return json.dumps(made, ensure_ascii=False).encode()
