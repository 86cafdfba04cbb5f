"""What of a configuration decides: found also where the secrets and the plugins of the rest are not at hand."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sodarouter.config.crossed import crossed
from sodarouter.config.defaults import check_route_defaults, lay_defaults
from sodarouter.config.document import Document, Found, named_tables
from sodarouter.config.include import INCLUDABLE, read
from sodarouter.config.merge import merge
from sodarouter.config.tables import DestinationTable, File
from sodarouter.config.teams import TeamsFile, read_teams
from sodarouter.decide import OrderBy, Routing

DECIDING = frozenset({"include", *INCLUDABLE, "unrouted", "teams"})
"""The tables that decide, and those that lead to them."""


def load_routing(path: Path) -> Routing:
    """What of a configuration decides, with its included files, what they inherit and its files of teams.

    The other tables are not looked at, and of destinations only the keys that all of them have. So no secret is read, and
    no plugin needs to be installed: for a machine that is to try a configuration, and not to run it.

    Args:
        path: The file.

    Raises:
        ConfigError: With every fault that was found in these parts, each with its file and its place in it.
    """
    found = Found()
    documents = read(path, found)
    main = documents[0]
    for name in File.model_fields.keys() - DECIDING:
        main.table.pop(name, None)
        found.unsure.add(name)
    lay_defaults(documents)
    for document in documents:
        check_route_defaults(document, found)
    file, origins = merge(documents, found)
    order_by = {name: by for document in documents for name, by in _ordered(document, found)}
    for fault in crossed(file, destination_tables(documents), found.unsure):
        found.add(fault, origins)
    teams = read_teams(file.teams.files, main, found)
    found.raise_any()
    return routing_of(file, order_by, teams)


def routing_of(file: File, order_by: Mapping[str, OrderBy], teams: Sequence[TeamsFile]) -> Routing:
    """What of a whole configuration decides.

    Args:
        order_by: Of the destinations that have one.
        teams: The files of teams.
    """
    return Routing(
        route=file.route,
        unrouted=file.unrouted.to,
        order_by=dict(order_by),
        team=[*file.team, *(team for one in teams for team in one.teams)],
        window=file.window,
    )


def destination_tables(documents: Sequence[Document]) -> dict[str, dict[str, Any]]:
    """The destinations of all files as they are written. Of two of one name, the first."""
    tables: dict[str, dict[str, Any]] = {}
    for document in documents:
        for name, table in named_tables(document.table, "destination").items():
            tables.setdefault(name, table)
    return tables


def _ordered(document: Document, found: Found) -> Iterable[tuple[str, OrderBy]]:
    for name, table in named_tables(document.table, "destination").items():
        core = {key: value for key, value in table.items() if key in DestinationTable.model_fields}
        made = found.validated(DestinationTable, core, document, "destination", name)
        if made is not None and made.order_by:
            yield name, made.order_by
