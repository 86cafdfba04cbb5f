"""``sodarouter check`` and ``sodarouter plugins``: what is configured and installed, and what is wrong with it."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from sodarouter.cli.app import SET_UP, ConfigOption, JsonOption, app, config_path, own_commands
from sodarouter.cli.output import counted, marked, out, print_faults, print_json, print_table, shown
from sodarouter.cli.reading import spool_if_there
from sodarouter.cli.told import MOST_STEPS, told
from sodarouter.config import Config, load, load_table
from sodarouter.config.tables import Admin, ListenerTable, Server
from sodarouter.errors import ConfigError, Fault
from sodarouter.event import Event
from sodarouter.hookspecs import OBSERVERS
from sodarouter.plugins import Plugins, find
from sodarouter.trial import Tried, run_tests


@app.command(rich_help_panel=SET_UP)
def check(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check the configuration: all the faults that it finds, each with its place and a hint; and run its tests.

    Exit status 2 if there is a fault, 1 if a `[[test]]` fails. Warnings do not change the status.
    """
    path = config_path(context, config)
    faults = list(_unusable_tls(path))
    try:
        loaded = load(path)
    except ConfigError as error:
        faults = list(dict.fromkeys([*error.faults, *faults]))
    if faults:
        if as_json:
            print_json({"ok": False, "faults": faults, "warnings": [], "tests": []})
        else:
            print_faults(faults)
        raise typer.Exit(2)
    tried = _tests(path, loaded)
    failed = [one for one in tried if one.failures]
    if as_json:
        print_json({"ok": not failed, "faults": [], "warnings": loaded.warnings, "tests": tried})
    else:
        for warning in loaded.warnings:
            out.print(f"[yellow]warning:[/] {marked(warning)}")
        for one in failed:
            out.print(f"[red]failed:[/] {shown(one.name)}")
            for number, failure in enumerate(one.failures):
                out.print(f"  {marked(failure)}")
                # where it goes is the first that is looked at
                for line in told(one.steps if number == 0 else (), MOST_STEPS):
                    out.print(f"    {shown(line)}")
        _sum_up(path, loaded, len(tried), len(failed))
    if failed:
        raise typer.Exit(1)


def _unusable_tls(path: Path) -> Iterator[Fault]:
    """What a start would find in the files of the listeners. Other commands do without: not everyone may read a key."""
    tables: dict[str, ListenerTable] = {}
    with suppress(ConfigError):  # what else is wrong with a table is told with the rest
        tables["server"] = load_table(path, "server", Server)
        tables["admin"] = load_table(path, "admin", Admin)
    for name, table in tables.items():
        if table.tls is None:
            continue
        from sodarouter.front import tls_of  # most have none, and it takes its time

        tls = tls_of(table, f"{path.name}: {name}.tls")
        assert tls is not None  # noqa: S101 (the table has it)
        try:
            tls.check()
        except ConfigError as error:
            yield from error.faults


def _tests(path: Path, loaded: Config) -> list[Tried]:
    payloads = [payload for test in loaded.file.test for payload in (test, *test.after)]
    if all(payload.event is None for payload in payloads):
        # whoever checks a configuration, in a pull request say, need not be allowed to read the spool
        return list(run_tests(loaded, lambda _: None))
    with spool_if_there(path) as reader:

        def stored(event: str) -> Event | None:
            found = reader.event(event) if reader else None
            return found.event if found else None

        return list(run_tests(loaded, stored))


def _sum_up(path: Path, loaded: Config, tests: int, failed: int) -> None:
    counts = (
        (len(loaded.file.source), "source"),
        (len(loaded.destinations), "destination"),
        (len(loaded.file.route), "route"),
    )
    summary = ", ".join(counted(count, word) for count, word in counts)
    others = len(loaded.files) - 1  # included ones, and those of teams
    also = f" and {counted(others, 'other file')}" if others else ""
    verdict = "[red]not as its tests want it[/]" if failed else "[green]ok[/]"
    ran = ""
    if tests:
        ran = f"; {failed} of {counted(tests, 'test')} failed" if failed else f"; {counted(tests, 'test')} passed"
    out.print(f"{shown(str(path))}{also}: {verdict}: {summary}{ran}")


@app.command(rich_help_panel=SET_UP)
def plugins(as_json: JsonOption = False) -> None:
    """List the installed plugins: name, version, what each offers, and what is wrong with it.

    Exit status 1 if one of them cannot be used.
    """
    loaded = Plugins(find(), {})
    enriching = {name for name, _ in loaded.observers("enrich")}
    told = {hook: {name for name, _ in loaded.observers(hook)} for hook in OBSERVERS}
    commands = {name for name, _ in loaded.observers("commands")} - own_commands()
    rows: list[dict[str, Any]] = [
        {
            "name": plugin.name,
            "version": plugin.version,
            "distribution": plugin.distribution,
            "api": plugin.api,
            "destinations": [kind.type for kind in plugin.types],
            "sources": [kind.type for kind in plugin.sources],
            "verifications": [kind.model_fields["type"].default for kind in plugin.verifications],
            "pages": [route.path for route in plugin.routes],
            "enriches": plugin.name in enriching,
            "command": f"sodarouter {plugin.name}" if plugin.name in commands else "",
            "observes": [hook for hook, names in told.items() if plugin.name in names],
            "fault": plugin.fault,
        }
        for plugin in loaded.found
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["name", "version", "distribution", "offers", "fault"],
            [
                [
                    *(shown(row[key]) for key in ("name", "version", "distribution")),
                    shown("; ".join(_offers(row))),
                    f"[red]{shown(row['fault'])}[/]" if row["fault"] else "",
                ]
                for row in rows
            ],
            empty="no plugin is installed",
        )
    if any(row["fault"] for row in rows):
        raise typer.Exit(1)


_OFFERS = {
    "destinations": "destination",
    "sources": "source",
    "verifications": "verification",
    "pages": "page",
}


def _offers(row: Mapping[str, Any]) -> Iterator[str]:
    """What a plugin does, in words."""
    yield from (f"{thing} {', '.join(row[key])}" for key, thing in _OFFERS.items() if row[key])
    if row["enriches"]:
        yield "enriches events"
    if row["command"]:
        yield "commands"
    if row["observes"]:
        yield "observes"
