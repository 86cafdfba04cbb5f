"""The router: what it remembers from one event to the next, what replays are decided with, and what does not stop it."""

import json
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from engines import ENGINES, Engine, open_engine
from routing import LATER, NOON, routed
from running import router_process, running_router, until
from structlog.testing import capture_logs
from support import make_event

from sodarouter.decide import Routing, Silence, decide, parse_routing
from sodarouter.decide.memory import memory_keys
from sodarouter.delivery import State
from sodarouter.event import Event
from sodarouter.hindsight import why
from sodarouter.route import SMALL_CONTRACT
from sodarouter.spool import Decided, DeliveryFilter, EventFilter, Routed, SqliteReader, StoredSilence


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


def check(outcome: str, minute: int) -> Event:
    result = {"sodaCloudUrl": "https://cloud.soda.io/checks/c-1", "outcome": outcome, "datasets": [{"name": "orders"}]}
    result["dataTimestamp"] = f"2026-05-04T11:{minute:02}:00Z"
    body = {"event": "checkEvaluation", "checkResults": [result]}
    return make_event(body, received=NOON + timedelta(minutes=minute))


def routing(*routes: dict[str, Any], **known: Any) -> Routing:
    return Routing.model_validate({"route": [{"to": ["there"], **route} for route in routes], **known})


FIRST = routing({"match": {"result": "first_failure"}, "name": "first"})


def destinations(engine: Engine, event: Event) -> list[str]:
    return [one.destination for one in engine.reader.deliveries(DeliveryFilter(event=event.id), limit=99)]


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_one_event_leaves_the_next_one_finds_in_one_batch_or_in_several(
    engine: Engine, at_once: bool
) -> None:
    coming = [check(outcome, minute) for minute, outcome in enumerate(["fail", "fail", "pass", "fail"])]
    async with routed(engine.spool, FIRST) as settled:
        for event in coming:
            await engine.append(event)
            if not at_once:
                await settled()
        await settled()
    assert [len(destinations(engine, event)) for event in coming] == [1, 0, 0, 1]
    states = [json.loads(engine.reader.event(event.id).state) for event in coming]
    assert [state[0] and state[0][1:4] for state in states] == [
        None,
        ["fail", 1, True],
        ["fail", 2, True],
        ["pass", 1, False],
    ]


async def test_a_replay_is_decided_with_what_was_known_then_and_is_remembered_by_nobody(engine: Engine) -> None:
    coming = [check(outcome, minute) for minute, outcome in enumerate(["fail", "fail"])]
    async with routed(engine.spool, FIRST) as settled:
        for event in coming:
            await engine.append(event)
        await settled()
        before = engine.reader.recollection(memory_keys(coming[0]))
        number = await engine.spool.begin_replay(LATER)
        await engine.spool.replay(number, [event.id for event in coming], [], LATER, first=LATER, every=0)
        await settled()
    assert engine.reader.recollection(memory_keys(coming[0])) == before
    assert destinations(engine, coming[0]) == ["there", "there"]
    assert destinations(engine, coming[1]) == []
    for event in coming:
        assert why(engine.reader, engine.reader.event(event.id)).whole


async def test_an_event_that_is_replayed_before_it_was_decided_is_decided_with_what_it_finds(engine: Engine) -> None:
    event = check("fail", 0)
    await engine.append(event)
    number = await engine.spool.begin_replay(LATER)
    await engine.spool.replay(number, [event.id], [], LATER, first=LATER, every=0)
    async with routed(engine.spool, FIRST) as settled:
        await settled()
    assert sorted(one.replay for one in engine.reader.deliveries(limit=9)) == [0, number]
    assert engine.reader.event(event.id).state == "[null]"


async def test_a_decision_that_fails_keeps_no_other_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad, also_good = (check("fail", minute) for minute in range(3))
    monkeypatch.setattr("sodarouter.deciding.decide", failing_for(bad))
    for event in (good, bad, also_good):
        await engine.append(event)
    async with routed(engine.spool, routing({})):
        await until(lambda: all(engine.reader.event(event.id).planned for event in (good, also_good)))
    (dead,) = engine.reader.deliveries(DeliveryFilter(event=bad.id), limit=9)
    assert (dead.destination, dead.state) == ("$route", State.DEAD)
    assert dead.reason.endswith("RuntimeError: broken")
    assert engine.reader.event(bad.id).planned is None


def failing_for(bad: Event) -> Any:
    def decided(event: Event, *known: Any, **gathered: Any) -> Any:
        if event.id == bad.id:
            raise RuntimeError("broken")
        return decide(event, *known, **gathered)

    return decided


def silence(**known: Any) -> StoredSilence:
    one = Silence.model_validate(
        {"id": "s-1", "author": "ann", "reason": "works", "starts": NOON, "ends": NOON + timedelta(hours=1), **known}
    )
    return StoredSilence(one.id, one.starts, one.ends, one.dump())


async def test_a_silence_holds_from_the_moment_at_which_it_is_stored_until_it_is_ended(engine: Engine) -> None:
    one, two, three, four = (check("fail", minute) for minute in range(4))
    async with routed(engine.spool, routing({})) as settled:
        await engine.append(one)
        await settled()
        await engine.spool.add_silence(silence())
        await engine.append(two)
        await settled()
        assert await engine.spool.end_silence("s-1", three.received.timestamp())
        await engine.append(three)
        await engine.append(four)
        await settled()
    assert [len(destinations(engine, event)) for event in (one, two, three, four)] == [1, 0, 1, 1]
    (withheld,) = engine.reader.events(EventFilter(withheld=True), limit=9)
    assert withheld.event.id == two.id
    assert withheld.trace[-1]["silence"] == "s-1"
    # also of what came after it had ended
    assert all(why(engine.reader, engine.reader.event(event.id)).whole for event in (two, three, four))
    assert engine.reader.events(EventFilter(unrouted=True), limit=9) == []


async def test_the_log_says_why_an_event_goes_nowhere(engine: Engine) -> None:
    routes = routing(
        {"match": {"outcome": "fail"}},
        {"match": {"outcome": "warn"}, "mute": ["always"]},
        window={"always": {"hours": "00:00-24:00"}},
    )
    await engine.spool.add_silence(silence())
    with capture_logs() as lines:
        async with routed(engine.spool, routes) as settled:
            for minute, outcome in enumerate(["fail", "warn"]):
                await engine.append(check(outcome, minute))
            await settled()
            await engine.spool.end_silence("s-1", NOON.timestamp() + 120)
            await engine.append(check("pass", 3))
            await settled()
    told = [line["because"] for line in lines if line["event"] == "event planned for no destination"]
    assert told == ["silence s-1", "window always", "no route matched"]


async def test_a_replay_is_kept_back_by_no_silence(engine: Engine) -> None:
    event = check("fail", 0)
    await engine.spool.add_silence(silence())
    await engine.append(event)
    async with routed(engine.spool, routing({})) as settled:
        await settled()
        assert destinations(engine, event) == []
        number = await engine.spool.begin_replay(LATER)
        await engine.spool.replay(number, [event.id], [], LATER, first=LATER, every=0)
        await settled()
    assert destinations(engine, event) == ["there"]
    assert not engine.reader.event(event.id).withheld


async def test_what_another_version_stored_does_not_stop_the_router(engine: Engine) -> None:
    event = check("fail", 0)
    await engine.spool.add_silence(replace(silence(), value='{"from": "the future"}'))
    await engine.append(event)
    (key,) = memory_keys(event)
    (claim,) = await engine.claim(now=LATER)
    await engine.spool.settle([Routed(claim, Decided([], [], LATER, memory={key: '["dream", 1]'}))])
    later = check("fail", 1)
    await engine.append(later)
    async with routed(engine.spool, FIRST) as settled:
        await settled()
    assert destinations(engine, later) == ["there"]
    # nor those who ask why, afterwards
    assert why(engine.reader, engine.reader.event(later.id)).whole


async def test_rules_that_cannot_be_read_any_more_leave_what_was_stored_to_tell(engine: Engine) -> None:
    event = check("fail", 0)
    await engine.append(event)
    async with routed(engine.spool, FIRST) as settled:
        await settled()
    await engine.spool.keep_routing("c-1", '{"from": "the future"}', LATER)
    stored = engine.reader.event(event.id)
    found = why(engine.reader, stored)
    assert (found.steps, found.whole, len(found.planned)) == (stored.trace, False, 1)


async def test_the_rules_are_kept_before_anything_is_decided_by_them(engine: Engine) -> None:
    async with routed(engine.spool, FIRST, "c-7") as settled:
        await until(lambda: engine.reader.routing("c-7") == FIRST.dump())
        await engine.append(check("fail", 0))
        await settled()
    (stored,) = engine.reader.events(limit=9)
    assert stored.config == "c-7"
    assert engine.reader.routing("c-8") is None


async def test_a_long_contract_is_compared_in_a_thread(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def decided(event: Event, *known: Any, **gathered: Any) -> Any:
        threads.append((event.id, threading.current_thread() is threading.main_thread()))
        return decide(event, *known, **gathered)

    monkeypatch.setattr("sodarouter.deciding.decide", decided)
    columns = "".join(f"  - name: column_{number}\n" for number in range(300))
    contents = f"dataset: prod/a\ncolumns:\n{columns}"
    first, second = (
        make_event({"event": "contractPublished", "contract": {"dataset": "prod/a", "contents": text}}, received=NOON)
        for text in (contents, contents.replace("column_7\n", "other\n"))
    )
    small = check("fail", 0)
    assert len(first.raw) > SMALL_CONTRACT > len(small.raw)
    async with routed(engine.spool, routing({"match": {"contract": "breaking"}})) as settled:
        for event in (first, second, small):
            await engine.append(event)
            await settled()
    assert [len(destinations(engine, event)) for event in (first, second)] == [0, 1]
    assert threads == [(first.id, False), (second.id, False), (small.id, True)]


TOML = """
    [destination.log]
    type = "file"
    path = "events.jsonl"
    [[route]]
    match = { result = "still_failing", streak = ">=3" }
    to = ["log"]
"""


async def test_what_is_remembered_outlives_the_process(tmp_path: Path) -> None:
    coming = [check("fail", minute).raw for minute in range(3)]
    for number, body in enumerate(coming):
        with router_process(tmp_path, TOML if number == 0 else None) as router:
            async with httpx2.AsyncClient(base_url=router.url, trust_env=False) as client:
                name = (await client.post("/webhooks/soda", content=body)).json()["id"]
            with closing(SqliteReader(tmp_path / "var/sodarouter.db")) as reader:
                await until(lambda: reader.event(name).planned is not None)  # noqa: B023 (called at once)
            assert router.end(signal.SIGKILL) == -signal.SIGKILL
    with closing(SqliteReader(tmp_path / "var/sodarouter.db")) as reader:
        (delivery,) = reader.deliveries(limit=9)
        assert delivery.event == name
        stored = reader.event(name)
        told = why(reader, stored)
        assert (stored.state, told.whole) == ('[["check","fail",2,true,"2026-05-04T11:01:00+00:00"]]', True)


async def test_the_rules_that_decided_are_known_under_the_hash_of_their_configuration(tmp_path: Path) -> None:
    async with running_router(tmp_path, TOML) as router:
        await router.post(check("fail", 0).raw)
        await router.until_settled()
        (stored,) = router.reader.events(limit=9)
        text = router.reader.routing(stored.config)
        assert text
        assert parse_routing(text).route[0].match.streak == [">=3"]
        (tmp_path / "router.toml").write_text((tmp_path / "router.toml").read_text().replace(">=3", ">=1"))
        assert await router.bound.reload() == ()
        await router.post(check("fail", 1).raw)
        await router.until_settled()
        (second, first) = router.reader.events(limit=9)
        assert [one.planned for one in (first, second)] == [0, 1]
        assert [why(router.reader, one).whole for one in (first, second)] == [True, True]
        assert parse_routing(router.reader.routing(second.config) or "").route[0].match.streak == [">=1"]
