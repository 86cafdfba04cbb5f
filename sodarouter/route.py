"""Routes: takes every event that waits for its decision, decides, and stores the planned deliveries with the trace."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, TypeVarTuple

import structlog
import trio

from sodarouter.decide import VALIDATE, Rules, Silence, State, Step, decide
from sodarouter.decide.facts import Subject
from sodarouter.decide.memory import dump_memory, dump_state, memory_keys, parse_state
from sodarouter.enrich import Enriched, Enrichment
from sodarouter.event import Event
from sodarouter.redact import Redactor
from sodarouter.settle import Faulted, RetryPolicy, settle
from sodarouter.spool import ROUTE, Claim, Outcome, Routed, Spool, StoredSilence, patiently
from sodarouter.wake import Wake

BATCH = 100
"""Events decided between two looks at the spool."""
GATHER = 0.005
"""Seconds after a batch in which events gather for the next. Each batch takes three turns of the spool's writer, however
few it has; and an event that comes while nothing is decided need not wait."""
COMING = 256
"""Events that are kept in memory with what was made of them; a backlog waits on disk."""
KEPT = 256 * 1024
"""Bytes of an event that is: what is made of it takes some three times as much."""
SMALL = 64 * 1024
"""Bytes of an event that is decided in the loop: a larger one may have so many results that a thread is better."""
SMALL_CONTRACT = 2 * 1024
"""The same of one with a contract, as that is compared with the one before: 10 KB of it take 13 ms, 100 KB up to 600."""
LEASE = 60.0
"""Seconds after which a batch is decided again, should its decisions not have been stored."""
POLICY = RetryPolicy(max_attempts=5)
"""A decision fails only by a fault of the router's own; then the event waits, visibly, and nothing is lost."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

log = structlog.get_logger()


@dataclass(frozen=True)
class Ruleset:
    """The rules that decide, and what is kept of them for whoever asks later why."""

    rules: Rules
    config: str = ""
    """`sodarouter.delivery.Loaded.config`."""
    text: str = ""
    """As `sodarouter.decide.Routing.dump` gives it."""


@dataclass(frozen=True)
class _Waiting:
    """A claimed event."""

    claim: Claim
    event: Event
    keys: Sequence[bytes]
    """Of what may be remembered of it."""
    enriched: str | None = None
    """What plugins have just added to it, as the spool keeps it."""
    failed: Sequence[Step] = ()
    """The steps that tell of plugins which should have added something."""


@dataclass
class _Known:
    """What a batch is decided with, and what its events add to it: each sees what those before it have left."""

    memory: dict[bytes, str]
    states: dict[str, str]
    silences: Sequence[Silence]


class Router:
    """Decides until it is cancelled.

    Args:
        ruleset: By which it decides first.
        planned: Called after each batch of decisions.
        enrichment: What adds to events before they are decided; ``None`` if no plugin does.
    """

    def __init__(
        self,
        ruleset: Ruleset,
        spool: Spool,
        redact: Redactor,
        planned: Callable[[], None],
        *,
        enrichment: Enrichment | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ruleset = ruleset
        self._spool = spool
        self._redact = redact
        self._planned = planned
        self._enrichment = enrichment
        self._now = now
        self._wake = Wake()
        # its own: a plugin may keep all those of the pool that everybody shares
        self._thread = trio.CapacityLimiter(1)
        self._coming: dict[str, Event] = {}
        self._kept: Ruleset | None = None
        """That of which the spool has the text."""
        self._silences: dict[StoredSilence, Silence | None] = {}
        """``None`` for what cannot be read."""

    def replace(self, ruleset: Ruleset) -> None:
        """Decides by other rules from now on."""
        self._ruleset = ruleset

    def coming(self, event: Event) -> None:
        """Told of an event before it is on disk. A few are kept until their turn, so that they need not be read again."""
        if len(self._coming) < COMING and len(event.raw) <= KEPT:
            self._coming[event.id] = event

    def forget(self, event: Event) -> None:
        """Told that its turn never comes: it is a repeat, or could not be stored."""
        self._coming.pop(event.id, None)

    def arrived(self) -> None:
        """Told when an event is on disk."""
        self._wake.set()

    async def run(self) -> None:
        if self._enrichment is None:
            await self._run()
        else:
            async with self._enrichment.working():
                await self._run()

    async def _run(self) -> None:
        while True:
            ruleset = await self._keep()
            found = await patiently(lambda: self._spool.claim({ROUTE: BATCH}, self._now(), {ROUTE: LEASE}))
            if found.claims:
                await self._decide(found.claims, ruleset)
                self._planned()
                if len(found.claims) < BATCH:
                    await trio.sleep(GATHER)
            else:
                await self._wake.wait(None if found.next_due is None else found.next_due - self._now())

    async def _keep(self) -> Ruleset:
        """The rules of now. The spool has them too, before anything is stored that they decided."""
        ruleset = self._ruleset
        if ruleset is not self._kept:
            await patiently(lambda: self._spool.keep_routing(ruleset.config, ruleset.text, self._now()))
            self._kept = ruleset
        return ruleset

    async def _decide(self, claims: Sequence[Claim], ruleset: Ruleset) -> None:
        waiting = [await self._in_thread_if_large(claim.event, self._look, claim) for claim in claims]
        if self._enrichment is not None:
            waiting = await self._enriched(self._enrichment, waiting)
        known = await self._recall(waiting)
        outcomes = [await self._in_thread_if_large(one.event, self._decided, one, ruleset, known) for one in waiting]
        await patiently(lambda: self._spool.settle(outcomes))

    def _look(self, claim: Claim) -> _Waiting:
        coming = self._coming.pop(claim.event.id, None)
        # only the spool knows that it is late. A copy, as what is parsed of one event must not stay until all are settled
        event = coming if coming and not claim.event.late else replace(claim.event)
        try:
            return _Waiting(claim, event, memory_keys(event))
        except Exception:  # a fault that will show again when it is decided, and is told there
            return _Waiting(claim, event, ())

    async def _enriched(self, enrichment: Enrichment, waiting: Sequence[_Waiting]) -> list[_Waiting]:
        # a replay is decided with what was added then
        asked = [one for one in waiting if not one.claim.delivery.replay]
        found = await enrichment.of([one.event for one in asked])
        made = {id(one): _with(one, enriched) for one, enriched in zip(asked, found, strict=True)}
        return [made.get(id(one), one) for one in waiting]

    async def _in_thread_if_large(self, event: Event, function: Callable[[*Ts], T], *args: *Ts) -> T:
        if len(event.raw) <= (SMALL_CONTRACT if event.scope == "contracts" else SMALL):
            return function(*args)
        return await trio.to_thread.run_sync(function, *args, limiter=self._thread)

    async def _recall(self, waiting: Sequence[_Waiting]) -> _Known:
        keys = list({key for one in waiting for key in one.keys})
        again = [one.event.id for one in waiting if one.claim.delivery.replay]
        oldest = min(one.event.received for one in waiting).timestamp()
        found = await patiently(lambda: self._spool.recall(keys, again, oldest))
        # compiled once, not in each batch
        self._silences = {
            stored: self._silences[stored] if stored in self._silences else _restored(stored)
            for stored in found.silences
        }
        silences = [silence for silence in self._silences.values() if silence]
        return _Known(dict(found.memory), dict(found.states), silences)

    def _decided(self, one: _Waiting, ruleset: Ruleset, known: _Known) -> Routed | Outcome:
        now = self._now()
        try:
            return self._routed(one, ruleset, known, now)
        except Exception as error:  # a fault in a rule or in the router must not stop the events behind this one
            claim = one.claim
            log.exception("the decision failed", event_id=claim.event.id)
            ending = Faulted(f"{type(error).__name__}: {error}")
            verdict = settle(ending, POLICY, tries=claim.tries, since=claim.since, now=now, chance=1.0)
            reason = self._redact(verdict.reason)
            return Outcome(claim, verdict.state, now, 0.0, verdict.next_at, reason, cause=verdict.cause)

    def _routed(self, one: _Waiting, ruleset: Ruleset, known: _Known, now: float) -> Routed:
        event, replay = one.event, one.claim.delivery.replay
        learnt: dict[bytes, str] = {}
        marks: tuple[Step, ...] = ()
        if replay:
            # somebody asked for it: it sees what it saw then, and no silence keeps it back
            text = known.states.get(event.id)
            state = State(parse_state(event, text) if text is not None else {})
            marks = ({"replay": replay},)
        else:
            text = dump_state(one.keys, known.memory)
            state = State(parse_state(event, text), known.silences)
        # the rules may ask of the memory what has to be told it anyway
        subject = Subject(event, state.memory, ruleset.rules.teams)
        if not replay:
            learnt = {key: dump_memory(memory) for key, memory in subject.recalled.after.items()}
        decision = decide(event, ruleset.rules, state, subject=subject)
        known.memory.update(learnt)
        if text is not None:
            known.states[event.id] = text
        if not decision.planned and event.type != VALIDATE:
            because = _because(decision.trace)
            log.info("event planned for no destination", event_id=event.id, type=event.type, because=because)
        return Routed(
            one.claim,
            (*marks, *one.failed, *decision.trace),
            decision.planned,
            now,
            ruleset.config,
            decision.withheld,
            text,
            learnt,
            one.enriched,
        )


def _with(one: _Waiting, found: Enriched) -> _Waiting:
    failed = [{"enrich": plugin, "failed": fault} for plugin, fault in found.failed.items()]
    if not found.added:
        return replace(one, failed=failed)
    text = json.dumps(found.added, separators=(",", ":"))
    return replace(one, event=one.event.with_enriched(found.added), enriched=text, failed=failed)


def _because(trace: Sequence[Step]) -> str:
    kept = [f"silence {step['silence']}" for step in trace if "silence" in step]
    kept += [f"window {step['muted']}" for step in trace if "muted" in step]
    return ", ".join(kept) or "no route matched"


def _restored(stored: StoredSilence) -> Silence | None:
    silence = Silence.restored(stored.value, stored.ends)
    if silence is None:
        log.error("a silence cannot be read by this version, and keeps nothing back", silence=stored.id)
    return silence
