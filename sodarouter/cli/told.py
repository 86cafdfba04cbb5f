"""Events and decisions in sentences."""

from collections.abc import Sequence
from typing import Any

from sodarouter.delivery import Fallback
from sodarouter.event import Event
from sodarouter.spool import StoredEvent

_URGENT: dict[str | None, int] = {outcome: rank for rank, outcome in enumerate(("fail", "error", "warn"))}


def subject(event: Event) -> str:
    """What an event is about, in one line."""
    view = event.view
    if view.incident:
        incident = view.incident
        number = f"INC-{incident.number} " if incident.number is not None else ""
        words = ", ".join(word for word in (incident.severity, incident.status) if word)
        return f"{number}{incident.title or ''}" + (f" ({words})" if words else "")
    if view.contract:
        return view.contract.dataset or ""
    if view.agreement:
        return view.agreement.label or view.agreement.id or ""
    if not view.results:
        return ""
    worst = min(view.results, key=lambda result: _URGENT.get(result.outcome, len(_URGENT)))
    dataset = worst.datasets[0].name if worst.datasets else None
    more = f" and {len(view.results) - 1} more" if len(view.results) > 1 else ""
    return (
        f"{worst.outcome or 'result'}: {worst.name or worst.id or 'a check'}"
        + (f" on {dataset}" if dataset else "")
        + more
    )


def told(stored: StoredEvent) -> list[str]:
    """The stored trace of an event's decision, a line for each rule."""
    return [_step(step) for step in stored.trace]


def stands_in(fallback: Fallback) -> str:
    return f"stands in for {fallback.destination}, which gave up: {fallback.reason}"


def numbered(results: Sequence[int]) -> str:
    """Results by their indices, counted from 1 as people do."""
    return f"result{'s' * (len(results) > 1)} {', '.join(str(index + 1) for index in results)}"


def _step(step: dict[str, Any]) -> str:
    to = ", ".join(step.get("to", ())) or "nowhere"
    if step.get("unrouted"):
        return f"no route matched: it went to {to}" if step["to"] else "no route matched: it is kept, and went nowhere"
    route = step["route"]
    if step["matched"]:
        which = "the whole event" if step["results"] is None else numbered(step["results"])
        return f"{route}: matched: {which} to {to}"
    if "stopped_by" in step:
        return f"{route}: not reached, {step['stopped_by']} has stop"
    failed = step["failed"]
    if failed.get("by_name"):
        return f"{route}: not matched: validate is delivered only where a route names it"
    wanted = " or ".join(failed["wanted"])
    found = ", ".join(failed["found"]) or "nothing"
    return f"{route}: not matched: {failed['key']} is {found}, {'not to be' if failed['not'] else 'wanted'} {wanted}"
