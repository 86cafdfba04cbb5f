"""Routes: sees to it that every event is decided, and its trace stored with the planned deliveries.

Most are decided in the transaction that stores them; the `Router` says how (`Router.coming`). Large ones, those that plugins
add to, those whose decision fails, and all that come while one of these waits, have a delivery for `ROUTE`: the `Router`
claims it, decides, and settles.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar, TypeVarTuple

import structlog
import trio

from sodarouter.decide import Step
from sodarouter.decide.memory import memory_keys
from sodarouter.deciding import AtOnce, Ruleset, Silences, decided, tell
from sodarouter.enrich import Enriched, Enrichment
from sodarouter.event import Event
from sodarouter.redact import Redactor
from sodarouter.settle import Faulted, RetryPolicy, settle
from sodarouter.spool import ROUTE, Claim, Decided, Outcome, Recollection, Routed, Spool, patiently
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
"""Bytes of an event that is decided as it is stored, or in the loop: a larger one may have so many results that a thread is
better."""
ASKED = 1000
"""Its results, times the expressions of all routes and one more: each takes some 10 µs for each result."""
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


class Router:
    """Decides until it is cancelled.

    Args:
        ruleset: By which it decides first.
        planned: Called when deliveries may have been planned.
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
        self.wake = Wake()
        """To be set when an event may wait for its decision."""
        # its own: a plugin may keep all those of the pool that everybody shares
        self._thread = trio.CapacityLimiter(1)
        self._coming: dict[str, Event] = {}
        self._kept: Ruleset | None = None
        """That of which the spool has the text."""
        self._silences = Silences()

    def replace(self, ruleset: Ruleset) -> None:
        """Decides by other rules from now on."""
        self._ruleset = ruleset
        # until the spool has them too, nothing is decided at once
        self.wake.set()

    def coming(self, event: Event) -> AtOnce | None:
        """Told of an event before it is on disk. Gives what decides it as it is stored, if it need not wait for its turn.

        A few are kept until their turn, so that they need not be read again, should it come after all.
        """
        if len(self._coming) < COMING and len(event.raw) <= KEPT:
            self._coming[event.id] = event
        ruleset = self._ruleset
        if self._enrichment is not None or ruleset is not self._kept or not _is_small(event, ruleset):
            return None
        try:
            return AtOnce(event, memory_keys(event), ruleset, self._silences)
        except Exception:  # as in `_look`
            return None

    def forget(self, event: Event) -> None:
        """Told that its turn never comes: it is a repeat, or could not be stored."""
        self._coming.pop(event.id, None)

    def arrived(self, event: Event, made: Decided | None) -> None:
        """Told when an event is on disk, and with which decision, if it has one."""
        if made is None:
            self.wake.set()
            return
        self.forget(event)
        tell(event, made)
        if made.planned:
            self._planned()

    async def run(self) -> None:
        if self._enrichment is None:
            await self._run()
        else:
            async with self._enrichment.working():
                await self._run()

    async def _run(self) -> None:
        while True:
            ruleset = await self._keep()
            found = await patiently(
                self._spool.outage, lambda: self._spool.claim({ROUTE: BATCH}, self._now(), {ROUTE: LEASE})
            )
            if found.claims:
                await self._decide(found.claims, ruleset)
                self._planned()
                if len(found.claims) < BATCH:
                    await trio.sleep(GATHER)
            else:
                await self.wake.wait(None if found.next_due is None else found.next_due - self._now())

    async def _keep(self) -> Ruleset:
        """The rules of now. The spool has them too, before anything is stored that they decided."""
        ruleset = self._ruleset
        if ruleset is not self._kept:
            await patiently(
                self._spool.outage, lambda: self._spool.keep_routing(ruleset.config, ruleset.text, self._now())
            )
            self._kept = ruleset
        return ruleset

    async def _decide(self, claims: Sequence[Claim], ruleset: Ruleset) -> None:
        waiting = [await self._in_thread_unless(_is_short(claim.event), self._look, claim) for claim in claims]
        if self._enrichment is not None:
            waiting = await self._enriched(self._enrichment, waiting)
        known = await self._recall(waiting)
        memory, states = dict(known.memory), dict(known.states)
        # each sees what those before it have left
        known = replace(known, memory=memory, states=states)
        outcomes = []
        for one in waiting:
            small = _is_small(one.event, ruleset)
            outcome = await self._in_thread_unless(small, self._decided, one, ruleset, known)
            outcomes.append(outcome)
            if isinstance(outcome, Routed):
                memory.update(outcome.decided.memory)
                if outcome.decided.state is not None:
                    states[one.event.id] = outcome.decided.state
        settled = await patiently(self._spool.outage, lambda: self._spool.settle(outcomes))
        for one, outcome, counts in zip(waiting, outcomes, settled, strict=True):
            if counts and isinstance(outcome, Routed):
                tell(one.event, outcome.decided)

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

    async def _in_thread_unless(self, small: bool, function: Callable[[*Ts], T], *args: *Ts) -> T:
        if small:
            return function(*args)
        return await trio.to_thread.run_sync(function, *args, limiter=self._thread)

    async def _recall(self, waiting: Sequence[_Waiting]) -> Recollection:
        keys = list({key for one in waiting for key in one.keys})
        again = [one.event.id for one in waiting if one.claim.delivery.replay]
        oldest = min(one.event.received for one in waiting).timestamp()
        return await patiently(self._spool.outage, lambda: self._spool.recall(keys, again, oldest))

    def _decided(self, one: _Waiting, ruleset: Ruleset, known: Recollection) -> Routed | Outcome:
        claim, now = one.claim, self._now()
        try:
            made = decided(
                one.event,
                one.keys,
                ruleset,
                known,
                self._silences,
                now,
                replay=claim.delivery.replay,
                failed=one.failed,
                enriched=one.enriched,
            )
        except Exception as error:  # a fault in a rule or in the router must not stop the events behind this one
            log.exception("the decision failed", event_id=claim.event.id)
            ending = Faulted(f"{type(error).__name__}: {error}")
            verdict = settle(ending, POLICY, tries=claim.tries, since=claim.since, now=now, chance=1.0)
            reason = self._redact(verdict.reason)
            return Outcome(claim, verdict.state, now, 0.0, verdict.next_at, reason, cause=verdict.cause)
        return Routed(claim, made)


def _is_short(event: Event) -> bool:
    return len(event.raw) <= (SMALL_CONTRACT if event.scope == "contracts" else SMALL)


def _is_small(event: Event, ruleset: Ruleset) -> bool:
    """Whether it is decided so soon that a commit, or the loop, can wait for it."""
    with suppress(Exception):  # a fault that will show again when it is decided
        return _is_short(event) and len(event.view.results) * (ruleset.expressions + 1) <= ASKED
    return False


def _with(one: _Waiting, found: Enriched) -> _Waiting:
    failed = [{"enrich": plugin, "failed": fault} for plugin, fault in found.failed.items()]
    if not found.added:
        return replace(one, failed=failed)
    text = json.dumps(found.added, separators=(",", ":"))
    return replace(one, event=one.event.with_enriched(found.added), enriched=text, failed=failed)
