"""What is done now and then, on a clock that jumps."""

from pathlib import Path

import trio
from engines import NOW, Engine
from support import make_event
from trio.testing import MockClock, wait_all_tasks_blocked

from sodarouter.config import Config, load
from sodarouter.errors import SpoolError
from sodarouter.spool import MemorySpool, Retention
from sodarouter.upkeep import PRUNE_BATCH, PRUNE_EVERY, prune


def configured(folder: Path, retention: str) -> Config:
    path = folder / "router.toml"
    path.write_text(f'[source.soda]\npath = "/soda"\n[spool]\nretention = "{retention}"\n', encoding="utf-8")
    return load(path)


def now() -> float:
    return NOW + trio.current_time()


async def test_what_is_old_goes_within_the_hour_and_by_the_retention_of_then(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    spool = MemorySpool()
    engine = Engine(spool, spool)
    config = configured(tmp_path, "2h")
    settled = await engine.planned()
    waiting = await engine.planned("log")
    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(lambda: prune(spool, lambda: config, now=lambda: NOW + trio.current_time() - began))
        await trio.sleep(PRUNE_EVERY * 1.5)
        assert len(spool.events(limit=9)) == 2
        config = configured(tmp_path, "90m")  # as after a reload
        await trio.sleep(PRUNE_EVERY)
        assert [stored.event.id for stored in spool.events(limit=9)] == [waiting.id]
        await trio.sleep(PRUNE_EVERY * 1000)
        assert [stored.event.id for stored in spool.events(limit=9)] == [waiting.id]
        nursery.cancel_scope.cancel()
    assert settled.id != waiting.id


async def test_a_long_history_goes_in_batches_with_pauses_for_the_others(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    sizes: list[int] = []

    class Counting(MemorySpool):
        async def prune(self, retention: Retention, now: float, limit: int) -> int:
            went = await super().prune(retention, now, limit)
            sizes.append(went)
            return went

    spool = Counting()
    engine = Engine(spool, spool)
    for number in range(PRUNE_BATCH * 2 + 10):
        await spool.append(make_event({"event": "validate", "n": number}), window=0.0)
    await engine.spool.discard([d.id for d in spool.deliveries(limit=10_000)], NOW)
    config = configured(tmp_path, "1h")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: prune(spool, lambda: config, now=lambda: NOW + 7200))
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert sizes == [PRUNE_BATCH, PRUNE_BATCH, 10]


async def test_a_spool_that_fails_is_asked_again_an_hour_later(tmp_path: Path, autojump_clock: MockClock) -> None:
    class Failing(MemorySpool):
        asked = 0

        async def prune(self, retention: Retention, now: float, limit: int) -> int:
            self.asked += 1
            raise SpoolError("the disk is full")

    spool = Failing()
    config = configured(tmp_path, "1h")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: prune(spool, lambda: config))
        await wait_all_tasks_blocked()
        assert spool.asked == 1
        await trio.sleep(PRUNE_EVERY * 2.5)
        assert spool.asked == 3
        nursery.cancel_scope.cancel()
