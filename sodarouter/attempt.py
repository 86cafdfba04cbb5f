"""One attempt of a delivery, or of a batch of them, which survives whatever the destination's plugin does."""

from collections.abc import Awaitable, Sequence
from typing import NamedTuple

import structlog
import trio

from sodarouter.batch import BatchItem
from sodarouter.errors import Reject, Retry
from sodarouter.event import Enrich, Event
from sodarouter.failures import contained, describe
from sodarouter.lane import Lane
from sodarouter.link import IncidentLink
from sodarouter.settle import Ending, Faulted, TimedOut
from sodarouter.spool import Claim
from sodarouter.store import Store

LARGE = 64 * 1024
"""Bytes of an event that is cut in a thread. This much takes 1 to 8 ms, and the largest body 0.2 to 2 s."""

log = structlog.get_logger()


class Ended(NamedTuple):
    """How the attempt ended for one delivery."""

    ending: Ending
    link: IncidentLink | None = None
    """What was made of an incident, as the destination says; nobody has looked at it yet."""


async def attempt(
    lane: Lane, claims: Sequence[Claim], stores: Sequence[Store], enrich: Enrich | None = None
) -> list[Ended]:
    """Makes one attempt.

    Args:
        lane: Of the destination.
        claims: One, or up to ``lane.batch``.
        stores: What the destination keeps, once for each.
        enrich: As `Event.handed_over` takes it.
    """
    failures: list[BaseException] = []
    answer: object = None
    with contained(failures), trio.move_on_after(lane.timeout) as scope:
        items = [
            BatchItem(await _travelling(lane, claim, enrich), claim.delivery, store)
            for claim, store in zip(claims, stores, strict=True)
        ]
        answer = await _call(lane, items)
        # a plugin that swallows Cancelled would otherwise pass for one that has delivered
        await trio.lowlevel.checkpoint_if_cancelled()
    if failures:
        return [Ended(_ending(lane, claims, failures))] * len(claims)
    if scope.cancelled_caught:
        return [Ended(TimedOut(lane.timeout))] * len(claims)
    return _of_batch(lane, claims, answer) if lane.batch else [_of_one(lane, answer)]


async def _travelling(lane: Lane, claim: Claim, enrich: Enrich | None) -> Event:
    event, results = claim.event, claim.delivery.results
    if results is None or len(event.raw) <= LARGE:
        return event.handed_over(results, enrich)
    return await trio.to_thread.run_sync(
        event.handed_over, results, enrich, abandon_on_cancel=True, limiter=lane.limiter
    )


async def _call(lane: Lane, items: Sequence[BatchItem]) -> object:
    (first, *_) = items
    arguments = (items,) if lane.batch else (first.event, first.delivery, first.store)
    if lane.threaded:
        return await trio.to_thread.run_sync(lane.call, *arguments, abandon_on_cancel=True, limiter=lane.limiter)
    work: Awaitable[object] | None = lane.call(*arguments)
    return None if work is None else await work


def _of_one(lane: Lane, answer: object) -> Ended:
    if answer is not None and not isinstance(answer, IncidentLink):
        # it was delivered all the same: another attempt would do it twice
        _complain(lane, f"deliver returned {_brief(answer)}, which is no IncidentLink")
        return Ended(None)
    return Ended(None, answer)


def _of_batch(lane: Lane, claims: Sequence[Claim], answer: object) -> list[Ended]:
    if answer is None:
        return [Ended(None)] * len(claims)
    if not isinstance(answer, Sequence) or len(answer) != len(claims):
        fault = f"deliver_batch returned {_brief(answer)}, not an answer for each of {len(claims)} deliveries"
        _complain(lane, fault)
        # which of them were taken cannot be known
        return [Ended(Faulted(fault))] * len(claims)
    return [_of_item(lane, claim, one) for claim, one in zip(claims, answer, strict=True)]


def _of_item(lane: Lane, claim: Claim, answer: object) -> Ended:
    if isinstance(answer, Retry | Reject):
        return Ended(_ending(lane, [claim], [answer]))
    if answer is None or isinstance(answer, IncidentLink):
        return Ended(None, answer)
    fault = f"deliver_batch answered {_brief(answer)} for a delivery, not None, a link, Retry or Reject"
    _complain(lane, fault)
    return Ended(Faulted(fault))


def _complain(lane: Lane, fault: str) -> None:
    if fault != lane.failing:
        lane.failing = fault
        log.error("the destination's plugin breaks its contract", destination=lane.name, fault=fault)


def _brief(answer: object) -> str:
    # not what it holds: that may be anything, secrets too
    return f"something of type {type(answer).__name__}"


def _ending(lane: Lane, claims: Sequence[Claim], failures: Sequence[BaseException]) -> Ending:
    """The one ending of all the failures of an attempt: a fault outweighs `Retry`, and that outweighs `Reject`."""
    for failure in failures:
        if fault := _fault(failure):
            if fault != lane.failing:
                log.error(
                    "the destination's plugin failed",
                    destination=lane.name,
                    event_id=claims[0].event.id,
                    exc_info=failure,
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
