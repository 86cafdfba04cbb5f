"""Delivers: claims what is due, calls the destinations, and settles what came of it.

Each destination has its own `Lane`, with its own limits; a lane that hangs or fails keeps only itself.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog
import trio

from sodarouter.attempt import attempt
from sodarouter.callback import is_mentioned
from sodarouter.delivery import Breaker, Settled, State
from sodarouter.errors import Reject
from sodarouter.event import Enrich, Event
from sodarouter.failures import storable
from sodarouter.lane import Lane
from sodarouter.linking import linking_of
from sodarouter.observe import Observers
from sodarouter.redact import Redactor
from sodarouter.settle import Ending, settle
from sodarouter.spool import Claim, Claims, Outcome, Spool, patiently
from sodarouter.store import Store
from sodarouter.wake import Wake

log = structlog.get_logger()


class Deliverer:
    """Runs the lanes until it is cancelled.

    Args:
        enrich: What the configuration adds to the events that destinations are handed.
        prefer: The destinations whose links are preferred, as in `sodarouter.link.choose`.
        answering: Whether the sender of an event, by its id, waits for a link.

    Cancellation: attempts that are under way are cancelled too. Their rows stay leased, and `Spool.recover` makes them
    due at the next start; call `stop` first to let them finish.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        spool: Spool,
        observers: Observers,
        redact: Redactor,
        *,
        enrich: Enrich | None = None,
        prefer: Sequence[str] = (),
        answering: Callable[[str], bool] = lambda event: False,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._lanes: Mapping[str, Lane] = {lane.name: lane for lane in lanes}
        self._spool = spool
        self._observers = observers
        self._redact = redact
        self._enrich = enrich
        self._prefer = prefer
        self._answering = answering
        self._now = now
        self._chance = chance
        self._stopping = False
        self.wake = Wake()
        """To be set when there may be something due."""

    async def run(self) -> None:
        """Returns after `stop`, once the attempts that were under way have ended."""
        async with trio.open_nursery() as attempts:
            while not self._stopping:
                again = await patiently(lambda: self._claim(attempts))
                await self.wake.wait(again - trio.current_time())

    def stop(self) -> None:
        """Nothing new is claimed from now on."""
        self._stopping = True
        self.wake.set()

    def replace(
        self, lanes: Sequence[Lane], redact: Redactor, enrich: Enrich | None = None, prefer: Sequence[str] = ()
    ) -> None:
        """Delivers by other lanes from now on. One that is among the old ones too goes on as if nothing had happened.

        What is under way in the others, claims included, ends under their rules; `Lane.retired` waits for that.
        """
        self._lanes = {lane.name: lane for lane in lanes}
        self._redact = redact
        self._enrich = enrich
        self._prefer = prefer
        self.wake.set()

    def breakers(self) -> Mapping[str, Breaker]:
        """The state of each destination's breaker; closed for one that has none."""
        return {name: lane.circuit.state(trio.current_time()) for name, lane in self._lanes.items()}

    async def _claim(self, attempts: trio.Nursery) -> float:
        """Starts an attempt of each delivery that is due and has room. Gives when to look again, on trio's clock."""
        now, lanes, redact, enrich = trio.current_time(), self._lanes, self._redact, self._enrich
        free = {name: room for name, lane in lanes.items() if (room := lane.room(now))}
        leases = {name: lanes[name].lease for name in free}
        later = [lane.ready_at(now) for name, lane in lanes.items() if name not in free]
        for name, room in free.items():
            lanes[name].busy += room
        try:
            wanted = {name: room * max(lanes[name].batch, 1) for name, room in free.items()}
            found = await self._spool.claim(wanted, self._now(), leases) if free else Claims([], None)
            for lane, claims in _attempts(lanes, found.claims):
                free[lane.name] -= 1
                lane.start(trio.current_time())
                attempts.start_soon(self._attempt, lane, claims, redact, enrich, name=f"destination {lane.name}")
        finally:
            for name, room in free.items():
                lanes[name].release(room)
        if found.claims:
            return now
        if found.next_due is not None:
            later.append(trio.current_time() + found.next_due - self._now())
        return min(later, default=math.inf)

    async def _attempt(self, lane: Lane, claims: Sequence[Claim], redact: Redactor, enrich: Enrich | None) -> None:
        started, before = self._now(), trio.current_time()
        hidden = [_with_callback(redact, claim.event) for claim in claims]
        stores = [self._store(lane, hide) for hide in hidden]
        prefer = self._prefer
        try:
            endings = await attempt(lane, claims, stores, enrich)
            after = trio.current_time()
            outcomes = []
            for claim, ended, store, hide in zip(claims, endings, stores, hidden, strict=True):
                verdict = settle(
                    ended.ending,
                    lane.policy,
                    tries=claim.tries,
                    since=claim.since,
                    now=self._now(),
                    chance=self._chance(),
                )
                linking = linking_of(lane, claim.event, ended.link, verdict, prefer, self._answering, hide)
                outcomes.append(
                    Outcome(
                        claim,
                        verdict.state,
                        started,
                        after - before,
                        verdict.next_at,
                        storable(hide(verdict.reason)),
                        storable(hide(verdict.response)),
                        verdict.cause,
                        lane.fallback if verdict.state is State.DEAD else None,
                        store.seal(),
                        linking,
                    )
                )
            _turn_breaker(lane, [ended.ending for ended in endings], before, after, outcomes[0].reason)
            # patiently: what was delivered must not be delivered again because the disk was full for a moment
            settled = await patiently(lambda: self._spool.settle(outcomes))
            for outcome, counts in zip(outcomes, settled, strict=True):
                if counts:
                    self._tell(lane, outcome)
        finally:
            lane.release(1)
            self.wake.set()

    def _store(self, lane: Lane, hide: Callable[[str], str]) -> Store:
        return Store(
            lambda key: self._spool.kept(lane.name, key, self._now()), self._now(), lambda text: hide(text) != text
        )

    def _tell(self, lane: Lane, outcome: Outcome) -> None:
        delivery, event = outcome.claim.delivery, outcome.claim.event
        self._observers.delivery_settled(
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


def _attempts(lanes: Mapping[str, Lane], claims: Sequence[Claim]) -> Iterator[tuple[Lane, list[Claim]]]:
    """What is claimed, divided into attempts."""
    by_lane: dict[str, list[Claim]] = {}
    for claim in claims:
        by_lane.setdefault(claim.delivery.destination, []).append(claim)
    for name, own in by_lane.items():
        size = max(lanes[name].batch, 1)
        yield from ((lanes[name], own[start : start + size]) for start in range(0, len(own), size))


def _turn_breaker(lane: Lane, endings: Sequence[Ending], started: float, ended: float, reason: str) -> None:
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


def _with_callback(redact: Redactor, event: Event) -> Callable[[str], str]:
    """Also takes out the event's own callback URL, in whatever form a server may send it back."""
    incident = event.view.incident if is_mentioned(event.raw) else None
    if incident is None or incident.callback_url is None:
        return redact
    own = Redactor([incident.callback_url.get_secret_value()])
    return lambda text: own(redact(text)) if text else text
