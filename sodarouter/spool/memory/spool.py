"""The spool's twin in memory, for tests: the same promises but one, that anything survives."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import trio

from sodarouter.delivery import Cause, Halt, Planned, Queue, Settled, State, Stats
from sodarouter.event import Event
from sodarouter.link import IncidentLink
from sodarouter.spool.memory.queue import MemoryQueue
from sodarouter.spool.memory.rows import Row, delivery_of, moment
from sodarouter.spool.values import (
    INTERRUPTED,
    ROUTE,
    Appended,
    Decided,
    Deciding,
    Keep,
    Recollection,
    Recovered,
    Refused,
    Retention,
    StoredEvent,
    StoredSilence,
    digest,
    incident_update,
)


class MemorySpool(MemoryQueue):
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
    ) -> int | None:
        await trio.lowlevel.checkpoint()
        if not 1 <= number <= self._replays:
            return None
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

    async def recover(self, now: float, once: Mapping[str, str | None]) -> Recovered:
        await trio.lowlevel.checkpoint()
        lost = [row for name in once for row in self._pending() if row.leased and row.plan.destination == name]
        for row in lost:
            row.state, row.leased, row.settled = State.DEAD, False, now
            row.reason, row.cause = INTERRUPTED, Cause.UNCONFIRMED
            if name := once[row.plan.destination]:
                self._hand_over(row, name, now)
        leased = [row for row in self._pending() if row.leased or row.planned > now]
        for row in leased:
            row.leased, row.next_at = False, now
        return Recovered(len(leased), [self._given_up(row) for row in lost])

    def _given_up(self, row: Row) -> Settled:
        event = self._events[row.event].event
        return Settled(
            delivery_of(row), event.type, event.source, event.received, row.state, 0.0, row.reason, row.cause
        )

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
