"""What is to be done: claiming, settling and retrying deliveries, the deciding among them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from sqlite3 import Connection, Row

from sodarouter.delivery import Delivery, State
from sodarouter.event import Event
from sodarouter.spool.base import Claim, Claims, Outcome, Routed, delivery_id
from sodarouter.spool.sqlite.rows import MANY, indices, insert, micros, moment, placeholders

MOST = 16 * 1024 * 1024
"""Bytes of events that one claim takes into memory, but for the last of them."""

# length() does not read the body
_DUE = """
    SELECT delivery.seq, length(raw) FROM delivery JOIN event ON event.seq = delivery.event
    WHERE destination = ? AND state = 'pending' AND next_at <= ?
    ORDER BY next_at, delivery.seq LIMIT ?
"""
_CLAIMED = """
    SELECT delivery.*, event.id, event.source, event.received, event.type, event.raw
    FROM delivery JOIN event ON event.seq = delivery.event WHERE delivery.seq IN ({})
"""


def claim(connection: Connection, wanted: Mapping[str, int], now: float, leases: Mapping[str, float]) -> Claims:
    """As `Spool.claim`."""
    claims: list[Claim] = []
    for destination, limit in wanted.items():
        due = _bearable(connection.execute(_DUE, (destination, micros(now), limit)).fetchall())
        for start in range(0, len(due), MANY):
            keys = due[start : start + MANY]
            rows = {row["seq"]: row for row in connection.execute(_CLAIMED.format(placeholders(len(keys))), keys)}
            claims.extend(_claim(rows[key]) for key in keys)
            connection.execute(
                "UPDATE delivery SET leased = 1, attempt = attempt + 1, next_at = ?"
                f" WHERE seq IN ({placeholders(len(keys))})",
                [micros(now + leases[destination]), *keys],
            )
    return Claims(claims, _next_due(connection, wanted))


def _bearable(due: Iterable[Sequence[int]]) -> list[int]:
    """The first of these keys, up to `MOST` bytes."""
    keys, size = [], 0
    for key, length in due:
        if size >= MOST:
            break
        keys.append(key)
        size += length
    return keys


def _claim(row: Row) -> Claim:
    """A claim from a row of `_CLAIMED`, which has the number of the attempt before this one."""
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


def _next_due(connection: Connection, wanted: Iterable[str]) -> float | None:
    due = [
        row[0]
        for name in wanted
        for row in connection.execute(
            "SELECT min(next_at) FROM delivery WHERE destination = ? AND state = 'pending'", (name,)
        )
        if row[0] is not None
    ]
    return min(due) / 1_000_000 if due else None


def settle(connection: Connection, batches: Sequence[Sequence[Outcome | Routed]]) -> list[list[bool]]:
    """As `Spool.settle`, for all batches of a commit at once."""
    outcomes = [outcome for batch in batches for outcome in batch]
    events = _fenced(connection, outcomes)
    # the first outcome of an attempt counts, should there be two
    held = list({_fence(outcome): outcome for outcome in reversed(outcomes) if _fence(outcome) in events}.values())
    counting = set(map(id, held))
    _settle_routed(connection, [outcome for outcome in held if isinstance(outcome, Routed)], events)
    _settle_attempts(connection, [outcome for outcome in held if isinstance(outcome, Outcome)])
    return [[id(outcome) in counting for outcome in batch] for batch in batches]


def _fence(outcome: Outcome | Routed) -> tuple[int, int]:
    return outcome.claim.key, outcome.claim.delivery.attempt


def _fenced(connection: Connection, outcomes: Sequence[Outcome | Routed]) -> dict[tuple[int, int], int]:
    """The deliveries that are still as they were claimed, each with its event. Nobody else writes meanwhile."""
    found: dict[tuple[int, int], int] = {}
    for start in range(0, len(outcomes), MANY):
        keys = [outcome.claim.key for outcome in outcomes[start : start + MANY]]
        rows = connection.execute(
            "SELECT seq, attempt, event FROM delivery"
            f" WHERE seq IN ({placeholders(len(keys))}) AND state = 'pending' AND leased = 1",
            keys,
        )
        found.update(((seq, attempt), event) for seq, attempt, event in rows)
    return found


def _settle_routed(connection: Connection, routed: Sequence[Routed], events: Mapping[tuple[int, int], int]) -> None:
    decisions, planned = [], []
    for outcome in routed:
        event, now = events[_fence(outcome)], micros(outcome.now)
        decisions.append((event, len(outcome.planned), json.dumps(outcome.trace, separators=(",", ":"))))
        for plan in outcome.planned:
            results = None if plan.results is None else json.dumps(plan.results)
            planned.append((event, plan.destination, now, now, now, results))
    for start in range(0, len(routed), MANY):
        keys = [outcome.claim.key for outcome in routed[start : start + MANY]]
        for table, column in (("attempt", "delivery"), ("delivery", "seq")):
            connection.execute(f"DELETE FROM {table} WHERE {column} IN ({placeholders(len(keys))})", keys)
    insert(connection, "decision", ("event", "planned", "trace"), decisions)
    insert(connection, "delivery", ("event", "destination", "planned", "since", "next_at", "results"), planned)


def _settle_attempts(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    connection.executemany(
        "UPDATE delivery SET state = ?, leased = 0, next_at = ?, settled = ?, reason = ? WHERE seq = ?",
        [
            (
                outcome.state.value,
                micros(outcome.next_at),
                None if outcome.state is State.PENDING else micros(outcome.started + outcome.seconds),
                outcome.reason,
                outcome.claim.key,
            )
            for outcome in outcomes
        ],
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


def retry(connection: Connection, deliveries: Sequence[str], now: float) -> list[str]:
    """As `Spool.retry`."""
    return [delivery for delivery in deliveries if _retry(connection, delivery, micros(now))]


def _retry(connection: Connection, delivery: str, now: int) -> bool:
    event, _, destination = delivery.partition("/")
    updated = connection.execute(
        "UPDATE delivery SET state = 'pending', settled = NULL, reason = '',"
        " forgiven = attempt, since = :now, next_at = :now"
        " WHERE state = 'dead' AND destination = :destination AND event = (SELECT seq FROM event WHERE id = :event)",
        {"now": now, "event": event, "destination": destination},
    )
    return updated.rowcount == 1


def recover(connection: Connection, now: float) -> int:
    """As `Spool.recover`."""
    return connection.execute(
        # planned in the future: the clock was wrong then
        "UPDATE delivery SET leased = 0, next_at = :now WHERE state = 'pending' AND (leased = 1 OR planned > :now)",
        {"now": micros(now)},
    ).rowcount
