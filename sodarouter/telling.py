"""Tells how attempts end: the observers, the log, and the destination's breaker."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from sodarouter.delivery import Settled, State
from sodarouter.errors import Reject
from sodarouter.lane import Lane
from sodarouter.observe import Observers
from sodarouter.settle import Ending
from sodarouter.sparing import Sparing
from sodarouter.spool import Outcome, delivery_key

OVERRUN = 5.0
"""Seconds beyond its timeout that an attempt has for its clean-up before it is told of."""

log = structlog.get_logger()


def tell(observers: Observers, lane: Lane, outcome: Outcome) -> None:
    """That an attempt is settled."""
    delivery, event = outcome.claim.delivery, outcome.claim.event
    settled = Settled(
        delivery,
        event.type,
        event.source,
        event.received,
        outcome.state,
        outcome.seconds,
        outcome.reason,
        outcome.cause,
    )
    observers.delivery_settled(settled)
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
        _given_up(settled, known, outcome.fallback)
    elif outcome.reason != lane.failing:
        # once for each reason, not at every attempt of every delivery
        lane.sparing(log.warning, "delivery failed, it will be tried again", **known, reason=outcome.reason)
    lane.failing = "" if outcome.state is State.DELIVERED else outcome.reason


def tell_given_up(observers: Observers, given_up: Iterable[Settled], once: Mapping[str, str | None]) -> None:
    """What `Spool.recover` has given up.

    Args:
        once: As it was told.
    """
    for settled in given_up:
        observers.delivery_settled(settled)
        delivery = settled.delivery
        known = {
            "event_id": delivery_key(delivery.id).event,
            "destination": delivery.destination,
            "outcome": settled.state.value,
            "attempts": delivery.attempt,
        }
        _given_up(settled, known, once[delivery.destination])


def _given_up(settled: Settled, known: Mapping[str, Any], fallback: str | None) -> None:
    handed = {"fallback": fallback} if fallback else {}
    log.error(
        "delivery given up; `sodarouter retry` tries it again",
        **known,
        cause=str(settled.cause),
        reason=settled.reason,
        **handed,
    )


def tell_overrun(lane: Lane, now: float, sparing: Sparing) -> None:
    """That attempts go on although their time is over: they were cancelled, and whoever awaits something ends then.

    Args:
        lane: Has some under way.
        now: On trio's clock.
        sparing: For a line a minute.
    """
    latest = now - lane.timeout - OVERRUN
    if next(iter(lane.under_way.values())) < latest:
        count = sum(began < latest for began in lane.under_way.values())
        known = {"destination": lane.name, "count": count, "timeout": lane.timeout}
        hint = 'its plugin does not let itself be cancelled; isolation = "process" would end it'
        sparing(log.error, "attempts do not end although their time is over", lane.name, **known, hint=hint)


def turn_breaker(lane: Lane, endings: Sequence[Ending], started: float, ended: float, reason: str) -> None:
    """Has the breaker know how an attempt ended.

    Args:
        endings: Of its deliveries.
        started: When the attempt began, on trio's clock.
        ended: When it ended, on the same clock.
        reason: Why it failed, if it did.
    """
    circuit = lane.circuit
    if any(ending is None or isinstance(ending, Reject) for ending in endings):
        if circuit.succeeded(ended):
            log.info("the destination answers again, its breaker is closed", destination=lane.name)
    elif circuit.failed(started, ended):
        log.warning(
            "the destination fails again and again, its breaker is open",
            destination=lane.name,
            failures=circuit.failures,
            pause=circuit.pause,
            reason=reason,
        )
