"""``sodarouter schema``: what an editor completes and checks `router.toml` by."""

from pathlib import Path
from typing import Annotated

import typer

from sodarouter.cli.app import SET_UP, ConfigOption, app, config_path, fail
from sodarouter.cli.output import print_error, print_json
from sodarouter.config import plugins_of
from sodarouter.faults import suggestion


@app.command(rich_help_panel=SET_UP)
def schema(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A destination type, or else a plugin.", show_default=False)
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print the JSON Schema of router.toml with all that is installed, for editors; or that of one kind of table.

    The configuration need not be there; of one that is, the tables of plugins are used that need some.
    """
    from sodarouter.config.schema import file_schema, options_schema  # pydantic's generator takes a while to load

    path: Path = config_path(context, config)
    plugins, options, faults = plugins_of(path)
    for fault in faults:
        print_error(f"left out: {fault}")
    if name is None:
        print_json(file_schema(plugins, options))
    elif name in plugins.types:
        print_json(options_schema(name, plugins.types[name].options_type, of_type=True))
    elif name in options:
        print_json(options_schema(name, options[name], of_type=False))
    else:
        hint = suggestion(name, [*plugins.types, *options])
        what = f"there is no destination type {name!r}, and no plugin of that name that has options"
        raise fail(what + (f"; {hint}" if hint else ""), 2)
