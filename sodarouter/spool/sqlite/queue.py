"""What is to be done: claiming and settling deliveries, the deciding among them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from sqlite3 import Connection, Row
from typing import NamedTuple

from sodarouter.delivery import Delivery, Halt, State
from sodarouter.event import Event
from sodarouter.spool.sqlite.decisions import Made, record
from sodarouter.spool.sqlite.held import hold
from sodarouter.spool.sqlite.keeping import keep, settle_links
from sodarouter.spool.sqlite.planning import Plan, hand_over, let_go
from sodarouter.spool.sqlite.rows import EVER, MANY, enriched, fallback, indices, insert, micros, moment, placeholders
from sodarouter.spool.sqlite.seals import Seals
from sodarouter.spool.values import Claim, Claims, Outcome, Routed, delivery_id

MOST = 16 * 1024 * 1024
"""Bytes of events that one claim takes into memory, but for the last of them."""

# length() does not read the body
_DUE = """
    SELECT delivery.seq, length(raw) FROM delivery JOIN event ON event.seq = delivery.event
    WHERE destination = ? AND state = 'pending' AND blocked = 0 AND next_at <= ? AND planned <= ?
    ORDER BY next_at, delivery.seq LIMIT ?
"""
_CLAIMED = """
    SELECT delivery.*, event.id, event.source, event.received, event.type, event.raw, event.sealed, event.late,
        enrichment.value AS enriched
    FROM delivery JOIN event ON event.seq = delivery.event LEFT JOIN enrichment ON enrichment.event = delivery.event
    WHERE delivery.seq IN ({})
"""


def claim(
    connection: Connection, wanted: Mapping[str, int], now: float, leases: Mapping[str, float], seals: Seals
) -> Claims:
    """As `Spool.claim`."""
    claimable = _claimable(connection, wanted)
    waiting = _next_due(connection, claimable)
    by_lease: dict[float, list[int]] = {}
    unsated = {}
    for destination in [name for name, next_at in waiting.items() if next_at <= micros(now)]:
        del waiting[destination]
        until, limit = claimable[destination], wanted[destination]
        due = _bearable(connection.execute(_DUE, (destination, micros(now), until, limit)).fetchall())
        by_lease.setdefault(leases[destination], []).extend(due)
        if len(due) < limit:
            unsated[destination] = until
    claims = [one for lease, keys in by_lease.items() for one in _lease(connection, keys, micros(now + lease), seals)]
    # whoever was given all that was wanted asks again when there is room
    waiting |= _next_due(connection, unsated)
    return Claims(claims, min(waiting.values()) / 1_000_000 if waiting else None)


def _lease(connection: Connection, deliveries: Sequence[int], until: int, seals: Seals) -> Iterator[Claim]:
    for start in range(0, len(deliveries), MANY):
        keys = deliveries[start : start + MANY]
        rows = {row["seq"]: row for row in connection.execute(_CLAIMED.format(placeholders(len(keys))), keys)}
        connection.execute(
            f"UPDATE delivery SET leased = 1, attempt = attempt + 1, next_at = ? WHERE seq IN ({placeholders(len(keys))})",
            [until, *keys],
        )
        yield from (_claim(rows[key], seals) for key in keys)


def exchange(
    connection: Connection,
    outcomes: Sequence[Outcome],
    wanted: Mapping[str, int],
    now: float,
    leases: Mapping[str, float],
    seals: Seals,
) -> tuple[list[bool], Claims]:
    """As `Spool.exchange`."""
    (counting,) = settle(connection, [outcomes])
    return counting, claim(connection, wanted, now, leases, seals)


def _claimable(connection: Connection, wanted: Iterable[str]) -> dict[str, int]:
    """The destinations that are not paused, each with the last moment at which what it may have was planned."""
    halts = {name: (halt, since) for name, halt, since in connection.execute("SELECT * FROM halt")}
    found: dict[str, int] = {}
    for name in wanted:
        halt, since = halts.get(name, (None, EVER))
        if halt == Halt.DRAINING and not _waiting(connection, name, since):
            # it is drained; what came meanwhile need not be looked through again and again
            connection.execute("UPDATE halt SET halt = ? WHERE destination = ?", (Halt.PAUSED, name))
        elif halt != Halt.PAUSED:
            found[name] = since
    return found


def _waiting(connection: Connection, destination: str, until: int) -> bool:
    found = connection.execute(
        "SELECT 1 FROM delivery WHERE destination = ? AND state = 'pending' AND planned <= ? LIMIT 1",
        (destination, until),
    )
    return found.fetchone() is not None


def _bearable(due: Iterable[Sequence[int]]) -> list[int]:
    """The first of these keys, up to `MOST` bytes."""
    keys, size = [], 0
    for key, length in due:
        if size >= MOST:
            break
        keys.append(key)
        size += length
    return keys


def _claim(row: Row, seals: Seals) -> Claim:
    """A claim from a row of `_CLAIMED`, which has the number of the attempt before this one."""
    raw = seals.unseal(row["raw"], row["sealed"], row["id"])
    event = Event(row["id"], row["source"], moment(row["received"]), row["type"], raw, bool(row["late"]))
    if row["enriched"] is not None:
        event = event.with_enriched(enriched(row["enriched"]))
    attempt = row["attempt"] + 1
    tries, since = attempt - row["forgiven"], row["since"] / 1_000_000
    return Claim(row["seq"], delivery_of(row, attempt), event, tries=tries, since=since)


def delivery_of(row: Row, attempt: int) -> Delivery:
    """A row of ``delivery``, with the ``id`` of its event, as destinations and observers know it."""
    return Delivery(
        id=delivery_id(row["id"], row["destination"], row["replay"], row["part"]),
        destination=row["destination"],
        attempt=attempt,
        planned=moment(row["planned"]),
        results=indices(row["results"]),
        replay=row["replay"],
        fallback=fallback(row),
        part=row["part"],
        group=row["shared"],
    )


def _next_due(connection: Connection, claimable: Mapping[str, int]) -> dict[str, int]:
    """When the next delivery to each of these destinations becomes due, in microseconds; nothing for those with none."""
    if not claimable:
        return {}
    # not min(): that would look at all that a destination which is drained may not have
    found = connection.execute(
        f"WITH wanted (name, until) AS (VALUES {placeholders(len(claimable), 2)})"
        " SELECT name, (SELECT next_at FROM delivery WHERE destination = name AND state = 'pending' AND blocked = 0"
        " AND planned <= until ORDER BY next_at LIMIT 1) AS due FROM wanted WHERE due IS NOT NULL",
        [value for pair in claimable.items() for value in pair],
    )
    return dict(found.fetchall())


class _Fenced(NamedTuple):
    """What a delivery has that is still as it was claimed."""

    event: int
    keys: str | None
    results: str | None
    config: str
    part: int
    shared: str | None


def settle(connection: Connection, batches: Sequence[Sequence[Outcome | Routed]]) -> list[list[bool]]:
    """As `Spool.settle`, for all batches of a commit at once."""
    outcomes = [outcome for batch in batches for outcome in batch]
    found = _fenced(connection, outcomes)
    held: dict[tuple[int, int], Outcome | Routed] = {}
    counting: list[list[bool]] = []
    for batch in batches:
        counting.append([])
        for outcome in batch:
            # the first outcome of an attempt counts, should there be two
            counts = _fence(outcome) in found and _fence(outcome) not in held
            if counts:
                held[_fence(outcome)] = outcome
            counting[-1].append(counts)
    _settle_routed(connection, [outcome for outcome in held.values() if isinstance(outcome, Routed)], found)
    _settle_attempts(connection, [outcome for outcome in held.values() if isinstance(outcome, Outcome)], found)
    return counting


def _fence(outcome: Outcome | Routed) -> tuple[int, int]:
    return outcome.claim.key, outcome.claim.delivery.attempt


def _fenced(connection: Connection, outcomes: Sequence[Outcome | Routed]) -> dict[tuple[int, int], _Fenced]:
    """The deliveries that are still as they were claimed. Nobody else writes meanwhile."""
    found: dict[tuple[int, int], _Fenced] = {}
    for start in range(0, len(outcomes), MANY):
        keys = [outcome.claim.key for outcome in outcomes[start : start + MANY]]
        rows = connection.execute(
            "SELECT seq, attempt, event, keys, results, config, part, shared FROM delivery"
            f" WHERE seq IN ({placeholders(len(keys))}) AND state = 'pending' AND leased = 1",
            keys,
        )
        found.update(((seq, attempt), _Fenced(*rest)) for seq, attempt, *rest in rows)
    return found


def _settle_routed(connection: Connection, routed: Sequence[Routed], found: Mapping[tuple[int, int], _Fenced]) -> None:
    if not routed:
        return
    said = 0
    for start in range(0, len(routed), MANY):
        keys = [outcome.claim.key for outcome in routed[start : start + MANY]]
        said += attempt_bytes(connection, keys)
        for table, column in (("attempt", "delivery"), ("delivery", "seq")):
            connection.execute(f"DELETE FROM {table} WHERE {column} IN ({placeholders(len(keys))})", keys)
    made = [Made(found[_fence(one)].event, one.claim.delivery.replay, one.decided) for one in routed]
    hold(connection, {"backlog": record(connection, made) - len(routed), "attempts": -said})


def _settle_attempts(
    connection: Connection, outcomes: Sequence[Outcome], found: Mapping[tuple[int, int], _Fenced]
) -> None:
    if not outcomes:
        return
    ends = [
        (
            outcome.claim.key,
            outcome.state.value,
            micros(outcome.next_at),
            None if outcome.state is State.PENDING else micros(outcome.started + outcome.seconds),
            outcome.reason,
            outcome.cause,
        )
        for outcome in outcomes
    ]
    for start in range(0, len(ends), MANY):
        some = ends[start : start + MANY]
        connection.execute(
            f"WITH ended (key, state, next_at, settled, reason, cause) AS (VALUES {placeholders(len(some), 6)})"
            " UPDATE delivery SET state = ended.state, leased = 0, next_at = ended.next_at, settled = ended.settled,"
            " reason = ended.reason, cause = ended.cause FROM ended WHERE seq = key",
            [value for one in some for value in one],
        )
    columns = ("delivery", "number", "started", "seconds", "state", "reason", "response")
    insert(
        connection,
        "attempt",
        columns,
        [
            (
                *_fence(outcome),
                micros(outcome.started),
                outcome.seconds,
                outcome.state.value,
                outcome.reason,
                outcome.response,
            )
            for outcome in outcomes
        ],
    )
    ended = [outcome for outcome in outcomes if outcome.state is not State.PENDING]
    let_go(connection, [outcome.claim.key for outcome in ended if found[_fence(outcome)].keys is not None])
    dead = [outcome for outcome in ended if outcome.state is State.DEAD]
    handed_over = sum(
        hand_over(connection, _fallback(outcome, outcome.fallback, found[_fence(outcome)]))
        for outcome in dead
        if outcome.fallback
    )
    said = sum(len(outcome.reason) + len(outcome.response) for outcome in outcomes)
    weight = body_bytes(connection, [outcome.claim.key for outcome in dead])
    keep(connection, outcomes)
    linked = settle_links(
        connection, [(found[_fence(outcome)].event, outcome) for outcome in outcomes if outcome.linking]
    )
    hold(connection, {"backlog": handed_over + linked - len(ended), "attempts": said, "dead_letters": weight})


def _fallback(outcome: Outcome, name: str, found: _Fenced) -> Plan:
    now = micros(outcome.started + outcome.seconds)
    replay = outcome.claim.delivery.replay
    of = outcome.claim.delivery.destination
    return Plan(
        found.event,
        name,
        now,
        now,
        found.results,
        found.keys,
        replay,
        found.config,
        of,
        outcome.reason,
        found.part,
        found.shared,
    )


def attempt_bytes(connection: Connection, deliveries: Sequence[int]) -> int:
    """What the attempts of these deliveries, `MANY` at most, say."""
    (found,) = connection.execute(
        "SELECT coalesce(sum(length(reason) + length(response)), 0) FROM attempt"
        f" WHERE delivery IN ({placeholders(len(deliveries))})",
        deliveries,
    ).fetchone()
    return int(found)


def body_bytes(connection: Connection, deliveries: Sequence[int]) -> int:
    """The bytes of the events of these deliveries, each counted."""
    total = 0
    for start in range(0, len(deliveries), MANY):
        keys = deliveries[start : start + MANY]
        (found,) = connection.execute(
            "SELECT coalesce(sum(length(raw)), 0) FROM delivery JOIN event ON event.seq = delivery.event"
            f" WHERE delivery.seq IN ({placeholders(len(keys))})",
            keys,
        ).fetchone()
        total += found
    return total
