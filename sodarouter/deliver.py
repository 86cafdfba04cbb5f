"""Delivers: claims what is due, calls the destinations, and settles what came of it.

Each destination has its own `Lane`, with its own limits; a lane that hangs or fails keeps only itself.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import trio

from sodarouter.attempt import attempt
from sodarouter.callback import is_mentioned
from sodarouter.delivery import Breaker, State
from sodarouter.errors import SpoolError
from sodarouter.event import Enrich, Event
from sodarouter.failures import storable
from sodarouter.lane import Lane
from sodarouter.linking import linking_of
from sodarouter.observe import Observers
from sodarouter.redact import Redactor
from sodarouter.settle import settle
from sodarouter.sparing import Sparing
from sodarouter.spool import Claim, Claims, Outcome, Spool, patiently
from sodarouter.store import Store
from sodarouter.telling import tell, tell_overrun, turn_breaker
from sodarouter.wake import Wake

GATHER = 0.002
"""Seconds for which an attempt that has ended waits for others of its destination, as long as some are under way, at least:
a transaction costs as much as many deliveries. Where the disk is slow, it waits as long as the last transaction took."""
MOST_GATHER = 0.02
"""Seconds that it waits at most."""


class _Ended(NamedTuple):
    """An attempt that has ended, and is to be settled."""

    lane: Lane
    outcomes: Sequence[Outcome]


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
        self._trying = 0
        """Attempts that have not ended."""
        self._ended: list[_Ended] = []
        """Those that have, and are not settled."""
        self._gather = GATHER
        self._sparing = Sparing()
        self.cut_off = Counter[str]()
        """Deliveries whose attempt was cancelled, by destination."""
        self.wake = Wake()
        """To be set when there may be something due."""

    async def run(self) -> None:
        """Returns after `stop`, once the attempts that were under way have ended and are settled."""
        async with trio.open_nursery() as attempts:
            while True:
                again = await patiently(self._spool.outage, lambda: self._turn(attempts))
                if self._stopping and not self._trying and not self._ended:
                    return
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

    async def _turn(self, attempts: trio.Nursery) -> float:
        """Settles the attempts that have ended, and starts one of each delivery that is due and has room.

        Gives when to look again, on trio's clock.
        """
        now, lanes, redact, enrich = trio.current_time(), self._lanes, self._redact, self._enrich
        if self._stopping:
            lanes = {}
        for lane in lanes.values():
            if lane.under_way:
                tell_overrun(lane, now, self._sparing)
        ended, self._ended = self._ended, []
        leaving = Counter(one.lane for one in ended)
        free = {name: room for name, lane in lanes.items() if (room := lane.room(now, leaving[lane]))}
        later = [lane.ready_at(now, leaving[lane]) for name, lane in lanes.items() if name not in free]
        for name, room in free.items():
            lanes[name].busy += room
        try:
            wanted = {name: room * max(lanes[name].batch, 1) for name, room in free.items()}
            found = await self._exchange([lane for lane in lanes.values() if lane.name in free], wanted, ended)
            for lane, claims in _attempts(lanes, found.claims):
                free[lane.name] -= 1
                wanted[lane.name] -= len(claims)
                lane.start(trio.current_time(), claims[0].key)
                self._trying += 1
                attempts.start_soon(self._attempt, lane, claims, redact, enrich, name=f"destination {lane.name}")
        except SpoolError:
            # each by itself: one of which the spool cannot take what came of it must not keep the others
            for one in ended:
                attempts.start_soon(self._settle, one)
            raise
        finally:
            for name, room in free.items():
                lanes[name].release(room)
        now = trio.current_time()
        later += [lanes[name].ready_at(now) for name, left in wanted.items() if not left]
        if found.next_due is not None:
            later.append(now + found.next_due - self._now())
        return min(later, default=math.inf)

    async def _exchange(self, lanes: Sequence[Lane], wanted: Mapping[str, int], ended: Sequence[_Ended]) -> Claims:
        outcomes = [outcome for one in ended for outcome in one.outcomes]
        if not wanted and not ended:
            return Claims([], None)
        leases = {lane.name: lane.lease for lane in lanes}
        once = any(lane.policy is None for lane in lanes)
        began = trio.current_time()
        settled, found = await self._spool.exchange(outcomes, wanted, self._now(), leases, once=once)
        self._gather = min(max(trio.current_time() - began, GATHER), MOST_GATHER)
        self._over(ended, settled)
        return found

    async def _settle(self, one: _Ended) -> None:
        # patiently: what was delivered must not be delivered again because the disk was full for a moment
        self._over([one], await patiently(self._spool.outage, lambda: self._spool.settle(one.outcomes)))
        self.wake.set()

    def _over(self, ended: Sequence[_Ended], settled: Iterable[bool]) -> None:
        """These attempts are settled: their places are free. What counts is told."""
        counting = iter(settled)
        for one in ended:
            one.lane.release(1)
            for outcome in one.outcomes:
                if next(counting):
                    tell(self._observers, one.lane, outcome)

    async def _attempt(self, lane: Lane, claims: Sequence[Claim], redact: Redactor, enrich: Enrich | None) -> None:
        outcomes: Sequence[Outcome] = ()
        try:
            outcomes = await self._outcomes(lane, claims, redact, enrich)
        finally:
            lane.under_way.pop(claims[0].key, None)  # another may have it, should the lease have run out
            self._trying -= 1
            self._ended.append(_Ended(lane, outcomes))
            if not outcomes:
                self.cut_off[lane.name] += len(claims)
            if lane.under_way:
                self.wake.within(self._gather)
            else:
                self.wake.set()

    async def _outcomes(
        self, lane: Lane, claims: Sequence[Claim], redact: Redactor, enrich: Enrich | None
    ) -> list[Outcome]:
        started, before = self._now(), trio.current_time()
        hidden = [_with_callback(redact, claim.event) for claim in claims]
        stores = [self._store(lane, hide) for hide in hidden]
        prefer = self._prefer
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
                    storable(hide(verdict.reason)) if verdict.reason else "",
                    storable(hide(verdict.response)) if verdict.response else "",
                    verdict.cause,
                    lane.fallback if verdict.state is State.DEAD else None,
                    store.seal(),
                    linking,
                )
            )
        turn_breaker(lane, [ended.ending for ended in endings], before, after, outcomes[0].reason)
        return outcomes

    def _store(self, lane: Lane, hide: Callable[[str], str]) -> Store:
        return Store(
            lambda key: self._spool.kept(lane.name, key, self._now()), self._now(), lambda text: hide(text) != text
        )


def _attempts(lanes: Mapping[str, Lane], claims: Sequence[Claim]) -> Iterator[tuple[Lane, list[Claim]]]:
    """What is claimed, divided into attempts."""
    by_lane: dict[str, list[Claim]] = {}
    for claim in claims:
        by_lane.setdefault(claim.delivery.destination, []).append(claim)
    for name, own in by_lane.items():
        size = max(lanes[name].batch, 1)
        yield from ((lanes[name], own[start : start + size]) for start in range(0, len(own), size))


def _with_callback(redact: Redactor, event: Event) -> Callable[[str], str]:
    """Also takes out the event's own callback URL, in whatever form a server may send it back."""
    incident = event.view.incident if is_mentioned(event.raw) else None
    if incident is None or incident.callback_url is None:
        return redact
    own = Redactor([incident.callback_url.get_secret_value()])
    return lambda text: own(redact(text)) if text else text
