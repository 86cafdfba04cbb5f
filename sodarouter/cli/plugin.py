"""``sodarouter plugin``: for those who write plugins."""

import io
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sodarouter.cli.app import SET_UP, JsonOption, app
from sodarouter.cli.output import counted, out, print_json, shown

if TYPE_CHECKING:
    from sodarouter.testing.installed import Tables
    from sodarouter.testing.report import Check

plugin = typer.Typer(name="plugin", rich_markup_mode="markdown", no_args_is_help=True)
app.add_typer(plugin, rich_help_panel=SET_UP)

COLOURS = {"ok": "green", "fault": "red", "warning": "yellow", "skipped": "dim"}


class Does(StrEnum):
    """As `sodarouter.scaffold.Kind`, which no other command imports."""

    DESTINATION = "destination"
    SOURCE = "source"
    ENRICH = "enrich"


@plugin.callback()
def group() -> None:
    """For those who write plugins: a new one, and a check of one that is installed."""


@plugin.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The word for it in router.toml, such as `chat`.")],
    path: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to; ./sodarouter-NAME by default.", show_default=False)
    ] = None,
    kind: Annotated[
        Does, typer.Option(help="What it does: take events somewhere, take in another sender, or add to events.")
    ] = Does.DESTINATION,
) -> None:
    """Write a new plugin: a whole distribution that works, its tests and a README.

    For example: `sodarouter plugin new chat`
    """
    from sodarouter.scaffold import Kind, write_plugin

    folder = path or Path(f"sodarouter-{name}")
    written = write_plugin(name, folder, Kind(kind))
    out.print(f"{shown(str(folder))}: {counted(len(written), 'file')} written. What is next:")
    for line in (
        f"cd {folder}",
        'pip install -e ".[test]"',
        "pytest",
        f"sodarouter plugin verify {name}",
    ):
        out.print(f"  {shown(line)}")


@plugin.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin, as `sodarouter plugins` lists it.")],
    options: Annotated[
        Path | None,
        typer.Option(
            "--options", metavar="FILE", help="Tables to check it with, as in router.toml.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check an installed plugin: its distribution, its hooks, and how its destinations bear whatever may happen.

    It delivers some hundred events to each destination. By default they go to a server of its own, by the type's `example`.
    Exit status 1 if there is a fault.

    For example: `sodarouter plugin verify chat`
    """
    # not at the top: nothing else needs them
    import trio

    from sodarouter.testing.installed import verify_plugin

    rows: list[dict[str, str]] = []
    screen = sys.stdout

    def told(subject: str, check: "Check") -> None:
        rows.append({"of": subject, "check": check.name, "result": check.mark.value, "text": check.text})
        if not as_json:
            with redirect_stdout(screen):
                _print(rows)

    tables = _tables(name, options) if options else None

    async def run() -> None:
        await verify_plugin(name, tables, told=told)

    # what a plugin prints would stand between the lines, and may hold a secret
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        trio.run(run)
    counts = Counter(row["result"] for row in rows)
    if as_json:
        print_json({"plugin": name, "ok": not counts["fault"], "counts": dict(counts), "checks": rows})
    else:
        told_counts = ", ".join(counted(counts[word], word) for word in ("fault", "warning") if counts[word])
        skipped = f"; {counts['skipped']} could not be checked" if counts["skipped"] else ""
        verdict = "[red]not well[/]" if counts["fault"] else "[green]ok[/]"
        out.print(f"{shown(name)}: {verdict}: {counted(len(rows), 'check')}, {told_counts or 'no fault'}{skipped}")
    if counts["fault"]:
        raise typer.Exit(1)


def _print(rows: list[dict[str, str]]) -> None:
    """The last of them, below a heading if it is the first of its subject."""
    row = rows[-1]
    if len(rows) == 1 or rows[-2]["of"] != row["of"]:
        out.print(f"[bold]{shown(row['of'])}[/]")
    text = f": {shown(row['text'])}" if row["text"] else ""
    out.print(f"  [{COLOURS[row['result']]}]{row['result']:<7}[/]  {shown(row['check'])}{text}")


def _tables(name: str, path: Path) -> "Tables":
    from sodarouter.config.document import Found, named_tables
    from sodarouter.config.include import read_main
    from sodarouter.config.tables import SourceTable
    from sodarouter.testing.installed import Tables

    found = Found()
    table: dict[str, Any] = read_main(path, found).table
    found.raise_any()
    destinations = {str(one.get("type", "")): one for one in named_tables(table, "destination").values()}
    sources, verifications = {}, {}
    for source in named_tables(table, "source").values():
        sources[str(source.get("type", ""))] = {
            key: value for key, value in source.items() if key not in SourceTable.model_fields
        }
        for entry in source.get("verify", ()):
            verifications[str(entry.get("type", ""))] = {key: value for key, value in entry.items() if key != "type"}
    return Tables(
        named_tables(table, "plugin").get(name, {}), destinations, path.absolute().parent, sources, verifications
    )
