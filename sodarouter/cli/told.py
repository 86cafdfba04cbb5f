"""Events and decisions in sentences."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from sodarouter.cli.output import counted, out, shown
from sodarouter.decide import Step
from sodarouter.decide.contracts import CLASSES, Changes
from sodarouter.decide.memory import Memory, recall
from sodarouter.delivery import Fallback
from sodarouter.event import Event

AllOption = Annotated[bool, typer.Option("--all", help="Tell of every route, however many there are.")]

LATE = "late: a newer update of this incident had come before it"

MOST_STEPS = 20
"""Rules of a decision that are shown, whether they matched or not, before they are too many."""

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


def changes_of(event: Event, memory: Mapping[bytes, Memory]) -> Changes | None:
    """What a publication has changed in a contract; ``None`` for other events."""
    return recall(event, memory).changes


def changes_document(changes: Changes | None) -> dict[str, Sequence[str]] | None:
    """The same for programs."""
    return None if changes is None else {"classes": _gravest_first(changes), "changes": changes.changes}


def print_changes(changes: Changes | None) -> None:
    """The classes, and under them a line for each change."""
    if changes is not None:
        out.print(f"contract: {', '.join(_gravest_first(changes))}")
        for line in changes.changes:
            out.print("  " + shown(line))


def _gravest_first(changes: Changes) -> list[str]:
    return sorted(changes.classes, key=CLASSES.index)


def told(steps: Sequence[Step], most: int | None = None) -> list[str]:
    """A trace, a line for each step; if these were more than ``most``, without the rules that did not match."""
    if most is None or len(steps) <= most:
        return [told_step(step) for step in steps]
    matched = [told_step(step) for step in steps if step.get("matched", True)]
    return [*matched, f"{counted(len(steps) - len(matched), 'route')} did not match; `sodarouter why` tells of each"]


def print_steps(steps: Sequence[Step], *, every: bool) -> None:
    """A trace, a line for each step; without ``every`` not more than people read."""
    for line in told(steps, None if every else MOST_STEPS):
        out.print("  " + shown(line))


def stands_in(fallback: Fallback) -> str:
    return f"stands in for {fallback.destination}, which gave up: {fallback.reason}"


def numbered(results: Sequence[int]) -> str:
    """Results by their indices, counted from 1 as people do."""
    return f"result{'s' * (len(results) > 1)} {', '.join(str(index + 1) for index in results)}"


def _which(step: Step) -> str:
    return "the whole event" if step["results"] is None else numbered(step["results"])


def told_step(step: Step) -> str:
    """One step of a trace, as `sodarouter.decide.Decision` describes them."""
    to = ", ".join(step.get("to", ())) or "nowhere"
    if step.get("unrouted"):
        return f"no route matched: it went to {to}" if step["to"] else "no route matched: it is kept, and went nowhere"
    if "replay" in step:
        return f"decided anew for replay {step['replay']}, in which no silence keeps anything back"
    if "enrich" in step:
        return f"without what {step['enrich']} may have added: {step['failed']}"
    if "silence" in step:
        by = f"silence {step['silence']} by {step['author']}: {step['reason']}"
        return f"kept from {', '.join(step['from'])}: {_which(step)}: {by}"
    route = step["route"]
    if step["matched"]:
        if "muted" in step:
            return f"{route}: matched: {_which(step)}, but in the window {step['muted']} it sends nothing to {to}"
        each = f", for each {step['each']}" if "each" in step else ""
        unanswered = f"; of others it cannot be said: {step['unanswered']}" if "unanswered" in step else ""
        return f"{route}: matched: {_which(step)} to {to}{each}{unanswered}"
    if "stopped_by" in step:
        return f"{route}: not reached, {step['stopped_by']} has stop"
    if "inactive" in step:
        return f"{route}: not matched: it came outside of {' and '.join(step['inactive'])}"
    failed = step["failed"]
    if "when" in failed:
        why = f"fails: {failed['error']}" if failed["error"] else "is false"
        return f"{route}: not matched: when {failed['when']!r} {why}"
    if failed.get("by_name"):
        return f"{route}: not matched: validate is delivered only where a route names it"
    wanted = " or ".join(failed["wanted"])
    found = ", ".join(failed["found"]) or "nothing"
    return f"{route}: not matched: {failed['key']} is {found}, {'not to be' if failed['not'] else 'wanted'} {wanted}"
