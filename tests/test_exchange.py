"""What is due is leased and what has ended is settled in one transaction, whose statements do not grow with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from engines import NOW, Engine, ended, open_engine
from support import make_event

from sodarouter.delivery import Planned
from sodarouter.spool import Claims, Decided, Routed

MANY = 64
FIFTY = tuple(f"d{number}" for number in range(50))


async def planned(engine: Engine, events: int, *destinations: str) -> None:
    """Stores so many events, each with deliveries to these destinations."""
    for _ in range(events):
        await engine.append()
    claims = await engine.claim(limit=events)
    deliveries = [Planned(name) for name in destinations]
    await engine.spool.settle([Routed(claim, Decided([], deliveries, NOW)) for claim in claims])


async def exchanged(engine: Engine, before: Claims, wanted: dict[str, int], *, once: bool = False) -> Claims:
    """Settles what was claimed, and claims more."""
    outcomes = [ended(claim) for claim in before.claims]
    settled, found = await engine.spool.exchange(outcomes, wanted, NOW, dict.fromkeys(wanted, 60.0), once=once)
    assert settled == [True] * len(outcomes)
    return found


@contextmanager
def traced(engine: Engine) -> Iterator[list[str]]:
    """The statements of the connection that writes, but for settings and the spool's look at its own size."""
    found: list[str] = []
    connection = engine.spool._writer._connection

    def note(statement: str) -> None:
        if not statement.startswith(("PRAGMA", "SELECT amount FROM held")):
            found.append(statement)

    connection.set_trace_callback(note)
    yield found
    connection.set_trace_callback(None)


async def test_sixty_four_take_one_commit_and_no_more_statements_than_one(tmp_path: Path) -> None:
    taken = []
    async with open_engine("sqlite", tmp_path) as engine:
        await planned(engine, 2 * MANY + 2, "log")
        for many in (1, MANY):
            found = await exchanged(engine, Claims([], None), {"log": many})
            with traced(engine) as statements:
                found = await exchanged(engine, found, {"log": many})
            assert len(found.claims) == many
            assert statements.count("COMMIT") == 1
            taken.append(len(statements))
            await exchanged(engine, found, {})
    assert taken[0] == taken[1] <= 15


async def test_destinations_with_nothing_to_do_cost_no_statement(tmp_path: Path) -> None:
    taken = []
    async with open_engine("sqlite", tmp_path) as engine:
        await planned(engine, 2, "d7")
        for names in (["d7"], FIFTY):
            with traced(engine) as statements:
                found = await exchanged(engine, Claims([], None), dict.fromkeys(names, 1))
            assert len(found.claims) == 1
            taken.append(len(statements))
    assert taken[0] == taken[1]


async def test_deliveries_to_fifty_are_leased_by_as_many_statements_as_those_to_one(tmp_path: Path) -> None:
    """But for one that finds them, for each destination with something due."""
    taken = []
    async with open_engine("sqlite", tmp_path) as engine:
        await planned(engine, 1, *FIFTY)
        for names in (FIFTY[:1], FIFTY[1:]):
            with traced(engine) as statements:
                found = await exchanged(engine, Claims([], None), dict.fromkeys(names, 1))
            assert len(found.claims) == len(names)
            taken.append(len(statements) - len(names))
    assert taken[0] == taken[1]


async def test_an_event_for_fifty_is_stored_once(tmp_path: Path) -> None:
    body = b'{"event": "checkEvaluation", "filler": "%s"}' % (b"x" * 1_000_000)
    async with open_engine("sqlite", tmp_path) as engine:
        await planned(engine, 1, *FIFTY)
        before = (await engine.spool.stats()).spool_bytes
        await engine.append(make_event(body))
        (claim,) = await engine.claim()
        await engine.spool.settle([Routed(claim, Decided([], [Planned(name) for name in FIFTY], NOW))])
        assert (await engine.spool.stats()).spool_bytes - before < 1.2 * len(body)


@pytest.mark.parametrize("once", [False, True])
async def test_a_lease_is_synced_only_where_nothing_may_be_sent_twice(tmp_path: Path, once: bool) -> None:
    """What is settled, and what is taken in, always is."""
    async with open_engine("sqlite", tmp_path) as engine:
        await planned(engine, 3, "log")
        found = await exchanged(engine, Claims([], None), {"log": 1}, once=once)
        assert synced(engine) is once
        await exchanged(engine, found, {"log": 1})
        assert synced(engine)
        await exchanged(engine, Claims([], None), {"log": 1})
        assert not synced(engine)
        await engine.append()
        assert synced(engine)


def synced(engine: Engine) -> bool:
    """Whether the last commit was."""
    (mode,) = engine.spool._writer._connection.execute("PRAGMA synchronous").fetchone()
    return bool(mode >= 2)
