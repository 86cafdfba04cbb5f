"""A spool that can lose how attempts ended, as when a router dies before that is on disk."""

from collections.abc import Callable, Sequence

from sodarouter.link import IncidentLink
from sodarouter.spool import MemorySpool, Outcome, Routed


class LosingSpool(MemorySpool):
    """In memory; while ``losing`` is set it stores the end of no attempt."""

    losing = False
    lost = 0
    """How many ends it has lost."""
    pulse: Callable[[], None] = staticmethod(lambda: None)
    """Called after each loss."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, IncidentLink] = {}
        """What the last attempt of each delivery made of an incident."""

    async def settle(self, outcomes: Sequence[Outcome | Routed]) -> list[bool]:
        if self.losing and any(isinstance(one, Outcome) for one in outcomes):
            self.lost += len(outcomes)
            self.pulse()
            return [False] * len(outcomes)
        for one in outcomes:
            if isinstance(one, Outcome) and one.linking and one.linking.link:
                self.made[one.claim.delivery.id] = one.linking.link
        return await super().settle(outcomes)
