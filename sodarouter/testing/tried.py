"""What a test is told of an attempt."""

from dataclasses import dataclass

from sodarouter.delivery import Cause, Delivery, State
from sodarouter.event import Event
from sodarouter.link import IncidentLink


@dataclass(frozen=True)
class Tried:
    """One attempt, and where it left its delivery."""

    event: Event
    """As it was sent, with what plugins have added to it."""
    delivery: Delivery
    state: State
    """``delivered``, ``dead``, or ``pending``: it will be tried again."""
    reason: str
    """Why it did not arrive; secrets are taken out, as where the router stores it."""
    response: str
    """What the other side answered, if it did not arrive; likewise."""
    cause: Cause | None
    """Why it is a dead letter, if it is one now."""
    seconds: float
    link: IncidentLink | None
    """The link that the destination made of the incident, as it would be put onto it in Soda."""
