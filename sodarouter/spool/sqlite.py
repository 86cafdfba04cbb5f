"""The spool in one SQLite file: WAL, ``synchronous=FULL``, one connection that writes, as many as you like that read."""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sodarouter.delivery import Delivery, Queue, State, Stats
from sodarouter.errors import SpoolError, SpoolFull
from sodarouter.event import Event
from sodarouter.spool.base import (
    ROUTE,
    Appended,
    Claim,
    Claims,
    Outcome,
    Refused,
    Routed,
    delivery_id,
    digest,
)
from sodarouter.spool.schema import OLDEST_SQLITE, migrate
from sodarouter.spool.writer import Writer

PAGE_SIZE = 16384
"""Packs rows of 2 KB, of which SQLite's 4096 holds one a page: nearly twice the rate at large batches."""


def micros(moment: datetime | float) -> int:
    """Unix microseconds, as the file has them."""
    return round((moment.timestamp() if isinstance(moment, datetime) else moment) * 1_000_000)


def moment(stored: int) -> datetime:
    return datetime.fromtimestamp(stored / 1_000_000, UTC)


class SqliteSpool:
    """`sodarouter.spool.base.Spool` on a file. Made by `open_spool`."""

    def __init__(self, path: Path, max_size: int) -> None:
        self._path = path
        self._max_size = max_size
        self._bytes = 0
        self._writer = Writer(self._connect)

    def _connect(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise SpoolError(
                f"SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer is needed, this is {sqlite3.sqlite_version}"
            )
        with _explained(self._path):
            # the payloads are nobody else's business, and SQLite gives its -wal and -shm the mode of the file
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            try:
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                migrate(connection)
                self._measure(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    async def aclose(self) -> None:
        await self._writer.aclose()

    async def append(self, event: Event, *, window: float) -> Appended:
        key, received = digest(event), micros(event.received)

        def job(connection: sqlite3.Connection) -> Appended:
            seen = connection.execute(
                "SELECT event.seq, event.id FROM recent JOIN event ON event.seq = recent.event"
                " WHERE digest = ? AND recent.received > ?",
                (key, received - micros(window)),
            ).fetchone()
            if seen:
                connection.execute("UPDATE event SET repeats = repeats + 1 WHERE seq = ?", seen[:1])
                return Appended(seen[1], duplicate=True)
            self._check_room()
            # a few for each that comes keeps the table at the size of the window, without a sweep that others wait for
            connection.execute(
                "DELETE FROM recent WHERE digest IN (SELECT digest FROM recent WHERE received <= ? LIMIT 3)",
                (received - micros(window),),
            )
            seq = connection.execute(
                "INSERT INTO event (id, source, received, type, raw) VALUES (?, ?, ?, ?, ?)",
                (event.id, event.source, received, event.type, event.raw),
            ).lastrowid
            connection.execute("INSERT OR REPLACE INTO recent VALUES (?, ?, ?)", (key, seq, received))
            connection.execute(
                "INSERT INTO delivery (event, destination, planned, since, next_at) VALUES (?, ?, ?, ?, ?)",
                (seq, ROUTE, received, received, received),
            )
            self._bytes += len(event.raw)  # about; the next stats() measures
            return Appended(event.id, duplicate=False)

        return await self._writer.do(job)

    async def quarantine(self, refused: Refused) -> None:
        row = (
            refused.id,
            refused.source,
            micros(refused.received),
            refused.raw,
            refused.status,
            refused.title,
            refused.detail,
            json.dumps(refused.faults),
        )

        def job(connection: sqlite3.Connection) -> None:
            self._check_room()
            connection.execute(
                "INSERT INTO quarantine (id, source, received, raw, status, title, detail, faults)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            self._bytes += len(refused.raw)

        await self._writer.do(job)

    async def claim(self, wanted: Mapping[str, int], now: float, leases: Mapping[str, float]) -> Claims:
        def job(connection: sqlite3.Connection) -> Claims:
            claims: list[Claim] = []
            for destination, limit in wanted.items():
                rows = connection.execute(_CLAIMABLE, (destination, micros(now), limit)).fetchall()
                lease = micros(now + leases[destination])
                connection.executemany(
                    "UPDATE delivery SET leased = 1, attempt = attempt + 1, next_at = ? WHERE seq = ?",
                    [(lease, row["seq"]) for row in rows],
                )
                claims.extend(map(_claim, rows))
            return Claims(claims, _next_due(connection, wanted))

        return await self._writer.do(job)

    async def settle(self, outcomes: Sequence[Outcome | Routed]) -> list[bool]:
        def job(connection: sqlite3.Connection) -> list[bool]:
            return [_settle(connection, outcome) for outcome in outcomes]

        return await self._writer.do(job)

    async def retry(self, deliveries: Sequence[str], now: float) -> list[str]:
        def job(connection: sqlite3.Connection) -> list[str]:
            return [delivery for delivery in deliveries if _retry(connection, delivery, micros(now))]

        return await self._writer.do(job)

    async def recover(self, now: float) -> int:
        def job(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE delivery SET leased = 0, next_at = ? WHERE state = 'pending' AND leased = 1", (micros(now),)
            ).rowcount

        return await self._writer.do(job)

    async def prune(self, before: float, limit: int) -> int:
        def job(connection: sqlite3.Connection) -> int:
            bodies = connection.execute(
                "DELETE FROM quarantine WHERE seq IN (SELECT seq FROM quarantine WHERE received < ? ORDER BY seq LIMIT ?)",
                (micros(before), limit),
            ).rowcount
            old = connection.execute(_PRUNABLE, (micros(before), limit)).fetchall()
            for statement in (
                "DELETE FROM attempt WHERE delivery IN (SELECT seq FROM delivery WHERE event = ?)",
                "DELETE FROM delivery WHERE event = ?",
                "DELETE FROM recent WHERE event = ?",
                "DELETE FROM event WHERE seq = ?",
            ):
                connection.executemany(statement, [tuple(row) for row in old])
            connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()
            self._measure(connection)
            return bodies + len(old)

        return await self._writer.do(job)

    async def stats(self) -> Stats:
        def job(connection: sqlite3.Connection) -> Stats:
            self._measure(connection)
            queues: dict[str, dict[str, Any]] = {}
            for row in connection.execute(
                "SELECT destination, sum(1 - leased) AS pending, sum(leased) AS leased, min(planned) AS oldest"
                " FROM delivery WHERE state = 'pending' GROUP BY destination"
            ):
                queues[row["destination"]] = {
                    "pending": row["pending"],
                    "leased": row["leased"],
                    "oldest": moment(row["oldest"]),
                }
            for row in connection.execute(
                "SELECT destination, count(*) AS dead FROM delivery WHERE state = 'dead' GROUP BY destination"
            ):
                queues.setdefault(row["destination"], {})["dead"] = row["dead"]
            (quarantined,) = connection.execute("SELECT count(*) FROM quarantine").fetchone()
            return Stats({name: Queue(**counts) for name, counts in queues.items()}, quarantined, self._bytes)

        return await self._writer.do(job)

    def _check_room(self) -> None:
        # only what comes in is refused: what is there must still be delivered and settled
        if self._bytes >= self._max_size:
            raise SpoolFull(f"the spool has reached its max_size of {self._max_size:,} bytes")

    def _measure(self, connection: sqlite3.Connection) -> None:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        self._bytes = (pages - free) * size


_CLAIMABLE = """
    SELECT delivery.*, event.id, event.source, event.received, event.type, event.raw
    FROM delivery JOIN event ON event.seq = delivery.event
    WHERE delivery.seq IN (
        SELECT seq FROM delivery WHERE destination = ? AND state = 'pending' AND next_at <= ?
        ORDER BY next_at, seq LIMIT ?
    )
    ORDER BY delivery.next_at, delivery.seq
"""

_PRUNABLE = """
    SELECT seq FROM event
    WHERE received < ? AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.event = event.seq AND state = 'pending')
    ORDER BY seq LIMIT ?
"""


def _claim(row: sqlite3.Row) -> Claim:
    """A claim from a row of `_CLAIMABLE`, which has the attempt number before this one."""
    event = Event(row["id"], row["source"], moment(row["received"]), row["type"], row["raw"])
    attempt = row["attempt"] + 1
    delivery = Delivery(
        id=delivery_id(event.id, row["destination"]),
        destination=row["destination"],
        attempt=attempt,
        planned=moment(row["planned"]),
        results=indices(row["results"]),
    )
    return Claim(row["seq"], delivery, event, tries=attempt - row["forgiven"], since=row["since"] / 1_000_000)


def indices(stored: str | None) -> tuple[int, ...] | None:
    return None if stored is None else tuple(json.loads(stored))


def _next_due(connection: sqlite3.Connection, wanted: Mapping[str, int]) -> float | None:
    due = [
        row[0]
        for name in wanted
        for row in connection.execute(
            "SELECT min(next_at) FROM delivery WHERE destination = ? AND state = 'pending'", (name,)
        )
        if row[0] is not None
    ]
    return min(due) / 1_000_000 if due else None


def _settle(connection: sqlite3.Connection, outcome: Outcome | Routed) -> bool:
    claim = outcome.claim
    fence = {"seq": claim.key, "attempt": claim.delivery.attempt}
    if isinstance(outcome, Routed):
        deleted = connection.execute(
            "DELETE FROM delivery WHERE seq = :seq AND attempt = :attempt AND state = 'pending' RETURNING event", fence
        ).fetchall()
        if not deleted:
            return False
        (event,) = deleted[0]
        connection.execute("DELETE FROM attempt WHERE delivery = ?", (claim.key,))
        connection.execute(
            "UPDATE event SET planned = ?, trace = ? WHERE seq = ?",
            (len(outcome.planned), json.dumps(outcome.trace, separators=(",", ":")), event),
        )
        now = micros(outcome.now)
        connection.executemany(
            "INSERT INTO delivery (event, destination, planned, since, next_at, results) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (event, p.destination, now, now, now, None if p.results is None else json.dumps(p.results))
                for p in outcome.planned
            ],
        )
        return True
    ended = outcome.state is not State.PENDING
    updated = connection.execute(
        "UPDATE delivery SET state = :state, leased = 0, next_at = :next_at, settled = :settled, reason = :reason"
        " WHERE seq = :seq AND attempt = :attempt AND state = 'pending'",
        fence
        | {
            "state": outcome.state.value,
            "next_at": micros(outcome.next_at),
            "settled": micros(outcome.started + outcome.seconds) if ended else None,
            "reason": outcome.reason,
        },
    ).rowcount
    if not updated:
        return False
    connection.execute(
        "INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            claim.key,
            claim.delivery.attempt,
            micros(outcome.started),
            outcome.seconds,
            outcome.state.value,
            outcome.reason,
            outcome.response,
        ),
    )
    return True


def _retry(connection: sqlite3.Connection, delivery: str, now: int) -> bool:
    event, _, destination = delivery.partition("/")
    updated = connection.execute(
        "UPDATE delivery SET state = 'pending', settled = NULL, reason = '',"
        " forgiven = attempt, since = :now, next_at = :now"
        " WHERE state = 'dead' AND destination = :destination AND event = (SELECT seq FROM event WHERE id = :event)",
        {"now": now, "event": event, "destination": destination},
    )
    return updated.rowcount == 1


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(f"the spool {path} cannot be opened: {error.strerror}") from error
    except sqlite3.DatabaseError as error:
        raise SpoolError(f"the spool {path} cannot be opened: {error}") from error


class Lock:
    """Keeps a spool for one process: two that write would corrupt it.

    Raises:
        SpoolError: Another process has it.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.with_name(path.name + ".lock").open("a+", encoding="ascii")
        except OSError as error:
            raise SpoolError(f"the spool {path} cannot be locked: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip()
            self._file.close()
            raise SpoolError(
                f"the spool {path} is in use by another sodarouter, process {holder or 'unknown'}"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()
