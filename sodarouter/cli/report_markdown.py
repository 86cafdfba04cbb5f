"""The report of a backtest as Markdown, for a comment on a pull request."""

import re
from collections.abc import Iterator, Sequence

from sodarouter.backtest import Change, Kind, Report, Sample, Volume
from sodarouter.cli.output import counted
from sodarouter.cli.told import told_step
from sodarouter.decide import Step

_TOLD = {Kind.UNROUTED: "unrouted now", Kind.ROUTED: "routed now"}


def told_kind(kind: Kind) -> str:
    """How the two sides differ, in words."""
    return _TOLD.get(kind, kind.value)


def told_change(change: Change) -> str:
    """``12``, or ``12 → 3``."""
    return f"{change.before:,}" if change.before == change.after else f"{change.before:,} → {change.after:,}"


def markdown(report: Report) -> str:
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    dates = f"{report.first:%Y-%m-%d} to {report.last:%Y-%m-%d}"
    if not report.differs:
        yield f"**Backtest: no difference.** {counted(report.events, 'event')}, {dates}, go where they went."
        return
    yield f"**Backtest: {report.differing:,} of {counted(report.events, 'event')} would go elsewhere** ({dates})"
    yield ""
    yield "| destination | before | after | added | removed | changed | at night | at weekends |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for name, volume in report.destinations.items():
        yield _row([code(name), *_numbers(volume)])
    unrouted = report.unrouted
    yield ""
    yield (
        f"Unrouted: {told_change(unrouted.events)} ({unrouted.newly:,} newly, {unrouted.no_longer:,} no longer). "
        f"Withheld by a silence or a window: {told_change(report.withheld)}. "
        f"Nights are 22:00 to 06:00, {report.timezone}."
    )
    samples = [(name, sample) for name, volume in report.destinations.items() for sample in volume.samples]
    samples += [("", sample) for sample in unrouted.samples]
    if samples:
        yield ""
        yield f"<details><summary>{counted(len(samples), 'sample')}</summary>"
        yield ""
        yield "| destination | | event | before | after |"
        yield "|---|---|---|---|---|"
        for name, sample in samples:
            yield _row(_sample(name, sample))
        yield ""
        yield "</details>"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _numbers(volume: Volume) -> Iterator[str]:
    yield f"{volume.deliveries.before:,}"
    yield f"{volume.deliveries.after:,}"
    for sign, number in (("+", volume.added), ("-", volume.removed), ("~", volume.changed)):
        yield f"{sign}{number:,}" if number else ""
    yield told_change(volume.night)
    yield told_change(volume.weekend)


def _sample(name: str, sample: Sample) -> list[str]:
    about = [code(text) for text in (sample.type, sample.subject, sample.event) if text]
    return [
        code(name) if name else "",
        told_kind(sample.kind),
        "<br>".join(about),
        _steps(sample.before),
        _steps(sample.after),
    ]


def _steps(steps: Sequence[Step]) -> str:
    return "<br>".join(code(told_step(step)) for step in steps) or "nothing"


def code(text: str) -> str:
    """Text from elsewhere in a cell of a table: as code, where it means nothing and mentions nobody."""
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).replace("`", "'").replace("|", "\\|").strip()
    return f"`{plain}`" if plain else ""
