"""``pause``, ``drain`` and ``resume``: whether a destination is delivered to."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from sodarouter.cli.acting import acting, must_run
from sodarouter.cli.app import ACT, ConfigOption, JsonOption, app, config_path, fail
from sodarouter.cli.follow import follow_drain
from sodarouter.cli.output import out, print_json, shown
from sodarouter.cli.reading import must_be_configured, reading
from sodarouter.config import destination_types
from sodarouter.delivery import Halt
from sodarouter.spool import LINK

NamedDestinations = Annotated[list[str], typer.Argument(metavar="NAME", help="Destinations.")]


@app.command(rich_help_panel=ACT)
def pause(
    context: typer.Context,
    wanted: NamedDestinations,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deliver nothing to a destination until `sodarouter resume`: what comes for it waits, also over a restart.

    Attempts that are under way end as they would.
    """
    path = config_path(context, config)
    _halt(path, _configured(path, wanted), Halt.PAUSED)
    _tell(wanted, Halt.PAUSED, "is paused: what comes for it waits", as_json=as_json)


@app.command(rich_help_panel=ACT)
def drain(
    context: typer.Context,
    wanted: NamedDestinations,
    config: ConfigOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is drained.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Deliver what waits for a destination, and then nothing more until `sodarouter resume`.

    What comes meanwhile waits. Once it is drained it is paused. Exit status 1 if, with `--wait`, it is resumed before.

    For example: `sodarouter drain oncall --wait`, before its other side is taken away for a while
    """
    path = config_path(context, config)
    _halt(path, _configured(path, wanted), Halt.DRAINING, wait=wait)
    if not wait:
        _tell(wanted, Halt.DRAINING, "is draining: what comes for it from now on waits", as_json=as_json)
        return
    with reading(path) as reader:
        for name in wanted:
            if not follow_drain(reader, name):
                raise fail(f"{name} was resumed before it was drained")
    _tell(wanted, Halt.PAUSED, "is drained and paused: what comes for it waits", as_json=as_json)


@app.command(rich_help_panel=ACT)
def resume(
    context: typer.Context,
    wanted: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Destinations.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    every: Annotated[bool, typer.Option("--all", help="All that are paused or draining.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Deliver to a destination again that was paused or drained."""
    if bool(wanted) == every:
        raise fail("name destinations, or --all; `sodarouter destinations` lists them", 2)
    path = config_path(context, config)
    with reading(path) as reader:
        halted = reader.halts()
    names = list(halted) if every else list(wanted or ())
    must_be_configured(path, names, [*destination_types(path), *halted])
    _halt(path, names, None)
    if not names and not as_json:
        out.print("no destination is paused or draining")
    _tell(names, None, "is resumed", as_json=as_json)


def _configured(path: Path, wanted: list[str]) -> list[str]:
    must_be_configured(path, wanted, [*destination_types(path), LINK])
    return wanted


def _halt(path: Path, names: Iterable[str], halt: Halt | None, *, wait: bool = False) -> None:
    with acting(path) as doing:
        if wait:
            must_run(doing)
        for name in names:
            doing.halt(name, halt)


def _tell(names: Iterable[str], halt: Halt | None, told: str, *, as_json: bool) -> None:
    if as_json:
        print_json(dict.fromkeys(names, halt))
        return
    for name in names:
        out.print(shown(f"{name} {told}"))
