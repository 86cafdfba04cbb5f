"""A lane: one destination as the daemon drives it, with its own limits. What it does keeps no other lane."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from sodarouter.breaker import BreakerPolicy, Circuit
from sodarouter.delivery import Breaker
from sodarouter.options import LONGEST
from sodarouter.rate import Bucket, Rate
from sodarouter.settle import RetryPolicy
from sodarouter.sparing import Sparing
from sodarouter.wake import Wake

LEASE_MARGIN = 86_400.0
"""Seconds that a lease outlasts the attempt's own timeout: a disk that is full meanwhile, or a machine that sleeps, must
not make due what is under way here. What a dead process had leased is made due by `Spool.recover`, not by time."""

MOST_TOLD = 10
"""Lines of a kind that a destination's failures get in a minute."""


@dataclass(eq=False)
class Lane:
    """Times are those of trio's clock."""

    name: str
    call: Callable[..., Any]
    """Its ``deliver``, alone, which takes event, delivery and store; or its ``deliver_batch``, which takes items."""
    threaded: bool
    """Whether ``call`` blocks and must run in a thread; otherwise it gives something to await."""
    timeout: float
    concurrency: int
    policy: RetryPolicy | None
    """``None``: each delivery has one attempt, at most."""
    rate: Rate | None = None
    breaker: BreakerPolicy | None = None
    fallback: str | None = None
    """The destination that is handed what becomes a dead letter here."""
    batch: int = 0
    """How many deliveries one attempt may have; 0: one, and ``call`` is handed it by itself."""
    failing: str = ""
    """The last failure that was logged."""
    breach: str = ""
    """The last breach of its contract that was logged."""
    sparing: Sparing = field(default_factory=lambda: Sparing(most=MOST_TOLD))
    """For failures: a plugin that names the event in each would otherwise write a traceback for each."""
    busy: int = 0
    """Places that are taken: by attempts until they are settled, and by claims that are under way."""
    under_way: dict[int, float] = field(default_factory=dict)
    """The attempts that have not ended: when each began, by the key of its first claim, the oldest first."""
    limiter: trio.CapacityLimiter = field(init=False)
    circuit: Circuit = field(init=False)

    def __post_init__(self) -> None:
        # its own: a thread that never returns keeps a place here, not one of those that all destinations share
        self.limiter = trio.CapacityLimiter(self.concurrency)
        self.circuit = Circuit(self.breaker)
        self._bucket = Bucket(self.rate) if self.rate else None
        self._released = Wake()

    @property
    def lease(self) -> float:
        """Seconds. No time makes due what must not be tried twice."""
        return LONGEST if self.policy is None else self.timeout + LEASE_MARGIN

    def room(self, now: float, leaving: int = 0) -> int:
        """How many attempts may start.

        Args:
            leaving: Places that will have been given back by then.
        """
        if self.ready_at(now, leaving) > now:
            return 0
        free = self.concurrency - self.busy + leaving if self.circuit.state(now) is Breaker.CLOSED else 1
        return min(free, self._bucket.tokens(now)) if self._bucket else free

    def ready_at(self, now: float, leaving: int = 0) -> float:
        """When an attempt may start: ``now`` if one may, infinity if another must end first."""
        if self.busy - leaving >= self.concurrency:
            return math.inf
        return max(self.circuit.ready_at(now), self._bucket.next_at(now) if self._bucket else now)

    def start(self, now: float, key: int) -> None:
        """An attempt starts, in a place that was taken for it."""
        self.under_way[key] = now
        self.circuit.started(now)
        if self._bucket:
            self._bucket.take(now)

    def release(self, places: int) -> None:
        """Gives back places that were taken."""
        self.busy -= places
        self._released.set()

    async def retired(self) -> None:
        """Returns once nothing of it is under way, claims included. For a lane that is claimed for no more."""
        while self.busy:
            await self._released.wait()
