"""Routes: takes every event that waits for its decision, decides, and stores the planned deliveries with the trace."""

import time
from collections.abc import Callable
from dataclasses import replace

import structlog
import trio

from sodarouter.decide import VALIDATE, Rules, decide
from sodarouter.event import Event
from sodarouter.redact import Redactor
from sodarouter.settle import Faulted, RetryPolicy, settle
from sodarouter.spool import ROUTE, Claim, Outcome, Routed, Spool, patiently
from sodarouter.wake import Wake

BATCH = 100
"""Events decided between two looks at the spool."""
COMING = 256
"""Events that are kept in memory with what was parsed of them; a backlog waits on disk."""
SMALL = 64 * 1024
"""Bytes of an event that is: parsed, it takes fifteen times as much."""
LEASE = 60.0
"""Seconds after which a batch is decided again, should its decisions not have been stored."""
POLICY = RetryPolicy(max_attempts=5)
"""A decision fails only by a fault of the router's own; then the event waits, visibly, and nothing is lost."""

log = structlog.get_logger()


class Router:
    """Decides until it is cancelled.

    Args:
        planned: Called after each batch of decisions.
        config: What the decisions are stored with: `sodarouter.delivery.Loaded.config`.
    """

    def __init__(
        self,
        rules: Rules,
        spool: Spool,
        redact: Redactor,
        planned: Callable[[], None],
        *,
        config: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._spool = spool
        self._redact = redact
        self._planned = planned
        self._config = config
        self._now = now
        self._wake = Wake()
        self._coming: dict[str, Event] = {}

    def replace(self, rules: Rules, config: str) -> None:
        """Decides by other rules from now on."""
        self._rules, self._config = rules, config

    def coming(self, event: Event) -> None:
        """Told of an event before it is on disk. A few small ones are kept until their turn, not to be parsed again."""
        if len(self._coming) < COMING and len(event.raw) <= SMALL:
            self._coming[event.id] = event

    def forget(self, event: Event) -> None:
        """Told that its turn never comes: it is a repeat, or could not be stored."""
        self._coming.pop(event.id, None)

    def arrived(self) -> None:
        """Told when an event is on disk."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            found = await patiently(lambda: self._spool.claim({ROUTE: BATCH}, self._now(), {ROUTE: LEASE}))
            if found.claims:
                outcomes = [await self._decided(claim) for claim in found.claims]
                await patiently(lambda: self._spool.settle(outcomes))  # noqa: B023 (awaited in the same round)
                self._planned()
            else:
                await self._wake.wait(None if found.next_due is None else found.next_due - self._now())

    async def _decided(self, claim: Claim) -> Routed | Outcome:
        if len(claim.event.raw) <= SMALL:
            return self._route(claim)
        return await trio.to_thread.run_sync(self._route, claim)

    def _route(self, claim: Claim) -> Routed | Outcome:
        now = self._now()
        # a copy: what is parsed of one event must not stay until the whole batch is settled
        event = self._coming.pop(claim.event.id, None) or replace(claim.event)
        try:
            decision = decide(event, self._rules)
        except Exception as error:  # a fault in a rule or in the router must not stop the events behind this one
            log.exception("the decision failed", event_id=claim.event.id)
            ending = Faulted(f"{type(error).__name__}: {error}")
            verdict = settle(ending, POLICY, tries=claim.tries, since=claim.since, now=now, chance=1.0)
            reason = self._redact(verdict.reason)
            return Outcome(claim, verdict.state, now, 0.0, verdict.next_at, reason, cause=verdict.cause)
        if not decision.planned and event.type != VALIDATE:
            log.info("event planned for no destination", event_id=claim.event.id, type=claim.event.type)
        return Routed(claim, decision.trace, decision.planned, now, self._config)
