"""One attempt of a delivery, which survives whatever the destination's plugin does."""

from collections.abc import Awaitable, Sequence

import structlog
import trio

from sodarouter.delivery import Delivery
from sodarouter.errors import Reject, Retry
from sodarouter.event import Enrich, Event
from sodarouter.failures import contained, describe
from sodarouter.lane import Lane
from sodarouter.settle import Ending, Faulted, TimedOut
from sodarouter.spool import Claim

LARGE = 64 * 1024
"""Bytes of an event that is cut in a thread. This much takes 1 to 8 ms, and the largest body 0.2 to 2 s."""

log = structlog.get_logger()


async def attempt(lane: Lane, claim: Claim, enrich: Enrich | None = None) -> Ending:
    """Makes one attempt.

    Args:
        enrich: As `Event.handed_over` takes it.
    """
    failures: list[BaseException] = []
    with contained(failures), trio.move_on_after(lane.timeout) as scope:
        await _call(lane, await _travelling(lane, claim, enrich), claim.delivery)
        # a plugin that swallows Cancelled would otherwise pass for one that has delivered
        await trio.lowlevel.checkpoint_if_cancelled()
    if failures:
        return _ending(lane, claim, failures)
    return TimedOut(lane.timeout) if scope.cancelled_caught else None


async def _travelling(lane: Lane, claim: Claim, enrich: Enrich | None) -> Event:
    event, results = claim.event, claim.delivery.results
    if results is None or len(event.raw) <= LARGE:
        return event.handed_over(results, enrich)
    return await trio.to_thread.run_sync(
        event.handed_over, results, enrich, abandon_on_cancel=True, limiter=lane.limiter
    )


async def _call(lane: Lane, event: Event, delivery: Delivery) -> None:
    if lane.threaded:
        await trio.to_thread.run_sync(lane.call, event, delivery, abandon_on_cancel=True, limiter=lane.limiter)
        return
    work: Awaitable[None] | None = lane.call(event, delivery)
    if work is not None:
        await work


def _ending(lane: Lane, claim: Claim, failures: Sequence[BaseException]) -> Ending:
    failure, ending = outcome_of(failures)
    if isinstance(ending, Faulted) and ending.reason != lane.failing:
        log.error("the destination's plugin failed", destination=lane.name, event_id=claim.event.id, exc_info=failure)
    return ending


def outcome_of(failures: Sequence[BaseException]) -> tuple[BaseException, Retry | Reject | Faulted]:
    """Of all the failures of an attempt the one that counts: a fault outweighs `Retry`, and that outweighs `Reject`."""
    for failure in failures:
        if fault := _fault(failure):
            return failure, Faulted(fault)
    said = [failure for failure in failures if isinstance(failure, Retry | Reject)]
    ending = next((failure for failure in said if isinstance(failure, Retry)), said[0])
    return ending, ending


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
