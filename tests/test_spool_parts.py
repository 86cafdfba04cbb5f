"""Parts of events: in every engine each is a delivery of its own, and none is lost or handed out twice."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from engines import ENGINES, NOW, Engine, ended, open_engine
from hypothesis import given
from hypothesis import strategies as st

from sodarouter.delivery import Cause, Planned, State
from sodarouter.event import Event
from sodarouter.spool import Decided, DeliveryFilter, Routed, delivery_id, delivery_key

PARTS = (
    Planned("log", (0, 1), part=1, group="ann"),
    Planned("log", (1,), part=2, group="bob"),
    Planned("log", (2,), part=3),
)


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


async def divided(engine: Engine, *planned: Planned) -> Event:
    event = await engine.append()
    (claim,) = await engine.claim()
    assert await engine.spool.settle([Routed(claim, Decided([], planned or PARTS, NOW, "c-1"))]) == [True]
    return event


def shown(engine: Engine, destination: str, replay: int = 0) -> list[tuple[int, tuple[int, ...] | None, str | None]]:
    found = engine.reader.deliveries(DeliveryFilter(destination=destination, replay=replay), limit=99)
    return sorted((one.part, one.results, one.group) for one in found)


EVERY = [(1, (0, 1), "ann"), (2, (1,), "bob"), (3, (2,), None)]


async def test_each_part_is_claimed_tried_and_shown_by_itself(engine: Engine) -> None:
    event = await divided(engine)
    claims = await engine.claim("log")
    assert [(c.delivery.id, c.delivery.part, c.delivery.results, c.delivery.group) for c in claims] == [
        (f"{event.id}/log~{part}", part, results, group) for part, results, group in EVERY
    ]
    first, second, third = claims
    outcomes = [
        ended(first),
        ended(second, State.PENDING, next_at=NOW + 5, reason="later"),
        ended(third, State.DEAD, reason="no", cause=Cause.REJECTED),
    ]
    assert await engine.spool.settle(outcomes) == [True, True, True]
    states = {one.part: one.state for one in engine.reader.deliveries(limit=9)}
    assert states == {1: State.DELIVERED, 2: State.PENDING, 3: State.DEAD}
    (again,) = await engine.claim("log", now=NOW + 5)
    assert (again.delivery.id, again.delivery.attempt, again.delivery.group) == (second.delivery.id, 2, "bob")
    assert [one.reason for one in engine.reader.attempts(second.delivery.id)] == ["later"]
    assert engine.reader.attempts(f"{event.id}/log") == []
    assert shown(engine, "log") == EVERY
    wanted = DeliveryFilter(**delivery_key(third.delivery.id)._asdict())
    assert [one.id for one in engine.reader.deliveries(wanted, limit=9)] == [third.delivery.id]


async def test_parts_are_retried_and_given_up_one_by_one(engine: Engine) -> None:
    event = await divided(engine)
    await engine.spool.settle([ended(claim, State.DEAD) for claim in await engine.claim("log")])
    one, two, three = (f"{event.id}/log~{part}" for part in (1, 2, 3))
    assert await engine.spool.retry([one, f"{event.id}/log", f"{event.id}/log~4"], NOW) == [one]
    assert await engine.spool.discard([two], NOW) == [two]
    states = {one.id: one.state for one in engine.reader.deliveries(limit=9)}
    assert states == {one: State.PENDING, two: State.DISCARDED, three: State.DEAD}


async def test_a_replay_to_a_destination_has_the_parts_of_the_last_time(engine: Engine) -> None:
    event = await divided(engine)
    first, second = await engine.spool.begin_replay(NOW), await engine.spool.begin_replay(NOW)
    assert await engine.spool.replay(first, [event.id], ["log", "mail"], NOW, first=NOW, every=0) == 4
    assert await engine.spool.replay(first, [event.id], ["log", "mail"], NOW, first=NOW, every=0) == 0
    assert shown(engine, "log", first) == EVERY
    assert shown(engine, "mail", first) == [(0, None, None)]
    # decided anew, the event is divided otherwise, and from then on that is the last time
    assert await engine.spool.replay(second, [event.id], [], NOW, first=NOW, every=0) == 1
    (claim,) = await engine.claim()
    await engine.spool.settle([Routed(claim, Decided([], [Planned("log", (0,), part=1)], NOW))])
    third = await engine.spool.begin_replay(NOW)
    assert await engine.spool.replay(third, [event.id], ["log"], NOW, first=NOW, every=0) == 1
    assert shown(engine, "log", third) == [(1, (0,), None)]
    (claim,) = [claim for claim in await engine.claim("log") if claim.delivery.replay == third]
    assert claim.delivery.id == f"{event.id}/log~1/{third}"


async def give_up(engine: Engine, destination: str, fallback: str) -> None:
    claims = await engine.claim(destination)
    outcomes = [ended(claim, State.DEAD, fallback=fallback, reason="gone") for claim in claims]
    assert all(await engine.spool.settle(outcomes))


async def test_a_fallback_is_handed_the_part_with_what_its_results_have_in_common(engine: Engine) -> None:
    await divided(engine)
    await give_up(engine, "log", "mail")
    assert shown(engine, "mail") == EVERY
    claims = await engine.claim("mail", now=NOW + 1)
    assert [(c.delivery.group, c.delivery.fallback.destination) for c in claims] == [(g, "log") for _, _, g in EVERY]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        # of the same number and with other results: it is another part
        ([Planned("mail", (5,), part=1)], [(1, (5,), None), (2, (0, 1), "ann")]),
        (
            [Planned("mail", (5,), part=1), Planned("mail", (1,), part=2)],
            [(1, (5,), None), (2, (1,), None), (3, (0, 1), "ann")],
        ),
        ([Planned("mail", (5,))], [(0, (5,), None), (1, (0, 1), "ann")]),
        # it has all of them in any case
        ([Planned("mail", None)], [(0, None, None)]),
        ([Planned("mail", (0, 1, 2))], [(0, (0, 1, 2), None)]),
        ([Planned("mail", (0,), part=1), Planned("mail", (1,), part=2)], [(1, (0,), None), (2, (1,), None)]),
    ],
)
async def test_a_fallback_is_handed_what_it_has_not_got(
    engine: Engine, own: list[Planned], expected: list[Any]
) -> None:
    event = await divided(engine, PARTS[0], *own)
    await give_up(engine, "log", "mail")
    assert shown(engine, "mail") == expected
    # nor once more, when it was retried and fails again
    await engine.spool.retry([f"{event.id}/log~1"], NOW)
    await give_up(engine, "log", "mail")
    assert shown(engine, "mail") == expected


async def test_what_was_under_way_to_an_at_most_once_destination_goes_to_its_fallback_in_parts(engine: Engine) -> None:
    await divided(engine, *PARTS, Planned("mail", (7,), part=1))
    await engine.claim("log")
    await engine.spool.recover(NOW, {"log": "mail"})
    assert [results for _, results, _ in shown(engine, "mail")] == [(7,), (0, 1), (1,), (2,)]
    assert (await engine.spool.stats()).backlog == 4


async def test_parts_keep_the_order_of_what_is_in_them(engine: Engine) -> None:
    planned = [Planned("log", (n,), (f"dataset:{name}",), n + 1, name) for n, name in enumerate("ab")]
    first, second = await divided(engine, *planned), await divided(engine, planned[1])
    claims = await engine.claim("log")
    assert [claim.delivery.id for claim in claims] == [f"{first.id}/log~1", f"{first.id}/log~2"]
    await engine.spool.settle([ended(claims[1])])
    assert [claim.delivery.id for claim in await engine.claim("log")] == [f"{second.id}/log~2"]


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True), st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_id_says_whose_it_is(destination: str, part: int, replay: int) -> None:
    assert delivery_key(delivery_id("e-1", destination, replay, part)) == ("e-1", destination, part, replay)
