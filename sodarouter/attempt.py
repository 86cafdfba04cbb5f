"""One attempt of a delivery, or of a batch of them, which survives whatever the destination's plugin does."""

import math
from collections.abc import Awaitable, Sequence
from typing import NamedTuple

import structlog
import trio

from sodarouter.batch import BatchItem
from sodarouter.errors import Reject, Retry
from sodarouter.event import Enrich, Event
from sodarouter.failures import contained, describe, is_a, kind_of, plain
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
    ended: list[Ended] = []
    with contained(failures), trio.move_on_after(lane.timeout) as scope:
        items = [
            BatchItem(await _travelling(lane, claim, enrich), claim.delivery, store)
            for claim, store in zip(claims, stores, strict=True)
        ]
        answer = await _call(lane, items)
        # a plugin that swallows Cancelled would otherwise pass for one that has delivered
        await trio.lowlevel.checkpoint_if_cancelled()
        # what it has handed back may be of its own classes, whose code is to run nowhere but here
        ended = _of_batch(lane, claims, answer) if lane.batch else [_of_one(lane, answer)]
    if failures:
        return [Ended(_ending(lane, claims, failures))] * len(claims)
    if scope.cancelled_caught:
        return [Ended(TimedOut(lane.timeout))] * len(claims)
    return ended


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
    if answer is None:
        return Ended(None)
    if not is_a(answer, IncidentLink):
        # it was delivered all the same: another attempt would do it twice
        _complain(lane, f"deliver returned {_brief(answer)}, which is no IncidentLink")
        return Ended(None)
    return Ended(None, _link(lane, answer))


def _link(lane: Lane, made: IncidentLink) -> IncidentLink | None:
    """The same link, if it is one."""
    fault = "its url and its text must be texts"
    try:
        if isinstance(made.url, str) and isinstance(made.text, str):
            return IncidentLink(plain(made.url), plain(made.text))
    except BaseException as error:  # nothing is awaited here, so none of it can be trio's
        fault = describe(error)
    _complain(lane, f"it returned an IncidentLink that cannot be used: {fault}")
    return None


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
    if is_a(answer, Retry) or is_a(answer, Reject):
        return Ended(_ending(lane, [claim], [answer]))
    if answer is None or is_a(answer, IncidentLink):
        return Ended(None, None if answer is None else _link(lane, answer))
    fault = f"deliver_batch answered {_brief(answer)} for a delivery, not None, a link, Retry or Reject"
    _complain(lane, fault)
    return Ended(Faulted(fault))


def _complain(lane: Lane, fault: str) -> None:
    if fault != lane.breach:
        lane.breach = fault
        told = {"destination": lane.name, "fault": fault}
        lane.sparing(log.error, "the destination's plugin breaks its contract", **told)


def _brief(answer: object) -> str:
    # not what it holds: that may be anything, secrets too
    return f"something of type {kind_of(answer)}"


def _ending(lane: Lane, claims: Sequence[Claim], failures: Sequence[BaseException]) -> Ending:
    """The one ending of all the failures of an attempt: a fault outweighs `Retry`, and that outweighs `Reject`."""
    said: list[Retry | Reject] = []
    for failure in failures:
        ending = _said(failure)
        if isinstance(ending, Faulted):
            if ending.reason != lane.failing:
                told = {"destination": lane.name, "event_id": claims[0].event.id}
                lane.sparing(log.error, "the destination's plugin failed", **told, exc_info=failure)
            return ending
        said.append(ending)
    return next((ending for ending in said if isinstance(ending, Retry)), said[0])


def _said(failure: BaseException) -> Retry | Reject | Faulted:
    """What a failure means, as nothing but values of the router's own."""
    if not (is_a(failure, Retry) or is_a(failure, Reject)):
        return Faulted(describe(failure))
    fault = "a reason or a response that is no text"
    try:
        # a subclass need not have called the constructor
        reason, response = getattr(failure, "reason", None), getattr(failure, "response", None)
        if isinstance(reason, str) and isinstance(response, str):
            if is_a(failure, Reject):
                return Reject(plain(reason), response=plain(response))
            fault = "an after that is no number of seconds"
            after = getattr(failure, "after", None)
            if after is None or isinstance(after, int | float):
                return Retry(plain(reason), after=None if after is None else _seconds(after), response=plain(response))
    except BaseException as error:  # nothing is awaited here, so none of it can be trio's
        fault = f"something that fails: {describe(error)}"
    return Faulted(f"{kind_of(failure)} was raised with {fault}")


def _seconds(after: float) -> float:
    try:
        return float(after)
    except OverflowError:  # a whole number may be larger than any float
        return math.inf
