"""Most events are decided in the transaction that stores them, the others in their turn, with the same outcome."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from engines import ENGINES, Engine, open_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from routing import LATER, NOON, Deciding, events, routed, routings, silences
from running import until
from structlog.testing import capture_logs
from support import make_event

from sodarouter.decide import Routing, Silence, compile_rules, decide
from sodarouter.decide.memory import memory_keys
from sodarouter.deciding import Ruleset
from sodarouter.delivery import State
from sodarouter.enrich import Enrichment
from sodarouter.errors import SpoolError
from sodarouter.event import Event
from sodarouter.hindsight import why
from sodarouter.redact import Redactor
from sodarouter.route import ASKED, SMALL, SMALL_CONTRACT
from sodarouter.spool import ROUTE, Appended, DeliveryFilter, EventFilter, MemorySpool, StoredEvent, StoredSilence

FIRST = Routing.model_validate({"route": [{"match": {"result": "first_failure"}, "to": ["there"]}]})
ALL = Routing.model_validate({"route": [{"to": ["there"]}]})
NONE = Routing.model_validate({"route": []})


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


def check(minute: int | None, outcome: str = "fail", **known: Any) -> Event:
    result = {"sodaCloudUrl": "https://cloud.soda.io/checks/c-1", "outcome": outcome, "datasets": [{"name": "orders"}]}
    if minute is not None:
        result["dataTimestamp"] = f"2026-05-04T11:{minute:02}:00Z"
    body = {"event": "checkEvaluation", "checkResults": [result], **known}
    return make_event(body, received=NOON + timedelta(minutes=minute or 0))


def large(minute: int) -> Event:
    return check(minute, filler="x" * SMALL)


async def at_the_same_time(deciding: Deciding, coming: Iterable[Event]) -> list[Appended]:
    """What becomes of events that are stored in one commit. In which order, only trio knows."""
    stored: list[Appended] = []

    async def take_in(event: Event) -> None:
        stored.append(await deciding.take_in(event, window=60.0))

    async with trio.open_nursery() as nursery:
        for event in coming:
            nursery.start_soon(take_in, event)
    return stored


def at_once(stored: Sequence[Appended]) -> list[bool]:
    return [one.decided is not None for one in stored]


def planned(engine: Engine, *those: Event) -> list[int | None]:
    return [engine.reader.event(event.id).planned for event in those]


async def test_an_event_is_stored_with_its_decision_and_what_it_leaves(engine: Engine) -> None:
    coming = [check(minute, outcome) for minute, outcome in enumerate(["fail", "fail", "pass", "fail"])]
    async with routed(engine.spool, FIRST) as deciding:
        await deciding.ready()
        for event in coming:
            stored = await deciding.take_in(event)
            assert stored.decided
            # nothing is left to be done by anybody
            assert engine.reader.event(event.id).planned == len(stored.decided.planned)
    assert planned(engine, *coming) == [1, 0, 0, 1]
    assert {one.destination for one in engine.reader.deliveries(limit=9)} == {"there"}
    assert all(why(engine.reader, engine.reader.event(event.id)).whole for event in coming)
    (claim, _) = await engine.claim("there", now=LATER)
    assert claim.event.raw == coming[0].raw


async def test_until_the_spool_has_the_rules_nothing_is_decided_by_them(engine: Engine) -> None:
    async with routed(engine.spool, FIRST) as deciding:
        assert (await deciding.take_in(check(0))).decided is None
        await deciding()
        assert (await deciding.take_in(check(1))).decided
        deciding.router.replace(Ruleset(compile_rules(ALL), "c-2", ALL.dump()))
        assert (await deciding.take_in(check(2))).decided is None
        await deciding()
        await deciding.ready()
        assert (await deciding.take_in(check(3))).decided
    known = [(stored.config, stored.planned) for stored in engine.reader.events(limit=9)]
    assert known[::-1] == [("c-1", 1), ("c-1", 0), ("c-2", 1), ("c-2", 1)]


async def test_a_change_of_the_rules_is_kept_without_an_event_that_asks_for_it(engine: Engine) -> None:
    async with routed(engine.spool, FIRST) as deciding:
        await deciding.ready()
        deciding.router.replace(Ruleset(compile_rules(ALL), "c-2", ALL.dump()))
        await deciding.ready()
    assert engine.reader.routing("c-2") == ALL.dump()


async def test_nobody_overtakes_an_event_that_waits_for_its_turn(engine: Engine) -> None:
    coming = [check(0), large(1), check(2), check(3, "pass")]
    async with routed(engine.spool, FIRST) as deciding:
        await deciding.ready()
        assert at_once([await deciding.take_in(event) for event in coming[:3]]) == [True, False, False]
        await deciding()
        assert at_once([await deciding.take_in(coming[3])]) == [True]
    streaks = [engine.reader.event(event.id).state for event in coming]
    assert [state and state.split(",")[2:3] for state in streaks] == [[], ["1"], ["2"], ["3"]]


async def test_of_one_commit_those_behind_one_that_has_to_wait_have_to_too(tmp_path: Path) -> None:
    async with open_engine("sqlite", tmp_path) as engine, routed(engine.spool, FIRST) as deciding:
        await deciding.ready()
        waiting = large(0)
        stored = await at_the_same_time(deciding, [waiting, *(check(0, n=n) for n in range(8))])
        decided = dict(zip([one.id for one in stored], at_once(stored), strict=True))
        # received at the same moment, they are listed as they were stored
        order = [one.event.id for one in reversed(engine.reader.events(limit=9))]
        place = order.index(waiting.id)
        assert [decided[event] for event in order] == [True] * place + [False] * (9 - place)
        await deciding()
        assert None not in [one.planned for one in engine.reader.events(limit=9)]


async def test_a_replay_that_is_to_be_decided_anew_keeps_nobody_waiting(engine: Engine) -> None:
    one, two = check(0), check(1)
    async with routed(engine.spool, FIRST) as deciding:
        await deciding.ready()
        await deciding.take_in(one)
        number = await engine.spool.begin_replay(LATER)
        await engine.spool.replay(number, [one.id], [], LATER, first=LATER + 3600, every=0)
        assert (await deciding.take_in(two)).decided
    assert [one.destination for one in engine.reader.deliveries(DeliveryFilter(replay=number), limit=9)] == [ROUTE]


async def test_a_faulty_decision_refuses_no_event_and_ends_as_a_dead_letter(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad, behind = (check(minute) for minute in range(3))

    def decided(event: Event, *known: Any, **gathered: Any) -> Any:
        if event.id == bad.id:
            raise RuntimeError("broken")
        return decide(event, *known, **gathered)

    monkeypatch.setattr("sodarouter.deciding.decide", decided)
    with capture_logs() as lines:
        async with routed(engine.spool, ALL) as deciding:
            await deciding.ready()
            assert at_once([await deciding.take_in(event) for event in (good, bad, behind)]) == [True, False, False]
            await until(lambda: engine.reader.event(behind.id).planned is not None)
            # what is given up keeps nobody waiting
            assert (await deciding.take_in(check(3))).decided
    (dead,) = engine.reader.deliveries(DeliveryFilter(event=bad.id), limit=9)
    assert (dead.destination, dead.state, dead.attempts) == (ROUTE, State.DEAD, 1)
    assert planned(engine, good, bad, behind) == [1, None, 1]
    assert [line["event_id"] for line in lines if line["event"] == "the decision failed"] == [bad.id]


async def test_an_update_that_comes_late_is_decided_as_one(engine: Engine) -> None:
    late = Routing.model_validate({"route": [{"when": "event.late", "to": ["there"]}]})
    pytest.importorskip("cel_expr_python")
    first, second = (
        make_event(
            {"event": "incidentUpdated", "incident": {"id": "i-1", "lastUpdatedTimestamp": f"2026-05-04T11:{m}:00Z"}},
            received=NOON,
        )
        for m in (30, 10)
    )
    async with routed(engine.spool, late) as deciding:
        await deciding.ready()
        assert at_once([await deciding.take_in(event) for event in (first, second)]) == [True, True]
    assert planned(engine, first, second) == [0, 1]


async def test_a_repeat_is_not_decided_even_in_the_same_commit(engine: Engine) -> None:
    event = check(0)
    again = make_event(event.raw, received=event.received)
    assert again.id != event.id
    async with routed(engine.spool, FIRST) as deciding:
        await deciding.ready()
        stored = await at_the_same_time(deciding, [event, again])
        assert sorted((one.duplicate, one.decided is None) for one in stored) == [(False, False), (True, True)]
    assert engine.reader.recollection(memory_keys(event)) == {
        memory_keys(event)[0]: '["check","fail",1,true,"2026-05-04T11:00:00+00:00"]'
    }


async def test_a_commit_that_is_made_again_decides_again_and_once(tmp_path: Path) -> None:
    async with open_engine("sqlite", tmp_path) as engine, routed(engine.spool, FIRST) as deciding:
        await deciding.ready()
        one, two, three = (check(None, n=n) for n in range(3))
        # two events of one id are what no commit can have
        coming = [one, two, make_event(three.raw, id=one.id), make_event(three.raw, id=two.id)]
        refused = 0

        async def take_in(event: Event) -> None:
            nonlocal refused
            try:
                assert (await deciding.take_in(event)).decided
            except SpoolError:
                refused += 1

        async with trio.open_nursery() as nursery:
            for event in coming:
                nursery.start_soon(take_in, event)
        assert refused == 2
        assert sorted(planned(engine, one, two)) == [0, 1]
        (streak,) = engine.reader.recollection(memory_keys(one)).values()
        assert streak == '["check","fail",2,true,null]'


async def test_what_plugins_may_add_to_waits_for_them(engine: Engine) -> None:
    async with routed(engine.spool, ALL, enrichment=Enrichment([], Redactor())) as deciding:
        await until(lambda: engine.reader.routing("c-1") is not None)
        assert (await deciding.take_in(check(0))).decided is None
        await deciding()


async def test_a_long_contract_holds_up_no_commit(engine: Engine) -> None:
    contents = "dataset: prod/a\ncolumns:\n" + "".join(f"  - name: column_{n}\n" for n in range(300))
    body = {"event": "contractPublished", "contract": {"dataset": "prod/a", "contents": contents}}
    event = make_event(body, received=NOON)
    assert SMALL_CONTRACT < len(event.raw) < SMALL
    async with routed(engine.spool, ALL) as deciding:
        await deciding.ready()
        assert (await deciding.take_in(event)).decided is None
        await deciding()
    assert planned(engine, event) == [1]


async def test_expressions_that_are_asked_of_many_results_hold_up_no_commit(engine: Engine) -> None:
    pytest.importorskip("cel_expr_python")
    asking = [{"when": f"result.outcome == '{n}'", "to": ["there"]} for n in range(20)]
    few, many = (
        make_event(
            {"event": "checkEvaluation", "checkResults": [{"name": f"{n}"} for n in range(count)]}, received=NOON
        )
        for count in (ASKED // 21, ASKED // 21 + 1)
    )
    async with routed(engine.spool, Routing.model_validate({"route": asking})) as deciding:
        await deciding.ready()
        assert at_once([await deciding.take_in(event) for event in (few, many)]) == [True, False]
        await deciding()
    assert planned(engine, few, many) == [0, 0]


async def test_the_log_tells_of_an_event_that_goes_nowhere(engine: Engine) -> None:
    with capture_logs() as lines:
        async with routed(engine.spool, NONE) as deciding:
            await deciding.ready()
            await deciding.take_in(check(0))
    told = [line["because"] for line in lines if line["event"] == "event planned for no destination"]
    assert told == ["no route matched"]
    assert len(engine.reader.events(EventFilter(unrouted=True), limit=9)) == 1


Shown = tuple[StoredEvent, list[tuple[str, int, Any, str | None, str]]]


@settings(max_examples=60)
@given(st.lists(st.tuples(events(), st.booleans()), min_size=1, max_size=6), routings(), st.lists(silences("s")))
def test_it_makes_no_difference_which_events_are_decided_at_once(
    coming: list[tuple[Event, bool]], routing: Routing, kept: list[Silence]
) -> None:
    async def run(*, any_at_once: bool) -> list[Shown]:
        spool = MemorySpool()
        for one in kept[:1]:
            await spool.add_silence(StoredSilence(one.id, one.starts, one.ends, one.dump()))
        async with routed(spool, routing) as deciding:
            await deciding.ready()
            for event, may in coming:
                if may and any_at_once:
                    assert (await deciding.take_in(event)).decided
                else:
                    await spool.append(event, window=0.0)
                    await deciding()
        return [(known, sorted(_delivered(spool, known))) for known in spool.events(limit=99)]

    assert trio.run(partial(run, any_at_once=True)) == trio.run(partial(run, any_at_once=False))


def _delivered(spool: MemorySpool, known: StoredEvent) -> Iterator[tuple[str, int, Any, str | None, str]]:
    for one in spool.deliveries(DeliveryFilter(event=known.event.id), limit=999):
        yield one.destination, one.part, one.results or (), one.group, one.config


async def test_a_lone_event_takes_one_commit_and_many_together_take_no_more(tmp_path: Path) -> None:
    async with open_engine("sqlite", tmp_path) as engine, routed(engine.spool, ALL) as deciding:
        await deciding.ready()
        await trio.testing.wait_all_tasks_blocked()
        await engine.spool.is_alive()  # the router's first look has been answered
        asked: list[str] = []
        # SQLite tells of the pragmas within a statement too
        engine.spool._writer._connection.set_trace_callback(
            lambda text: None if "PRAGMA" in text else asked.append(text)
        )
        await deciding.take_in(check(0))
        assert (asked.count("COMMIT"), len(asked)) == (1, STATEMENTS), asked
        asked.clear()
        assert all(at_once(await at_the_same_time(deciding, [check(0, n=n) for n in range(64)])))
        assert asked.count("COMMIT") == 1
        # what is asked of each event by itself would show here
        assert len(asked) <= STATEMENTS + 3
        engine.spool._writer._connection.set_trace_callback(None)


STATEMENTS = 16
"""Of SQL, for an event with one result and one destination, the two that begin and end the transaction and the one that
measures the spool among them."""
