"""Routes: takes every event that waits for its decision, decides, and stores the planned deliveries with the trace."""

import time
from collections.abc import Callable

import structlog

from sodarouter.decide import VALIDATE, Rules, decide
from sodarouter.event import Event
from sodarouter.options import Redactor
from sodarouter.settle import Faulted, RetryPolicy, settle
from sodarouter.spool import ROUTE, Claim, Outcome, Routed, Spool, patiently
from sodarouter.wake import Wake

BATCH = 100
"""Events decided between two looks at the spool."""
COMING = 256
"""Events that are kept in memory with what was parsed of them; a backlog waits on disk."""
LEASE = 60.0
"""Seconds that a batch may take."""
POLICY = RetryPolicy(max_attempts=5)
"""A decision fails only by a fault of the router's own; then the event waits, visibly, and nothing is lost."""

log = structlog.get_logger()


class Router:
    """Decides until it is cancelled.

    Args:
        planned: Called after each batch of decisions.
    """

    def __init__(
        self,
        rules: Rules,
        spool: Spool,
        redact: Redactor,
        planned: Callable[[], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._spool = spool
        self._redact = redact
        self._planned = planned
        self._now = now
        self._wake = Wake()
        self._coming: dict[str, Event] = {}

    def coming(self, event: Event) -> None:
        """Told of an event before it is on disk. The latest ones are kept until their turn, not to be parsed again."""
        self._coming[event.id] = event
        if len(self._coming) > COMING:
            # a repeat, or one that could not be stored: its turn never comes
            del self._coming[next(iter(self._coming))]

    def arrived(self) -> None:
        """Told when an event is on disk."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            found = await patiently(lambda: self._spool.claim({ROUTE: BATCH}, self._now(), {ROUTE: LEASE}))
            if found.claims:
                outcomes = [self._route(claim) for claim in found.claims]
                await patiently(lambda: self._spool.settle(outcomes))  # noqa: B023 (awaited in the same round)
                self._planned()
            else:
                await self._wake.wait(None if found.next_due is None else found.next_due - self._now())

    def _route(self, claim: Claim) -> Routed | Outcome:
        now = self._now()
        event = self._coming.pop(claim.event.id, claim.event)
        try:
            decision = decide(event, self._rules)
        except Exception as error:  # a fault in a rule or in the router must not stop the events behind this one
            log.exception("the decision failed", event_id=claim.event.id)
            ending = Faulted(f"{type(error).__name__}: {error}")
            verdict = settle(ending, POLICY, tries=claim.tries, since=claim.since, now=now, chance=1.0)
            return Outcome(claim, verdict.state, now, 0.0, verdict.next_at, self._redact(verdict.reason))
        if not decision.planned and event.type != VALIDATE:
            log.info("event planned for no destination", event_id=claim.event.id, type=claim.event.type)
        return Routed(claim, decision.trace, decision.planned, now)
