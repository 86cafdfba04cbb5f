"""The engine: what it opens, and how it hands the work to the writer."""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sodarouter.delivery import Queue, Stats
from sodarouter.errors import SpoolError, SpoolFull
from sodarouter.event import Event
from sodarouter.spool.base import Appended, Claims, Outcome, Refused, Routed
from sodarouter.spool.sqlite import intake, queue
from sodarouter.spool.sqlite.intake import Arrival
from sodarouter.spool.sqlite.rows import micros, moment
from sodarouter.spool.sqlite.schema import OLDEST_SQLITE, migrate
from sodarouter.spool.sqlite.trouble import Identity, opening
from sodarouter.spool.sqlite.writer import ItemT, ResultT, Work, Writer

PAGE_SIZE = 16384
"""Packs rows of 2 KB, of which SQLite's 4096 holds one a page: nearly twice the rate at large batches."""


class SqliteSpool:
    """`sodarouter.spool.base.Spool` on a file. Hold its `Lock` while it is open."""

    def __init__(self, path: Path, max_size: int) -> None:
        self._path = path
        self._max_size = max_size
        self._bytes = 0
        """About: measured now and then, and counted in between."""
        self._trouble = ""
        """Why the last thing that came could not be stored."""
        self._identity: Identity
        self._writer = Writer(self._connect, lambda: self._identity.check())

    def _connect(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise SpoolError(f"SQLite {oldest} or newer is needed, this is {sqlite3.sqlite_version}")
        with opening(self._path):
            # the payloads are nobody else's business, and SQLite gives its -wal and -shm the mode of the file
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            try:
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                migrate(connection)
                self._measure(connection)
                self._identity = Identity(self._path)
            except BaseException:
                connection.close()
                raise
            return connection

    async def aclose(self) -> None:
        await self._writer.aclose()

    async def append(self, event: Event, *, window: float) -> Appended:
        appended = await self._take_in(intake.append, Arrival(event, window))
        self._bytes += 0 if appended.duplicate else len(event.raw)
        return appended

    async def quarantine(self, refused: Refused) -> None:
        await self._take_in(intake.quarantine, refused)
        self._bytes += len(refused.raw)

    async def claim(self, wanted: Mapping[str, int], now: float, leases: Mapping[str, float]) -> Claims:
        return await self._writer.once(partial(queue.claim, wanted=wanted, now=now, leases=leases))

    async def settle(self, outcomes: Sequence[Outcome | Routed]) -> list[bool]:
        return await self._writer.do(queue.settle, outcomes)

    async def retry(self, deliveries: Sequence[str], now: float) -> list[str]:
        return await self._writer.once(partial(queue.retry, deliveries=deliveries, now=now))

    async def recover(self, now: float) -> int:
        return await self._writer.once(partial(queue.recover, now=now))

    async def prune(self, before: float, limit: int) -> int:
        def job(connection: sqlite3.Connection) -> int:
            pruned = _prune(connection, micros(before), limit)
            self._measure(connection)
            return pruned

        return await self._writer.once(job)

    async def stats(self) -> Stats:
        if self._trouble:
            # nothing may come that would show that it has passed, so a small write is tried
            with suppress(SpoolError):
                await self._take_in(intake.probe, None)

        def job(connection: sqlite3.Connection) -> Stats:
            self._measure(connection)
            (quarantined,) = connection.execute("SELECT count(*) FROM quarantine").fetchone()
            return Stats(_queues(connection), quarantined, self._bytes, self._trouble)

        return await self._writer.once(job)

    async def _take_in(self, work: Work[ItemT, ResultT], item: ItemT) -> ResultT:
        try:
            # only what comes in is refused: what is there must still be delivered and settled
            if self._bytes >= self._max_size:
                raise SpoolFull(
                    f"the spool has reached its max_size of {self._max_size:,} bytes; raise spool.max_size, or shorten "
                    "spool.retention"
                )
            result = await self._writer.do(work, item)
        except SpoolError as error:
            self._trouble = str(error)
            raise
        self._trouble = ""
        return result

    def _measure(self, connection: sqlite3.Connection) -> None:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        self._bytes = (pages - free) * size


def _prune(connection: sqlite3.Connection, before: int, limit: int) -> int:
    bodies = connection.execute(
        "DELETE FROM quarantine WHERE seq IN (SELECT seq FROM quarantine WHERE received < ? ORDER BY seq LIMIT ?)",
        (before, limit),
    ).rowcount
    old = connection.execute(
        "SELECT seq FROM event WHERE received < ? AND NOT EXISTS"
        " (SELECT 1 FROM delivery WHERE delivery.event = event.seq AND state = 'pending') ORDER BY received LIMIT ?",
        (before, limit),
    ).fetchall()
    for statement in (
        # a digest must not outlive its event, whose number is given anew when all events are gone
        "DELETE FROM recent WHERE event = ?",
        "DELETE FROM attempt WHERE delivery IN (SELECT seq FROM delivery WHERE event = ?)",
        "DELETE FROM delivery WHERE event = ?",
        "DELETE FROM decision WHERE event = ?",
        "DELETE FROM event WHERE seq = ?",
    ):
        connection.executemany(statement, [tuple(row) for row in old])
    connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()
    return bodies + len(old)


def _queues(connection: sqlite3.Connection) -> dict[str, Queue]:
    counts: dict[str, dict[str, Any]] = {}
    for row in connection.execute(
        "SELECT destination, sum(1 - leased) AS pending, sum(leased) AS leased, min(planned) AS oldest"
        " FROM delivery WHERE state = 'pending' GROUP BY destination"
    ):
        waiting = {"pending": row["pending"], "leased": row["leased"], "oldest": moment(row["oldest"])}
        counts[row["destination"]] = waiting
    for name, dead in connection.execute(
        "SELECT destination, count(*) FROM delivery WHERE state = 'dead' GROUP BY destination"
    ):
        counts.setdefault(name, {})["dead"] = dead
    return {name: Queue(**found) for name, found in counts.items()}
