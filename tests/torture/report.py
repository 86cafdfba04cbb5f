"""What a run reports."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Lost:
    """Something that was acknowledged and cannot be accounted for."""

    event: str
    """Its id; empty for a body that should be in the quarantine."""
    what: str
    story: list[str]


@dataclass
class Report:
    seed: int
    disk: str
    """How it was filled."""
    seconds: float
    """Under load."""
    draining: float
    """Seconds after the load until all was settled."""
    kills: dict[str, int]
    """By step."""
    counts: dict[str, int]
    """Of what else was done to the router."""
    sent: int = 0
    """Bodies."""
    repeats: int = 0
    """Bodies that were sent again on purpose after their 200."""
    acknowledged: int = 0
    """Bodies."""
    refused: dict[str, int] = field(default_factory=dict)
    """Requests, by status."""
    unanswered: int = 0
    """Requests."""
    unanswered_and_stored: int = 0
    """Bodies that have no answer and are events all the same."""
    owed: int = 0
    """Deliveries that the acknowledged events ask for."""
    delivered: int = 0
    """Of these, those that the destination has."""
    dead: dict[str, int] = field(default_factory=dict)
    """Of these, those that are dead letters, by cause."""
    dead_unasked: int = 0
    """Dead letters that no sink had asked for."""
    duplicates: dict[str, int] = field(default_factory=dict)
    """How often a destination took what it had taken before, by destination."""
    unrouted: int = 0
    """Acknowledged events that no route matches, listed as such."""
    quarantined: int = 0
    """Bodies that are no events, in the quarantine."""
    unsettled: int = 0
    """Deliveries and decisions that were still to come when the time for them was over."""
    stored_twice: list[str] = field(default_factory=list)
    """Bodies that became two events."""
    lost: list[Lost] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing lost, nothing stuck, nothing taken for new that had been there."""
        return not (self.lost or self.unsettled or self.stored_twice)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "good": self.good}
