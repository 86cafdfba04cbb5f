"""Group commit: one thread, one connection, and whatever was queued while the last commit ran goes into the next.

The thread holds the only connection that writes and checkpoints. That is a rule of correctness, not only of speed:
SQLite before 3.51.3 can corrupt a WAL database when two connections do (its "WAL-reset bug").
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import trio

from sodarouter.errors import SpoolError
from sodarouter.spool.sqlite.trouble import explained
from sodarouter.wake import rescheduled

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

MAX_BATCH = 512
"""Jobs in one commit, but for those that came in one turn of the loop with the last of them."""


Work = Callable[[sqlite3.Connection, Sequence[ItemT]], Sequence[ResultT]]
"""What a job does: it is given the items of all jobs of one commit that do the same, and gives a result for each."""


class _Job(Generic[ItemT, ResultT]):
    def __init__(
        self, work: Work[ItemT, ResultT], item: ItemT, token: trio.lowlevel.TrioToken, *, synced: bool
    ) -> None:
        self.work = work
        self.item = item
        self.token = token
        self.synced = synced
        self.queued = time.monotonic()
        self.task: trio.lowlevel.Task | None = None
        """Who waits for it, and for those before it."""
        self.result: ResultT
        self.error: BaseException | None = None


_AnyJob = _Job[Any, Any]


class Writer(trio.abc.Instrument):
    """Runs jobs on the connection, many to a commit.

    It looks on where the loop ends a turn: all jobs of the turn are handed to the thread together. One by one, the first
    would wake it for a commit of its own, and each would make the loop's thread wait for Python's lock.

    Args:
        connect: Called in the thread. The connection must be in autocommit mode (``isolation_level=None``).
        intact: Called before each commit; what it raises fails the jobs of that commit.
        committed: Called in the thread after each commit, and once at the start.

    Raises:
        Whatever ``connect`` raises, from here.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        intact: Callable[[], None] = lambda: None,
        committed: Callable[[sqlite3.Connection], None] = lambda _: None,
    ) -> None:
        self._turn: list[_AnyJob] = []
        """The jobs of this turn of the loop."""
        self._looks_on: trio.lowlevel.TrioToken | None = None
        """In which loop it does."""
        self._queue: SimpleQueue[list[_AnyJob] | None] = SimpleQueue()
        self._connect = connect
        self._intact = intact
        self._committed = committed
        self.closed = False
        self._syncs: bool | None = None
        """Whether the connection syncs each commit."""
        self._since: float | None = None
        """When the oldest job was queued that is being done."""
        self._connection: sqlite3.Connection
        self._failure: BaseException | None = None
        opened = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="spool-writer", daemon=True)
        self._thread.start()
        opened.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    async def do(self, work: Work[ItemT, ResultT], item: ItemT, *, synced: bool = True) -> ResultT:
        """Has ``work`` done on the item inside a transaction, and returns its result once that is committed.

        The items of all jobs in a commit that name the same ``work`` are handed to it together, in their order. It may
        be called again for each alone: when one job of a batch fails, the others must not. So it must depend on nothing
        but the database and its items.

        Args:
            work: What is done.
            item: With what.
            synced: Whether it must survive a loss of power once this has returned. What need not does so when a later
                commit is synced.

        Cancellation: shielded. The change may be on its way to the disk, and the caller has to know how it ended.

        Raises:
            SpoolError: SQLite failed, or the spool is closed; nothing of the job has happened.
        """
        (job,) = await self._do(work, [item], synced=synced)
        if job.error is not None:
            raise job.error
        return job.result

    async def do_each(self, work: Work[ItemT, ResultT], items: Sequence[ItemT]) -> list[ResultT | BaseException]:
        """As `do` for each of the items, all in one commit; what it would raise for one of them is given instead."""
        jobs = await self._do(work, items, synced=True) if items else []
        return [job.result if job.error is None else job.error for job in jobs]

    async def _do(
        self, work: Work[ItemT, ResultT], items: Sequence[ItemT], *, synced: bool
    ) -> Sequence[_Job[ItemT, ResultT]]:
        if self.closed or not self.is_alive:
            raise SpoolError("the spool is closed")
        token = trio.lowlevel.current_trio_token()
        if token is not self._looks_on:
            trio.lowlevel.add_instrument(self)
            self._looks_on = token
        jobs = [_Job(work, item, token, synced=synced) for item in items]
        # the jobs of a turn are committed together, so the last is done last
        jobs[-1].task = trio.lowlevel.current_task()
        self._turn += jobs
        await rescheduled()
        return jobs

    def before_io_wait(self, timeout: float) -> None:
        if self._turn:
            self._queue.put(self._turn)
            self._turn = []

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def lag(self) -> float:
        """Seconds that the oldest job which is not done has waited for it."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    async def once(self, work: Callable[[sqlite3.Connection], ResultT], *, synced: bool = True) -> ResultT:
        """As `do`, for work that is not done on many items together."""
        return await self.do(lambda connection, _: [work(connection)], None, synced=synced)

    async def aclose(self) -> None:
        """Runs what is queued, then closes the connection, which checkpoints."""
        self.closed = True
        self.before_io_wait(0.0)
        with suppress(KeyError):  # nothing was done in this loop
            trio.lowlevel.remove_instrument(self)
        self._queue.put(None)
        with trio.CancelScope(shield=True):
            # not from the pool that everybody shares: a plugin may keep all of its threads
            await trio.to_thread.run_sync(self._thread.join, limiter=trio.CapacityLimiter(1))

    def _run(self, opened: threading.Event) -> None:
        try:
            self._connection = self._connect()
            self._committed(self._connection)
        except BaseException as error:  # handed to whoever waits in the constructor
            self._failure = error
            return
        finally:
            opened.set()
        try:
            while batch := self._next_batch():
                self._since = batch[0].queued
                self._commit(batch)
                # not part of the jobs: what is committed is committed, and the last measurement will do
                with suppress(sqlite3.Error):
                    self._committed(self._connection)
                self._since = None
                _report(batch)
        finally:
            self._connection.close()

    def _next_batch(self) -> list[_AnyJob]:
        batch: list[_AnyJob] = []
        jobs = self._queue.get()
        try:
            while jobs is not None:
                batch += jobs
                if len(batch) >= MAX_BATCH:
                    return batch
                jobs = self._queue.get_nowait()
        except Empty:
            return batch
        if batch:  # the end was asked for: first what came before it
            self._queue.put(None)
        return batch

    def _commit(self, batch: list[_AnyJob]) -> None:
        try:
            self._transact(batch)
        except BaseException as error:
            if len(batch) == 1 or isinstance(error, sqlite3.OperationalError):
                # locked, full or failing: each alone would fare no better, and wait as long
                for job in batch:
                    job.error = explained(error)
                return
            # one bad job must not fail the others: savepoints would cost every job, this costs only the unlucky batch
            for job in batch:
                self._commit([job])

    def _transact(self, batch: list[_AnyJob]) -> None:
        connection = self._connection
        self._intact()
        self._sync(any(job.synced for job in batch))
        connection.execute("BEGIN IMMEDIATE")
        try:
            for work, jobs in _grouped(batch):
                for job, result in zip(jobs, work(connection, [job.item for job in jobs]), strict=True):
                    job.result = result
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _sync(self, wanted: bool) -> None:
        """In NORMAL mode, SQLite syncs the log before a checkpoint only; the next commit in FULL mode syncs all of it."""
        if wanted != self._syncs:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if wanted else 'NORMAL'}")
            self._syncs = wanted


def _grouped(batch: list[_AnyJob]) -> Iterable[tuple[Work[Any, Any], list[_AnyJob]]]:
    """The jobs by their work, each group where its first job stood."""
    groups: dict[Work[Any, Any], list[_AnyJob]] = {}
    for job in batch:
        groups.setdefault(job.work, []).append(job)
    return groups.items()


def _report(batch: list[_AnyJob]) -> None:
    def wake() -> None:
        for job in batch:
            if job.task is not None:
                trio.lowlevel.reschedule(job.task)

    try:
        batch[0].token.run_sync_soon(wake)
    except trio.RunFinishedError:  # the daemon ended meanwhile; what is committed is committed
        return
