"""``sodarouter reload``: the running router takes the configuration that the file has."""

import typer

from sodarouter.cli.acting import acting
from sodarouter.cli.app import SET_UP, ConfigOption, JsonOption, app, config_path
from sodarouter.cli.output import err, out, print_json, shown


@app.command(rich_help_panel=SET_UP)
def reload(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Have the running router load its configuration anew. If that has a fault, everything stays as it was.

    All that can fail is done before anything live is touched. Exit status 2 if there is a fault.
    """
    path = config_path(context, config)
    with acting(path) as doing:
        loaded = doing.reload()
    if as_json:
        print_json({"config": loaded.config, "faults": loaded.faults})
    elif loaded.faults:
        for fault in loaded.faults:
            err.print(shown(fault))
        err.print(f"nothing was changed: the router goes on with the configuration {shown(loaded.config)}")
    else:
        out.print(f"the router runs with the configuration {shown(loaded.config)} now")
    if loaded.faults:
        raise typer.Exit(2)
