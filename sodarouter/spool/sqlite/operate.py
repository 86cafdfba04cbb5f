"""What an operator asks for: retrying, discarding and replaying deliveries, halting destinations; and the recovery."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from sqlite3 import Connection, Row

from sodarouter.delivery import Cause, Halt, Settled, State
from sodarouter.spool.sqlite.held import hold
from sodarouter.spool.sqlite.planning import Plan, hand_over, hold_back, let_go, plan, queue_up
from sodarouter.spool.sqlite.queue import body_bytes, delivery_of
from sodarouter.spool.sqlite.rows import micros, moment
from sodarouter.spool.values import INTERRUPTED, ROUTE, Recovered, delivery_key


def retry(connection: Connection, deliveries: Sequence[str], now: float) -> list[str]:
    """As `Spool.retry`."""
    # in the order in which they were planned, so that those of one key are tried in their order
    found = _found(connection, deliveries, lambda row: row["state"] == State.DEAD)
    keys = [row["seq"] for row in found.values()]
    size = body_bytes(connection, keys)
    connection.executemany(
        "UPDATE delivery SET state = 'pending', settled = NULL, reason = '', cause = NULL, forgiven = attempt,"
        " since = :now, next_at = :now WHERE seq = :seq",
        [{"now": micros(now), "seq": seq} for seq in keys],
    )
    for row in sorted(found.values(), key=lambda row: row["seq"]):
        if row["keys"] is not None:
            queue_up(connection, row["seq"], row["destination"], row["keys"])
            hold_back(connection, row["seq"])
    hold(connection, {"backlog": len(keys), "dead_letters": -size})
    return list(found)


def discard(connection: Connection, deliveries: Sequence[str], now: float) -> list[str]:
    """As `Spool.discard`."""
    found = _found(
        connection,
        deliveries,
        lambda row: row["state"] == State.DEAD or (row["state"] == State.PENDING and not row["leased"]),
    )
    rows = list(found.values())
    dead = [row["seq"] for row in rows if row["state"] == State.DEAD]
    size = body_bytes(connection, dead)
    connection.executemany(
        "UPDATE delivery SET state = 'discarded', settled = coalesce(settled, ?) WHERE seq = ?",
        [(micros(now), row["seq"]) for row in rows],
    )
    let_go(connection, [row["seq"] for row in rows if row["keys"] is not None and row["state"] == State.PENDING])
    hold(connection, {"backlog": len(dead) - len(rows), "dead_letters": -size})
    return list(found)


def _found(connection: Connection, deliveries: Sequence[str], fits: Callable[[Row], bool]) -> dict[str, Row]:
    """The rows of these deliveries, by id, that fit."""
    found = {}
    for delivery in dict.fromkeys(deliveries):
        row = connection.execute(
            "SELECT * FROM delivery WHERE event = (SELECT seq FROM event WHERE id = ?)"
            " AND destination = ? AND part = ? AND replay = ?",
            delivery_key(delivery),
        ).fetchone()
        if row is not None and fits(row):
            found[delivery] = row
    return found


def begin_replay(connection: Connection, now: float) -> int:
    """As `Spool.begin_replay`."""
    begun = connection.execute("INSERT INTO replay (begun) VALUES (?) RETURNING number", (micros(now),)).fetchall()
    return int(begun[0][0])


def replays(connection: Connection) -> int:
    """As `Reader.replays`."""
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM replay").fetchone()[0])


def replay(
    connection: Connection,
    number: int,
    events: Sequence[str],
    destinations: Sequence[str],
    now: float,
    first: float,
    every: float,
) -> int | None:
    """As `Spool.replay`."""
    if not 1 <= number <= replays(connection):
        return None
    plans = []
    for place, event in enumerate(events):
        row = connection.execute("SELECT seq FROM event WHERE id = ?", (event,)).fetchone()
        for destination in destinations or (ROUTE,) if row is not None else ():
            next_at = micros(first + place * every)
            anew = Plan(row["seq"], destination, micros(now), next_at, replay=number)
            plans.extend(_before(connection, anew) or [anew])
    planned = plan(connection, plans)
    hold(connection, {"backlog": planned})
    return planned


def _before(connection: Connection, anew: Plan) -> list[Plan]:
    """What of an event the last replay before this one handed a destination, or else the first decision: all its parts."""
    rows = connection.execute(
        "SELECT results, keys, part, shared FROM delivery WHERE event = :event AND destination = :destination AND replay ="
        " (SELECT max(replay) FROM delivery WHERE event = :event AND destination = :destination AND replay < :replay)"
        " ORDER BY part",
        {"event": anew.event, "destination": anew.destination, "replay": anew.replay},
    )
    return [replace(anew, results=results, keys=keys, part=part, shared=shared) for results, keys, part, shared in rows]


def halt(connection: Connection, destination: str, halt: Halt | None, now: float) -> None:
    """As `Spool.halt`."""
    connection.execute("DELETE FROM halt WHERE destination = ?", (destination,))
    if halt is not None:
        connection.execute("INSERT INTO halt VALUES (?, ?, ?)", (destination, halt.value, micros(now)))


def recover(connection: Connection, now: float, once: Mapping[str, str | None]) -> Recovered:
    """As `Spool.recover`."""
    lost = [
        row
        for destination in once
        for row in connection.execute(
            "SELECT delivery.*, id, source, received, type FROM delivery JOIN event ON event.seq = delivery.event"
            " WHERE state = 'pending' AND leased = 1 AND destination = ? ORDER BY delivery.seq",
            (destination,),
        )
    ]
    connection.executemany(
        "UPDATE delivery SET state = 'dead', leased = 0, settled = ?, reason = ?, cause = ? WHERE seq = ?",
        [(micros(now), INTERRUPTED, Cause.UNCONFIRMED, row["seq"]) for row in lost],
    )
    let_go(connection, [row["seq"] for row in lost if row["keys"] is not None])
    handed_over = sum(
        hand_over(connection, _fallback(row, name, now))
        for row in lost
        if (name := once[row["destination"]]) is not None
    )
    size = body_bytes(connection, [row["seq"] for row in lost])
    hold(connection, {"backlog": handed_over - len(lost), "dead_letters": size})
    due = connection.execute(
        # planned in the future: the clock was wrong then
        "UPDATE delivery SET leased = 0, next_at = :now WHERE state = 'pending' AND (leased = 1 OR planned > :now)",
        {"now": micros(now)},
    ).rowcount
    return Recovered(due, [_given_up(row) for row in lost])


def _given_up(row: Row) -> Settled:
    return Settled(
        delivery_of(row, row["attempt"]),
        row["type"],
        row["source"],
        moment(row["received"]),
        State.DEAD,
        0.0,
        INTERRUPTED,
        Cause.UNCONFIRMED,
    )


def _fallback(row: Row, name: str, now: float) -> Plan:
    return Plan(
        event=row["event"],
        destination=name,
        now=micros(now),
        next_at=micros(now),
        results=row["results"],
        keys=row["keys"],
        replay=row["replay"],
        config=row["config"],
        fallback_of=row["destination"],
        fallback_reason=INTERRUPTED,
        part=row["part"],
        shared=row["shared"],
    )
