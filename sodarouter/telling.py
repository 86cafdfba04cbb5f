"""Tells how attempts end: the observers, the log, and the destination's breaker."""

from collections.abc import Sequence

import structlog

from sodarouter.delivery import Settled, State
from sodarouter.errors import Reject
from sodarouter.lane import Lane
from sodarouter.observe import Observers
from sodarouter.settle import Ending
from sodarouter.spool import Outcome

log = structlog.get_logger()


def tell(observers: Observers, lane: Lane, outcome: Outcome) -> None:
    """That an attempt is settled."""
    delivery, event = outcome.claim.delivery, outcome.claim.event
    observers.delivery_settled(
        Settled(
            delivery,
            event.type,
            event.source,
            event.received,
            outcome.state,
            outcome.seconds,
            outcome.reason,
            outcome.cause,
        )
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
        handed = {"fallback": outcome.fallback} if outcome.fallback else {}
        log.error(
            "delivery given up; `sodarouter retry` tries it again",
            **known,
            cause=str(outcome.cause),
            reason=outcome.reason,
            **handed,
        )
    elif outcome.reason != lane.failing:
        # once for each reason, not at every attempt of every delivery
        lane.sparing(log.warning, "delivery failed, it will be tried again", **known, reason=outcome.reason)
    lane.failing = "" if outcome.state is State.DELIVERED else outcome.reason


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
