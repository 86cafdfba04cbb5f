"""Decisions: made in the transaction that stores the event, or later, by way of a delivery for `$route`."""

import json
from collections.abc import Sequence
from sqlite3 import Connection
from typing import NamedTuple

from sodarouter.spool.sqlite.planning import Plan, plan
from sodarouter.spool.sqlite.remembering import recall, remember
from sodarouter.spool.sqlite.rows import insert, micros
from sodarouter.spool.values import Decided, Deciding, Recollection

# written out, not bound, so that the partial index serves: a replay may have planned a great many that do not count
_UNDECIDED = "SELECT 1 FROM delivery WHERE destination = '$route' AND state = 'pending' AND replay = 0 LIMIT 1"


class Made(NamedTuple):
    """A decision, the number of its event, and the replay for which it was made."""

    event: int
    replay: int
    decided: Decided


def decide_at_once(
    connection: Connection, fresh: Sequence[tuple[Deciding | None, bool]], since: float
) -> list[Decided]:
    """Decides the first of the events that are being stored, up to one that has to wait for its turn: then all behind it
    have to, too.

    Args:
        fresh: What decides each of them, and whether it is late.
        since: The Unix time at which the first of them was received.
    """
    able: list[tuple[Deciding, bool]] = []
    for deciding, late in fresh:
        if deciding is None:
            break
        able.append((deciding, late))
    if not able or _is_undecided(connection):
        return []
    found = recall(connection, list(dict.fromkeys(key for one, _ in able for key in one.keys)), (), since)
    memory = dict(found.memory)
    known = Recollection(memory, found.states, found.silences)
    decisions: list[Decided] = []
    for one, late in able:
        try:
            decisions.append(one(known, late=late))
        except Exception:  # it will fail again when its turn comes, and is told then
            break
        memory.update(decisions[-1].memory)
    return decisions


def _is_undecided(connection: Connection) -> bool:
    """Whether an event waits for its decision; one that is to be decided anew keeps nobody waiting."""
    return connection.execute(_UNDECIDED).fetchone() is not None


def record(connection: Connection, decisions: Sequence[Made]) -> int:
    """Stores decisions, with what is remembered from now on and the deliveries that they plan. Gives how many of these."""
    rows, plans, added = [], [], []
    remembered: dict[bytes, tuple[bytes, int, str]] = {}
    for event, replay, one in decisions:
        now = micros(one.now)
        trace = json.dumps(one.trace, separators=(",", ":"))
        rows.append((event, len(one.planned), trace, one.config, int(one.withheld), one.state))
        remembered.update((key, (key, now, value)) for key, value in one.memory.items())
        if one.enriched is not None:
            added.append((event, one.enriched))
        for p in one.planned:
            results = None if p.results is None else json.dumps(p.results)
            keys = json.dumps(p.keys) if p.keys else None
            plans.append(
                Plan(
                    event,
                    p.destination,
                    now,
                    now,
                    results,
                    keys,
                    replay,
                    one.config,
                    part=p.part,
                    shared=p.group,
                )
            )
    columns = ("event", "planned", "trace", "config", "withheld", "state")
    # one that is decided anew in a replay has a decision
    insert(connection, "decision", columns, rows, verb="INSERT OR REPLACE")
    insert(connection, "enrichment", ("event", "value"), added, verb="INSERT OR REPLACE")
    remember(connection, remembered.values())
    return plan(connection, plans)
