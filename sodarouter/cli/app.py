"""The command line's root: what every command shares."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sodarouter.cli.output import print_error
from sodarouter.cli.own_commands import MODULES, OwnCommands
from sodarouter.cli.plugin_commands import DEFAULT_CONFIG, Commands
from sodarouter.spool import LARGEST

SET_UP, LOOK, ACT = "Set up", "Look", "Act"
"""The headings of the commands in the help."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="The configuration; router.toml by default.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=LARGEST, help="How many at most, the newest first.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]
BeforeOption = Annotated[
    str | None, typer.Option("--before", metavar="ID", help="Go on after this one of the last list.")
]


class Root(Commands):
    """The group that all commands are in; the router's own are imported when they are asked for."""

    def __init__(self, *, commands: Any = None, **known: Any) -> None:
        super().__init__(commands=commands, **known)
        self.imported = commands
        self.commands: Any = OwnCommands(lambda: typer.main.get_command(app).imported)  # type: ignore[attr-defined]


app = typer.Typer(
    name="sodarouter",
    cls=Root,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def config_path(context: typer.Context, given: Path | None) -> Path:
    """The file named after the command, else before it, else ``router.toml`` here."""
    above = context.parent
    while given is None and above is not None:
        given, above = above.params.get("config"), above.parent
    return given or DEFAULT_CONFIG


def own_commands() -> set[str]:
    """The names of the router's own commands, which go before those of plugins."""
    return set(MODULES)


def fail(message: str, status: int = 1) -> typer.Exit:
    """Prints a message on standard error; raise what this returns."""
    print_error(message)
    return typer.Exit(status)
