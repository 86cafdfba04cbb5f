"""What destinations keep for themselves, and the links that they made of incidents."""

from collections.abc import Iterable, Sequence
from sqlite3 import Connection

from sodarouter.link import IncidentLink, choose
from sodarouter.spool.sqlite.held import hold
from sodarouter.spool.sqlite.planning import Plan, plan
from sodarouter.spool.sqlite.rows import micros
from sodarouter.spool.values import LINK, Linking, Outcome

MAX_ENTRIES = 100_000
"""Entries that a destination keeps; those that would expire soonest go first."""


def keep(connection: Connection, outcomes: Iterable[Outcome]) -> None:
    """Stores what the destinations of these attempts keep from now on."""
    for outcome in outcomes:
        destination = outcome.claim.delivery.destination
        for key, kept in outcome.kept.items():
            if kept is None:
                connection.execute("DELETE FROM store WHERE destination = ? AND key = ?", (destination, key))
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO store (destination, key, value, expires) VALUES (?, ?, ?, ?)",
                    (destination, key, kept.value, micros(kept.expires)),
                )


def kept(connection: Connection, destination: str, key: str, now: float) -> str | None:
    """As `Spool.kept`."""
    found = connection.execute(
        "SELECT value FROM store WHERE destination = ? AND key = ? AND expires > ?", (destination, key, micros(now))
    ).fetchone()
    return None if found is None else str(found[0])


def forget(connection: Connection, destination: str, keys: Sequence[str]) -> list[str]:
    """As `Spool.forget`."""
    return [
        key
        for key in keys
        if connection.execute("DELETE FROM store WHERE destination = ? AND key = ?", (destination, key)).rowcount
    ]


def link(connection: Connection, source: str, incident: str) -> IncidentLink | None:
    """As `Spool.link`."""
    found = connection.execute(
        "SELECT url, text FROM link WHERE source = ? AND incident = ? AND chosen = 1", (source, incident)
    ).fetchone()
    return None if found is None else IncidentLink(*found)


def settle_links(connection: Connection, settled: Iterable[tuple[int, Outcome]]) -> int:
    """Remembers the links that were made, and plans to put one onto each incident. Gives how many deliveries it planned.

    Args:
        settled: The number of each event, and what became of it.
    """
    planned = 0
    for event, outcome in settled:
        linking, source = outcome.linking, outcome.claim.event.source
        if linking is not None:
            now = micros(outcome.started + outcome.seconds)
            _made(connection, source, linking, outcome.claim.delivery.destination, now)
            target = event if linking.answering else _with_callback(connection, source, linking.incident)
            if target is not None and (made := _unchosen(connection, source, linking.incident)):
                best = choose(made, _awaited(connection, event), linking.prefer)
                planned += _choose(connection, source, linking.incident, best, target, now)
    return planned


def choose_links(connection: Connection, prefer: Sequence[str], now: float) -> int:
    """As `Spool.choose_links`."""
    oldest = {
        name: planned
        for name in prefer
        for (planned,) in connection.execute(
            "SELECT min(planned) FROM delivery WHERE destination = ? AND state = 'pending'", (name,)
        )
        if planned is not None
    }
    # CROSS JOIN has SQLite begin at the few links that are not chosen
    waiting = connection.execute(
        "SELECT link.source, link.incident, callback.event, max(made) AS made FROM link CROSS JOIN callback"
        " ON callback.source = link.source AND callback.incident = link.incident"
        " WHERE chosen = 0 GROUP BY link.source, link.incident"
    ).fetchall()
    planned = 0
    for row in waiting:
        made = _unchosen(connection, row["source"], row["incident"])
        # of which events the others wait is not known: none of those that were planned after the link
        best = choose(made, [name for name, first in oldest.items() if first <= row["made"]], prefer)
        planned += _choose(connection, row["source"], row["incident"], best, row["event"], micros(now))
    hold(connection, {"backlog": planned})
    return planned


def _made(connection: Connection, source: str, linking: Linking, destination: str, now: int) -> None:
    if linking.link is not None:
        connection.execute(
            "INSERT INTO link (source, incident, destination, url, text, made) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET url = excluded.url, text = excluded.text WHERE chosen = 0",
            (source, linking.incident, destination, linking.link.url, linking.link.text, now),
        )


def _with_callback(connection: Connection, source: str, incident: str) -> int | None:
    found = connection.execute(
        "SELECT event FROM callback WHERE source = ? AND incident = ?", (source, incident)
    ).fetchone()
    return None if found is None else int(found[0])


def _unchosen(connection: Connection, source: str, incident: str) -> list[str]:
    """Who made a link of an incident, the first to do so first; nobody, if one of these links is chosen already."""
    made = connection.execute(
        "SELECT destination, chosen FROM link WHERE source = ? AND incident = ? ORDER BY made, destination",
        (source, incident),
    ).fetchall()
    return [] if any(row["chosen"] for row in made) else [row["destination"] for row in made]


def _awaited(connection: Connection, event: int) -> set[str]:
    return {
        destination
        for (destination,) in connection.execute(
            "SELECT DISTINCT destination FROM delivery WHERE event = ? AND state = 'pending'", (event,)
        )
    }


def _choose(connection: Connection, source: str, incident: str, best: str | None, target: int, now: int) -> int:
    """Chooses a link, if there is one to choose, to be put onto its incident with the event ``target``."""
    if best is None:
        return 0
    connection.execute(
        "UPDATE link SET chosen = 1 WHERE source = ? AND incident = ? AND destination = ?", (source, incident, best)
    )
    return plan(connection, [Plan(target, LINK, now, now)])


def expire(connection: Connection, now: float, before: int, limit: int) -> int:
    """Deletes entries whose time is over or that are too many, and links that were made before then, in microseconds.

    Links of incidents whose callback URL is known are kept. Gives how many went, of each ``limit`` at most.
    """
    went = [
        connection.execute(
            "DELETE FROM store WHERE (destination, key) IN"
            " (SELECT destination, key FROM store WHERE expires <= ? ORDER BY expires LIMIT ?)",
            (micros(now), limit),
        ).rowcount,
        connection.execute(
            # an incident that lives on would get its link once more
            "DELETE FROM link WHERE (source, incident, destination) IN"
            " (SELECT source, incident, destination FROM link WHERE made < ? AND NOT EXISTS"
            " (SELECT 1 FROM callback WHERE callback.source = link.source AND callback.incident = link.incident)"
            " ORDER BY made LIMIT ?)",
            (before, limit),
        ).rowcount,
    ]
    crowded = connection.execute(
        "SELECT destination, count(*) AS many FROM store GROUP BY destination HAVING many > ?", (MAX_ENTRIES,)
    ).fetchall()
    for destination, many in crowded:
        gone = connection.execute(
            "DELETE FROM store WHERE destination = :destination AND key IN"
            " (SELECT key FROM store WHERE destination = :destination ORDER BY expires LIMIT :many)",
            {"destination": destination, "many": min(limit, many - MAX_ENTRIES)},
        )
        went.append(gone.rowcount)
    return max(went)
