"""``silence`` and its commands: what is kept from destinations for a while, and who said so."""

import getpass
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from sodarouter.cli.acting import acting
from sodarouter.cli.app import ACT, ConfigOption, JsonOption, app, config_path, fail
from sodarouter.cli.kept_back import kept_back, print_tally
from sodarouter.cli.output import counted, err, moment, out, print_json, print_table, shown
from sodarouter.cli.reading import reading
from sodarouter.decide import NewSilence, Silence, Standing
from sodarouter.errors import ConfigError
from sodarouter.faults import faults
from sodarouter.hindsight import silences_of
from sodarouter.options import format_duration

silence = typer.Typer(name="silence", rich_markup_mode="markdown")
app.add_typer(silence, rich_help_panel=ACT)

COLOURS = {Standing.ACTIVE: "yellow", Standing.PENDING: "cyan", Standing.EXPIRED: "dim"}

ReasonOption = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is told with every event.")]
AuthorOption = Annotated[str | None, typer.Option("--author", metavar="NAME", help="Who says so; you by default.")]


@silence.callback(invoke_without_command=True)
def list_silences(
    context: typer.Context,
    config: ConfigOption = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that have expired.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List silences in force and to come: what each keeps back, from whom, until when, and why.

    Those that have expired are known as long as events are kept.

    For example: `sodarouter silence add --match 'dataset=prod/*' --for 2h --reason "migration of the warehouse"`
    """
    if context.invoked_subcommand is not None:
        return
    with reading(config_path(context, config)) as reader:
        known = silences_of(reader.silences())
    now = datetime.now(UTC)
    found = [one for one in known if every or one.standing(now) is not Standing.EXPIRED]
    # those in force first, and what has expired last
    found.sort(key=lambda one: (list(Standing).index(one.standing(now)), one.ends))
    if as_json:
        print_json([silence_document(one, now) for one in found])
        return
    print_table(
        ["id", "state", "until", "of", "kept from", "author", "reason"],
        [
            [
                one.id,
                _state(one.standing(now)),
                until_when(one, now),
                shown(one.describe()),
                shown(kept_from(one)),
                shown(one.author),
                shown(one.reason),
            ]
            for one in found
        ],
        empty="no silences",
    )


@silence.command()
def end(
    context: typer.Context,
    wanted: Annotated[list[str], typer.Argument(metavar="ID", help="Silences, as `sodarouter silence` lists them.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End silences before their time. What they have kept back stays back, and can be replayed."""
    path = config_path(context, config)
    with reading(path) as reader:
        known = {one.id: one for one in silences_of(reader.silences())}
    names = list(dict.fromkeys(wanted))
    ended = end_all(path, [name for name in names if name in known])
    left = {name: "it has ended already" if name in known else "there is no such silence" for name in names}
    left = {name: why for name, why in left.items() if name not in ended}
    if as_json:
        print_json({"ended": ended, "not_ended": left})
    else:
        for name in ended:
            out.print(f"{name}: ended")
        for name, why in left.items():
            err.print(shown(f"{name}: {why}"))
    if left:
        raise typer.Exit(1)


@silence.command()
def show(
    context: typer.Context,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="A silence.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one silence whole, and how much it has kept back."""
    with reading(config_path(context, config)) as reader:
        stored = next((one for one in reader.silences() if one.id == wanted), None)
        if stored is None:
            raise fail(f"there is no silence {wanted}; `sodarouter silence --all` lists what there is")
        found = next(iter(silences_of([stored])), None)
        if found is None:
            raise fail(f"the silence {wanted} cannot be read by this version of sodarouter, and keeps nothing back")
        tally = kept_back(reader, found)
    now = datetime.now(UTC)
    meant = Silence.model_validate_json(stored.value).ends
    if as_json:
        kept = {"events": tally.events, "destinations": dict(tally.destinations)}
        print_json({**silence_document(found, now), "meant_until": meant, "kept_back": kept})
        return
    out.print(f"[bold]silence[/] {found.id}")
    out.print(f"{_state(found.standing(now))}, from {moment(found.starts)} until {until_when(found, now)}")
    if meant != found.ends:
        out.print(f"ended before its time: it was meant until {moment(meant)}")
    out.print(shown(f"of {found.describe()}"))
    out.print(shown(f"kept from {kept_from(found)}"))
    out.print(shown(f"by {found.author}: {found.reason}"))
    out.print(f"it has kept back something of {counted(tally.events, 'event')}")
    print_tally(tally)


def author_or_login(author: str | None) -> str:
    """Who says so.

    Raises:
        typer.Exit: With status 2, as nobody can be told.
    """
    if author is None:
        try:
            author = getpass.getuser()
        except (OSError, KeyError, ImportError):  # no such user, as in some containers; the last two before Python 3.13
            author = ""
    if not author.strip():
        raise fail("say who you are: --author NAME", 2)
    return author.strip()


def new_silence(**known: Any) -> NewSilence:
    """What is asked for.

    Raises:
        ConfigError: What an option says is too long.
    """
    try:
        return NewSilence(**known)
    except ValidationError as error:
        found = faults(error, NewSilence, known)
        raise ConfigError([replace(fault, place=f"--{fault.place}") for fault in found]) from None


def end_all(path: Path, names: Sequence[str]) -> list[str]:
    """Gives those that had not ended."""
    if not names:
        return []
    with acting(path) as doing:
        return [name for name in names if doing.end_silence(name)]


def silence_document(one: Silence, now: datetime) -> dict[str, Any]:
    """A silence for programs."""
    return {
        "id": one.id,
        "state": one.standing(now),
        "starts": one.starts,
        "ends": one.ends,
        "match": one.match.model_dump(by_alias=True, exclude_none=True),
        "to": one.to,
        "during": [window.model_dump(exclude_none=True) for window in one.during],
        "author": one.author,
        "reason": one.reason,
    }


def kept_from(one: Silence) -> str:
    """From which destinations, in words."""
    return ", ".join(one.to) or "all destinations"


def until_when(one: Silence, now: datetime) -> str:
    """``2026-11-23 22:48:20 (in 10m)``."""
    left = (one.ends - now).total_seconds()
    return moment(one.ends) + (f" (in {format_duration(left)})" if left > 0 else "")


def _state(standing: Standing) -> str:
    colour = COLOURS.get(standing)
    return f"[{colour}]{standing.value}[/]" if colour else standing.value
