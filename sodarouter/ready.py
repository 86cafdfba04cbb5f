"""What `/readyz` says: a pure function of what the router holds."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sodarouter.delivery import Condition, Loaded, Queue, Stats
from sodarouter.errors import SpoolError

MAX_WRITER_LAG = 5.0
"""Seconds that a change may wait for the disk. Soda gives up after 10, and may never send again."""


def readiness(found: Stats | SpoolError, now: datetime, *, stopping: bool) -> dict[str, Any]:
    """A JSON document: whether the router takes in events and, if not, why, by what is at fault; and what it holds.

    A reload that failed is shown and is no reason: the router works on under the configuration that it has. Neither is a
    destination or a plugin that is unwell: one must not take the others down.

    Args:
        found: A `SpoolError` if the spool could not be asked. The document then has nothing but the reasons.
        now: UTC.
        stopping: Whether the router has been asked to stop.
    """
    reasons = {"daemon": "it is stopping"} if stopping else {}
    if isinstance(found, SpoolError):
        return {"ready": False, "reasons": reasons | {"spool": str(found)}}
    if found.trouble:
        reasons["spool"] = found.trouble
    elif found.writer_lag > MAX_WRITER_LAG:
        waited = f"a change has waited {found.writer_lag:.0f} seconds to be on disk"
        reasons["spool"] = f"{waited}; see to the disk under the spool"
    if found.workers is not None and not found.workers.running:
        reasons["workers"] = "no intake process runs; the log says why"
    return {
        "ready": not reasons,
        "reasons": reasons,
        "spool": {
            "bytes": found.spool_bytes,
            "max_bytes": found.max_bytes,
            "backlog": found.backlog,
            "max_backlog": found.max_backlog,
            "writer_lag": round(found.writer_lag, 3),
            "quarantined": found.quarantined,
        },
        "destinations": {
            name: _queue(queue, now) | _health(found.destinations.get(name, Condition()))
            for name, queue in sorted(found.queues.items())
        },
        "plugins": {
            name: _health(condition) for name, condition in found.plugins.items() if condition.health is not None
        },
        "config": _config(found.loaded),
        "event_loop": {"longest_step": round(found.lag.longest, 3), "blocked": dict(found.lag.blocked)},
        **({"workers": asdict(found.workers)} if found.workers else {}),
    }


def _queue(queue: Queue, now: datetime) -> dict[str, Any]:
    return {
        "pending": queue.pending,
        "leased": queue.leased,
        "dead": queue.dead,
        # a wall clock may be set back
        "oldest_seconds": max(0, round((now - queue.oldest).total_seconds())) if queue.oldest else None,
        "breaker": queue.breaker,
        "halt": queue.halt,
    }


def _health(condition: Condition) -> dict[str, Any]:
    return {"health": condition.health or None}


def _config(loaded: Loaded) -> dict[str, Any]:
    return {
        "hash": loaded.config,
        "since": _moment(loaded.since),
        "last_reload": {
            "ok": loaded.failed is None,
            "at": _moment(loaded.failed or loaded.since),
            "faults": list(loaded.faults),
        },
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
