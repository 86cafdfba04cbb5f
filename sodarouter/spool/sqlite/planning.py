"""Plans deliveries, and keeps those with a key in common in their order.

Of the pending deliveries to a destination that share a key, all but the first are ``blocked``: no claim even looks at
them, so a long queue behind a delivery that fails costs nothing. When the first is settled, the next is let go.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from sqlite3 import Connection

from sodarouter.spool.sqlite.rows import indices, insert
from sodarouter.spool.values import covers

_COLUMNS = (
    "event",
    "destination",
    "part",
    "replay",
    "planned",
    "since",
    "next_at",
    "results",
    "shared",
    "fallback_of",
    "fallback_reason",
    "config",
    "keys",
)
# those of its own group that came before a delivery
_EARLIER = """
    SELECT 1 FROM ordering AS own JOIN ordering AS earlier
        ON earlier.destination = own.destination AND earlier.key = own.key AND earlier.delivery < own.delivery
    WHERE own.delivery = delivery.seq
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """A row of ``delivery`` to be. Times are in microseconds, ``results`` and ``keys`` JSON."""

    event: int
    destination: str
    now: int
    next_at: int
    results: str | None = None
    keys: str | None = None
    replay: int = 0
    config: str = ""
    fallback_of: str | None = None
    fallback_reason: str | None = None
    part: int = 0
    shared: str | None = None
    """`sodarouter.delivery.Delivery.group`, which is a word of SQL."""


def plan(connection: Connection, plans: Sequence[Plan]) -> int:
    """Inserts deliveries, but for those that are there already. Gives how many."""
    rows = [
        (
            p.event,
            p.destination,
            p.part,
            p.replay,
            p.now,
            p.now,
            p.next_at,
            p.results,
            p.shared,
            p.fallback_of,
            p.fallback_reason,
            p.config,
            p.keys,
        )
        for p in plans
    ]
    ordered = [(p, p.keys) for p in plans if p.keys is not None]
    last = _last(connection) if ordered else 0
    planned = insert(connection, "delivery", _COLUMNS, rows, verb="INSERT OR IGNORE")
    for p, keys in ordered:
        seq = _seq(connection, p)
        # one that was there already has its place in the order, or has left it
        if seq > last:
            queue_up(connection, seq, p.destination, keys)
    return planned


def _last(connection: Connection) -> int:
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM delivery").fetchone()
    return int(last)


def hand_over(connection: Connection, wanted: Plan) -> int:
    """Plans what a fallback is handed, but for results that it is handed in any case. Gives how many: one or none."""
    there = connection.execute(
        "SELECT part, results, shared, fallback_of FROM delivery WHERE event = ? AND destination = ? AND replay = ?",
        (wanted.event, wanted.destination, wanted.replay),
    ).fetchall()
    # another part of the same dead event may have the same results, but it is for somebody else
    own = [row for row in there if row["fallback_of"] == wanted.fallback_of]
    if any((row["results"], row["shared"]) == (wanted.results, wanted.shared) for row in own):
        return 0
    if covers([indices(row["results"]) for row in there if row not in own], indices(wanted.results)):
        return 0
    # parts are counted for each destination by itself: the same number may be that of other results
    taken = {row["part"] for row in there}
    part = max(taken) + 1 if wanted.part in taken else wanted.part
    return plan(connection, [replace(wanted, part=part)])


def _seq(connection: Connection, planned: Plan) -> int:
    (seq,) = connection.execute(
        "SELECT seq FROM delivery WHERE event = ? AND destination = ? AND part = ? AND replay = ?",
        (planned.event, planned.destination, planned.part, planned.replay),
    ).fetchone()
    return int(seq)


def queue_up(connection: Connection, delivery: int, destination: str, keys: str) -> None:
    """Puts a pending delivery into the order of its keys."""
    rows = [(destination, key, delivery) for key in json.loads(keys)]
    insert(connection, "ordering", ("destination", "key", "delivery"), rows, verb="INSERT OR IGNORE")
    connection.execute(f"UPDATE delivery SET blocked = EXISTS ({_EARLIER}) WHERE seq = ?", (delivery,))


def hold_back(connection: Connection, delivery: int) -> None:
    """Blocks what must not overtake a delivery that is pending again, but for what is under way."""
    connection.execute(
        "UPDATE delivery SET blocked = 1 WHERE state = 'pending' AND leased = 0 AND seq IN"
        " (SELECT later.delivery FROM ordering AS own JOIN ordering AS later"
        " ON later.destination = own.destination AND later.key = own.key AND later.delivery > own.delivery"
        " WHERE own.delivery = ?)",
        (delivery,),
    )


def let_go(connection: Connection, deliveries: Iterable[int]) -> None:
    """Takes deliveries out of the order, as they are settled, and unblocks those that were next."""
    for delivery in deliveries:
        left = connection.execute(
            "DELETE FROM ordering WHERE delivery = ? RETURNING destination, key", (delivery,)
        ).fetchall()
        for destination, key in left:
            connection.execute(
                "UPDATE delivery SET blocked = 0 WHERE blocked AND seq ="
                " (SELECT min(delivery) FROM ordering WHERE destination = ? AND key = ?)"
                f" AND NOT EXISTS ({_EARLIER})",
                (destination, key),
            )
