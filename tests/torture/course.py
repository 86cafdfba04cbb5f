"""What is done to the router: a round of lives, each of which ends badly, and a last one that may finish."""

import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import trio

from . import account, config
from .daemon import Broken, Life, life
from .disk import Disk, LimitedFiles
from .ledger import Ledger
from .victim import ANSWERED, STEPS

Live = Callable[[], Awaitable[None]]

ANY = "any moment"
"""Where a router is killed that no step was named for."""
LIMIT = 60.0
"""Seconds that one life may take: what is waited for in it must happen."""
EARLY, LATE = 10, 200
"""Passages of a step before it kills, on average: in the first round, which is to be over soon, and in later ones."""
SELDOM = {"quarantined": 2, "claimed-for-decision": 2, "routed": 2}
"""The same for steps that few bodies come to, in every round."""
LONGEST = 1.2, 10.0
"""Seconds after its start at which a router is killed that was not told where to die: in the first round, in which it
may not be ready by then, and in later ones."""
RELOADS = 3
"""In one life, beside those that must fail."""
TAKEN_DOWN = 4
"""Intake processes in one life."""
TAKEN_UP = "another configuration is in place"
NOT_TAKEN_UP = "the configuration cannot be used"
UNFIT = '[destination.log]\ntype = "flie"\n'


class Course:
    """
    Args:
        folder: Where the configuration and the logs are.
        spool: The disk under the spool.
        urls: Of the sinks.
        reload: Whether to reload a router that can be reloaded.
        workers: How many processes take in for it; 0: it does so itself.
    """

    def __init__(
        self,
        folder: Path,
        spool: Disk,
        urls: Mapping[str, str],
        ledger: Ledger,
        chance: random.Random,
        *,
        reload: bool = True,
        workers: int = 0,
    ) -> None:
        self.config = folder / "router.toml"
        self.spool = spool.folder / "spool.db"
        self.lines = folder / "events.jsonl"
        self.kills: Counter[str] = Counter()
        """By step, or `ANY`."""
        self.counts: Counter[str] = Counter()
        """Starts, stops, reloads and the like."""
        self._log = folder / "router.log"
        self._disk = spool
        self._urls = urls
        self._ledger = ledger
        self._chance = chance
        self._reload = reload
        self._workers = workers
        self._version = 0
        self._life: Life | None = None
        self._url = "http://127.0.0.1:9"  # nobody listens there: no life has begun
        self._write_config()

    @property
    def url(self) -> str:
        """Where the router listens, or did when it last lived."""
        if self._life is not None and self._life.url:
            self._url = self._life.url
        return self._url

    def _write_config(self) -> None:
        self._version += 1
        config.write(
            self.config,
            spool=self.spool,
            log=self.lines,
            urls=self._urls,
            workers=self._workers,
            version=self._version,
        )

    async def run(self, seconds: float) -> None:
        """Round after round, each with its lives in another order. The first round is made whole in any case.

        Raises:
            Broken: The router did not do what it must in one of them.
        """
        end = trio.current_time() + seconds
        for number in count():
            for name, live in self._round(first=number == 0):
                if number and trio.current_time() >= end:
                    return
                self._ledger.done(f"-- {name}")
                with trio.move_on_after(LIMIT) as scope:
                    await live()
                if scope.cancelled_caught:
                    raise Broken(f"{name}: what must happen did not in {LIMIT:g} seconds")

    def _round(self, *, first: bool) -> list[tuple[str, Live]]:
        passages, longest = (EARLY, LONGEST[0]) if first else (LATE, LONGEST[1])
        lives: list[tuple[str, Live]] = [
            *(
                (f"killed when {step}", partial(self._killed_at, step, SELDOM.get(step, passages)))
                for step in STEPS
                if not (self._workers and step == ANSWERED)
            ),
            *[("its intake processes are killed", self._taken_down)] * bool(self._workers),
            *[("killed at any moment", partial(self._killed, longest))] * (1 if first else 3),
            ("its disk is full, then its writes fail", self._full),
            ("started on a full disk", self._started_full),
            ("reloaded, then stopped", self._reloaded),
        ]
        self._chance.shuffle(lives)
        return lives

    @asynccontextmanager
    async def _living(self, module: str = "sodarouter", *before: str) -> AsyncIterator[Life]:
        self.counts["starts"] += 1
        async with life(self.config, self._log, module=module, before=before) as begun:
            self._life = begun
            yield begun

    async def _killed_at(self, step: str, passages: int) -> None:
        passage = 1 + int(self._chance.expovariate(1 / passages))
        async with self._living("tests.torture.victim", "--die-at", f"{step}:{passage}", "--") as begun:
            await begun.until_killed()
        self._killed_now(step)

    async def _killed(self, longest: float) -> None:
        async with self._living() as begun:
            await trio.sleep(self._chance.uniform(0, longest))
            begun.kill()
        self._killed_now(ANY)

    def _killed_now(self, where: str) -> None:
        self.kills[where] += 1
        self._ledger.done(f"-- SIGKILL: {where}")

    async def _taken_down(self) -> None:
        """One after the other, until each was replaced."""
        async with self._living() as begun:
            await begun.until_ready()
            for _ in range(TAKEN_DOWN):
                told = len(begun.told)
                os.kill(self._chance.choice(begun.workers()), signal.SIGKILL)
                await begun.until_told("an intake process is lost", after=told)
                await self._until_status(200)
                self.counts["intake processes killed"] += 1
            await begun.stop()
        self.counts["stops"] += 1

    async def _full(self) -> None:
        async with self._living() as begun:
            await begun.until_ready()
            await self._without_room(self._disk, begun)
            self.counts["full disks"] += 1
            await self._without_room(LimitedFiles(self._disk.folder), begun)
            self.counts["failing writes"] += 1
            begun.kill()
        self._killed_now(ANY)

    async def _without_room(self, disk: Disk, begun: Life) -> None:
        """Until it refuses, and then until it takes in again, by itself."""
        disk.fill(begun.process)
        self._ledger.done("-- no room")
        try:
            await self._until_status(503)
        finally:
            disk.make_room(begun.process)
        self._ledger.done("-- room again")
        await self._until_status(200)

    async def _until_status(self, status: int) -> None:
        before = self._ledger.statuses[status]
        await self._ledger.until(lambda: self._ledger.statuses[status] > before)

    async def _started_full(self) -> None:
        async with self._living() as begun:
            self._disk.fill(begun.process)
            try:
                ready = await begun.gets_ready()
                self._ledger.done("-- ready without room" if ready else "-- would not start without room")
            finally:
                self._disk.make_room(begun.process)
            if ready:
                await self._until_status(200)
                begun.kill()
                self._killed_now(ANY)
        self.counts["full starts"] += 1

    async def _reloaded(self) -> None:
        async with self._living() as begun:
            await begun.until_ready()
            await self._until_status(200)
            if self._reload and begun.catches(signal.SIGHUP):
                for _ in range(RELOADS):
                    self._write_config()
                    await self._hang_up(begun, TAKEN_UP)
                self.config.write_text(UNFIT, encoding="utf-8")
                try:
                    await self._hang_up(begun, NOT_TAKEN_UP)
                finally:
                    self._write_config()
                await self._until_status(200)
                begun.process.send_signal(signal.SIGHUP)  # and it is stopped in the middle of this one
            await begun.stop()
        self.counts["stops"] += 1

    async def _hang_up(self, begun: Life, answer: str) -> None:
        told = len(begun.told)
        begun.process.send_signal(signal.SIGHUP)
        await begun.until_told(answer, after=told)
        self.counts["reloads"] += 1
        self._ledger.done(f"-- SIGHUP: {answer}")

    async def finish(self, limit: float) -> account.Account:
        """One last life, until everything is settled or the time is over; then it is stopped.

        Returns:
            What is in the spool then.
        """
        async with self._living() as begun:
            await begun.until_ready()
            with trio.move_on_after(limit):
                while (await trio.to_thread.run_sync(account.read, self.spool)).unsettled:  # noqa: ASYNC110 (a file)
                    await trio.sleep(0.2)
            await begun.stop()
        return account.read(self.spool)
