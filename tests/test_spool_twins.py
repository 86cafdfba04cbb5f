"""Whatever is done to them, the engine on disk and its twin in memory show the same, and the amounts are right."""

import sqlite3
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import trio
from engines import NOW, Engine, ended, keeping, open_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from support import make_event

from sodarouter.delivery import Cause, Halt, Planned, State
from sodarouter.event import Event
from sodarouter.link import IncidentLink
from sodarouter.spool import (
    Decided,
    DeliveryFilter,
    EventFilter,
    Keep,
    Linking,
    Recollection,
    Routed,
    StoredEvent,
    StoredSilence,
)
from sodarouter.store import Kept

DESTINATIONS = ("log", "mail", "$link")
KEYS = (b"one", b"two", b"three")
DIVIDED = (
    [Planned("log", (0,), part=1, group="a"), Planned("log", (1, 2), part=2, group="b"), Planned("mail", (1,))],
    [Planned("log", None, part=1), Planned("mail", (0,), part=1), Planned("mail", (1,), part=2)],
    [Planned("log", (0,), ("k",), part=1), Planned("log", (0,), ("k",), part=2), Planned("mail", None)],
)
"""Parts of the same results too, and of others under the same number, as a fallback may be handed them."""
LINKINGS = [
    Linking("i-1", IncidentLink("https://x/1", "one") if made else None, prefer, answering)
    for made in (True, False)
    for prefer in ((), ("mail",))
    for answering in (True, False)
]
"""What attempts have to do with the link of the incident that some of the events are of."""
INCIDENT = {
    "event": "incidentCreated",
    "incident": {"id": "i-1"},
    "incidentLinkCallbackUrl": "https://cloud.soda.io/incident-link/1/0123456789abcdef",
}
STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 5), st.integers(0, 2)),
    st.tuples(st.just("append_decided"), st.integers(0, 5), st.sampled_from([*DIVIDED, [], None])),
    st.tuples(st.just("append_all"), st.lists(st.integers(0, 5), max_size=3), st.integers(0, 2)),
    st.tuples(st.just("decide"), st.integers(0, 3), st.sampled_from([(), ("a",), ("b",), ("a", "b")])),
    st.tuples(st.just("divide"), st.integers(0, 3), st.sampled_from(DIVIDED)),
    st.tuples(st.just("remember"), st.integers(0, 3), st.sampled_from(KEYS)),
    st.tuples(st.just("recall"), st.integers(0, 9), st.integers(-5, 5)),
    st.tuples(st.just("silence"), st.integers(-5, 5), st.integers(0, 20)),
    st.tuples(st.just("end_silence"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("keep_routing"), st.sampled_from(["c-1", "c-2", "c-3"]), st.integers(0, 1)),
    st.tuples(st.just("claim"), st.sampled_from(DESTINATIONS), st.integers(1, 3)),
    st.tuples(st.just("exchange"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("settle"), st.sampled_from([State.DELIVERED, State.DEAD, State.PENDING]), st.booleans()),
    st.tuples(st.just("keep"), st.sampled_from(["a", "b"]), st.sampled_from([None, 3.0, 30.0])),
    st.tuples(st.just("forget"), st.sampled_from(["a", "b"]), st.just(0)),
    st.tuples(
        st.just("link"), st.sampled_from([State.DELIVERED, State.DEAD, State.PENDING]), st.sampled_from(LINKINGS)
    ),
    st.tuples(st.just("retry"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("discard"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("halt"), st.sampled_from(DESTINATIONS), st.sampled_from([Halt.PAUSED, Halt.DRAINING, None])),
    st.tuples(st.just("replay"), st.integers(0, 9), st.sampled_from([(), ("log",), DESTINATIONS])),
    st.tuples(st.just("choose_links"), st.sampled_from([(), ("mail",), ("mail", "log")]), st.just(0)),
    st.tuples(st.just("recover"), st.booleans(), st.just(0)),
    st.tuples(st.just("prune"), st.integers(0, 40), st.sampled_from([None, 0, 100])),
)


class Decide:
    """A `Deciding` that plans what it is told, or fails; its trace has all that it is told itself."""

    keys = KEYS[:2]

    def __init__(self, planned: list[Planned] | None, now: float) -> None:
        self.planned = planned
        self.now = now

    def __call__(self, known: Recollection, *, late: bool) -> Decided:
        if self.planned is None:
            raise ValueError("nobody can decide this")
        told = sorted(known.memory.values()), [silence.id for silence in known.silences], late
        memory = {KEYS[0]: f"{self.now}"}
        return Decided([{"route": "x", "told": told}], self.planned, self.now, "c-2", state="[]", memory=memory)


class Twins:
    """Does the same to both, and compares what they answer and show."""

    def __init__(self, *engines: Engine) -> None:
        self.engines = engines
        self.now = NOW
        self.claimed: list[list[Any]] = [[] for _ in engines]

    async def do(self, what: str, *arguments: Any) -> None:
        self.now += 1
        answers = [await getattr(self, f"_{what}")(number, *arguments) for number in range(len(self.engines))]
        assert answers[0] == answers[1], what
        shown = [await self._shown(engine) for engine in self.engines]
        assert shown[0] == shown[1], what

    async def _shown(self, engine: Engine) -> Any:
        stats = await engine.spool.stats()
        events = [_without_secrets(stored) for stored in engine.reader.events(limit=99)]
        deliveries = sorted(engine.reader.deliveries(limit=99), key=lambda delivery: delivery.id)
        attempts = [engine.reader.attempts(delivery.id) for delivery in deliveries]
        reader = engine.reader
        narrowed = [
            [_without_secrets(stored) for stored in reader.events(EventFilter(unrouted=on, withheld=not on), limit=99)]
            for on in (True, False)
        ]
        known = (
            reader.silences(),
            reader.replays(),
            reader.recollection(KEYS),
            [reader.routing(f"c-{n}") for n in (1, 2, 3)],
            [reader.entries(name, self.now, limit=9) for name in DESTINATIONS],
            await engine.spool.link("soda", "i-1"),
        )
        streamed = [replace(stored, trace=[]) for stored in events[::-1]]
        assert [_without_secrets(stored) for stored in reader.stream(EventFilter())] == streamed
        return stats.queues, stats.backlog, events, narrowed, deliveries, attempts, reader.halts(), known

    async def _append(self, number: int, body: int, window: int) -> Any:
        return await self.engines[number].spool.append(self._event(body), window=float(window))

    async def _append_all(self, number: int, bodies: list[int], window: int) -> Any:
        events = [self._event(body, part) for part, body in enumerate(bodies)]
        return await self.engines[number].spool.append_all([(event, float(window), None) for event in events])

    def _event(self, body: int, part: int = 0) -> Event:
        return make_event(
            INCIDENT if body == 5 else {"event": "checkEvaluation", "n": body},
            id=f"{self.now:.0f}-{part}",
            received=make_event().received + timedelta(seconds=self.now - NOW),
        )

    async def _append_decided(self, number: int, body: int, planned: list[Planned] | None) -> Any:
        event = self._event(body)
        return await self.engines[number].spool.append(event, window=2.0, deciding=Decide(planned, self.now))

    async def _decide(self, number: int, limit: int, keys: tuple[str, ...]) -> Any:
        engine = self.engines[number]
        claims = await engine.claim(limit=limit, now=self.now)
        planned = [Planned(name, keys=keys) for name in DESTINATIONS]
        # a decision that is made anew brings nothing, and what was added stays
        added = [None if claim.delivery.replay else f'{{"x":{{"n":{self.now}}}}}' for claim in claims]
        return await engine.spool.settle(
            [
                Routed(claim, Decided([], planned, self.now, enriched=one))
                for claim, one in zip(claims, added, strict=True)
            ]
        )

    async def _divide(self, number: int, limit: int, planned: list[Planned]) -> Any:
        engine = self.engines[number]
        claims = await engine.claim(limit=limit, now=self.now)
        trace = [{"route": "x", "results": (0, 1)}]
        return await engine.spool.settle([Routed(claim, Decided(trace, planned, self.now, "c-1")) for claim in claims])

    async def _remember(self, number: int, limit: int, key: bytes) -> Any:
        engine = self.engines[number]
        claims = await engine.claim(limit=limit, now=self.now)
        known: dict[str, Any] = {"state": f"[{self.now}]", "memory": {key: f"{self.now}"}, "withheld": key == b"one"}
        return await engine.spool.settle([Routed(claim, Decided([], [], self.now, **known)) for claim in claims])

    async def _recall(self, number: int, which: int, since: int) -> Any:
        engine = self.engines[number]
        events = [stored.event.id for stored in engine.reader.events(limit=99)][which : which + 2]
        return await engine.spool.recall([*KEYS, b"four"], [*events, "none"], self.now + since)

    async def _silence(self, number: int, starts: int, seconds: int) -> Any:
        first = make_event().received + timedelta(seconds=self.now - NOW + starts)
        name = f"s-{self.now:.0f}"
        await self.engines[number].spool.add_silence(
            StoredSilence(name, first, first + timedelta(seconds=seconds), "{}")
        )

    async def _end_silence(self, number: int, which: int, _: Any) -> Any:
        names = [one.id for one in self.engines[number].reader.silences()][which : which + 1]
        return [await self.engines[number].spool.end_silence(name, self.now) for name in [*names, "none"]]

    async def _keep_routing(self, number: int, config: str, text: int) -> Any:
        await self.engines[number].spool.keep_routing(config, f"[{text}]", self.now)

    async def _claim(self, number: int, destination: str, limit: int) -> Any:
        claims = await self.engines[number].claim(destination, limit, self.now)
        self.claimed[number].extend(claims)
        return [replace(claim, key=0) for claim in claims]

    async def _exchange(self, number: int, limit: int, once: bool) -> Any:
        outcomes = [ended(claim, started=self.now) for claim in self.claimed[number]]
        wanted = {name: limit + place for place, name in enumerate(DESTINATIONS)}
        leases = {name: 60.0 + place % 2 for place, name in enumerate(DESTINATIONS)}
        settled, found = await self.engines[number].spool.exchange(outcomes, wanted, self.now, leases, once=once)
        self.claimed[number] = sorted(found.claims, key=lambda claim: claim.delivery.id)
        return settled, found.next_due, [replace(claim, key=0) for claim in self.claimed[number]]

    async def _settle(self, number: int, state: State, handed_over: bool) -> Any:
        if not self.claimed[number]:
            return None
        claim = self.claimed[number].pop(0)
        known = {"reason": "no", "cause": Cause.REJECTED, "fallback": "mail" if handed_over else None}
        outcome = ended(claim, state, started=self.now, next_at=self.now + 3, **(known if state is State.DEAD else {}))
        return await self.engines[number].spool.settle([outcome, outcome])

    async def _keep(self, number: int, key: str, seconds: float | None) -> Any:
        if not self.claimed[number]:
            return None
        claim = self.claimed[number].pop(0)
        kept = {key: None if seconds is None else Kept(f"[{self.now}]", self.now + seconds)}
        return await self.engines[number].spool.settle([ended(claim, started=self.now, kept=kept)])

    async def _forget(self, number: int, key: str, _: Any) -> Any:
        spool = self.engines[number].spool
        return [await spool.forget(name, [key]) for name in DESTINATIONS], await spool.kept("log", "b", self.now)

    async def _link(self, number: int, state: State, linking: Linking) -> Any:
        if not self.claimed[number]:
            return None
        claim = self.claimed[number].pop(0)
        outcome = ended(claim, state, started=self.now, next_at=self.now + 3, linking=linking)
        return await self.engines[number].spool.settle([outcome])

    async def _choose_links(self, number: int, prefer: tuple[str, ...], _: Any) -> Any:
        return await self.engines[number].spool.choose_links(prefer, self.now)

    async def _retry(self, number: int, which: int, _: Any) -> Any:
        return await self.engines[number].spool.retry(self._some(number, which), self.now)

    async def _discard(self, number: int, which: int, _: Any) -> Any:
        return await self.engines[number].spool.discard(self._some(number, which), self.now)

    def _some(self, number: int, which: int) -> list[str]:
        found = sorted(d.id for d in self.engines[number].reader.deliveries(DeliveryFilter(), limit=99))
        return found[which : which + 2]

    async def _halt(self, number: int, destination: str, halt: Halt | None) -> Any:
        await self.engines[number].spool.halt(destination, halt, self.now)

    async def _replay(self, number: int, which: int, destinations: tuple[str, ...]) -> Any:
        engine = self.engines[number]
        replay = await engine.spool.begin_replay(self.now)
        events = [stored.event.id for stored in engine.reader.events(limit=99)][which : which + 2]
        planned = await engine.spool.replay(replay, events, destinations, self.now, first=self.now, every=1.0)
        return replay, planned

    async def _recover(self, number: int, once: bool, _: Any) -> Any:
        self.claimed[number].clear()
        return await self.engines[number].spool.recover(self.now, {"log": "mail"} if once else {})

    async def _prune(self, number: int, age: int, size: int | None) -> Any:
        kinds = ("events", "attempts", "quarantine", "dead_letters")
        retention = keeping(**dict.fromkeys(kinds, Keep(float(age), size)))
        return await self.engines[number].spool.prune(retention, self.now, 100)


def _without_secrets(stored: StoredEvent) -> StoredEvent:
    """As the file has it: only who delivers needs the callback URL."""
    return replace(stored, event=replace(stored.event, raw=stored.event.raw_redacted))


@settings(max_examples=80)
@given(st.lists(STEPS, max_size=40))
def test_both_engines_show_the_same_whatever_is_done(steps: list[tuple[Any, ...]]) -> None:
    async def run(folder: Path) -> None:
        async with open_engine("sqlite", folder) as on_disk, open_engine("memory", folder) as in_memory:
            twins = Twins(on_disk, in_memory)
            for step in steps:
                await twins.do(*step)
        connection = sqlite3.connect(folder / "spool.db")
        held = dict(connection.execute("SELECT what, amount FROM held").fetchall())
        counted = dict(connection.execute(COUNTED).fetchall())
        dangling = connection.execute(DANGLING).fetchall()
        connection.close()
        assert held == counted
        assert dangling == []

    with tempfile.TemporaryDirectory() as folder:
        trio.run(run, Path(folder))


COUNTED = """
    SELECT 'backlog', count(*) FROM delivery WHERE state = 'pending'
    UNION ALL SELECT 'events', coalesce(sum(length(raw)), 0) FROM event
    UNION ALL SELECT 'quarantine', coalesce(sum(length(raw)), 0) FROM quarantine
    UNION ALL SELECT 'attempts', coalesce(sum(length(reason) + length(response)), 0) FROM attempt
    UNION ALL SELECT 'dead_letters', coalesce(sum(length(raw)), 0)
        FROM delivery JOIN event ON event.seq = delivery.event WHERE state = 'dead'
"""
DANGLING = """
    SELECT 'ordering', delivery FROM ordering WHERE delivery NOT IN (SELECT seq FROM delivery WHERE state = 'pending')
    UNION ALL SELECT 'attempt', delivery FROM attempt WHERE delivery NOT IN (SELECT seq FROM delivery)
    UNION ALL SELECT 'delivery', seq FROM delivery WHERE event NOT IN (SELECT seq FROM event)
    UNION ALL SELECT 'decision', event FROM decision WHERE event NOT IN (SELECT seq FROM event)
    UNION ALL SELECT 'recent', event FROM recent WHERE event NOT IN (SELECT seq FROM event)
    UNION ALL SELECT 'callback', event FROM callback WHERE event NOT IN (SELECT seq FROM event)
    UNION ALL SELECT 'enrichment', event FROM enrichment WHERE event NOT IN (SELECT seq FROM event)
"""
