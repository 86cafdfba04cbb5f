"""``sodarouter replay``: delivers a stretch of history once more."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sodarouter.cli.acting import Acting, acting, must_run
from sodarouter.cli.app import ACT, ConfigOption, DryRunOption, JsonOption, YesOption, app, config_path, fail
from sodarouter.cli.bulk import confirm
from sodarouter.cli.choose import WHICH, choosing, event_filter, undocumented
from sodarouter.cli.follow import follow_replay
from sodarouter.cli.output import counted, err, out, plain, print_json, shown
from sodarouter.cli.progress import progress
from sodarouter.cli.reading import must_be_configured, reading
from sodarouter.config import destination_types, load_table
from sodarouter.config.tables import Spool
from sodarouter.delivery import State
from sodarouter.errors import SodarouterError
from sodarouter.operations import BATCH
from sodarouter.options import format_duration
from sodarouter.rate import parse_limit
from sodarouter.spool import LARGEST, EventFilter, SqliteReader


def parse_rate(text: str) -> float:
    """Seconds between one and the next."""
    try:
        limit = parse_limit(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return limit.seconds / limit.count


@dataclass(frozen=True)
class Stretch:
    """A part of history, the oldest event first."""

    reader: SqliteReader
    named: list[str]
    chosen: EventFilter
    """What counts when none is named."""

    def count(self) -> int:
        return len(self.named) or self.reader.count_events(self.chosen)

    def batches(self, size: int) -> Iterator[list[str]]:
        if self.named:
            yield from (self.named[start : start + size] for start in range(0, len(self.named), size))
            return
        last = None
        while batch := self.reader.event_ids(self.chosen, limit=size, after=last):
            yield batch
            last = batch[-1]


@dataclass
class Replayed:
    """What is asked for, and what came of it."""

    dry_run: bool
    events: int
    to: list[str]
    replay: int = 0
    """Its number; 0 before it has one."""
    planned: int = 0
    deliveries: dict[State, int] | None = None
    """How they ended, if that was waited for."""

    @property
    def asked(self) -> int:
        """How many deliveries, or decisions."""
        return self.events * max(1, len(self.to))

    def told(self, every: float | None) -> str:
        where = f"to {', '.join(self.to)}" if self.to else "to where the routes of today send them"
        over = f", over {format_duration(self.events * every)}" if every else ""
        return f"{counted(self.events, 'event')} {where}{over}"


@app.command("replay", rich_help_panel=ACT)
@choosing(event_filter)
def replay_command(
    context: typer.Context,
    chosen: EventFilter,
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="EVENT", help="Events, as `sodarouter events` lists them.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    every: Annotated[bool, typer.Option("--all", help="All events that there are.", rich_help_panel=WHICH)] = False,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to", metavar="NAME", help="To this destination; several times for several.", show_default=False
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", parser=parse_rate, metavar="RATE", help="So many events: 50/s, 100/m. At once by default."
        ),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option("--continue", metavar="NUMBER", min=1, max=LARGEST, help="Go on with a replay that broke off."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when all of it is delivered or dead.")] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Deliver events once more: to the destinations named, or without `--to` wherever the routes of today send them.

    Each destination is handed what of the event it was handed before, or else the whole. The deliveries are marked as those
    of a replay, with ids of their own. Events and deliveries that were there before stay as they are. Exit status 1 if,
    with `--wait`, one of them is a dead letter.

    For example: `sodarouter replay --since 2026-11-23T20:00 --until 2026-11-23T22:00 --to archive --rate 50/s`
    """
    if bool(wanted) == (every or chosen != EventFilter()):
        raise fail("name events, or say which with options such as --since, or --all", 2)
    path, names = config_path(context, config), list(dict.fromkeys(to or ()))
    must_be_configured(path, names, destination_types(path))
    with reading(path) as reader:
        if number and number > reader.replays():
            raise fail(f"there is no replay {number}")
        stretch = _stretch(reader, wanted or (), chosen)
        replayed = Replayed(dry_run, stretch.count(), names)
        told = replayed.told(rate)
        if not as_json:
            out.print(shown(told if replayed.events else "no events" + undocumented(chosen.event_type)))
        if replayed.events and not dry_run:
            _must_be_bearable(path, reader, replayed)
            if not wanted and not yes:
                confirm("Replay them?", f"{told}: they would be replayed")
            with acting(path) as doing:
                if wait:
                    must_run(doing)
                _plan(doing, stretch, replayed, rate or 0.0, number)
            if not as_json:
                _tell(replayed, reader, running=doing.running)
            if wait:
                replayed.deliveries = follow_replay(reader, replayed.replay)
    ended = replayed.deliveries or {}
    if as_json:
        print_json(replayed)
    elif wait and replayed.replay:
        told = ", ".join(f"{count:,} {state}" for state, count in ended.items()) or "no route matched"
        out.print(f"replay {replayed.replay}: {told}")
    if State.DEAD in ended:
        raise typer.Exit(1)


def _stretch(reader: SqliteReader, wanted: Iterable[str], chosen: EventFilter) -> Stretch:
    named = list(dict.fromkeys(wanted))
    for name in named:
        if reader.event(name) is None:
            raise fail(f"there is no event {name}")
    # what comes in meanwhile is no part of it
    return Stretch(reader, named, replace(chosen, until=chosen.until or datetime.now(UTC)))


def _must_be_bearable(path: Path, reader: SqliteReader, replayed: Replayed) -> None:
    most, there = load_table(path, "spool", Spool).max_backlog, reader.stats().backlog
    if there + replayed.asked >= most:
        raise fail(
            f"{counted(there, 'delivery')} {'waits' if there == 1 else 'wait'} already, and {replayed.asked:,} more would "
            f"reach spool.max_backlog, {most:,}, at which senders are answered 503; replay a shorter stretch at a time"
        )


def _plan(doing: Acting, stretch: Stretch, replayed: Replayed, every: float, number: int | None) -> None:
    replayed.replay = number or doing.begin_replay()
    begun, done = time.monotonic(), 0
    with progress("planning") as tell:
        try:
            for batch in stretch.batches(max(1, BATCH // max(1, len(replayed.to)))):
                # due when its turn comes in the whole, however long the planning takes
                after = max(0.0, done * every - (time.monotonic() - begun))
                replayed.planned += doing.replay(replayed.replay, batch, replayed.to, after=after, every=every)
                done += len(batch)
                tell(done, replayed.events)
        except (SodarouterError, KeyboardInterrupt) as error:
            until = "" if stretch.named else f" --until {plain(stretch.chosen.until)}"
            raise SodarouterError(
                f"{str(error) or 'it was interrupted'}; {done:,} of {counted(replayed.events, 'event')} had been planned: "
                f"the same command with --continue {replayed.replay}{until} plans the others"
            ) from None


def _tell(replayed: Replayed, reader: SqliteReader, *, running: bool) -> None:
    number = replayed.replay
    planned = counted(replayed.planned, "delivery") + " planned" if replayed.to else "to be decided anew"
    start = "" if running else ", for the next start of the router"
    out.print(f"replay {number}: {planned}{start}; `sodarouter deliveries --replay {number}` lists them")
    for name, halt in reader.halts().items():
        if name in replayed.to or not replayed.to:
            err.print(f"{name} is {halt}: what is replayed to it waits until `sodarouter resume {name}`")
