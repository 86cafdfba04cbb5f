"""Makes a configuration of destinations' tables alone, as they would stand in `router.toml`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sodarouter.config import Config
from sodarouter.config.destinations import configured
from sodarouter.config.document import Document, Found
from sodarouter.config.origins import Origins
from sodarouter.config.routing import routing_of
from sodarouter.config.tables import File
from sodarouter.contract import check_type
from sodarouter.decide import compile_rules
from sodarouter.errors import Fault, PluginError
from sodarouter.options import Place
from sodarouter.outgoing import Outgoing
from sodarouter.plugins import AnyDestination, Plugins, find
from sodarouter.plugins import Found as Plugin
from sodarouter.redact import Redactor

Table = Mapping[str, Any]
"""A destination's table as `router.toml` has it. Its ``type`` may also be the class itself, and a path a `Path`."""

LOOPBACK = Outgoing.model_validate({"allow": ["127.0.0.0/8", "::1"]})
"""Lets servers on this machine be reached."""


def configure(
    tables: Mapping[str, Table], targets: Mapping[str, object] | None, folder: Path, outgoing: Outgoing
) -> tuple[Config, frozenset[str]]:
    """The configuration, and the secrets in it.

    Args:
        tables: Of the destinations, by name.
        targets: What entry points would name, by their names. ``None``: what they do name, if a type is a word.
        folder: Where relative paths start.
        outgoing: What holds for the requests.

    Raises:
        ConfigError: With every fault of the tables.
        PluginError: A plugin or a class cannot be used.
    """
    plugins, types = _offered(tables, targets)
    table: dict[str, Any] = {"destination": {name: _written(table) for name, table in tables.items()}}
    found = Found()
    path = folder / "router.toml"
    document = Document(path, b"", table, Place(folder, found.secrets), Origins(path.name))
    file = found.validated(File, {"spool": {"path": "spool"}, "destination": {name: {} for name in tables}}, document)
    destinations = tuple(configured(document, types, outgoing, found))
    offered = plugins.types.values() if targets is None else ()
    for one in destinations:
        if one.isolated and one.kind not in offered:
            fault = "a process of its own finds only plugins that are installed"
            found.add(
                Fault(f"destination.{one.name}.isolation", fault, f'write type = "{one.kind.type}"'), document.origins
            )
    found.raise_any()
    assert file is not None  # noqa: S101 (without a fault there is one)
    routing = routing_of(file, {}, ())
    rules, redact = compile_rules(routing), Redactor(found.secrets)
    config = Config(
        path, (path,), "", file, (), destinations, routing, rules, plugins, redact, document.origins, warnings=()
    )
    return config, frozenset(found.secrets)


def _offered(
    tables: Mapping[str, Table], targets: Mapping[str, object] | None
) -> tuple[Plugins, dict[str, type[AnyDestination]]]:
    given = [table.get("type") for table in tables.values()]
    classes: dict[str, type[AnyDestination]] = {}
    for kind in given:
        if isinstance(kind, type):
            check_type(kind)
            classes[kind.type] = kind  # type: ignore[attr-defined]  # that was checked
    found: Iterable[Plugin] = []
    if targets is not None:
        found = [Plugin(name, name, "0", target) for name, target in targets.items()]
    elif not all(isinstance(kind, type) for kind in given):
        found = find()
    plugins = Plugins(found, {})
    if targets is not None and (broken := plugins.faults()):
        raise PluginError("\n".join(f"{fault.place}: {fault.fault}" for fault in broken))
    return plugins, plugins.types | classes


def named(tables: Iterable[Table]) -> dict[str, Table]:
    """The tables, each by its type; the second of a type is ``TYPE-2``."""
    taken: dict[str, int] = {}
    found: dict[str, Table] = {}
    for table in tables:
        kind = table.get("type", "destination")
        word = str(getattr(kind, "type", kind))
        taken[word] = taken.get(word, 0) + 1
        found[word if taken[word] == 1 else f"{word}-{taken[word]}"] = dict(table)
    return found


def _written(value: Any) -> Any:
    """A value as TOML would give it."""
    match value:
        case Path():
            return str(value)
        case Mapping():
            return {key: _written(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_written(inner) for inner in value]
        case type():
            return getattr(value, "type", value)
    return value
