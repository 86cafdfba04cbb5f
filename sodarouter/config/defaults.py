"""`[defaults]`: what destinations and routes inherit, each from its own file and from the main one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sodarouter.config.document import Document, Found, named_tables, table_at
from sodarouter.config.tables import DestinationTable
from sodarouter.decide import Route
from sodarouter.errors import Fault
from sodarouter.faults import dotted, suggestion
from sodarouter.options import Inherited
from sodarouter.plugins import AnyDestination


@dataclass(frozen=True)
class _Layer:
    """A table of defaults of one file."""

    document: Document
    keys: tuple[str, ...]

    @property
    def table(self) -> Mapping[str, Any]:
        return table_at(self.document.table, *self.keys)


def lay_defaults(documents: Sequence[Document]) -> None:
    """Completes the destinations and routes of all files, the main one first, by what they inherit.

    A file's own defaults are laid over those of the main one, and in each file those of a type over those of all
    destinations. A table's own keys win, whole; of a route's `match` every key by itself.
    """
    main = documents[0]
    fallbacks = {
        name: table.get("fallback")
        for document in documents
        for name, table in named_tables(document.table, "destination").items()
    }
    for document in documents:
        files = [main] if document is main else [main, document]
        destinations: Any = document.table.get("destination")
        for name, table in named_tables(document.table, "destination").items():
            layers = [_Layer(file, keys) for file in files for keys in _keys_of(table)]
            whole = _laid(document, ("destination", name), table, layers)
            if whole.get("mode") == "at-most-once" and "retry" not in table:
                whole.pop("retry", None)
            if "fallback" not in table and _leads_to(name, whole.get("fallback"), fallbacks):
                del whole["fallback"]
            destinations[name] = whole
        routes: Any = document.table.get("route")
        layers = [_Layer(file, ("defaults", "route")) for file in files]
        for number, route in enumerate(routes if isinstance(routes, list) else ()):
            if isinstance(route, dict):
                routes[number] = _route(document, number, route, layers)


def _keys_of(table: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield "defaults", "destination"
    if isinstance(kind := table.get("type"), str):
        yield "defaults", "type", kind


def _route(document: Document, number: int, route: dict[str, Any], layers: Iterable[_Layer]) -> dict[str, Any]:
    keys = ("route", number)
    whole = _laid(document, keys, route, layers)
    own = route.get("match", {})
    if "match" in whole and isinstance(own, dict):
        below = [_Layer(layer.document, (*layer.keys, "match")) for layer in layers]
        whole["match"] = _laid(document, (*keys, "match"), own, below)
    return whole


def _laid(
    document: Document, keys: Sequence[str | int], table: dict[str, Any], layers: Iterable[_Layer]
) -> dict[str, Any]:
    """The table over those that it inherits. What it inherits gets the place where it was written."""
    whole: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.table.items():
            elsewhere = layer.document is not document
            whole[key] = _from(layer.document.place.folder, value) if elsewhere else value
            if key not in table:
                document.origins.put(dotted(keys, [key]), layer.document.origins, dotted(layer.keys, [key]))
    return whole | table


def _from(folder: Path, value: Any) -> Any:
    match value:
        case str():
            return Inherited(value, folder)
        case list():
            return [_from(folder, inner) for inner in value]
        case dict():
            return {key: _from(folder, inner) for key, inner in value.items()}
    return value


def _leads_to(name: str, fallback: object, fallbacks: Mapping[str, object]) -> bool:
    """Whether a fallback is the destination itself, or hands on to it."""
    seen: set[object] = set()
    while isinstance(fallback, str) and fallback not in seen:
        if fallback == name:
            return True
        seen.add(fallback)
        fallback = fallbacks.get(fallback)
    return False


def check_route_defaults(document: Document, found: Found) -> None:
    """Adds the faults of what routes inherit."""
    keys = ("defaults", "route")
    table = dict(table_at(document.table, *keys))
    if "name" in table:
        del table["name"]
        found.add(Fault(dotted(keys, ["name"]), "cannot be inherited", "each route has its own"), document.origins)
    found.validated(Route, table, document, *keys, partial=True)


def check_destination_defaults(document: Document, types: Mapping[str, type[AnyDestination]], found: Found) -> None:
    """Adds the faults of what destinations inherit.

    Args:
        types: The destination types that there are.
    """
    table = dict(table_at(document.table, "defaults", "destination"))
    of_types = {key: name for name in sorted(types, reverse=True) for key in _options(types[name])}
    for key in of_types.keys() & table.keys() - DestinationTable.model_fields.keys():
        del table[key]
        place = dotted(["defaults", "destination", key])
        hint = f"write it under [defaults.type.{of_types[key]}]"
        found.add(Fault(place, "is no key of every destination", hint), document.origins)
    _check(None, table, document, ("defaults", "destination"), found)
    for name, options in named_tables(document.table, "defaults", "type").items():
        if name in types:
            _check(types[name], options, document, ("defaults", "type", name), found)
        else:
            hint = suggestion(name, types, otherwise="is its package installed?")
            place = dotted(["defaults", "type", name])
            found.add(Fault(place, f"no plugin offers {name!r}", hint), document.origins)


def _check(
    kind: type[AnyDestination] | None,
    table: Mapping[str, Any],
    document: Document,
    keys: Sequence[str],
    found: Found,
) -> None:
    if "type" in table:
        place = dotted(keys, ["type"])
        found.add(Fault(place, "cannot be inherited", "each destination has its own"), document.origins)
    own = {key: value for key, value in table.items() if key != "type"}
    if kind:
        core = {key: own.pop(key) for key in DestinationTable.model_fields.keys() & own.keys()}
        also = DestinationTable.model_fields
        found.validated(kind.options_type, own, document, *keys, also=also, partial=True)
    else:
        core = own
    found.validated(DestinationTable, {"type": ""} | core, document, *keys, partial=True)


def _options(kind: type[AnyDestination]) -> list[str]:
    return [info.alias or name for name, info in kind.options_type.model_fields.items()]
