"""What an operator and time do to a spool: on every engine alike."""

import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from engines import ENGINES, MOST, NOW, SIZE, Engine, ended, keeping, open_engine
from support import make_event

from sodarouter.delivery import Cause, Fallback, Halt, Planned, State
from sodarouter.errors import SpoolFull
from sodarouter.event import Event
from sodarouter.ids import new_id
from sodarouter.spool import (
    Claim,
    Decided,
    DeliveryFilter,
    EventFilter,
    Keep,
    Refused,
    Routed,
    SqliteSpool,
    delivery_key,
)


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


def refused(**known: Any) -> Refused:
    fields = {"received": datetime.fromtimestamp(NOW, UTC), "raw": b"{", "detail": ""} | known
    return Refused(new_id(), "soda", status=400, title="Unreadable JSON", **fields)


def incident(updated: str, name: str = "i-1", **known: Any) -> Event:
    body = {"event": "incidentUpdated", "incident": {"id": name, "lastUpdatedTimestamp": updated}}
    return make_event(body, **known)


async def planned_with_key(engine: Engine, *keys: str, destination: str = "ticket") -> str:
    event = await engine.append()
    (claim,) = [c for c in await engine.claim() if c.event.id == event.id]
    await engine.spool.settle([Routed(claim, Decided([], [Planned(destination, keys=keys)], NOW))])
    return f"{event.id}/{destination}"


def ids(claims: list[Claim]) -> list[str]:
    return [claim.delivery.id for claim in claims]


# --- order -----------------------------------------------------------------------------------------------------------


async def test_a_later_delivery_of_one_key_waits_for_the_earlier_and_other_keys_go_on(engine: Engine) -> None:
    first, second = await planned_with_key(engine, "a"), await planned_with_key(engine, "a")
    other = await planned_with_key(engine, "b")
    claims = await engine.claim("ticket")
    assert ids(claims) == [first, other]
    await engine.spool.settle([ended(claims[0], State.PENDING, next_at=NOW + 5)])
    assert ids(await engine.claim("ticket", now=NOW + 1)) == []
    (again,) = await engine.claim("ticket", now=NOW + 5)
    await engine.spool.settle([ended(again)])
    assert ids(await engine.claim("ticket", now=NOW + 5)) == [second]


async def test_a_delivery_with_two_keys_waits_for_both(engine: Engine) -> None:
    a, b = await planned_with_key(engine, "a"), await planned_with_key(engine, "b")
    both = await planned_with_key(engine, "a", "b")
    after = await planned_with_key(engine, "b")
    claims = await engine.claim("ticket")
    assert ids(claims) == [a, b]
    await engine.spool.settle([ended(claims[0])])
    assert ids(await engine.claim("ticket")) == []
    await engine.spool.settle([ended(claims[1], State.DEAD)])
    (claim,) = await engine.claim("ticket")
    assert claim.delivery.id == both
    await engine.spool.settle([ended(claim)])
    assert ids(await engine.claim("ticket")) == [after]


async def test_dead_letters_of_one_key_are_retried_in_their_order(engine: Engine) -> None:
    names = [await planned_with_key(engine, "a") for _ in range(3)]
    for _ in names:
        (claim,) = await engine.claim("ticket")
        await engine.spool.settle([ended(claim, State.DEAD)])
    assert set(await engine.spool.retry(names[::-1], NOW)) == set(names)
    for name in names:
        (claim,) = await engine.claim("ticket")
        assert claim.delivery.id == name
        await engine.spool.settle([ended(claim)])


async def test_discarding_what_others_wait_for_lets_them_go(engine: Engine) -> None:
    first, second = await planned_with_key(engine, "a"), await planned_with_key(engine, "a")
    assert await engine.spool.discard([first], NOW) == [first]
    assert ids(await engine.claim("ticket")) == [second]


async def test_a_fallback_that_was_settled_already_holds_nobody_back(engine: Engine) -> None:
    event = await engine.append()
    (claim,) = await engine.claim()
    await engine.spool.settle([Routed(claim, Decided([], [Planned("a", keys=("k",)), Planned("b", keys=("k",))], NOW))])
    (b,) = await engine.claim("b")
    await engine.spool.settle([ended(b)])
    (a,) = await engine.claim("a")
    await engine.spool.settle([ended(a, State.DEAD, fallback="b")])
    later = await planned_with_key(engine, "k", destination="b")
    assert ids(await engine.claim("b")) == [later]
    assert len(engine.reader.deliveries(DeliveryFilter(event=event.id), limit=9)) == 2


async def test_a_part_of_a_replay_that_is_asked_for_again_holds_nobody_back(engine: Engine) -> None:
    first = await planned_with_key(engine, "k")
    (claim,) = await engine.claim("ticket")
    await engine.spool.settle([ended(claim)])
    number = await engine.spool.begin_replay(NOW)
    events = [first.partition("/")[0]]
    await engine.spool.replay(number, events, ["ticket"], NOW, first=NOW, every=0.0)
    (claim,) = await engine.claim("ticket")
    await engine.spool.settle([ended(claim)])
    assert await engine.spool.replay(number, events, ["ticket"], NOW, first=NOW, every=0.0) == 0
    later = await planned_with_key(engine, "k")
    assert ids(await engine.claim("ticket")) == [later]


async def test_a_dead_letter_that_is_retried_goes_before_those_behind_it(engine: Engine) -> None:
    first, second = await planned_with_key(engine, "k"), await planned_with_key(engine, "k")
    (claim,) = await engine.claim("ticket")
    await engine.spool.settle([ended(claim, State.DEAD)])
    await engine.spool.retry([first], NOW)
    for name in (first, second):
        (claim,) = await engine.claim("ticket")
        assert claim.delivery.id == name
        await engine.spool.settle([ended(claim)])


# --- halts -----------------------------------------------------------------------------------------------------------


async def test_a_paused_destination_is_handed_nothing_until_it_is_resumed(engine: Engine) -> None:
    await engine.planned("log", "mail")
    await engine.spool.halt("log", Halt.PAUSED, NOW)
    found = await engine.spool.claim({"log": 5, "mail": 5}, NOW, {"log": 60, "mail": 60})
    assert [claim.delivery.destination for claim in found.claims] == ["mail"]
    assert engine.reader.halts() == {"log": Halt.PAUSED}
    assert (await engine.spool.stats()).queues["log"].halt is Halt.PAUSED
    await engine.spool.halt("log", None, NOW)
    assert len(await engine.claim("log")) == 1


async def test_a_paused_destination_wakes_nobody(engine: Engine) -> None:
    await engine.planned("log")
    await engine.spool.halt("log", Halt.PAUSED, NOW)
    assert (await engine.spool.claim({"log": 5}, NOW, {"log": 60})).next_due is None


async def test_draining_delivers_what_was_waiting_then_pauses(engine: Engine) -> None:
    await engine.planned("log")
    await engine.spool.halt("log", Halt.DRAINING, NOW)
    later = await engine.append()
    (claim,) = await engine.claim()
    await engine.spool.settle([Routed(claim, Decided([], [Planned("log")], NOW + 1))])
    (before,) = await engine.claim("log", now=NOW + 2)
    assert before.event.id != later.id
    await engine.spool.settle([ended(before, State.PENDING, next_at=NOW + 3)])
    assert engine.reader.halts() == {"log": Halt.DRAINING}
    # what came later is due, and yet nobody is woken for it
    assert (await engine.spool.claim({"log": 5}, NOW + 2.5, {"log": 60})).next_due == NOW + 3
    (again,) = await engine.claim("log", now=NOW + 3)
    await engine.spool.settle([ended(again)])
    assert await engine.claim("log", now=NOW + 4) == []
    assert engine.reader.halts() == {"log": Halt.PAUSED}
    await engine.spool.halt("log", None, NOW)
    assert [c.event.id for c in await engine.claim("log", now=NOW + 4)] == [later.id]


# --- fallback, at most once ------------------------------------------------------------------------------------------


async def test_a_dead_letter_is_handed_to_the_fallback_with_the_reason(engine: Engine) -> None:
    event = await engine.append()
    (claim,) = await engine.claim()
    await engine.spool.settle([Routed(claim, Decided([], [Planned("pager", (0, 2))], NOW, config="abc"))])
    (claim,) = await engine.claim("pager")
    dead = ended(claim, State.DEAD, reason="gone", cause=Cause.REJECTED, fallback="mail")
    assert await engine.spool.settle([dead]) == [True]
    (instead,) = await engine.claim("mail", now=NOW + 1)
    assert instead.delivery.fallback == Fallback("pager", "gone")
    assert instead.delivery.results == (0, 2)
    stored = {d.destination: d for d in engine.reader.deliveries(DeliveryFilter(event=event.id), limit=9)}
    assert (stored["pager"].cause, stored["pager"].state) == (Cause.REJECTED, State.DEAD)
    assert stored["mail"].fallback == Fallback("pager", "gone")
    assert {d.config for d in stored.values()} == {"abc"}


async def test_a_fallback_that_has_the_event_anyway_is_not_handed_it_twice(engine: Engine) -> None:
    event = await engine.planned("pager", "mail")
    (claim,) = await engine.claim("pager")
    await engine.spool.settle([ended(claim, State.DEAD, fallback="mail")])
    assert len(engine.reader.deliveries(DeliveryFilter(event=event.id), limit=9)) == 2
    assert (await engine.spool.stats()).backlog == 1


async def test_recovery_gives_up_what_was_under_way_at_most_once(engine: Engine) -> None:
    event = await engine.planned("pager", "log")
    await engine.claim("pager")
    await engine.claim("log")
    recovered = await engine.spool.recover(NOW, {"pager": "mail"})
    assert recovered.due == 1
    (told,) = recovered.given_up
    assert (told.delivery.id, told.delivery.attempt, told.event_type) == (f"{event.id}/pager", 1, event.type)
    assert (told.source, told.received) == (event.source, event.received)
    (dead,) = engine.reader.deliveries(DeliveryFilter(state=State.DEAD), limit=9)
    assert (dead.id, dead.cause) == (f"{event.id}/pager", Cause.UNCONFIRMED)
    assert (told.state, told.cause, told.reason) == (dead.state, dead.cause, dead.reason)
    assert "the only attempt" in dead.reason
    (instead,) = await engine.claim("mail")
    assert instead.delivery.fallback
    assert len(await engine.claim("log")) == 1


# --- dead letters, quarantine ----------------------------------------------------------------------------------------


async def test_what_is_dead_or_waits_can_be_discarded_and_what_is_under_way_cannot(engine: Engine) -> None:
    dead = await engine.dead(cause=Cause.EXHAUSTED)
    waiting = f"{(await engine.planned('mail')).id}/mail"
    leased = f"{(await engine.planned('hook')).id}/hook"
    await engine.claim("hook")
    assert set(await engine.spool.discard([dead, waiting, leased, "no/thing"], NOW)) == {dead, waiting}
    assert await engine.spool.discard([dead], NOW) == []
    found = {d.id: d for d in engine.reader.deliveries(limit=9)}
    assert found[dead].state is found[waiting].state is State.DISCARDED
    assert found[dead].cause is Cause.EXHAUSTED
    assert found[leased].state is State.LEASED
    assert (await engine.spool.stats()).backlog == 1


async def test_deliveries_are_found_by_what_is_known_of_them(engine: Engine) -> None:
    old = make_event({"event": "a"}, source="prod", received=make_event().received - timedelta(days=1))
    await engine.planned("log", event=old)
    (claim,) = await engine.claim("log")
    await engine.spool.settle([ended(claim, State.DEAD, cause=Cause.EXPIRED)])
    await engine.dead("mail", cause=Cause.REJECTED)

    def found(**wanted: Any) -> list[str]:
        return [d.destination for d in engine.reader.deliveries(DeliveryFilter(**wanted), limit=9)]

    assert found(state=State.DEAD) == ["mail", "log"]
    assert found(cause=Cause.EXPIRED) == ["log"]
    assert found(source="prod") == ["log"]
    assert found(event_type="a") == ["log"]
    assert found(until=make_event().received) == ["log"]
    assert found(since=make_event().received) == ["mail"]


async def test_deliveries_are_counted_by_state(engine: Engine) -> None:
    await engine.dead("log")
    await engine.planned("log", "mail")
    await engine.planned("log")
    await engine.claim("log", limit=1)
    assert engine.reader.count_deliveries(DeliveryFilter(destination="log")) == {
        State.PENDING: 1,
        State.LEASED: 1,
        State.DEAD: 1,
    }
    assert engine.reader.count_deliveries(DeliveryFilter(destination="mail")) == {State.PENDING: 1}
    assert engine.reader.count_deliveries(DeliveryFilter(replay=1)) == {}


async def test_a_quarantined_body_that_can_be_parsed_becomes_an_event_once(engine: Engine) -> None:
    body = refused(raw=b'{"event": "validate"}')
    await engine.spool.quarantine(body)
    event = make_event(body.raw, received=body.received)
    assert await engine.spool.readmit(body.id, event)
    assert not await engine.spool.readmit(body.id, replace(event, id=new_id()))
    assert engine.reader.quarantined(limit=9) == []
    assert [claim.event.id for claim in await engine.claim()] == [event.id]


async def test_quarantined_bodies_can_be_dismissed(engine: Engine) -> None:
    bodies = [refused(), refused()]
    for body in bodies:
        await engine.spool.quarantine(body)
    assert await engine.spool.dismiss([bodies[0].id, "nothing"]) == [bodies[0].id]
    assert engine.reader.quarantined(limit=9) == [bodies[1]]


# --- replay ----------------------------------------------------------------------------------------------------------


async def test_a_replay_delivers_once_more_and_is_marked(engine: Engine) -> None:
    event = await engine.append()
    (claim,) = await engine.claim()
    await engine.spool.settle([Routed(claim, Decided([], [Planned("log", (1,))], NOW))])
    (claim,) = await engine.claim("log")
    await engine.spool.settle([ended(claim)])
    number = await engine.spool.begin_replay(NOW)
    assert await engine.spool.replay(number, [event.id, "gone"], ["log", "mail"], NOW, first=NOW, every=1.0) == 2
    assert await engine.spool.replay(number, [event.id], ["log", "mail"], NOW, first=NOW, every=1.0) == 0
    (log,) = await engine.claim("log")
    (mail,) = await engine.claim("mail")
    assert log.delivery.id == f"{event.id}/log/{number}"
    assert (log.delivery.replay, log.delivery.attempt, log.delivery.results) == (number, 1, (1,))
    assert mail.delivery.results is None
    await engine.spool.settle([ended(log, State.DEAD)])
    assert await engine.spool.retry([log.delivery.id], NOW) == [log.delivery.id]
    assert [
        d.id for d in engine.reader.deliveries(DeliveryFilter(replay=number), limit=9, before=mail.delivery.id)
    ] == [log.delivery.id]
    assert len(engine.reader.attempts(log.delivery.id)) == 1
    assert await engine.spool.begin_replay(NOW) > number


async def test_a_replay_that_was_never_begun_plans_nothing(engine: Engine) -> None:
    event = await engine.planned("log")
    begun = await engine.spool.begin_replay(NOW)
    for number in (-1, 0, begun + 1, 1 << 64):
        assert await engine.spool.replay(number, [event.id], ["mail"], NOW, first=NOW, every=0.0) is None
    assert [one.id for one in engine.reader.deliveries(limit=9)] == [f"{event.id}/log"]


async def test_a_replay_is_spread_over_time(engine: Engine) -> None:
    events = [await engine.planned() for _ in range(4)]
    number = await engine.spool.begin_replay(NOW)
    await engine.spool.replay(number, [e.id for e in events], ["log"], NOW, first=NOW + 10, every=0.5)
    assert await engine.claim("log", now=NOW + 9) == []
    assert [c.event.id for c in await engine.claim("log", now=NOW + 10.6)] == [e.id for e in events[:2]]


async def test_a_replay_without_destinations_is_decided_anew(engine: Engine) -> None:
    event = await engine.planned("log")
    number = await engine.spool.begin_replay(NOW)
    await engine.spool.replay(number, [event.id], [], NOW, first=NOW, every=0.0)
    (claim,) = await engine.claim()
    assert claim.delivery.replay == number
    routed = Routed(claim, Decided([{"route": "new"}], [Planned("log"), Planned("mail")], NOW, config="new"))
    assert await engine.spool.settle([routed]) == [True]
    stored = engine.reader.event(event.id)
    assert (stored.trace, stored.planned, stored.config) == ([{"route": "new"}], 2, "new")
    assert {d.id for d in engine.reader.deliveries(limit=9)} == {
        f"{event.id}/log",
        f"{event.id}/log/{number}",
        f"{event.id}/mail/{number}",
    }


def test_what_is_no_delivery_has_no_key_of_one() -> None:
    assert delivery_key("e/log") == ("e", "log", 0, 0)
    assert delivery_key("e/log~3") == ("e", "log", 3, 0)
    assert delivery_key("e/log~3/12") == ("e", "log", 3, 12)
    for odd in ("e/log/", "e/log/0", "e/log/x", "e/log/1/2", "e/log/-1", f"e/log/{10**20}"):
        assert delivery_key(odd).replay == -1
    for odd in ("e/log~", "e/log~0", "e/log~x", "e/log~1~2"):
        assert delivery_key(odd).part == -1
    assert delivery_key("e") == ("e", "", 0, 0)


async def test_history_is_listed_oldest_first_for_a_replay(engine: Engine) -> None:
    start = make_event().received
    events = [
        await engine.append(make_event({"event": "a", "n": n}, received=start + timedelta(hours=n))) for n in range(5)
    ]
    wanted = EventFilter(since=start + timedelta(hours=1), until=start + timedelta(hours=4), event_type="a")
    assert engine.reader.count_events(wanted) == 3
    assert engine.reader.event_ids(wanted, limit=2) == [e.id for e in events[1:3]]
    assert engine.reader.event_ids(wanted, limit=2, after=events[2].id) == [events[3].id]
    assert engine.reader.count_events(EventFilter(source="other")) == 0


# --- late updates ----------------------------------------------------------------------------------------------------


async def test_an_older_update_of_an_incident_that_comes_later_is_marked(engine: Engine) -> None:
    newer, older = incident("2026-05-04T12:00:01Z"), incident("2026-05-04T12:00:00Z")
    same, other = incident("2026-05-04T12:00:01.0Z"), incident("2026-05-04T11:00:00Z", "i-2")
    elsewhere = incident("2026-05-04T11:00:00Z", source="other")
    for event in (newer, older, same, other, elsewhere):
        await engine.append(event)
    late = {claim.event.id: claim.event.late for claim in await engine.claim()}
    assert late == {newer.id: False, older.id: True, same.id: False, other.id: False, elsewhere.id: False}
    assert engine.reader.event(older.id).event.late


# --- retention -------------------------------------------------------------------------------------------------------


async def test_each_kind_is_kept_for_its_own_time(engine: Engine) -> None:
    dead = await engine.dead(reason="no", response="x" * 10)
    await engine.spool.quarantine(refused())
    await engine.spool.prune(keeping(attempts=Keep(10.0)), NOW + 11, 9)
    assert engine.reader.attempts(dead) == []
    assert len(engine.reader.quarantined(limit=9)) == 1
    await engine.spool.prune(keeping(quarantine=Keep(10.0), events=Keep(10.0)), NOW + 11, 9)
    assert engine.reader.quarantined(limit=9) == []
    assert engine.reader.event(dead.partition("/")[0])  # its dead letter is kept
    await engine.spool.prune(keeping(dead_letters=Keep(10.0)), NOW + 11, 9)
    (delivery,) = engine.reader.deliveries(limit=9)
    assert delivery.state is State.DISCARDED
    await engine.spool.prune(keeping(events=Keep(10.0)), NOW + 11, 9)
    assert engine.reader.events(limit=9) == []


async def test_the_oldest_goes_while_there_are_too_many_bytes(engine: Engine) -> None:
    start = make_event().received
    events = [
        await engine.append(make_event({"event": "a", "n": n}, received=start + timedelta(seconds=n))) for n in range(5)
    ]
    size = len(events[0].raw)
    claims = await engine.claim(now=NOW + 9)
    await engine.spool.settle([Routed(claim, Decided([], [], NOW)) for claim in claims[:4]])
    await engine.spool.prune(keeping(events=Keep(1e9, 3 * size)), NOW + 9, 100)
    assert [s.event.id for s in engine.reader.events(limit=9)] == [e.id for e in reversed(events[2:])]
    # the last one is undecided, so it stays
    await engine.spool.prune(keeping(events=Keep(1e9, 0)), NOW + 9, 100)
    assert [s.event.id for s in engine.reader.events(limit=9)] == [events[4].id]


async def test_dead_letters_quarantine_and_attempts_have_sizes_too(engine: Engine) -> None:
    dead = [await engine.dead(response="x" * 100) for _ in range(3)]
    size = len(engine.reader.event(dead[0].partition("/")[0]).event.raw)
    await engine.spool.prune(keeping(dead_letters=Keep(1e9, 2 * size)), NOW, 100)
    assert {d.id for d in engine.reader.deliveries(DeliveryFilter(state=State.DEAD), limit=9)} == set(dead[1:])
    await engine.spool.prune(keeping(attempts=Keep(1e9, 200)), NOW, 100)
    assert [bool(engine.reader.attempts(name)) for name in dead] == [False, True, True]
    bodies = [refused(raw=b"x" * 10) for _ in range(3)]
    for body in bodies:
        await engine.spool.quarantine(body)
    await engine.spool.prune(keeping(quarantine=Keep(1e9, 25)), NOW, 100)
    assert {r.id for r in engine.reader.quarantined(limit=9)} == {bodies[1].id, bodies[2].id}


async def test_pruning_is_done_a_little_at_a_time_and_says_whether_there_is_more(engine: Engine) -> None:
    for _ in range(5):
        await engine.planned()
    assert await engine.spool.prune(keeping(events=Keep(1.0)), NOW + 2, 3) == 3
    assert await engine.spool.prune(keeping(events=Keep(1.0)), NOW + 2, 3) == 2


# --- limits ----------------------------------------------------------------------------------------------------------


async def test_a_backlog_at_its_limit_refuses_what_comes_until_it_is_worked_off(tmp_path: Path) -> None:
    async with open_engine("sqlite", tmp_path) as engine:
        engine.spool.max_backlog = 2
        await engine.append()
        await engine.append()
        with pytest.raises(SpoolFull, match=r"2 deliveries wait, and spool\.max_backlog allows"):
            await engine.append()
        assert "max_backlog" in (await engine.spool.stats()).trouble
        await engine.spool.settle([Routed(claim, Decided([], [], NOW)) for claim in await engine.claim()])
        await engine.append()
        assert not (await engine.spool.stats()).trouble


async def test_what_a_failed_decision_said_is_counted_no_longer_when_it_is_made(tmp_path: Path) -> None:
    async with open_engine("sqlite", tmp_path) as engine:
        await engine.append()
        (claim,) = await engine.claim()
        await engine.spool.settle([ended(claim, State.PENDING, next_at=NOW, reason="x" * 1000)])
        (claim,) = await engine.claim()
        await engine.spool.settle([Routed(claim, Decided([], [], NOW))])
        with closing(sqlite3.connect(tmp_path / "spool.db")) as connection:
            held = dict(connection.execute("SELECT * FROM held").fetchall())
        assert held["attempts"] == held["backlog"] == 0


async def test_the_amounts_are_known_after_a_restart(tmp_path: Path) -> None:
    async with open_engine("sqlite", tmp_path) as engine:
        await engine.planned("hook", "mail")
        await engine.dead()
    spool = SqliteSpool(tmp_path / "spool.db", SIZE, MOST)
    assert (await spool.stats()).backlog == 2
    await spool.aclose()


async def test_a_change_that_is_not_on_disk_yet_has_a_lag(tmp_path: Path) -> None:
    begun, slow = threading.Event(), threading.Event()

    def change(_: sqlite3.Connection) -> None:
        begun.set()
        slow.wait()

    async with open_engine("sqlite", tmp_path) as engine, trio.open_nursery() as nursery:
        assert (await engine.spool.stats()).writer_lag == 0
        nursery.start_soon(engine.spool._writer.once, change)
        try:
            await trio.to_thread.run_sync(begun.wait)
            assert (await engine.spool.stats()).writer_lag > 0
        finally:
            slow.set()
        await engine.append()
        assert (await engine.spool.stats()).writer_lag == 0
