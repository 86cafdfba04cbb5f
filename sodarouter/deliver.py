"""Delivers: claims what is due, calls the destinations, and settles what came of it.

Each destination has its own lane, with its own limit of attempts at once; a lane that hangs or fails keeps only itself.
"""

import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from sodarouter.delivery import Delivery, Settled, State
from sodarouter.errors import Reject, Retry
from sodarouter.event import Event, without_callback
from sodarouter.failures import contained, describe
from sodarouter.observe import Observers
from sodarouter.options import Redactor
from sodarouter.settle import Ending, Faulted, RetryPolicy, TimedOut, settle
from sodarouter.spool import Claim, Outcome, Spool, patiently
from sodarouter.wake import Wake

MAX_RESPONSE = 4096
"""Characters of a reason or response that are stored with an attempt."""
LEASE_MARGIN = 86_400.0
"""Seconds that a lease outlasts the attempt's own timeout: a disk that is full meanwhile, or a machine that sleeps, must
not make due what is under way here. What a dead process had leased is made due by `Spool.recover`, not by time."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""The control characters but for the tab and the end of a line."""

log = structlog.get_logger()


@dataclass
class Lane:
    """One destination as the daemon drives it."""

    name: str
    call: Callable[[Event, Delivery], Any]
    """Its ``deliver``, alone."""
    threaded: bool
    """Whether ``call`` blocks and must run in a thread; otherwise it gives something to await."""
    timeout: float
    concurrency: int
    policy: RetryPolicy
    busy: int = 0
    failing: str = ""
    """The last failure that was logged."""
    limiter: trio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        # its own: a thread that never returns keeps a place here, not one of those that all destinations share
        self.limiter = trio.CapacityLimiter(self.concurrency)


class Deliverer:
    """Runs the lanes until it is cancelled.

    Cancellation: attempts that are under way are cancelled too. Their rows stay leased, and `Spool.recover` makes them
    due at the next start; call `stop` first to let them finish.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        spool: Spool,
        observers: Observers,
        redact: Redactor,
        *,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._lanes: Mapping[str, Lane] = {lane.name: lane for lane in lanes}
        self._leases = {lane.name: lane.timeout + LEASE_MARGIN for lane in lanes}
        self._spool = spool
        self._observers = observers
        self._redact = redact
        self._now = now
        self._chance = chance
        self._stopping = False
        self.wake = Wake()
        """To be set when there may be something due."""

    async def run(self) -> None:
        """Returns after `stop`, once the attempts that were under way have ended."""
        async with trio.open_nursery() as attempts:
            while not self._stopping:
                wanted = {name: lane.concurrency - lane.busy for name, lane in self._lanes.items()}
                wanted = {name: free for name, free in wanted.items() if free > 0}
                found = await patiently(lambda: self._spool.claim(wanted, self._now(), self._leases))  # noqa: B023 (awaited in the same round)
                for claim in found.claims:
                    lane = self._lanes[claim.delivery.destination]
                    lane.busy += 1
                    attempts.start_soon(self._attempt, lane, claim)
                if not found.claims:
                    await self.wake.wait(None if found.next_due is None else found.next_due - self._now())

    def stop(self) -> None:
        """Nothing new is claimed from now on."""
        self._stopping = True
        self.wake.set()

    async def _attempt(self, lane: Lane, claim: Claim) -> None:
        started, before = self._now(), trio.current_time()
        try:
            ending = await attempt(lane, claim)
            seconds = trio.current_time() - before
            verdict = settle(
                ending, lane.policy, tries=claim.tries, since=claim.since, now=self._now(), chance=self._chance()
            )
            outcome = Outcome(
                claim,
                verdict.state,
                started,
                seconds,
                verdict.next_at,
                self._storable(verdict.reason),
                self._storable(verdict.response),
            )
            # patiently: what was delivered must not be delivered again because the disk was full for a moment
            if await patiently(lambda: self._spool.settle([outcome])) == [True]:
                self._tell(lane, outcome)
        finally:
            lane.busy -= 1
            self.wake.set()

    def _storable(self, text: str) -> str:
        # what other servers answer must not reach a terminal as commands to it
        text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", without_callback(self._redact(text))[:MAX_RESPONSE])
        # a file's name that is no UTF-8 comes as surrogates, which no store takes
        return text.encode(errors="backslashreplace").decode()

    def _tell(self, lane: Lane, outcome: Outcome) -> None:
        delivery, event = outcome.claim.delivery, outcome.claim.event
        self._observers.delivery_settled(
            Settled(delivery, event.type, event.source, event.received, outcome.state, outcome.seconds, outcome.reason)
        )
        known = {
            "event_id": event.id,
            "destination": lane.name,
            "outcome": outcome.state.value,
            "attempts": delivery.attempt,
            "seconds": round(outcome.seconds, 3),
        }
        if outcome.state is State.DELIVERED:
            if lane.failing:
                log.info("the destination takes deliveries again", destination=lane.name)
            log.debug("delivered", **known)
        elif outcome.state is State.DEAD:
            log.error("delivery given up; `sodarouter retry` tries it again", **known, reason=outcome.reason)
        elif outcome.reason != lane.failing:
            # once for each reason, not at every attempt of every delivery
            log.warning("delivery failed, it will be tried again", **known, reason=outcome.reason)
        lane.failing = "" if outcome.state is State.DELIVERED else outcome.reason


async def attempt(lane: Lane, claim: Claim) -> Ending:
    """Makes one attempt, and survives whatever the plugin does."""
    failures: list[BaseException] = []
    with contained(failures), trio.move_on_after(lane.timeout) as scope:
        event = claim.event if claim.delivery.results is None else claim.event.cut(claim.delivery.results)
        await _call(lane, event, claim.delivery)
        # a plugin that swallows Cancelled would otherwise pass for one that has delivered
        await trio.lowlevel.checkpoint_if_cancelled()
    if failures:
        return _ending(lane, claim, failures)
    return TimedOut(lane.timeout) if scope.cancelled_caught else None


async def _call(lane: Lane, event: Event, delivery: Delivery) -> None:
    if lane.threaded:
        await trio.to_thread.run_sync(lane.call, event, delivery, abandon_on_cancel=True, limiter=lane.limiter)
        return
    work: Awaitable[None] | None = lane.call(event, delivery)
    if work is not None:
        await work


def _ending(lane: Lane, claim: Claim, failures: Sequence[BaseException]) -> Ending:
    """The one ending of all the failures of an attempt: a fault outweighs `Retry`, and that outweighs `Reject`."""
    for failure in failures:
        if fault := _fault(failure):
            if fault != lane.failing:
                log.error(
                    "the destination's plugin failed", destination=lane.name, event_id=claim.event.id, exc_info=failure
                )
            return Faulted(fault)
    said = [failure for failure in failures if isinstance(failure, Retry | Reject)]
    return next((failure for failure in said if isinstance(failure, Retry)), said[0])


def _fault(failure: BaseException) -> str:
    """What is the plugin's fault in a failure; empty for a proper `Retry` or `Reject`."""
    if not isinstance(failure, Retry | Reject):
        return describe(failure)
    after = getattr(failure, "after", None)
    texts = (getattr(failure, "reason", None), getattr(failure, "response", None))
    if not all(isinstance(text, str) for text in texts):
        return f"{type(failure).__name__} was raised with a reason or a response that is no text"
    if after is not None and not isinstance(after, int | float):
        return f"{type(failure).__name__} was raised with an after that is no number of seconds"
    return ""
