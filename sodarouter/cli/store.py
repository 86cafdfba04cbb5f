"""``sodarouter store``: what destinations keep for themselves, such as which ticket an incident became."""

import json
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from sodarouter.cli.acting import acting
from sodarouter.cli.app import LOOK, ConfigOption, JsonOption, app, config_path, fail
from sodarouter.cli.output import counted, moment, out, print_json, print_table, shown
from sodarouter.cli.reading import must_be_configured, reading
from sodarouter.config import destination_types
from sodarouter.spool import LARGEST


@app.command(rich_help_panel=LOOK)
def store(
    context: typer.Context,
    destination: Annotated[str, typer.Argument(metavar="NAME", help="A destination.", show_default=False)],
    keys: Annotated[
        list[str] | None, typer.Option("--forget", metavar="KEY", help="Take this key out; may be repeated.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=LARGEST, help="How many at most, in the order of the keys.")
    ] = 50,
    after: Annotated[str, typer.Option("--after", metavar="KEY", help="Go on after this key.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a destination keeps for itself from one delivery to the next, or have it forget something.

    For example: `sodarouter store jira --forget INCIDENT`, when its ticket was deleted by hand

    Exit status 1 if one of the keys to forget is not there.
    """
    path = config_path(context, config)
    if keys:
        with acting(path) as doing:
            forgotten = doing.forget(destination, keys)
        if as_json:
            print_json({"forgotten": forgotten})
        else:
            out.print(f"{shown(destination)} has forgotten {counted(len(forgotten), 'key')}")
        if missing := [key for key in keys if key not in forgotten]:
            raise fail(f"{destination} keeps nothing under {', '.join(map(repr, missing))}")
        return
    with reading(path) as reader:
        entries = reader.entries(destination, time.time(), limit=limit, after=after)
    if not entries:
        must_be_configured(path, [destination], destination_types(path))
    rows = [(key, json.loads(kept.value), datetime.fromtimestamp(kept.expires, UTC)) for key, kept in entries]
    if as_json:
        print_json([{"key": key, "value": value, "expires": expires} for key, value, expires in rows])
        return
    print_table(
        ["key", "value", "expires"],
        [
            [shown(key), shown(json.dumps(value, ensure_ascii=False)[:200]), moment(expires)]
            for key, value, expires in rows
        ],
        empty=f"{destination} keeps nothing" + (" after this key" if after else ""),
    )
