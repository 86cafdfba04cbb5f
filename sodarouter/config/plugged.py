"""`[plugin.NAME]`: the plugins, made with the options of their tables."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sodarouter.config.document import Document, Found, named_tables
from sodarouter.config.include import read_main
from sodarouter.config.origins import Origins
from sodarouter.config.tables import DestinationTable, File, PluginsTable, SourceTable
from sodarouter.errors import ConfigError, Fault
from sodarouter.faults import suggestion
from sodarouter.options import Given, Options, Place
from sodarouter.plugins import Found as FoundPlugin
from sodarouter.plugins import Plugins, find, installed
from sodarouter.redact import Redactor


def load_plugins(file: File, main: Document, found: Found, redact: Redactor) -> Plugins:
    """All that are installed and not disabled. Their faults are added, and `redact` gets to know their secrets."""
    loaded = find(file.plugins.disabled)
    by_name = {plugin.name: plugin for plugin in loaded}
    # a disabled plugin may keep its table
    for name in (name for name in file.plugin if name not in file.plugins.disabled):
        plugin = by_name.get(name)
        if plugin is None:
            found.add(Fault(f"plugin.{name}", "no such plugin is installed", suggestion(name, by_name)), main.origins)
        elif plugin.options_type is None and not plugin.fault:
            found.add(Fault(f"plugin.{name}", "this plugin has no options", "leave the table out"), main.origins)
    plugins = _made(loaded, file.plugin, main, found, redact)
    for thing, kinds, table in (
        ("destination", plugins.types, DestinationTable),
        ("source", plugins.sources, SourceTable),
    ):
        for kind in kinds.values():
            if taken := kind.options_type.model_fields.keys() & table.model_fields.keys():
                what = f"its options {', '.join(sorted(taken))} are keys that every {thing} has already"
                fault = Fault(f"the {thing} type {kind.type}", what, "its author has to rename them")
                found.add(fault, main.origins)
    return plugins


def load_plugin(path: Path, name: str, redact: Redactor, *, needed: bool) -> Plugins:
    """One plugin alone, made with the options of its table; nothing else of the file is validated.

    Args:
        name: Of a plugin that is installed.
        redact: Gets to know its secrets before it is made.
        needed: Whether it is a fault if there is no such file; else it is as if it were empty.

    Raises:
        ConfigError: The file or the plugin cannot be used, or the plugin is disabled in it.
    """
    found = Found()
    main = read_main(path, found) if needed or path.exists() else _empty(path, found)
    table = found.validated(PluginsTable, main.table.get("plugins", {}), main, "plugins")
    if table and name in table.disabled:
        found.add(Fault("plugins.disabled", f"the plugin {name} is disabled", "take its name out"), main.origins)
    found.raise_any()
    plugins = _made(find(installed() - {name}), named_tables(main.table, "plugin"), main, found, redact)
    found.raise_any()
    return plugins


class Installed(NamedTuple):
    """The plugins that are installed, as far as they can be used."""

    plugins: Plugins
    options: dict[str, type[Options]]
    """The models of those that have some, by their names; also of those that cannot be used."""
    faults: list[Fault]
    """Of those that cannot."""


def plugins_of(path: Path) -> Installed:
    """All plugins that are installed, made with what the file says of them if it can be read. Nothing else is validated."""
    found = Found()
    main = _empty(path, found)
    if path.exists():
        with suppress(ConfigError):  # what is wrong with a file that is being written is not what is asked
            main = read_main(path, found)
    loaded = find()
    options = {plugin.name: plugin.options_type for plugin in loaded if plugin.options_type}
    made = _made(loaded, named_tables(main.table, "plugin"), main, found, Redactor())
    unmade = [str(plugin) for plugin in loaded if all(plugin is not other for other in made.found)]
    told = [Fault(plugin, "its options have faults, which sodarouter check tells") for plugin in unmade]
    return Installed(made, options, [*made.faults(), *told])


def _empty(path: Path, found: Found) -> Document:
    return Document(path, b"", {}, Place(path.absolute().parent, found.secrets), Origins(path.name))


def _made(
    loaded: Iterable[FoundPlugin],
    tables: Mapping[str, Mapping[str, Any]],
    main: Document,
    found: Found,
    redact: Redactor,
) -> Plugins:
    """Plugins with the options of their tables. Their faults are added."""
    options: dict[str, Options] = {}
    usable = []
    for plugin in loaded:
        if plugin.options_type is None or plugin.fault:
            usable.append(plugin)
            continue
        keys = ("plugin", plugin.name)
        table, by_itself = tables.get(plugin.name, {}), replace(main, place=main.place.apart())
        made = found.validated(plugin.options_type, table, by_itself, *keys)
        plugin.given = Given.at(by_itself.place, table)
        if made is not None:
            options[plugin.name] = made
            usable.append(plugin)
    redact.learn(found.secrets)
    plugins = Plugins(usable, options, redact)
    for fault in plugins.faults():
        found.add(fault, main.origins)
    return plugins
