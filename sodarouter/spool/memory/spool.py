"""The spool's twin in memory, for tests: the same promises but one, that anything survives."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import trio

from sodarouter.delivery import Cause, Delivery, Fallback, Halt, Planned, Queue, State, Stats
from sodarouter.event import Event
from sodarouter.link import IncidentLink, choose
from sodarouter.spool.memory.reader import MemoryReader
from sodarouter.spool.memory.rows import Made, Row, moment
from sodarouter.spool.values import (
    INTERRUPTED,
    LINK,
    ROUTE,
    Appended,
    Attempt,
    Claim,
    Claims,
    Decided,
    Deciding,
    Keep,
    Linking,
    Outcome,
    Recollection,
    Refused,
    Retention,
    Routed,
    StoredEvent,
    StoredSilence,
    covers,
    digest,
    incident_update,
)


class MemorySpool(MemoryReader):
    """`sodarouter.spool.base.Spool` and `Reader` in dicts."""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def append(self, event: Event, *, window: float, deciding: Deciding | None = None) -> Appended:
        await trio.lowlevel.checkpoint()
        key = digest(event)
        name, until = self._recent.get(key, ("", 0.0))
        earlier = self._events.get(name)
        if earlier and event.received.timestamp() < until:
            self._events[name] = replace(earlier, repeats=earlier.repeats + 1)
            return Appended(name, duplicate=True)
        self._recent[key] = (event.id, event.received.timestamp() + window)
        return Appended(event.id, duplicate=False, decided=self._store(event, deciding))

    async def append_all(
        self, events: Sequence[tuple[Event, float, Deciding | None]]
    ) -> list[Appended | BaseException]:
        return [await self.append(event, window=window, deciding=deciding) for event, window, deciding in events]

    def _store(self, event: Event, deciding: Deciding | None = None) -> Decided | None:
        late = False
        if update := incident_update(event):
            newest = self._updates.setdefault((event.source, update.incident), update.updated)
            late = newest > update.updated
            self._updates[event.source, update.incident] = max(newest, update.updated)
        incident = event.view.incident
        if incident and incident.id and incident.callback_url:
            self._callbacks[event.source, incident.id] = event.id
        self._events[event.id] = StoredEvent(replace(event, late=late), repeats=0, planned=None)
        received = event.received.timestamp()
        if deciding is not None and not any(
            row.plan.destination == ROUTE and not row.replay for row in self._pending()
        ):
            with suppress(Exception):
                decided = deciding(self._recollection(deciding.keys, (), received), late=late)
                self._record(event.id, 0, decided)
                return decided
        self._plan(event.id, Planned(ROUTE), received)
        return None

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

    def _plan(self, event: str, plan: Planned, now: float, **known: Any) -> bool:
        self._keys += 1
        row = Row(self._keys, event, plan, planned=now, since=now, **({"next_at": now} | known))
        if row.id in self._rows:
            return False
        self._rows[row.id] = row
        return True

    async def quarantine(self, refused: Refused) -> None:
        await trio.lowlevel.checkpoint()
        self._refused[refused.id] = refused

    async def readmit(self, refused: str, event: Event) -> bool:
        await trio.lowlevel.checkpoint()
        if self._refused.pop(refused, None) is None:
            return False
        self._store(event)
        return True

    async def dismiss(self, refused: Sequence[str]) -> list[str]:
        await trio.lowlevel.checkpoint()
        return [name for name in refused if self._refused.pop(name, None)]

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
        delivery = Delivery(
            row.id,
            row.plan.destination,
            row.attempt,
            moment(row.planned),
            row.plan.results,
            row.replay,
            row.fallback,
            row.plan.part,
            row.plan.group,
        )
        return Claim(row.key, delivery, self._events[row.event].event, row.attempt - row.forgiven, row.since)

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

    async def retry(self, deliveries: Sequence[str], now: float) -> list[str]:
        await trio.lowlevel.checkpoint()
        retried = self._those(deliveries, lambda row: row.state is State.DEAD)
        for row in retried:
            row.state, row.settled, row.reason, row.cause = State.PENDING, None, "", None
            row.forgiven, row.since, row.next_at = row.attempt, now, now
        return [row.id for row in retried]

    async def discard(self, deliveries: Sequence[str], now: float) -> list[str]:
        await trio.lowlevel.checkpoint()
        discarded = self._those(
            deliveries, lambda row: row.state is State.DEAD or (row.state is State.PENDING and not row.leased)
        )
        for row in discarded:
            row.state, row.settled = State.DISCARDED, now if row.settled is None else row.settled
        return [row.id for row in discarded]

    def _those(self, deliveries: Iterable[str], fits: Callable[[Row], bool]) -> list[Row]:
        rows = (self._rows.get(delivery) for delivery in dict.fromkeys(deliveries))
        return [row for row in rows if row and fits(row)]

    async def begin_replay(self, now: float) -> int:
        await trio.lowlevel.checkpoint()
        self._replays += 1
        return self._replays

    async def replay(
        self, number: int, events: Sequence[str], destinations: Sequence[str], now: float, *, first: float, every: float
    ) -> int:
        await trio.lowlevel.checkpoint()
        planned = 0
        for place, event in enumerate(events):
            for destination in destinations or (ROUTE,) if event in self._events else ():
                before = [
                    row
                    for row in self._rows.values()
                    if (row.event, row.plan.destination) == (event, destination) and row.replay < number
                ]
                last = max((row.replay for row in before), default=None)
                plans = [row.plan for row in before if row.replay == last] or [Planned(destination)]
                planned += sum(
                    self._plan(event, plan, now, next_at=first + place * every, replay=number) for plan in plans
                )
        return planned

    async def recall(self, keys: Sequence[bytes], events: Sequence[str], since: float) -> Recollection:
        await trio.lowlevel.checkpoint()
        return self._recollection(keys, events, since)

    def _recollection(self, keys: Sequence[bytes], events: Sequence[str], since: float) -> Recollection:
        states = {
            name: stored.state for name in events if (stored := self._events.get(name)) and stored.state is not None
        }
        silences = [silence for silence in self.silences() if silence.ends > moment(since)]
        return Recollection(self.recollection(keys), states, silences)

    async def keep_routing(self, config: str, routing: str, now: float) -> None:
        await trio.lowlevel.checkpoint()
        if last := self._last_routing():
            self._routings[last] = (self._routings[last][0], now)
        self._routings[config] = (routing, now + 1e-6)

    def _last_routing(self) -> str | None:
        return max(self._routings, key=lambda config: self._routings[config][1], default=None)

    async def kept(self, destination: str, key: str, now: float) -> str | None:
        await trio.lowlevel.checkpoint()
        found = self._kept.get((destination, key))
        return found.value if found and found.expires > now else None

    async def forget(self, destination: str, keys: Sequence[str]) -> list[str]:
        await trio.lowlevel.checkpoint()
        return [key for key in keys if self._kept.pop((destination, key), None)]

    async def link(self, source: str, incident: str) -> IncidentLink | None:
        await trio.lowlevel.checkpoint()
        links = self._links.get((source, incident), {}).values()
        return next((made.link for made in links if made.chosen), None)

    async def choose_links(self, prefer: Sequence[str], now: float) -> int:
        await trio.lowlevel.checkpoint()
        oldest: dict[str, float] = {}
        for row in self._pending():
            oldest[row.plan.destination] = min(row.planned, oldest.get(row.plan.destination, row.planned))
        planned = 0
        for incident, links in sorted(self._links.items()):
            target = self._callbacks.get(incident)
            if links and target is not None and not any(made.chosen for made in links.values()):
                last = max(made.made for made in links.values())
                awaited = [name for name in prefer if oldest.get(name, last + 1) <= last]
                planned += self._choose(links, awaited, prefer, target, now)
        return planned

    async def add_silence(self, silence: StoredSilence) -> None:
        await trio.lowlevel.checkpoint()
        self._silences[silence.id] = silence

    async def end_silence(self, silence: str, now: float) -> bool:
        await trio.lowlevel.checkpoint()
        found = self._silences.get(silence)
        if found is None or found.ends <= moment(now):
            return False
        self._silences[silence] = replace(found, ends=max(found.starts, moment(now)))
        return True

    async def halt(self, destination: str, halt: Halt | None, now: float) -> None:
        await trio.lowlevel.checkpoint()
        self._halts.pop(destination, None)
        if halt is not None:
            self._halts[destination] = (halt, now)

    async def recover(self, now: float, once: Mapping[str, str | None]) -> int:
        await trio.lowlevel.checkpoint()
        for row in [row for row in self._pending() if row.leased and row.plan.destination in once]:
            row.state, row.leased, row.settled = State.DEAD, False, now
            row.reason, row.cause = INTERRUPTED, Cause.UNCONFIRMED
            if name := once[row.plan.destination]:
                self._hand_over(row, name, now)
        leased = [row for row in self._pending() if row.leased or row.planned > now]
        for row in leased:
            row.leased, row.next_at = False, now
        return len(leased)

    async def prune(self, retention: Retention, now: float, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        bodies = {r.id: (r.received.timestamp(), len(r.raw)) for r in self._refused.values()}
        refused = _going(bodies, retention.quarantine, now, limit)
        for body in refused:
            del self._refused[body]
        settled = [
            row for row in sorted(self._rows.values(), key=lambda row: row.key) if row.state is not State.PENDING
        ]
        tried = {
            row.id: (max(a.started.timestamp() for a in row.attempts), row.said) for row in settled if row.attempts
        }
        attempts = _going(tried, retention.attempts, now, limit, there=sum(row.said for row in self._rows.values()))
        for name in attempts:
            self._rows[name].attempts = []
        dead = {row.id: (row.settled or 0.0, self._size(row.event)) for row in settled if row.state is State.DEAD}
        given_up = _going(dict(sorted(dead.items(), key=lambda d: d[1][0])), retention.dead_letters, now, limit)
        for name in given_up:
            self._rows[name].state = State.DISCARDED
        events = self._prune_events(retention.events, now, limit)
        forgotten = self._forget(now - retention.events.age, limit)
        return max(*map(len, (refused, attempts, given_up, events, forgotten)), *self._expire(now, retention, limit))

    def _expire(self, now: float, retention: Retention, limit: int) -> tuple[int, int]:
        over = sorted((kept.expires, entry) for entry, kept in self._kept.items() if kept.expires <= now)[:limit]
        for _, entry in over:
            del self._kept[entry]
        before = now - retention.events.age
        links = [
            (made.made, incident, name)
            for incident, of in self._links.items()
            if incident not in self._callbacks
            for name, made in of.items()
        ]
        old = sorted(one for one in links if one[0] < before)[:limit]
        for _, incident, name in old:
            del self._links[incident][name]
        return len(over), len(old)

    def _forget(self, before: float, limit: int) -> Collection[bytes]:
        self._silences = {name: one for name, one in self._silences.items() if one.ends >= moment(before)}
        last = self._last_routing()
        self._routings = {name: one for name, one in self._routings.items() if one[1] >= before or name == last}
        oldest = sorted((seen, key) for key, (_, seen) in self._memory.items() if seen < before)
        forgotten = [key for _, key in oldest[:limit]]
        for key in forgotten:
            del self._memory[key]
        return forgotten

    def _prune_events(self, keep: Keep, now: float, limit: int) -> Collection[str]:
        busy = {row.event for row in self._rows.values() if row.state in {State.PENDING, State.DEAD}}
        sizes = {name: (s.event.received.timestamp(), self._size(name)) for name, s in self._events.items()}
        free = {name: found for name, found in sizes.items() if name not in busy}
        going = _going(
            dict(sorted(free.items(), key=lambda e: e[1][0])), keep, now, limit, there=sum(s for _, s in sizes.values())
        )
        for event in going:
            del self._events[event]
        self._callbacks = {incident: event for incident, event in self._callbacks.items() if event in self._events}
        self._rows = {row.id: row for row in self._rows.values() if row.event in self._events}
        return going

    def _size(self, event: str) -> int:
        return len(self._events[event].event.raw)

    async def stats(self) -> Stats:
        await trio.lowlevel.checkpoint()
        queues: dict[str, dict[str, Any]] = {name: {"halt": halt} for name, (halt, _) in self._halts.items()}
        for row in self._rows.values():
            empty = {"pending": 0, "leased": 0, "dead": 0, "oldest": None}
            counts = queues.setdefault(row.plan.destination, {})
            counts.update(empty | counts)
            if row.state is State.PENDING:
                counts["leased" if row.leased else "pending"] += 1
                planned = moment(row.planned)
                counts["oldest"] = min(counts["oldest"] or planned, planned)
            elif row.state is State.DEAD:
                counts["dead"] += 1
        waiting = {name: Queue(**counts) for name, counts in queues.items() if any(counts.values())}
        return Stats(waiting, len(self._refused), backlog=len(self._pending()))


def _going(
    oldest: Mapping[str, tuple[float, int]], keep: Keep, now: float, limit: int, *, there: int | None = None
) -> list[str]:
    """Of time and bytes by name, the oldest first, the names of what is kept no longer."""
    left = sum(size for _, size in oldest.values()) if there is None else there
    going = []
    for name, (when, size) in list(oldest.items())[:limit]:
        if when >= now - keep.age and (keep.size is None or left <= keep.size):
            break
        going.append(name)
        left -= size
    return going
