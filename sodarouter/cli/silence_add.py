"""``silence add``: what is to be kept back from now on, or would have been."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from sodarouter.cli.acting import acting
from sodarouter.cli.app import ConfigOption, DryRunOption, JsonOption, config_path, fail
from sodarouter.cli.backtest import try_silence
from sodarouter.cli.choose import parse_length, parse_moment, parse_time
from sodarouter.cli.matching import MatchOption, NotOption, advice, parse_match
from sodarouter.cli.output import err, marked, moment, out, print_json, shown
from sodarouter.cli.reading import must_be_configured, reading
from sodarouter.cli.report import show_report
from sodarouter.cli.silence import (
    AuthorOption,
    ReasonOption,
    author_or_login,
    kept_from,
    new_silence,
    silence,
    silence_document,
    until_when,
)
from sodarouter.config import destination_types, load_routing
from sodarouter.decide import Silence, Window
from sodarouter.decide.match import Match
from sodarouter.spool import EventFilter

WHEN = "When"
"""The heading of the options that say so."""
HISTORY = timedelta(days=7)
"""How far back a dry run looks."""


@silence.command()
def add(
    context: typer.Context,
    config: ConfigOption = None,
    match: MatchOption = None,
    none: NotOption = None,
    every: Annotated[bool, typer.Option("--all", help="Everything: there is no condition.")] = False,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="NAME",
            help="Keep it from this destination only; several times for several.",
            show_default=False,
        ),
    ] = None,
    during: Annotated[
        list[str] | None,
        typer.Option("--during", metavar="NAME", help="Only within this [window.NAME].", rich_help_panel=WHEN),
    ] = None,
    length: Annotated[
        float | None,
        typer.Option(
            "--for", parser=parse_length, metavar="DURATION", help="So long: 30m, 2h, 7d.", rich_help_panel=WHEN
        ),
    ] = None,
    ends: Annotated[
        datetime | None,
        typer.Option("--until", parser=parse_moment, metavar="TIME", help="2026-11-23T22:00.", rich_help_panel=WHEN),
    ] = None,
    starts: Annotated[
        datetime | None,
        typer.Option("--from", parser=parse_moment, metavar="TIME", help="Now by default.", rich_help_panel=WHEN),
    ] = None,
    reason: ReasonOption = None,
    author: AuthorOption = None,
    dry_run: DryRunOption = False,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since", parser=parse_time, metavar="TIME", help="How far back a dry run looks, as 2h; 7 days by default."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Keep events, or some of their results, from destinations until an end that has to be said.

    They are taken in and kept all the same, and can be replayed. `--dry-run` tells what it would have kept back of the
    events since `--since`, the last 7 days by default: a backtest of this silence.

    For example: `sodarouter silence add --match 'dataset=prod/*' --not tag=pii --for 2h --reason "migration"`
    """
    conditions = parse_match(match or (), none or ())
    if every == bool(match or none):
        raise fail("say what to keep back with --match, or --all for everything", 2)
    path = config_path(context, config)
    names = list(dict.fromkeys(to or ()))
    must_be_configured(path, names, destination_types(path))
    windows = _windows(path, during or ())
    for warning in advice(path, conditions):
        err.print(f"[yellow]warning:[/] {marked(warning)}")
    if dry_run:
        _try(path, conditions, names, windows, since, as_json=as_json)
        return
    if since is not None:
        raise fail("--since goes with --dry-run: what was decided before is not undone", 2)
    if (length is None) == (ends is None):
        raise fail("say when it ends: --for DURATION or --until TIME", 2)
    if not (reason or "").strip():
        raise fail("say why: --reason TEXT", 2)
    now = datetime.now(UTC)
    asked = new_silence(
        match=conditions,
        to=names,
        during=windows,
        author=author_or_login(author),
        reason=(reason or "").strip(),
        starts=starts,
        ends=ends or max(starts or now, now) + timedelta(seconds=length or 0.0),
    )
    with acting(path) as doing:
        added = doing.silence(asked)
    if as_json:
        print_json(silence_document(added, datetime.now(UTC)))
        return
    start = f"from {moment(added.starts)} " if added.starts > datetime.now(UTC) + timedelta(seconds=1) else ""
    out.print(
        shown(
            f"silence {added.id}: {added.describe()} is kept from {kept_from(added)} {start}until {until_when(added, now)}"
        )
    )


def _windows(path: Path, names: Sequence[str]) -> list[Window]:
    if not names:
        return []
    known = load_routing(path).window
    must_be_configured(path, names, known, "window")
    return [known[name] for name in dict.fromkeys(names)]


def _try(
    path: Path, match: Match, to: list[str], windows: list[Window], since: datetime | None, *, as_json: bool
) -> None:
    now = datetime.now(UTC)
    trial = Silence(
        id="trial", match=match, to=to, during=windows, author="nobody", reason="a dry run", starts=now, ends=now
    )
    wanted = EventFilter(since=since or now - HISTORY, until=now)
    with reading(path) as reader:
        report = try_silence(reader, load_routing(path), trial, wanted)
    show_report(report, as_json=as_json)
