"""Delivers: claims what is due, calls the destinations, and settles what came of it.

Each destination has its own lane, with its own limit of attempts at once; a lane that hangs or fails keeps only itself.
"""

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from sodarouter.delivery import Delivery, Settled, State
from sodarouter.errors import DeliveryError, Reject, Retry, SpoolError
from sodarouter.event import Event
from sodarouter.observe import Observers
from sodarouter.options import Redactor
from sodarouter.settle import Ending, Faulted, RetryPolicy, TimedOut, settle
from sodarouter.spool import Claim, Outcome, Routed, Spool
from sodarouter.wake import Wake

MAX_RESPONSE = 4096
"""Characters of a reason or response that are stored with an attempt."""
LEASE_MARGIN = 60.0
"""Seconds that a lease outlasts the attempt's own timeout, for the settling."""
PAUSE = 1.0
"""Seconds until the spool is asked again after it failed."""

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
                try:
                    found = await self._spool.claim(wanted, self._now(), self._leases)
                except SpoolError as error:
                    log.error("the spool cannot be read", error=str(error))
                    await trio.sleep(PAUSE)
                    continue
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
                self._redact(verdict.reason)[:MAX_RESPONSE],
                self._redact(verdict.response)[:MAX_RESPONSE],
            )
            if await settled(self._spool, [outcome]):
                self._tell(lane, outcome)
        finally:
            lane.busy -= 1
            self.wake.set()

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
            log.debug("delivery settled", **known)
        elif outcome.state is State.DEAD:
            log.error("delivery settled", **known, reason=outcome.reason)
        elif outcome.reason != lane.failing:
            log.warning("delivery settled", **known, reason=outcome.reason)
        lane.failing = "" if outcome.state is State.DELIVERED else outcome.reason


async def settled(spool: Spool, outcomes: Sequence[Outcome | Routed]) -> bool:
    """Settles, again and again while the spool fails: what was delivered must not be delivered twice for a full disk.

    Returns:
        Whether all of them still had their leases.
    """
    while True:
        try:
            return all(await spool.settle(outcomes))
        except SpoolError as error:
            log.error("the spool cannot be written", error=str(error))
            await trio.sleep(PAUSE)


async def attempt(lane: Lane, claim: Claim) -> Ending:
    """Makes one attempt, and survives whatever the plugin does.

    ``except*``, because a plugin's own failure can arrive together with the ``Cancelled`` of the router's shutdown, which
    has to go on. And a checkpoint after the call, because a plugin that swallows ``Cancelled`` would otherwise pass for
    one that has delivered.
    """
    ending: Ending = None
    try:
        with trio.move_on_after(lane.timeout) as scope:
            event = claim.event if claim.delivery.results is None else claim.event.cut(claim.delivery.results)
            await _call(lane, event, claim.delivery)
            await trio.lowlevel.checkpoint_if_cancelled()
    except* (Exception, SystemExit, KeyboardInterrupt) as failures:
        ending = _ending(lane, claim, failures)
    return TimedOut(lane.timeout) if ending is None and scope.cancelled_caught else ending


async def _call(lane: Lane, event: Event, delivery: Delivery) -> None:
    if lane.threaded:
        await trio.to_thread.run_sync(lane.call, event, delivery, abandon_on_cancel=True, limiter=lane.limiter)
        return
    work: Awaitable[None] | None = lane.call(event, delivery)
    if work is not None:
        await work


def _ending(lane: Lane, claim: Claim, failures: BaseExceptionGroup[BaseException]) -> Ending:
    """The one ending of a group of failures: a fault outweighs `Retry`, and that outweighs `Reject`."""
    leaves = list(_leaves(failures))
    faults = [leaf for leaf in leaves if not isinstance(leaf, DeliveryError)]
    if faults:
        reason = f"{type(faults[0]).__name__}: {faults[0]}"
        if reason != lane.failing:
            log.error(
                "the destination's plugin failed", destination=lane.name, event_id=claim.event.id, exc_info=faults[0]
            )
        return Faulted(reason)
    for kind in (Retry, Reject):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return Faulted(repr(failures))


def _leaves(error: BaseException) -> Sequence[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
