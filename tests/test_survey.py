"""Asking what the router holds: always an answer within seconds, and one look at a time, however many ask."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sodarouter.delivery import Stats
from sodarouter.errors import SpoolError
from sodarouter.survey import PATIENCE, Survey


class Hung:
    """A spool that answers when it is let to, and finishes what it has begun whatever happens to whoever asked."""

    def __init__(self) -> None:
        self.looks = 0
        self.answering = trio.Event()

    async def stats(self) -> Stats:
        self.looks += 1
        mine = self.looks
        with trio.CancelScope(shield=True):
            await self.answering.wait()
        return Stats(quarantined=mine)


@asynccontextmanager
async def surveying(look: Callable[[], Awaitable[Stats]]) -> AsyncIterator[Survey]:
    survey = Survey(look)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(survey.run)
        yield survey
        nursery.cancel_scope.cancel()


async def test_it_gives_what_the_spool_holds_anew_for_each_question() -> None:
    spool = Hung()
    spool.answering.set()
    async with surveying(spool.stats) as survey:
        assert (await survey()).quarantined == 1
        assert (await survey()).quarantined == 2


async def test_a_spool_that_hangs_is_not_waited_for_longer_than_the_limit(autojump_clock: MockClock) -> None:
    """A limit round the question would not hold: the spool is not to be cancelled."""
    spool = Hung()
    async with surveying(spool.stats) as survey:
        for _ in range(3):
            before = trio.current_time()
            with pytest.raises(SpoolError, match="has not answered for 5 seconds; see to the disk"):
                await survey()
            assert trio.current_time() - before == PATIENCE
        assert spool.looks == 1, "probes do not pile up behind one that hangs"
        spool.answering.set()
        assert (await survey()).quarantined == 2


async def test_all_who_ask_meanwhile_share_the_next_look_and_none_gets_what_was_seen_before_it_asked() -> None:
    spool, seen = Hung(), []

    async def ask(survey: Survey) -> None:
        seen.append((await survey()).quarantined)

    async with surveying(spool.stats) as survey, trio.open_nursery() as askers:
        askers.start_soon(ask, survey)
        await wait_all_tasks_blocked()
        for _ in range(10):
            askers.start_soon(ask, survey)
        await wait_all_tasks_blocked()
        spool.answering.set()
    assert sorted(seen) == [1] + [2] * 10


@pytest.mark.parametrize("error", [SpoolError("the spool fails: disk I/O error"), ZeroDivisionError("a bug")])
async def test_what_goes_wrong_is_for_those_who_asked_and_the_next_look_is_a_new_one(error: Exception) -> None:
    failing = [error]

    async def look() -> Stats:
        if failing:
            raise failing.pop()
        return Stats(quarantined=7)

    async with surveying(look) as survey:
        with pytest.raises(type(error), match=str(error)):
            await survey()
        assert (await survey()).quarantined == 7


async def test_whoever_gives_up_leaves_the_others_their_answer() -> None:
    spool = Hung()
    async with surveying(spool.stats) as survey, trio.open_nursery() as askers:
        leaving = trio.CancelScope()

        async def leave() -> None:
            with leaving:
                await survey()

        askers.start_soon(leave)
        await wait_all_tasks_blocked()
        leaving.cancel()
        await wait_all_tasks_blocked()
        spool.answering.set()
        assert (await survey()).quarantined == 2
