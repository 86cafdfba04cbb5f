"""A deliverer with its spool in memory, and lanes to destinations that are functions. Time is trio's, and starts at `START`.

Use the autojump clock, but not where threads run: a thread's work takes real time, over which the clock would jump.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from inspect import iscoroutinefunction, signature
from typing import Any

import trio
from support import make_event

from sodarouter import Delivery, Event, Settled, State
from sodarouter.breaker import BreakerPolicy
from sodarouter.deliver import Deliverer
from sodarouter.delivery import Planned
from sodarouter.lane import Lane
from sodarouter.observe import Observers
from sodarouter.rate import Rate
from sodarouter.redact import Redactor
from sodarouter.settle import RetryPolicy
from sodarouter.spool import ROUTE, Decided, MemorySpool, Routed, StoredDelivery

START = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
TIMEOUT = 10.0
FIRST_BACKOFF = 2.5
"""Half of the policy's first wait, as the chance is always one half here."""


def now() -> float:
    return START.timestamp() + trio.current_time()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class House:
    """A spool with planned deliveries, and the deliverer that works them off."""

    def __init__(
        self,
        *lanes: Lane,
        told: Callable[[Settled], None] | None = None,
        secrets: tuple[str, ...] = (),
        spool: MemorySpool | None = None,
    ) -> None:
        self.spool = spool or MemorySpool()
        observers = Observers(settled=[("told", lambda settled: told(settled))] if told else ())
        self.deliverer = Deliverer(lanes, self.spool, observers, Redactor(secrets), now=now, chance=lambda: 0.5)

    async def plan(self, *destinations: str, event: Event | None = None, results: tuple[int, ...] | None = None) -> str:
        """Stores an event with a delivery for each destination, due at once. Gives its id."""
        event = event or make_event()
        await self.spool.append(event, window=0.0)
        (claim,) = (await self.spool.claim({ROUTE: 1}, now(), {ROUTE: 60.0})).claims
        await self.spool.settle([Routed(claim, Decided([], [Planned(name, results) for name in destinations], now()))])
        self.deliverer.wake.set()
        return event.id

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.deliverer.run)
            yield
            nursery.cancel_scope.cancel()

    def all_stored(self, destination: str) -> list[StoredDelivery]:
        """Newest first."""
        return [delivery for delivery in self.spool.deliveries(limit=1000) if delivery.destination == destination]

    def stored(self, destination: str) -> StoredDelivery:
        (delivery,) = self.all_stored(destination)
        return delivery

    def states(self, destination: str) -> list[State]:
        """Newest first."""
        return [delivery.state for delivery in self.all_stored(destination)]

    def reasons(self, destination: str) -> set[str]:
        return {delivery.reason for delivery in self.all_stored(destination)}


def lane(
    name: str,
    deliver: Any,
    *,
    timeout: float = TIMEOUT,
    concurrency: int = 4,
    once: bool = False,
    rate: Any = None,
    breaker: BreakerPolicy | None = None,
    fallback: str | None = None,
    **policy: Any,
) -> Lane:
    """A lane to a function of event and delivery, or of these and the store; without a breaker, unless one is given."""
    wanted = 3 if "store" in signature(deliver).parameters else 2
    return Lane(
        name,
        lambda *arguments: deliver(*arguments[:wanted]),
        threaded=not iscoroutinefunction(deliver),
        timeout=timeout,
        concurrency=concurrency,
        policy=None if once else RetryPolicy(**policy),
        rate=Rate.model_validate(rate) if rate else None,
        breaker=breaker,
        fallback=fallback,
    )


class Good:
    """A destination that takes everything, and remembers when."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def lane(self, name: str = "good", **known: Any) -> Lane:
        async def deliver(event: Event, delivery: Delivery) -> None:
            self.times.append(trio.current_time())

        return lane(name, deliver, **known)


def raising(error: BaseException) -> Callable[[Event, Delivery], Any]:
    async def deliver(event: Event, delivery: Delivery) -> None:
        raise error

    return deliver
