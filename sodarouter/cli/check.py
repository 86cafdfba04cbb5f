"""``sodarouter check`` and ``sodarouter plugins``: what is configured and installed, and what is wrong with it."""

from typing import Any

import typer

from sodarouter.cli.app import SET_UP, ConfigOption, JsonOption, app, config_path
from sodarouter.cli.output import counted, marked, out, print_faults, print_json, print_table, shown
from sodarouter.config import load
from sodarouter.errors import ConfigError
from sodarouter.hookspecs import OBSERVERS
from sodarouter.plugins import Plugins, find


@app.command(rich_help_panel=SET_UP)
def check(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check the configuration: every fault at once, with its place and a hint.

    Exit status 2 if there is a fault. Warnings do not change the status.
    """
    path = config_path(context, config)
    try:
        loaded = load(path)
    except ConfigError as error:
        if as_json:
            print_json({"ok": False, "faults": error.faults, "warnings": []})
        else:
            print_faults(error.faults)
        raise typer.Exit(2) from None
    warnings = list(loaded.warnings)
    if as_json:
        print_json({"ok": True, "faults": [], "warnings": warnings})
        return
    for warning in warnings:
        out.print(f"[yellow]warning:[/] {marked(warning)}")
    counts = (
        (len(loaded.file.source), "source"),
        (len(loaded.destinations), "destination"),
        (len(loaded.file.route), "route"),
    )
    summary = ", ".join(counted(count, word) for count, word in counts)
    included = len(loaded.files) - 1
    also = f" and {counted(included, 'included file')}" if included else ""
    out.print(f"{shown(str(path))}{also}: [green]ok[/]: {summary}")


@app.command(rich_help_panel=SET_UP)
def plugins(as_json: JsonOption = False) -> None:
    """List the installed plugins: name, version, what each offers, and what is wrong with it.

    Exit status 1 if one of them cannot be used.
    """
    loaded = Plugins(find(), {})
    told = {hook: {name for name, _ in loaded.observers(hook)} for hook in OBSERVERS}
    rows: list[dict[str, Any]] = [
        {
            "name": plugin.name,
            "version": plugin.version,
            "distribution": plugin.distribution,
            "destinations": [kind.type for kind in plugin.types],
            "pages": [route.path for route in plugin.routes],
            "observes": [hook for hook, names in told.items() if plugin.name in names],
            "fault": plugin.fault,
        }
        for plugin in loaded.found
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["name", "version", "distribution", "destination types", "pages", "observes", "fault"],
            [
                [
                    *(shown(row[key]) for key in ("name", "version", "distribution")),
                    *(", ".join(row[key]) for key in ("destinations", "pages", "observes")),
                    f"[red]{shown(row['fault'])}[/]" if row["fault"] else "",
                ]
                for row in rows
            ],
            empty="no plugin is installed",
        )
    if any(row["fault"] for row in rows):
        raise typer.Exit(1)
