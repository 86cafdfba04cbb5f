"""``sodarouter destinations``: how each of them stands."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from sodarouter.cli.app import LOOK, ConfigOption, JsonOption, app, config_path
from sodarouter.cli.output import moment, print_json, print_table, shown
from sodarouter.cli.reading import reading
from sodarouter.config import destination_types, load_table
from sodarouter.config.tables import Admin
from sodarouter.delivery import Breaker, Queue
from sodarouter.errors import SodarouterError
from sodarouter.spool import INTERNAL

COLOURS = {
    "paused": "yellow",
    "draining": "yellow",
    "not configured": "red",
    Breaker.OPEN: "red",
    Breaker.HALF_OPEN: "yellow",
}


@app.command(rich_help_panel=LOOK)
def destinations(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List destinations: what waits for each, since when, and whether it is paused, draining, unwell, or its breaker open.

    One that is no longer configured is among them as long as something waits for it or is dead. The breaker and
    the health are those of the running router.
    """
    path = config_path(context, config)
    with reading(path) as reader:
        queues = reader.stats().queues
    rows = list(_rows(destination_types(path), queues, _of_running_router(path)))
    if as_json:
        print_json(rows)
        return
    print_table(
        ["name", "type", "state", "breaker", "pending", "leased", "dead", "oldest", "health"],
        [
            [
                shown(row["name"]),
                shown(row["type"]),
                _coloured(row["state"]),
                _coloured(row["breaker"] or ""),
                *(f"{row[key]:,}" for key in ("pending", "leased", "dead")),
                moment(row["oldest"]),
                f"[red]{shown(row['health'])}[/]" if row["health"] else "",
            ]
            for row in rows
        ],
        empty="no destinations",
    )


def _rows(
    types: Mapping[str, str], queues: Mapping[str, Queue], running: Mapping[str, Mapping[str, str]]
) -> Iterator[dict[str, Any]]:
    """The configured ones in their order, then the others; the deciding only if it has something to do."""
    for name in [*types, *sorted(queues.keys() - types.keys())]:
        queue = queues.get(name, Queue())
        there = bool(queue.pending or queue.leased or queue.dead or queue.halt)
        if name not in types and not there:
            continue
        halt = queue.halt.value if queue.halt else "active"
        yield {
            "name": name,
            "type": types.get(name, ""),
            "state": halt if name in types or name in INTERNAL else "not configured",
            "breaker": running.get(name, {}).get("breaker"),
            "pending": queue.pending,
            "leased": queue.leased,
            "dead": queue.dead,
            "oldest": queue.oldest,
            "health": running.get(name, {}).get("health"),
        }


def _of_running_router(path: Path) -> dict[str, dict[str, str]]:
    """By destination, its breaker and what is wrong with it, as the running router says; nothing if none runs."""
    from sodarouter.cli.client import admin_client

    try:
        with admin_client(load_table(path, "admin", Admin)) as client:
            found = client.ready().get("destinations", {})
            return {
                name: {key: str(one[key]) for key in ("breaker", "health") if one.get(key)}
                for name, one in found.items()
            }
    except (SodarouterError, AttributeError):  # it may be of another version
        return {}


def _coloured(word: str) -> str:
    colour = COLOURS.get(word)
    return f"[{colour}]{word}[/]" if colour else shown(word)
