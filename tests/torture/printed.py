"""The report for people."""

from collections.abc import Iterator, Mapping

from .report import Report

STORIES = 10
"""Of what is lost; the report as JSON has them all."""


def lines(report: Report) -> Iterator[str]:
    counts = report.counts
    yield (
        f"torture with seed {report.seed}: {report.seconds:.1f} s under load,"
        f" and {report.draining:.1f} s until all was settled"
    )
    yield ""
    yield _row("sent", report.sent, f"bodies, {report.repeats:,} of them once more after their 200")
    yield _row("acknowledged", report.acknowledged, "bodies, with a 200")
    yield _row("refused", sum(report.refused.values()), _listed(report.refused, "{count:,} with {name}"))
    yield _row("unanswered", report.unanswered, f"requests; {report.unanswered_and_stored:,} of the bodies are stored")
    yield ""
    yield _row("owed", report.owed, "deliveries of what was acknowledged")
    yield _row("delivered", report.delivered, "taken by their destination")
    yield _row("dead letters", sum(report.dead.values()), _listed(report.dead))
    yield _row("", report.dead_unasked, "of them that no sink had asked for")
    yield _row("duplicates", sum(report.duplicates.values()), _listed(report.duplicates))
    yield _row("unrouted", report.unrouted, "events, listed as such")
    yield _row("quarantined", report.quarantined, "bodies that are no events")
    yield ""
    yield _row("started", counts.get("starts", 0), f"times; {counts.get('stops', 0):,} stopped when asked")
    yield _row("killed", sum(report.kills.values()), _listed(report.kills))
    yield _row("reloaded", counts.get("reloads", 0), "times")
    yield _row("disk full", counts.get("full disks", 0), f"times, and {counts.get('full starts', 0):,} at the start")
    yield _row("", counts.get("failing writes", 0), f"times all writes failed; the disk: {report.disk}")
    yield ""
    yield _row("unsettled", report.unsettled)
    yield _row("stored twice", len(report.stored_twice), " ".join(report.stored_twice))
    yield _row("lost", len(report.lost))
    for number, lost in enumerate(report.lost):
        yield f"lost: {lost.event or 'a body'}: {lost.what}"
        yield from (f"  {line}" for line in lost.story if number < STORIES)


def _row(name: str, count: int, note: str = "") -> str:
    return f"{name:<13}{count:>9,}  {note}".rstrip()


def _listed(counts: Mapping[str, int], each: str = "{name} {count:,}") -> str:
    return ", ".join(each.format(name=name, count=count) for name, count in counts.items() if count)
