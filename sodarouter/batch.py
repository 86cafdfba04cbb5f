"""What destinations that take many deliveries at once are handed, and what they answer for each."""

from dataclasses import dataclass

from sodarouter.delivery import Delivery
from sodarouter.errors import Reject, Retry
from sodarouter.event import Event
from sodarouter.link import IncidentLink
from sodarouter.store import Store


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One delivery of a batch, with what `deliver` would be handed for it."""

    event: Event
    delivery: Delivery
    store: Store


ItemAnswer = IncidentLink | Retry | Reject | None
"""What became of one delivery of a batch: taken (with a link or without), later, or never."""
