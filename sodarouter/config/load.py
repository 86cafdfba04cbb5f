"""`router.toml`: read, validated whole, and made into what the daemon runs on. Every fault is found before any is told."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import tomli
from pydantic import ValidationError

from sodarouter.config.advice import advise
from sodarouter.config.crossed import crossed, fixed
from sodarouter.config.tables import DestinationTable, File
from sodarouter.decide import Rules, compile_rules
from sodarouter.errors import ConfigError, Fault
from sodarouter.faults import dotted, faults, nearest, suggestion, without_type
from sodarouter.options import Options, Place
from sodarouter.plugins import AnyDestination, Plugins, find
from sodarouter.redact import Redactor

OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True)
class ConfiguredDestination:
    """A destination with the core's keys and its own, ready to be made."""

    name: str
    kind: type[AnyDestination]
    table: DestinationTable
    options: Options

    @property
    def concurrency(self) -> int:
        return self.table.concurrency or self.kind.default_concurrency


@dataclass(frozen=True)
class Config:
    """A configuration without a fault."""

    path: Path
    hash: str
    """The first 12 hex digits of the SHA-256 of the file."""
    file: File
    destinations: tuple[ConfiguredDestination, ...]
    rules: Rules
    plugins: Plugins
    redact: Redactor

    def warnings(self) -> Iterator[Fault]:
        """What an operator should know and may want."""
        for advice in advise(self.file):
            yield replace(advice, place=f"{self.path.name}: {advice.place}")


def load(path: Path, running: Config | None = None) -> Config:
    """Reads, validates and compiles a configuration, and loads the plugins for it.

    Args:
        path: The file.
        running: The configuration that is in use, if this one is to take its place: its plugins stay as they are, and
            what cannot change without a restart is a fault.

    Raises:
        ConfigError: With every fault that was found, each with its place.
    """
    place = Place(path.absolute().parent)
    content = _read(path)
    document = _parsed(path, content)
    found: list[Fault] = []
    file = _validated(File, document, place, found)
    # nothing is said of what is missing because a table is misspelt or broken
    unsure = {nearest(key, File.model_fields) for key in document if key not in File.model_fields}
    if file is None:
        # what can be judged beside the broken tables is judged all the same, so that every fault is told at once
        unsure |= {fault.place.partition(".")[0].partition("[")[0] for fault in found}
        whole = {key: table for key, table in document.items() if key in File.model_fields and key not in unsure}
        file = File.model_validate({"spool": {}} | whole, context=place)
    plugins = running.plugins if running else _plugins(file, place, found)
    if running:
        found.extend(fixed(running.file, file, unsure))
    destinations = tuple(_destinations(document, plugins, place, found))
    found.extend(crossed(file, _tables(document, "destination"), unsure))
    if found:
        raise _config_error(path, found, place)
    order_by = {one.name: one.table.order_by for one in destinations if one.table.order_by}
    rules = compile_rules(file.route, file.unrouted.to, order_by)
    redact = running.redact if running else Redactor()
    redact.learn(place.secrets)
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Config(path, digest, file, destinations, rules, plugins, redact)


def load_table(path: Path, name: str, model: type[OptionsT]) -> OptionsT:
    """One table alone: for commands that need no more of the file, and no secrets of the rest.

    Raises:
        ConfigError: The file cannot be read, or the table has faults.
    """
    found: list[Fault] = []
    place = Place(path.absolute().parent)
    table = _validated(model, _parsed(path, _read(path)).get(name, {}), place, found, name)
    if table is None:
        raise _config_error(path, found, place)
    return table


def destination_types(path: Path) -> dict[str, str]:
    """The destinations of a file, each with its type. Nothing of them is validated, so no secret is read.

    Raises:
        ConfigError: The file cannot be read.
    """
    tables = _tables(_parsed(path, _read(path)), "destination")
    return {name: str(table.get("type", "")) for name, table in tables.items()}


def _config_error(path: Path, found: Iterable[Fault], place: Place) -> ConfigError:
    redact = Redactor(place.secrets)
    told = [Fault(f"{path.name}: {f.place}", redact(f.fault), redact(f.hint)) for f in dict.fromkeys(found)]
    return ConfigError(told)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError([Fault(str(path), "there is no such file", "name another with --config")]) from None
    except OSError as error:
        raise ConfigError([Fault(str(path), f"cannot be read: {(error.strerror or '').lower()}")]) from None


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        # its default path too starts at the folder of the file, so the table is always validated
        return {"spool": {}} | tomli.loads(content.decode().replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise ConfigError([Fault(path.name, f"is not UTF-8 at byte {error.start}")]) from None
    except tomli.TOMLDecodeError as error:
        said = error.msg[:1].lower() + error.msg[1:]
        raise ConfigError([Fault(f"{path.name}:{error.lineno}:{error.colno}", f"is not TOML: {said}")]) from None


def _validated(
    model: type[OptionsT],
    table: Mapping[str, Any],
    place: Place,
    found: list[Fault],
    *keys: str,
    also: Iterable[str] = (),
) -> OptionsT | None:
    try:
        return model.model_validate(table, context=place)
    except ValidationError as error:
        found.extend(faults(error, model, table, *keys, also=also))
        return None


def _plugins(file: File, place: Place, found: list[Fault]) -> Plugins:
    loaded = find(file.plugins.disabled)
    by_name = {plugin.name: plugin for plugin in loaded}
    # a disabled plugin may keep its table
    for name in (name for name in file.plugin if name not in file.plugins.disabled):
        plugin = by_name.get(name)
        if plugin is None:
            found.append(Fault(f"plugin.{name}", "no such plugin is installed", suggestion(name, by_name)))
        elif plugin.options_type is None and not plugin.fault:
            found.append(Fault(f"plugin.{name}", "this plugin has no options", "leave the table out"))
    options: dict[str, Options] = {}
    usable = []
    for plugin in loaded:
        if plugin.options_type is None or plugin.fault:
            usable.append(plugin)
            continue
        keys = ("plugin", plugin.name)
        made = _validated(plugin.options_type, file.plugin.get(plugin.name, {}), place, found, *keys)
        if made is not None:
            options[plugin.name] = made
            usable.append(plugin)
    plugins = Plugins(usable, options)
    found.extend(plugins.faults())
    for kind in plugins.types.values():
        taken = kind.options_type.model_fields.keys() & DestinationTable.model_fields.keys()
        if taken:
            what = f"its options {', '.join(sorted(taken))} are keys that every destination has already"
            found.append(Fault(f"the destination type {kind.type}", what, "its author has to rename them"))
    return plugins


def _tables(document: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """The named tables under a key, but for those that are no tables."""
    named = document.get(key)
    return {n: table for n, table in named.items() if isinstance(table, dict)} if isinstance(named, dict) else {}


def _destinations(
    document: Mapping[str, Any], plugins: Plugins, place: Place, found: list[Fault]
) -> Iterator[ConfiguredDestination]:
    for name, table in _tables(document, "destination").items():
        keys = ("destination", name)
        kind = _kind(table, plugins, dotted(keys), found)
        if kind is None:
            continue  # without its type nothing more can be said of a table
        core = {key: value for key, value in table.items() if key in DestinationTable.model_fields}
        own = {key: value for key, value in table.items() if key not in core}
        made = _validated(DestinationTable, core, place, found, *keys)
        options = _validated(kind.options_type, own, place, found, *keys, also=DestinationTable.model_fields)
        if made is not None and options is not None:
            yield ConfiguredDestination(name, kind, made, options)


def _kind(table: Mapping[str, Any], plugins: Plugins, place: str, found: list[Fault]) -> type[AnyDestination] | None:
    offered = sorted(plugins.types)
    if "type" not in table:
        found.append(without_type(place, table, offered))
        return None
    name = table["type"]
    if not isinstance(name, str):
        found.append(Fault(f"{place}.type", "must be text", f"one of {', '.join(offered)}"))
        return None
    if name not in plugins.types:
        hint = suggestion(name, offered, otherwise="is its package installed?")
        found.append(Fault(f"{place}.type", f"no plugin offers {name!r}", hint))
    return plugins.types.get(name)
