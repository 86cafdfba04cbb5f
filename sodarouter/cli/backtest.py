"""``sodarouter backtest``: what a candidate would have made of the events that came."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from sodarouter.backtest import Report, Side, compare, without_and_with
from sodarouter.backtest.compare import SAMPLES
from sodarouter.cli.app import SET_UP, ConfigOption, JsonOption, app, config_path, fail
from sodarouter.cli.choose import SinceOption, SourceOption, TypeOption, UntilOption, undocumented
from sodarouter.cli.progress import progress
from sodarouter.cli.report import show_report
from sodarouter.cli.told import subject
from sodarouter.config import load_routing, load_table
from sodarouter.config.tables import Spool
from sodarouter.decide import Routing, Silence, compile_rules
from sodarouter.hindsight import silences_of
from sodarouter.spool import EventFilter, Reader, SqliteReader, StoredEvent
from sodarouter.zones import parse_zone

DIFFERENT = 3
"""The exit status when the two sides differ."""
SINCE = timedelta(days=30)
_EVERY = 1000
"""Events between two looks at the progress bar."""


def _zone(name: str) -> ZoneInfo:
    try:
        return parse_zone(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


TimezoneOption = Annotated[
    ZoneInfo | None,
    typer.Option(
        "--timezone",
        parser=_zone,
        metavar="ZONE",
        help="For days, hours and nights, such as Europe/Berlin; yours by default.",
        show_default=False,
    ),
]
SamplesOption = Annotated[
    int, typer.Option("--samples", metavar="NUMBER", min=0, max=100, help="Events shown of each kind of difference.")
]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")]


@app.command(rich_help_panel=SET_UP)
def backtest(
    context: typer.Context,
    candidate: Annotated[Path, typer.Argument(metavar="NEW", help="The configuration to try.", show_default=False)],
    config: ConfigOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    source: SourceOption = None,
    event_type: TypeOption = None,
    spool: Annotated[
        Path | None,
        typer.Option(
            "--spool", metavar="FILE", help="Take the events from this one, a backup say.", show_default=False
        ),
    ] = None,
    timezone: TimezoneOption = None,
    samples: SamplesOption = SAMPLES,
    as_json: JsonOption = False,
    as_markdown: MarkdownOption = False,
) -> None:
    """Try a configuration on the events that came: for each destination, what would be added, removed and changed.

    It is compared with the configuration in use, over the last 30 days unless --since says otherwise. Nothing is sent.
    Exit status 3 if they differ.

    For example: `sodarouter backtest new.toml --since 7d`
    """
    if as_json and as_markdown:
        raise fail("--json or --markdown, not both", 2)
    path = config_path(context, config)
    if not candidate.exists():  # loading it would say to name another with --config, which is not the candidate
        raise fail(f"there is no file {str(candidate)!r}", 2)
    before, after = load_routing(path), load_routing(candidate)
    wanted = EventFilter(event_type=event_type, source=source, since=since or datetime.now(UTC) - SINCE, until=until)
    with closing(SqliteReader(spool or load_table(path, "spool", Spool).path)) as reader:
        # the silences are those that there were, on both sides
        silences = silences_of(reader.silences())
        sides = Side(compile_rules(before), silences), Side(compile_rules(after), silences)
        report = _run(reader, *sides, wanted, timezone, samples)
    if not report.events:
        raise fail("there is no event to try it on" + undocumented(event_type))
    show_report(report, as_json=as_json, as_markdown=as_markdown)
    if report.differs:
        raise typer.Exit(DIFFERENT)


def try_silence(
    reader: Reader,
    routing: Routing,
    silence: Silence,
    wanted: EventFilter,
    zone: ZoneInfo | None = None,
    samples: int = SAMPLES,
) -> Report:
    """A backtest of one more silence, with a progress bar; it need not be saved. `sodarouter.cli.report` prints it."""
    sides = without_and_with(compile_rules(routing), silences_of(reader.silences()), silence)
    return _run(reader, *sides, wanted, zone, samples)


def _run(reader: Reader, before: Side, after: Side, wanted: EventFilter, zone: ZoneInfo | None, samples: int) -> Report:
    # the memory is gathered from events of all types
    asked = replace(wanted, event_type=None) if before.remember or after.remember else wanted
    return compare(
        _watched(reader, asked),
        before,
        after,
        zone=zone,
        samples=samples,
        describe=subject,
        event_type=wanted.event_type,
        earlier=lambda: _before(reader, asked),
    )


def _before(reader: Reader, wanted: EventFilter) -> Iterable[StoredEvent]:
    """The events before those that are wanted."""
    return reader.stream(replace(wanted, since=None, until=wanted.since)) if wanted.since else ()


def _watched(reader: Reader, wanted: EventFilter) -> Iterator[StoredEvent]:
    """The events that are wanted, with a progress bar."""
    with progress("events") as tell:
        count = reader.count_events(wanted)
        for number, stored in enumerate(reader.stream(wanted)):
            if number % _EVERY == 0:
                tell(number, count)
            yield stored
