"""Silences: what an operator asks for, what a running router then keeps back, and what becomes of it."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from engines import ENGINES, NOW, Engine, open_engine
from running import Running, running_router
from sink import open_sink
from support import make_event, payload

from sodarouter.decide import NewSilence, Silence, Standing, Window, compile_rules, parse_routing
from sodarouter.decide.match import Match
from sodarouter.deciding import Ruleset
from sodarouter.event import Event
from sodarouter.hindsight import silences_of, why
from sodarouter.operations import MOST_SILENCES, Impossible, NoSuchDestination, Operations
from sodarouter.redact import Redactor
from sodarouter.route import Router
from sodarouter.spool import DeliveryFilter, EventFilter, StoredEvent

MOMENT = datetime.fromtimestamp(NOW, UTC)
NEVER_OPEN = {"dates": "2001-01-01"}


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


def operations(engine: Engine, now: float = NOW) -> Operations:
    return Operations(engine.spool, lambda _: None, lambda: ("log", "mail"), now=lambda: now)


def asked(**known: Any) -> NewSilence:
    fields = {"author": "jo", "reason": "a move", "ends": MOMENT + timedelta(hours=1)} | known
    return NewSilence(**fields)


def stored(engine: Engine) -> list[Silence]:
    return silences_of(engine.reader.silences())


# what an operator asks for


async def test_a_silence_is_stored_as_it_was_asked_for_and_starts_at_once(engine: Engine) -> None:
    match = Match.model_validate({"dataset": "prod/*", "not": {"tag": "pii"}, "attribute": {"a": ["b", "c"]}})
    window = Window(hours=["22:00-06:00"], timezone="Europe/Berlin")
    added = await operations(engine).silence(asked(match=match, to=["log"], during=[window]))
    assert stored(engine) == [added]
    assert (added.starts, added.ends) == (MOMENT, MOMENT + timedelta(hours=1))
    assert (added.match, added.to, added.during, added.author, added.reason) == (
        match,
        ["log"],
        [window],
        "jo",
        "a move",
    )


async def test_silences_are_ordered_by_the_time_at_which_they_were_added(engine: Engine) -> None:
    ids = [(await operations(engine).silence(asked())).id for _ in range(20)]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("starts", "then"), [(None, 0), (-60, 0), (60, 60)], ids=["at once", "in the past", "in the future"]
)
async def test_a_silence_starts_now_or_later(engine: Engine, starts: float | None, then: float) -> None:
    wanted = None if starts is None else MOMENT + timedelta(seconds=starts)
    added = await operations(engine).silence(asked(starts=wanted))
    assert added.starts == MOMENT + timedelta(seconds=then)


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"ends": MOMENT}, "in the future"),
        ({"ends": MOMENT - timedelta(days=1)}, "in the future"),
        ({"starts": MOMENT + timedelta(hours=2)}, "after it starts"),
        ({"ends": datetime.max.replace(tzinfo=UTC)}, "within a hundred years"),
    ],
)
async def test_a_silence_has_to_end_in_the_future_and_some_day(
    engine: Engine, known: dict[str, Any], told: str
) -> None:
    with pytest.raises(Impossible, match=told):
        await operations(engine).silence(asked(**known))
    assert stored(engine) == []


async def test_a_silence_for_a_destination_that_there_is_not_is_refused(engine: Engine) -> None:
    with pytest.raises(NoSuchDestination, match="did you mean 'log'"):
        await operations(engine).silence(asked(to=["mail", "lgo"]))
    assert stored(engine) == []


async def test_a_silence_does_not_say_more_than_can_be_asked_of_every_event(engine: Engine) -> None:
    with pytest.raises(Impossible, match="at most 16,384 characters"):
        await operations(engine).silence(asked(match={"dataset": ["prod/*"] * 5000}))
    assert stored(engine) == []


async def test_there_are_not_more_silences_than_can_be_asked_of_every_event(engine: Engine) -> None:
    doing = operations(engine)
    first = await doing.silence(asked())
    for _ in range(MOST_SILENCES - 1):
        await doing.silence(asked())
    with pytest.raises(Impossible, match="200 silences"):
        await doing.silence(asked())
    await doing.end_silence(first.id)
    await doing.silence(asked())


async def test_a_silence_is_ended_once(engine: Engine) -> None:
    added = await operations(engine).silence(asked())
    later = operations(engine, NOW + 600)
    assert await later.end_silence(added.id)
    assert not await later.end_silence(added.id)
    assert not await later.end_silence("none")
    (ended,) = stored(engine)
    assert ended.ends == MOMENT + timedelta(minutes=10)
    assert ended.standing(ended.ends) is Standing.EXPIRED


async def test_one_that_is_ended_before_it_has_begun_never_holds(engine: Engine) -> None:
    added = await operations(engine).silence(asked(starts=MOMENT + timedelta(minutes=30)))
    assert added.standing(MOMENT) is Standing.PENDING
    assert await operations(engine, NOW + 60).end_silence(added.id)
    (ended,) = stored(engine)
    assert ended.starts == ended.ends
    assert not ended.is_in_force(ended.starts)


def test_how_a_silence_stands_is_told_with_its_window() -> None:
    silence = Silence.made(
        asked(during=[Window(hours=["12:30-13:00"])]), id="x", starts=MOMENT, ends=MOMENT + timedelta(hours=2)
    )
    assert MOMENT.hour == 12
    told = {minutes: silence.standing(MOMENT + timedelta(minutes=minutes)) for minutes in (-1, 0, 30, 60, 120)}
    assert list(told.values()) == [
        Standing.PENDING,
        Standing.WAITING,
        Standing.ACTIVE,
        Standing.WAITING,
        Standing.EXPIRED,
    ]
    assert all(
        silence.is_in_force(MOMENT + timedelta(minutes=m)) == (how is Standing.ACTIVE) for m, how in told.items()
    )


# what a router then does


ROUTING = parse_routing('{"route": [{"name": "all", "to": ["log", "mail"]}]}')
RULES = compile_rules(ROUTING)


async def decided(engine: Engine, *events: Event) -> list[StoredEvent]:
    """What a router decides of these events, all of which wait for it."""
    for event in events:
        await engine.spool.append(event, window=0.0)
    done = trio.Event()
    ruleset = Ruleset(RULES, "0123456789ab", ROUTING.dump())
    router = Router(ruleset, engine.spool, Redactor(), done.set, now=lambda: NOW + 9e6)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(router.run)
        await done.wait()
        nursery.cancel_scope.cancel()
    return [engine.reader.event(event.id) for event in events]


async def test_it_holds_for_what_was_received_in_its_time_however_late_that_is_decided(engine: Engine) -> None:
    await operations(engine).silence(asked(starts=MOMENT + timedelta(minutes=10), ends=MOMENT + timedelta(minutes=20)))
    minutes = (9.99, 10, 19.99, 20)
    events = [make_event({"event": "x", "n": m}, received=MOMENT + timedelta(minutes=m)) for m in minutes]
    assert [one.withheld for one in await decided(engine, *events)] == [False, True, True, False]


async def test_it_holds_only_while_its_window_is_open(engine: Engine) -> None:
    at_night = Window(hours=["22:00-06:00"], timezone="Europe/Berlin")
    await operations(engine).silence(asked(during=[at_night], ends=MOMENT + timedelta(days=30)))
    # in summer it is two hours later there
    hours = [datetime(2026, 5, 5, hour, tzinfo=UTC) for hour in (3, 4, 19, 20)]
    events = [make_event({"event": "x", "n": at.hour}, received=at) for at in hours]
    assert [one.withheld for one in await decided(engine, *events)] == [True, False, False, True]


async def test_a_silence_may_ask_the_memory(engine: Engine) -> None:
    await operations(engine).silence(asked(match=Match.model_validate({"result": "still_failing"})))
    check = {"id": "c-1", "outcome": "fail"}
    events = [
        make_event({"event": "checkEvaluation", "n": n, "checkResults": [check]}, received=MOMENT) for n in (1, 2)
    ]
    first, second = await decided(engine, *events)
    assert (first.withheld, second.withheld) == (False, True)
    assert why(engine.reader, second).whole


OUTCOMES = ("pass", "fail", "warn")
TWO = """
[destination.hook]
type = "forward"
url = "%(url)s/hook"
[destination.log]
type = "file"
path = "events.jsonl"
format = "payload"
[[route]]
name = "all"
to = ["hook", "log"]
"""


def logged(folder: Path) -> list[Any]:
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def silence(router: Running, **known: Any) -> str:
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    answer = await router.admin.post("/api/silences", json={"author": "jo", "reason": "a move", "ends": ends} | known)
    assert answer.status_code == 200
    return str(answer.json()["id"])


async def post(router: Running, body: dict[str, Any] | bytes) -> StoredEvent:
    """What became of it."""
    answer = await router.post(body if isinstance(body, bytes) else json.dumps(body).encode())
    await router.until_settled()
    found = router.reader.event(answer.json()["id"])
    assert found is not None
    return found


def delivered(router: Running, event: StoredEvent) -> list[str]:
    return sorted(d.destination for d in router.reader.deliveries(DeliveryFilter(event=event.event.id), limit=9))


async def test_only_what_comes_while_it_is_in_force_is_kept_back_and_that_is_told(tmp_path: Path) -> None:
    async with open_sink() as sink, running_router(tmp_path, TWO % {"url": sink.url}) as router:
        before = await post(router, {"event": "checkEvaluation", "n": 1})
        name = await silence(router, match={"event": "checkEvaluation"}, to=["hook"])
        within = await post(router, {"event": "checkEvaluation", "n": 2})
        other = await post(router, {"event": "incidentCreated", "n": 3})
        assert (await router.admin.post(f"/api/silences/{name}/end", json={})).json() == {"ended": True}
        after = await post(router, {"event": "checkEvaluation", "n": 4})
        assert [json.loads(request.body)["n"] for request in sink.requests] == [1, 3, 4]
        assert [one["n"] for one in logged(tmp_path)] == [1, 2, 3, 4]
        assert [one.withheld for one in (before, within, other, after)] == [False, True, False, False]
        step = {"silence": name, "author": "jo", "reason": "a move", "from": ["hook"], "results": None}
        assert within.trace[-1] == step
        assert why(router.reader, within).whole
        assert why(router.reader, after).whole
        assert [one.event.id for one in router.reader.events(EventFilter(withheld=True), limit=9)] == [within.event.id]


async def test_of_an_event_the_other_results_arrive(tmp_path: Path) -> None:
    async with open_sink() as sink, running_router(tmp_path, TWO % {"url": sink.url}) as router:
        name = await silence(router, match={"dataset": "prod/*", "not": {"tag": "pii"}}, to=["hook"])
        datasets = [
            {"name": "orders", "datasource": {"name": "prod"}},
            {"name": "people", "datasource": {"name": "prod"}, "tags": ["pii"]},
            {"name": "orders", "datasource": {"name": "dev"}},
        ]
        results = [{"id": str(n), "outcome": "fail", "datasets": [one]} for n, one in enumerate(datasets)]
        event = await post(router, {"event": "checkEvaluation", "checkResults": results})
        (request,) = sink.requests
        assert json.loads(request.body)["checkResults"] == results[1:]
        (whole,) = logged(tmp_path)
        assert whole["checkResults"] == results
        assert event.trace[-1] == {
            "silence": name,
            "author": "jo",
            "reason": "a move",
            "from": ["hook"],
            "results": [0],
        }


async def test_one_whose_window_is_shut_keeps_nothing_back(tmp_path: Path) -> None:
    async with open_sink() as sink, running_router(tmp_path, TWO % {"url": sink.url}) as router:
        await silence(router, during=[NEVER_OPEN])
        event = await post(router, payload("v3-incidentCreated"))
        assert delivered(router, event) == ["hook", "log"]


async def test_it_outlives_a_restart_and_a_replay_is_not_silenced(tmp_path: Path) -> None:
    async with open_sink() as sink:
        async with running_router(tmp_path, TWO % {"url": sink.url}) as router:
            await silence(router, match={"source": "soda"})
        async with running_router(tmp_path, TWO % {"url": sink.url}) as router:
            event = await post(router, payload("v3-incidentCreated"))
            assert (event.withheld, delivered(router, event)) == (True, [])
            number = (await router.admin.post("/api/replays", json={})).json()["replay"]
            await router.admin.post(f"/api/replays/{number}", json={"events": [event.event.id]})
            await sink.until_requests(1)
            assert {d.replay for d in await router.until_settled()} == {number}
            assert sink.requests[0].body == payload("v3-incidentCreated")
            again = router.reader.event(event.event.id)
            assert again is not None
            assert not again.withheld
            assert why(router.reader, again).whole


async def test_what_no_route_matches_is_silenced_too(tmp_path: Path) -> None:
    toml = '[destination.log]\ntype = "file"\npath = "events.jsonl"\n[unrouted]\nto = ["log"]\n'
    async with running_router(tmp_path, toml) as router:
        await silence(router)
        event = await post(router, payload("v3-incidentCreated"))
        assert (event.withheld, delivered(router, event)) == (True, [])
        assert router.reader.events(EventFilter(unrouted=True), limit=9) == []
