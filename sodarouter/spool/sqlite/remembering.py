"""What decisions need beside the event: the memory, silences, and the configurations that have decided."""

from collections.abc import Iterable, Sequence
from sqlite3 import Connection

from sodarouter.spool.sqlite.rows import EVER, MANY, insert, micros, moment, placeholders
from sodarouter.spool.values import Recollection, StoredSilence

MAX_MEMORY = 200_000
"""Checks, incidents and contracts that are remembered, some 30 MB of them; what was heard of longest ago goes first."""


def recall(connection: Connection, keys: Sequence[bytes], events: Sequence[str], since: float) -> Recollection:
    """As `Spool.recall`."""
    memory: dict[bytes, str] = {}
    for start in range(0, len(keys), MANY):
        some = keys[start : start + MANY]
        memory.update(
            connection.execute(
                f"SELECT key, value FROM memory WHERE key IN ({placeholders(len(some))})", some
            ).fetchall()
        )
    states: dict[str, str] = {}
    for event in events:
        found = connection.execute(
            "SELECT decision.state FROM decision JOIN event ON event.seq = decision.event WHERE id = ?", (event,)
        ).fetchone()
        if found and found[0] is not None:
            states[event] = found[0]
    return Recollection(memory, states, silences(connection, micros(since)))


def remember(connection: Connection, memories: Iterable[tuple[bytes, int, str]]) -> None:
    """Keeps what is known from now on.

    Args:
        memories: The key of each, when an event was decided that said so, in microseconds, and the text.
    """
    # not REPLACE, which would move each from its place
    update = "ON CONFLICT (key) DO UPDATE SET seen = excluded.seen, value = excluded.value"
    insert(connection, "memory", ("key", "seen", "value"), memories, otherwise=update)


def keep_routing(connection: Connection, config: str, routing: str, now: float) -> None:
    """As `Spool.keep_routing`."""
    # the last one was in use until now
    connection.execute(
        "UPDATE configuration SET used = ? WHERE hash = (SELECT hash FROM configuration ORDER BY used DESC LIMIT 1)",
        (micros(now),),
    )
    connection.execute(
        "INSERT OR REPLACE INTO configuration (hash, used, routing) VALUES (?, ?, ?)",
        (config, micros(now) + 1, routing),
    )


def add_silence(connection: Connection, silence: StoredSilence) -> None:
    """As `Spool.add_silence`."""
    connection.execute(
        "INSERT INTO silence (id, starts, ends, value) VALUES (?, ?, ?, ?)",
        (silence.id, micros(silence.starts), micros(silence.ends), silence.value),
    )


def end_silence(connection: Connection, silence: str, now: float) -> bool:
    """As `Spool.end_silence`."""
    ended = connection.execute(
        "UPDATE silence SET ends = max(starts, :now) WHERE id = :id AND ends > :now",
        {"now": micros(now), "id": silence},
    )
    return ended.rowcount > 0


def silences(connection: Connection, since: int) -> list[StoredSilence]:
    """Those that have not ended before then, in microseconds."""
    rows = connection.execute(
        "SELECT id, starts, ends, value FROM silence WHERE ends > ? ORDER BY starts, id", (since,)
    )
    return [StoredSilence(name, moment(starts), moment(ends), value) for name, starts, ends, value in rows]


def forget(connection: Connection, before: int, limit: int) -> int:
    """Deletes what has not been needed since then, in microseconds, and of the memory what is too much.

    Gives how many memories went, of which ``limit`` are the most.
    """
    connection.execute("DELETE FROM silence WHERE ends < ?", (before,))
    connection.execute(
        "DELETE FROM configuration WHERE used < ?"
        " AND hash <> (SELECT hash FROM configuration ORDER BY used DESC LIMIT 1)",
        (before,),
    )
    # in the index, as what is remembered may be long; it is pruned every hour, and this takes milliseconds
    (count,) = connection.execute("SELECT count(*) FROM memory INDEXED BY memory_seen").fetchone()
    return connection.execute(
        "DELETE FROM memory WHERE seq IN (SELECT seq FROM memory WHERE seen < ? ORDER BY seen LIMIT ?)",
        (before, limit) if count <= MAX_MEMORY else (EVER, min(limit, count - MAX_MEMORY)),
    ).rowcount
