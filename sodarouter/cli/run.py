"""``sodarouter --config router.toml``: runs the router."""

from importlib.metadata import version
from typing import Annotated

import typer

from sodarouter.cli.app import ConfigOption, app, config_path
from sodarouter.errors import SodarouterError
from sodarouter.failures import leaves


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"sodarouter {version('sodarouter')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    config: ConfigOption = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Takes in Soda Cloud webhooks, makes them durable, and delivers them to where router.toml says.

    Without a command, `sodarouter --config router.toml` runs the router until SIGTERM or Ctrl-C. The commands look at
    what it has taken in and delivered and act on what went wrong, while it runs and while it does not.

    Try it: `sodarouter simulate incidentCreated --post soda`, then `sodarouter events`.
    """
    if context.invoked_subcommand is not None:
        return
    # not at the top: the commands that only look need not wait for the daemon's imports
    import trio

    from sodarouter import logs
    from sodarouter.config import load
    from sodarouter.process import run_until_signalled

    loaded = load(config_path(context, config))
    logs.set_up(loaded.file.log.level, loaded.file.log.format, loaded.redact)
    try:
        trio.run(run_until_signalled, loaded)
    except BaseExceptionGroup as group:
        raise _known(group) or group from None


def _known(group: BaseExceptionGroup[BaseException]) -> SodarouterError | None:
    """The first error in a group that holds none but the router's own."""
    errors = leaves(group)
    known = [error for error in errors if isinstance(error, SodarouterError)]
    return known[0] if len(known) == len(errors) else None
