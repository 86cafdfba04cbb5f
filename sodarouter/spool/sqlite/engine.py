"""The engine: what it opens, and how it hands the work to the writer."""

import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from sodarouter.callback import is_mentioned
from sodarouter.delivery import Halt, Stats
from sodarouter.errors import SpoolError, SpoolFull
from sodarouter.event import Event
from sodarouter.link import IncidentLink
from sodarouter.seal import key_file, load_keys
from sodarouter.spool.patience import Outage
from sodarouter.spool.sqlite import intake, keeping, operate, queue, remembering
from sodarouter.spool.sqlite.intake import Arrival, Detained
from sodarouter.spool.sqlite.prune import prune
from sodarouter.spool.sqlite.reader import SqliteReader
from sodarouter.spool.sqlite.schema import OLDEST_SQLITE, migrate
from sodarouter.spool.sqlite.seals import Seals
from sodarouter.spool.sqlite.trouble import Identity, opening
from sodarouter.spool.sqlite.writer import ItemT, ResultT, Work, Writer
from sodarouter.spool.values import (
    Appended,
    Claims,
    Deciding,
    Outcome,
    Recollection,
    Recovered,
    Refused,
    Retention,
    Routed,
    StoredSilence,
    incident_update,
)

PAGE_SIZE = 4096
"""A commit writes whole pages, a dozen at least, as each index has one of its own: of 16384 bytes each they cost an event
that comes alone an eighth of all its CPU more, and one with a hundred results a third. Files of before keep theirs."""

CHECKPOINT = 16 * 1024 * 1024
"""Bytes of the write-ahead log that are moved into the file together, which takes two syncs."""

MAX_LOG = 64 * 1024 * 1024
"""Bytes that the write-ahead log keeps when it has been longer."""

HEARSAY = 5.0
"""Seconds for which what came and could not be stored says more than a small write that succeeds."""


class SqliteSpool:
    """`sodarouter.spool.base.Spool` on a file. Hold its `Lock` while it is open.

    Args:
        max_size: Bytes of the spool at which nothing more is taken in.
        max_backlog: Pending deliveries at which nothing more is taken in.
        keys: Seal callback URLs: `sodarouter.seal.Sealer`. By default they are in a file beside the spool, which is made
            if it is missing.
    """

    def __init__(self, path: Path, max_size: int, max_backlog: int, keys: Sequence[bytes] = ()) -> None:
        self.max_size = max_size
        self.max_backlog = max_backlog
        self._path = path
        self._bytes = 0
        self._backlog = 0
        # its own: a plugin may keep all threads of the pool that everybody shares
        self._looking = trio.CapacityLimiter(1)
        self.outage = Outage()
        self._trouble = ""
        """Why the last thing that came could not be stored."""
        self._refused_at = 0.0
        """When something could not be stored last, on the clock of `time.monotonic`."""
        # before anything is taken in: what cannot be sealed could not be stored
        self._seals = Seals(keys or load_keys(key_file(path)))
        self._identity: Identity
        self._writer = Writer(self._connect, lambda: self._identity.check(), self._measure)

    def _connect(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise SpoolError(f"SQLite {oldest} or newer is needed, this is {sqlite3.sqlite_version}")
        with opening(self._path):
            # the payloads are nobody else's business, and SQLite gives its -wal and -shm the mode of the file
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, cached_statements=512
            )
            connection.row_factory = sqlite3.Row
            try:
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                _have_a_log(connection, self._path)
                connection.execute("PRAGMA synchronous = FULL")
                (page,) = connection.execute("PRAGMA page_size").fetchone()
                connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT // page}")
                # a backup holds the log back while it copies; afterwards its space is given back
                connection.execute(f"PRAGMA journal_size_limit = {MAX_LOG}")
                # a large batch would otherwise need a folder for temporary files, which a read-only system has not
                connection.execute("PRAGMA temp_store = MEMORY")
                migrate(connection)
                self._identity = Identity(self._path)
            except BaseException:
                connection.close()
                raise
            return connection

    async def aclose(self) -> None:
        await self._writer.aclose()

    async def append(self, event: Event, *, window: float, deciding: Deciding | None = None) -> Appended:
        return await self._take_in(intake.append, self._arrival(event, window, deciding))

    async def append_all(
        self, events: Sequence[tuple[Event, float, Deciding | None]]
    ) -> list[Appended | BaseException]:
        try:
            self._refuse_if_full()
        except SpoolFull as error:
            self._cannot(error)
            return [error for _ in events]
        try:
            found = await self._writer.do_each(intake.append, [self._arrival(*one) for one in events])
        except SpoolError as error:
            found = [error for _ in events]
        self._taken_in(next((one for one in found if isinstance(one, SpoolError)), None))
        return found

    def _arrival(self, event: Event, window: float, deciding: Deciding | None = None) -> Arrival:
        if not is_mentioned(event.raw):  # nearly all; then there is nothing to seal
            return Arrival(event, window, incident_update(event), event.raw, None, None, deciding)
        incident = event.view.incident
        callback = incident.callback_url.get_secret_value() if incident and incident.callback_url else None
        return Arrival(
            event,
            window,
            incident_update(event),
            *self._seals.seal(event.raw, callback, event.id),
            incident.id if incident and callback else None,
            deciding,
        )

    async def quarantine(self, refused: Refused) -> None:
        await self._take_in(intake.quarantine, Detained(refused, *self._seals.seal(refused.raw, None, refused.id)))

    async def readmit(self, refused: str, event: Event) -> bool:
        return await self._writer.once(partial(intake.readmit, refused=refused, arrival=self._arrival(event, 0.0)))

    async def dismiss(self, refused: Sequence[str]) -> list[str]:
        return await self._writer.once(partial(intake.dismiss, refused=refused))

    async def claim(self, wanted: Mapping[str, int], now: float, leases: Mapping[str, float]) -> Claims:
        asked = partial(queue.claim, wanted=wanted, now=now, leases=leases, seals=self._seals)
        return await self._writer.once(asked, synced=False)

    async def exchange(
        self,
        outcomes: Sequence[Outcome],
        wanted: Mapping[str, int],
        now: float,
        leases: Mapping[str, float],
        *,
        once: bool,
    ) -> tuple[list[bool], Claims]:
        asked = partial(queue.exchange, outcomes=outcomes, wanted=wanted, now=now, leases=leases, seals=self._seals)
        return await self._writer.once(asked, synced=once or bool(outcomes))

    async def settle(self, outcomes: Sequence[Outcome | Routed]) -> list[bool]:
        return await self._writer.do(queue.settle, outcomes)

    async def retry(self, deliveries: Sequence[str], now: float) -> list[str]:
        return await self._writer.once(partial(operate.retry, deliveries=deliveries, now=now))

    async def discard(self, deliveries: Sequence[str], now: float) -> list[str]:
        return await self._writer.once(partial(operate.discard, deliveries=deliveries, now=now))

    async def begin_replay(self, now: float) -> int:
        return await self._writer.once(partial(operate.begin_replay, now=now))

    async def replay(
        self, number: int, events: Sequence[str], destinations: Sequence[str], now: float, *, first: float, every: float
    ) -> int | None:
        asked = partial(
            operate.replay, number=number, events=events, destinations=destinations, now=now, first=first, every=every
        )
        return await self._writer.once(asked)

    async def recall(self, keys: Sequence[bytes], events: Sequence[str], since: float) -> Recollection:
        return await self._writer.once(partial(remembering.recall, keys=keys, events=events, since=since))

    async def keep_routing(self, config: str, routing: str, now: float) -> None:
        await self._writer.once(partial(remembering.keep_routing, config=config, routing=routing, now=now))

    async def kept(self, destination: str, key: str, now: float) -> str | None:
        return await self._writer.once(partial(keeping.kept, destination=destination, key=key, now=now))

    async def forget(self, destination: str, keys: Sequence[str]) -> list[str]:
        return await self._writer.once(partial(keeping.forget, destination=destination, keys=keys))

    async def link(self, source: str, incident: str) -> IncidentLink | None:
        return await self._writer.once(partial(keeping.link, source=source, incident=incident))

    async def choose_links(self, prefer: Sequence[str], now: float) -> int:
        return await self._writer.once(partial(keeping.choose_links, prefer=prefer, now=now))

    async def add_silence(self, silence: StoredSilence) -> None:
        await self._writer.once(partial(remembering.add_silence, silence=silence))

    async def end_silence(self, silence: str, now: float) -> bool:
        return await self._writer.once(partial(remembering.end_silence, silence=silence, now=now))

    async def halt(self, destination: str, halt: Halt | None, now: float) -> None:
        await self._writer.once(partial(operate.halt, destination=destination, halt=halt, now=now))

    async def recover(self, now: float, once: Mapping[str, str | None]) -> Recovered:
        return await self._writer.once(partial(operate.recover, now=now, once=once))

    async def prune(self, retention: Retention, now: float, limit: int) -> int:
        return await self._writer.once(partial(prune, retention=retention, now=now, limit=limit))

    async def stats(self) -> Stats:
        if self._trouble and time.monotonic() - self._refused_at > HEARSAY:
            # nothing comes that would show that it has passed, so a small write is tried
            with suppress(SpoolError):
                await self._take_in(intake.probe, None)
        self._identity.check()
        # on a connection of its own: counting a long backlog must not keep the writer from its work
        seen = await trio.to_thread.run_sync(self._look, limiter=self._looking)
        return replace(seen, spool_bytes=self._bytes, trouble=self._trouble, writer_lag=self._writer.lag)

    async def is_alive(self) -> bool:
        """Whether the writer answers; waits until it does. An error is an answer too, but not that there is no writer."""
        with suppress(SpoolError):
            await self._writer.once(lambda _: None)
        return self._writer.is_alive

    def _look(self) -> Stats:
        if self._writer.closed:
            raise SpoolError("the spool is closed")
        with closing(SqliteReader(self._path)) as reader:
            return reader.stats()

    def refused(self, refused_id: str) -> Refused | None:
        """A body of the quarantine, whole. It blocks, and may be called in any thread."""
        with closing(SqliteReader(self._path, self._seals)) as reader:
            return reader.refused(refused_id)

    async def _take_in(self, work: Work[ItemT, ResultT], item: ItemT) -> ResultT:
        try:
            self._refuse_if_full()
        except SpoolFull as error:
            self._cannot(error)
            raise
        try:
            result = await self._writer.do(work, item)
        except SpoolError as error:
            self._taken_in(error)
            raise
        self._taken_in(None)
        return result

    def _taken_in(self, failure: SpoolError | None) -> None:
        """Something came, and was stored or not."""
        if failure is not None:
            self._cannot(failure)
            self.outage.fails(self, failure)
        elif self._trouble:
            self._trouble = ""
            self.outage.works(self)

    def _cannot(self, failure: SpoolError) -> None:
        self._trouble = str(failure)
        self._refused_at = time.monotonic()

    def _refuse_if_full(self) -> None:
        # only what comes in is refused: what is there must still be delivered and settled
        if self._bytes >= self.max_size:
            raise SpoolFull(
                f"the spool has reached its max_size of {self.max_size:,} bytes; raise spool.max_size, or shorten "
                "spool.retention"
            )
        if self._backlog >= self.max_backlog:
            raise SpoolFull(
                f"{self._backlog:,} deliveries wait, and spool.max_backlog allows no more than {self.max_backlog:,}; "
                "see `sodarouter destinations` for those that take none"
            )

    def _measure(self, connection: sqlite3.Connection) -> None:
        # one statement, as it comes after every commit
        self._bytes, self._backlog = connection.execute(
            "SELECT (page_count - freelist_count) * page_size, (SELECT amount FROM held WHERE what = 'backlog')"
            " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
        ).fetchone()


def _have_a_log(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise SpoolError(
            f"the spool {path} cannot have a write-ahead log, its journal mode stays {mode!r}; put it on a local disk"
        )
