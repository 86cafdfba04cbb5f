"""``mute`` and ``unmute``: a silence over all that a source takes in, as while Soda's events are tried out."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from sodarouter.cli.acting import acting
from sodarouter.cli.app import ACT, ConfigOption, JsonOption, app, config_path
from sodarouter.cli.choose import parse_length
from sodarouter.cli.output import out, print_json, shown
from sodarouter.cli.reading import must_be_configured, reading
from sodarouter.cli.silence import (
    AuthorOption,
    ReasonOption,
    author_or_login,
    end_all,
    new_silence,
    silence_document,
    until_when,
)
from sodarouter.config import source_names
from sodarouter.decide import Silence, Standing
from sodarouter.decide.match import Match
from sodarouter.hindsight import silences_of
from sodarouter.options import format_duration

NamedSource = Annotated[str, typer.Argument(metavar="SOURCE", help="A source of the configuration.")]


@app.command(rich_help_panel=ACT)
def mute(
    context: typer.Context,
    source: NamedSource,
    length: Annotated[float, typer.Argument(parser=parse_length, metavar="DURATION", help="So long: 10m, 2h.")],
    config: ConfigOption = None,
    reason: ReasonOption = None,
    author: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep all that comes in at a source from every destination for a while: a silence.

    Its events are taken in and kept, and can be replayed. Soda's Verify button sends test events that look like real ones.

    For example: `sodarouter mute soda 10m`, before Verify is pressed
    """
    path = config_path(context, config)
    must_be_configured(path, [source], source_names(path), "source")
    now = datetime.now(UTC)
    asked = new_silence(
        match=_all_of(source),
        author=author_or_login(author),
        reason=(reason or "").strip() or f"{source} is muted for {format_duration(length)}",
        ends=now + timedelta(seconds=length),
    )
    with acting(path) as doing:
        added = doing.silence(asked)
    if as_json:
        print_json(silence_document(added, datetime.now(UTC)))
        return
    since = added.starts.astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    out.print(shown(f"{source} is muted until {until_when(added, now)}"))
    out.print(
        shown(
            "its events are taken in and kept, and can be replayed: "
            f"sodarouter replay --source {source} --since {since} --withheld"
        )
    )


@app.command(rich_help_panel=ACT)
def unmute(
    context: typer.Context, source: NamedSource, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Deliver again what comes in at a source: ends the silences over all of it."""
    path = config_path(context, config)
    now = datetime.now(UTC)
    with reading(path) as reader:
        known = silences_of(reader.silences())
    found = [one.id for one in known if _mutes(one, source) and one.standing(now) is not Standing.EXPIRED]
    if not found:
        # one that is no longer configured can be unmuted
        must_be_configured(path, [source], source_names(path), "source")
    ended = end_all(path, found)
    if as_json:
        print_json({"ended": ended})
    else:
        out.print(shown(f"{source} is not muted any more" if ended else f"{source} is not muted"))


def _all_of(source: str) -> Match:
    return Match(source=[source])


def _mutes(one: Silence, source: str) -> bool:
    return one.match == _all_of(source) and not one.to and not one.during
