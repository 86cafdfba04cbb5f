"""What is done now and then, on a clock that jumps."""

from collections.abc import MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trio
from engines import NOW, Engine
from structlog.testing import capture_logs
from support import make_event
from trio.testing import MockClock, wait_all_tasks_blocked

from sodarouter.config import Config, load
from sodarouter.decide import NewSilence, Window
from sodarouter.errors import SpoolError
from sodarouter.operations import Operations
from sodarouter.spool import MemorySpool, Recollection, Retention
from sodarouter.upkeep import PRUNE_BATCH, PRUNE_EVERY, prune, tell_silences
from sodarouter.wake import Wake


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


class Silencing:
    """An operator and the upkeep of a daemon, on a clock that begins at `NOW`."""

    def __init__(self, spool: MemorySpool) -> None:
        self.spool = spool
        self.changed = Wake()
        began = trio.current_time()
        self.now = lambda: NOW + trio.current_time() - began
        self.operations = Operations(spool, spool.refused, lambda: (), changed=self.changed.set, now=self.now)

    async def add(self, *, seconds: float, **known: Any) -> str:
        ends = datetime.fromtimestamp(self.now(), UTC) + timedelta(seconds=seconds)
        asked = NewSilence(author="jo", reason="a move", ends=ends, **known)
        return (await self.operations.silence(asked)).id

    async def run(self) -> None:
        await tell_silences(self.spool, self.changed, now=self.now)


def told(lines: Sequence[MutableMapping[str, Any]]) -> list[tuple[str, str]]:
    return [(line["event"], line["silence"]) for line in lines]


async def test_a_silence_is_told_of_once_when_it_is_known_and_once_when_it_has_ended(autojump_clock: MockClock) -> None:
    silencing = Silencing(MemorySpool())
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(silencing.run)
            await trio.sleep(500)
            long, short = await silencing.add(seconds=1000), await silencing.add(seconds=100)
            await trio.sleep(1)
            assert told(lines) == [("a silence is set", long), ("a silence is set", short)]
            assert (
                lines[0] | {"of": "everything", "to": "all destinations", "author": "jo", "reason": "a move"}
                == lines[0]
            )
            assert "during" not in lines[0]
            await trio.sleep(98)
            assert len(lines) == 2
            await trio.sleep(2)
            assert told(lines)[2:] == [("a silence has ended", short)]
            await silencing.operations.end_silence(long)
            await trio.sleep(1)
            assert told(lines)[3:] == [("a silence was ended before its time", long)]
            await trio.sleep(10_000)
            assert len(lines) == 4
            nursery.cancel_scope.cancel()


async def test_at_a_start_those_in_force_and_to_come_are_told_of_and_none_that_has_ended(
    autojump_clock: MockClock,
) -> None:
    silencing = Silencing(MemorySpool())
    await silencing.add(seconds=10)
    there = await silencing.add(seconds=1000, during=[Window(hours=["22:00-06:00"])])
    starts = datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=500)
    coming = await silencing.add(seconds=2000, starts=starts)
    await trio.sleep(100)
    with capture_logs() as lines:
        for _ in range(2):
            with trio.move_on_after(50):
                await silencing.run()
    assert told(lines) == [("a silence is set", there), ("a silence is set", coming)] * 2
    assert lines[0]["during"] == ["22:00-06:00 UTC"]


async def test_without_a_change_the_spool_is_asked_once_a_minute_at_most(autojump_clock: MockClock) -> None:
    class Counting(MemorySpool):
        asked = 0

        async def recall(self, keys: Sequence[bytes], events: Sequence[str], since: float) -> Recollection:
            self.asked += 1
            return await super().recall(keys, events, since)

    spool = Counting()
    silencing = Silencing(spool)
    await silencing.add(seconds=1e6)
    with trio.move_on_after(3600):
        await silencing.run()
    assert spool.asked <= 62
