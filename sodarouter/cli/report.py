"""The report of a backtest, for people, for programs, and for a pull request."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from sodarouter.backtest import Change, Kind, Report, Sample, Volume
from sodarouter.cli.output import counted, moment, out, plain, print_json, print_table, shown
from sodarouter.cli.report_markdown import markdown, told_change, told_kind
from sodarouter.cli.told import told_step

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 62
"""Days that are drawn one by one; of more, several share a bar."""
_COLOURS = {
    Kind.ADDED: "green",
    Kind.REMOVED: "red",
    Kind.CHANGED: "yellow",
    Kind.UNROUTED: "red",
    Kind.ROUTED: "green",
}


def show_report(report: Report, *, as_json: bool = False, as_markdown: bool = False) -> None:
    """Prints a report of `sodarouter.backtest`."""
    if as_json:
        print_json({"differs": report.differs, **plain(report)})
    elif as_markdown:
        out.print(markdown(report), markup=False)
    else:
        _print(report)


def span(report: Report) -> str:
    """Which events it is about."""
    return f"{counted(report.events, 'event')} from {moment(report.first)} to {moment(report.last)}"


def _print(report: Report) -> None:
    if not report.differs:
        out.print(f"[green]no difference[/]: {span(report)} go where they went")
        return
    out.print(f"{span(report)}: [bold]{report.differing:,}[/] would go elsewhere")
    out.print(f"[dim]nights are 22:00 to 06:00, {shown(report.timezone)}[/]\n")
    print_table(
        ["destination", "deliveries", "added", "removed", "changed", "nights", "weekends"],
        [_row(name, volume) for name, volume in report.destinations.items()],
        empty="nothing goes anywhere",
    )
    unrouted = report.unrouted
    out.print(f"\nunrouted: {told_change(unrouted.events)}" + _split(unrouted.newly, unrouted.no_longer))
    if report.withheld != Change():
        out.print(f"withheld by a silence or a window: {told_change(report.withheld)}")
    for name, volume in report.destinations.items():
        if volume.differs:
            out.print(f"\n[bold]{shown(name)}[/]")
            _print_times(volume)
            _print_samples(volume.samples)
    if unrouted.samples:
        out.print("\n[bold]unrouted[/]")
        _print_samples(unrouted.samples)


def _row(name: str, volume: Volume) -> list[str]:
    numbers = ((volume.added, "+", "green"), (volume.removed, "-", "red"), (volume.changed, "~", "yellow"))
    return [
        shown(name),
        told_change(volume.deliveries),
        *(f"[{colour}]{sign}{number:,}[/]" if number else "" for number, sign, colour in numbers),
        told_change(volume.night),
        told_change(volume.weekend),
    ]


def _split(newly: int, no_longer: int) -> str:
    return f" ({newly:,} newly, {no_longer:,} no longer)" if newly or no_longer else ""


def _print_times(volume: Volume) -> None:
    days = every_day(volume.days)
    first, last = next(iter(days)), next(reversed(days))
    _print_bars(f"by day, {first} to {last}", together(list(days.values()), _WIDTH))
    _print_bars("by hour, 0 to 23", volume.hours)


def _print_bars(title: str, changes: Sequence[Change]) -> None:
    most = max(max(change.before, change.after) for change in changes)
    out.print(f"  {title}; a full bar is {most:,}")
    out.print(f"    before |{_bars([change.before for change in changes], most)}|")
    out.print(f"    after  |{_bars([change.after for change in changes], most)}|")


def _bars(counts: Iterable[int], most: int) -> str:
    # whatever there is shows
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] if most else _BARS[0] for count in counts)


def every_day(days: Mapping[str, Change]) -> dict[str, Change]:
    """With those on which there was nothing."""
    named = [date.fromisoformat(day) for day in days]
    first, last = min(named), max(named)
    every = ((first + timedelta(number)).isoformat() for number in range((last - first).days + 1))
    return {day: days.get(day, Change()) for day in every}


def together(changes: Sequence[Change], most: int) -> Sequence[Change]:
    """At most so many: neighbours are added up."""
    size = -(-len(changes) // most)
    groups = [changes[start : start + size] for start in range(0, len(changes), size)]
    return [Change(sum(one.before for one in group), sum(one.after for one in group)) for group in groups]


def _print_samples(samples: Sequence[Sample]) -> None:
    for sample in samples:
        about = f": {shown(sample.subject)}" if sample.subject else ""
        out.print(f"  [{_COLOURS[sample.kind]}]{told_kind(sample.kind)}[/] {sample.event}{about}")
        out.print(f"    {moment(sample.received)} from {shown(sample.source)}: {shown(sample.type)}")
        for side, steps in (("before", sample.before), ("after", sample.after)):
            for line in [told_step(step) for step in steps] or ["nothing"]:
                out.print(f"    {side}: {shown(line)}")
