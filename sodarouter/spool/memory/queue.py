"""Deliveries in memory: planned, claimed and settled."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import trio

from sodarouter.delivery import Fallback, Halt, Planned, State
from sodarouter.link import choose
from sodarouter.spool.memory.reader import MemoryReader
from sodarouter.spool.memory.rows import Made, Row, delivery_of, moment
from sodarouter.spool.values import LINK, Attempt, Claim, Claims, Decided, Linking, Outcome, Routed, covers


class MemoryQueue(MemoryReader):
    """The part of `sodarouter.spool.base.Spool` that is about what is to be done."""

    def _plan(self, event: str, plan: Planned, now: float, **known: Any) -> bool:
        self._keys += 1
        row = Row(self._keys, event, plan, planned=now, since=now, **({"next_at": now} | known))
        if row.id in self._rows:
            return False
        self._rows[row.id] = row
        return True

    def _record(self, event: str, replay: int, decided: Decided) -> None:
        known = self._events[event]
        self._events[event] = replace(
            known,
            event=known.event.with_enriched(json.loads(decided.enriched)) if decided.enriched else known.event,
            planned=len(decided.planned),
            trace=json.loads(json.dumps(decided.trace)),
            config=decided.config,
            withheld=decided.withheld,
            state=decided.state,
        )
        self._memory |= {key: (value, decided.now) for key, value in decided.memory.items()}
        for plan in decided.planned:
            self._plan(event, plan, decided.now, replay=replay, config=decided.config)

    async def claim(self, wanted: Mapping[str, int], now: float, leases: Mapping[str, float]) -> Claims:
        await trio.lowlevel.checkpoint()
        claims, due_at = [], []
        for destination, limit in wanted.items():
            waiting = self._claimable(destination)
            due = [row for row in waiting if row.next_at <= now]
            given = sorted(due, key=lambda row: (row.next_at, row.key))[:limit]
            for row in given:
                row.leased, row.attempt, row.next_at = True, row.attempt + 1, now + leases[destination]
                claims.append(self._claim(row))
            if len(given) < limit:
                due_at += [row.next_at for row in waiting]
        return Claims(claims, min(due_at, default=None))

    async def exchange(
        self,
        outcomes: Sequence[Outcome],
        wanted: Mapping[str, int],
        now: float,
        leases: Mapping[str, float],
        *,
        once: bool,
    ) -> tuple[list[bool], Claims]:
        return await self.settle(outcomes), await self.claim(wanted, now, leases)

    def _claimable(self, destination: str) -> list[Row]:
        pending = [row for row in self._pending() if row.plan.destination == destination]
        halt, since = self._halts.get(destination, (None, 0.0))
        if halt:
            before = [row for row in pending if row.planned <= since]
            if halt is Halt.PAUSED or not before:
                self._halts[destination] = (Halt.PAUSED, since)
                return []
            pending = before
        return [row for row in pending if not self._is_blocked(row)]

    def _is_blocked(self, row: Row) -> bool:
        return any(
            other.key < row.key
            and other.plan.destination == row.plan.destination
            and set(other.plan.keys) & set(row.plan.keys)
            for other in self._pending()
        )

    def _pending(self) -> list[Row]:
        return [row for row in self._rows.values() if row.state is State.PENDING]

    def _claim(self, row: Row) -> Claim:
        event = self._events[row.event].event
        return Claim(row.key, delivery_of(row), event, row.attempt - row.forgiven, row.since)

    async def settle(self, outcomes: Sequence[Outcome | Routed]) -> list[bool]:
        await trio.lowlevel.checkpoint()
        return [self._settle(outcome) for outcome in outcomes]

    def _settle(self, outcome: Outcome | Routed) -> bool:
        claim = outcome.claim
        row = self._rows.get(claim.delivery.id)
        if not (row and row.key == claim.key and row.attempt == claim.delivery.attempt and row.leased):
            return False
        if isinstance(outcome, Routed):
            del self._rows[row.id]
            self._record(row.event, row.replay, outcome.decided)
            return True
        row.state, row.leased, row.next_at, row.reason = outcome.state, False, outcome.next_at, outcome.reason
        row.cause = outcome.cause
        row.settled = None if outcome.state is State.PENDING else outcome.started + outcome.seconds
        row.attempts.append(
            Attempt(
                row.attempt, moment(outcome.started), outcome.seconds, outcome.state, outcome.reason, outcome.response
            )
        )
        if outcome.state is State.DEAD and outcome.fallback:
            self._hand_over(row, outcome.fallback, outcome.started + outcome.seconds)
        for key, kept in outcome.kept.items():
            self._kept.pop((row.plan.destination, key), None)
            if kept is not None:
                self._kept[row.plan.destination, key] = kept
        if outcome.linking:
            self._settle_link(row, outcome.linking, outcome.started + outcome.seconds)
        return True

    def _settle_link(self, row: Row, linking: Linking, now: float) -> None:
        incident = (self._events[row.event].event.source, linking.incident)
        links = self._links.setdefault(incident, {})
        if linking.link is not None:
            before = links.setdefault(row.plan.destination, Made(linking.link, now))
            before.link = before.link if before.chosen else linking.link
        target = row.event if linking.answering else self._callbacks.get(incident)
        if target is None or any(made.chosen for made in links.values()):
            return
        awaited = {other.plan.destination for other in self._pending() if other.event == row.event}
        self._choose(links, awaited, linking.prefer, target, now)

    def _choose(
        self, links: Mapping[str, Made], awaited: Collection[str], prefer: Sequence[str], target: str, now: float
    ) -> int:
        best = choose(sorted(links, key=lambda name: (links[name].made, name)), awaited, prefer)
        if best is None:
            return 0
        links[best].chosen = True
        return int(self._plan(target, Planned(LINK), now))

    def _hand_over(self, row: Row, name: str, now: float) -> None:
        there = [
            other
            for other in self._rows.values()
            if (other.event, other.plan.destination, other.replay) == (row.event, name, row.replay)
        ]
        own = [other for other in there if other.fallback and other.fallback.destination == row.plan.destination]
        if any((other.plan.results, other.plan.group) == (row.plan.results, row.plan.group) for other in own):
            return
        if covers([other.plan.results for other in there if other not in own], row.plan.results):
            return
        taken = {other.plan.part for other in there}
        part = max(taken) + 1 if row.plan.part in taken else row.plan.part
        plan = replace(row.plan, destination=name, part=part)
        fallback = Fallback(row.plan.destination, row.reason)
        self._plan(row.event, plan, now, replay=row.replay, config=row.config, fallback=fallback)
