"""``sodarouter PLUGIN …``: commands of plugins. One is loaded when its name is typed, and none for any other command."""

from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from sodarouter import logs
from sodarouter.config import load_plugin
from sodarouter.distributions import OWN, distribution_of, plugin_entries
from sodarouter.errors import ConfigError, PluginError
from sodarouter.failures import describe, leaves
from sodarouter.faults import in_words, nearest
from sodarouter.redact import Redactor

DEFAULT_CONFIG = Path("router.toml")
"""The configuration that every command is about unless another is named."""

_BLAMED = "sodarouter.plugin"
"""The key of a context's ``meta`` under which a plugin stands whose command is run, with what knows its secrets."""


class Commands(TyperGroup):
    """The router's own commands and, behind them, those of plugins.

    typer has a copy of click inside in some versions and click itself in others, so their types are not named.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        return own if own is not None or cmd_name not in _names() else _command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        typed = args[0]
        unknown = typed not in self.commands and typed not in _names()
        if unknown and (meant := nearest(typed, [*self.commands, *_names(others=True)])):
            ctx.fail(f"No such command {typed!r}. Did you mean {meant!r}?")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if names := _names(others=True):
            self.epilog = f"Installed plugins may have commands too, under their names: {', '.join(names)}."
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(error.__cause__, ValidationError) and hasattr(error, "message"):
                error.message = in_words(error.__cause__)
            if _BLAMED not in ctx.meta or _is_said(error):
                raise
            plugin, redact = ctx.meta[_BLAMED]
            raise PluginError(f"{plugin}: {redact(describe(leaves(error)[0]))}") from None


def _names(*, others: bool = False) -> list[str]:
    """The plugins that are installed; nothing of them is imported.

    Args:
        others: Without those that come with the router.
    """
    found = plugin_entries()
    return sorted({entry.name for entry in found if not (others and distribution_of(entry)[0] == OWN)})


def _command(context: Any, name: str) -> Any:
    given: Path | None = context.params.get("config")
    path = given or DEFAULT_CONFIG
    redact = Redactor()
    # before any of its code runs: what it prints and logs goes where that of a router does, without secrets
    logs.set_up("info", "auto", redact)
    plugins = load_plugin(path, name, redact, needed=given is not None)
    (plugin,) = plugins.found
    calls = plugins.observers("commands")
    if not calls:
        context.fail(f"No such command {name!r}. The plugin of that name has no commands.")
    try:
        answers = calls[0][1](config=path)
        if not answers or not isinstance(answers[0], typer.Typer):
            raise PluginError(f"commands must give a typer.Typer, not {answers[0] if answers else None!r}")  # noqa: TRY301
        command = typer.main.get_command(answers[0])
    except Exception as error:  # the plugin's own code runs here
        what = str(error) if isinstance(error, PluginError) else f"commands fails: {describe(leaves(error)[0])}"
        raise PluginError(f"{plugin}: {redact(what)}") from None
    context.meta[_BLAMED] = plugin, redact
    return command


def _is_said(error: Exception) -> bool:
    """Whether it is how a command ends, or what every command tells alike."""
    ends = isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code")
    return ends or isinstance(error, ConfigError | BrokenPipeError)
