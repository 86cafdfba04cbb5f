"""`router.toml`: read, validated whole, and made into what the daemon runs on. All that can be found is told at once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sodarouter.config.advice import advise
from sodarouter.config.crossed import crossed, fixed
from sodarouter.config.defaults import check_destination_defaults, check_route_defaults, lay_defaults
from sodarouter.config.destinations import ConfiguredDestination, configured
from sodarouter.config.document import Document, Found, OptionsT, named_tables
from sodarouter.config.include import read, read_main
from sodarouter.config.merge import merge
from sodarouter.config.origins import Origins
from sodarouter.config.plugged import load_plugins
from sodarouter.config.refused import refused
from sodarouter.config.routing import destination_tables, routing_of
from sodarouter.config.sources import ConfiguredSource, configured_sources
from sodarouter.config.tables import File
from sodarouter.config.teams import TeamsFile, read_teams
from sodarouter.decide import Routing, Rules, compile_rules
from sodarouter.errors import Fault
from sodarouter.plugins import Plugins
from sodarouter.redact import Redactor
from sodarouter.source import SODA
from sodarouter.translate import Translator


@dataclass(frozen=True)
class Config:
    """A configuration without a fault."""

    path: Path
    files: tuple[Path, ...]
    """All that it was read from: the one of `path`, then those that it includes, then those of teams."""
    hash: str
    """12 hex digits that change with any of the files: the first of the SHA-256 of the file, if it is the only one."""
    file: File
    sources: tuple[ConfiguredSource, ...]
    destinations: tuple[ConfiguredDestination, ...]
    routing: Routing
    """What of it decides."""
    rules: Rules
    """What ``routing`` is compiled into."""
    plugins: Plugins
    redact: Redactor
    origins: Origins
    """Where each of its parts stands: makes a place in `file` the place that is told to people."""
    warnings: tuple[Fault, ...]
    """What an operator should know and may want."""

    def translator(self, source: str) -> Translator | None:
        """What reads the bodies of a source, if it is there and its sender does not speak as Soda does."""
        return next((one.translator for one in self.sources if one.name == source), None)


def load(path: Path, running: Config | None = None) -> Config:
    """Reads, validates and compiles a configuration, and loads the plugins for it.

    Args:
        path: The file.
        running: The configuration that is in use, if this one is to take its place: its plugins stay as they are, and
            what cannot change without a restart is a fault.

    Raises:
        ConfigError: With every fault that was found, each with its file and its place in it.
    """
    found = Found()
    documents = read(path, found)
    lay_defaults(documents)
    for document in documents:
        check_route_defaults(document, found)
    file, origins = merge(documents, found)
    redact = running.redact if running else Redactor()
    plugins = running.plugins if running else load_plugins(file, documents[0], found, redact)
    if running:
        for fault in fixed(running.file, file, found.unsure):
            found.add(fault, origins)
    sources = tuple(configured_sources(documents[0], plugins, file.server.max_body, redact, found))
    for document in documents:
        check_destination_defaults(document, plugins.types, found)
    destinations = tuple(
        one for document in documents for one in configured(document, plugins.types, file.outgoing, found)
    )
    if "outgoing" not in found.unsure:
        for fault in refused(destinations, file.outgoing):
            found.add(fault, origins)
    for fault in crossed(file, destination_tables(documents), found.unsure):
        found.add(fault, origins)
    teams = read_teams(file.teams.files, documents[0], found)
    found.raise_any()
    order_by = {one.name: one.table.order_by for one in destinations if one.table.order_by}
    routing = routing_of(file, order_by, teams)
    rules = compile_rules(routing)
    redact.learn(found.secrets)
    # what is inherited is told of once
    enriching = [name for name, _ in plugins.observers("enrich")]
    warnings = tuple(dict.fromkeys(origins.told(advice) for advice in advise(file, routing.team, enriching)))
    files = (*(document.path for document in documents), *(one.path for one in teams))
    return Config(
        path,
        files,
        _hash(documents, teams),
        file,
        sources,
        destinations,
        routing,
        rules,
        plugins,
        redact,
        origins,
        warnings,
    )


def load_table(path: Path, name: str, model: type[OptionsT]) -> OptionsT:
    """One table of the file alone: for commands that need no more of it, and no secrets of the rest.

    Args:
        name: Of a table that no included file can have.

    Raises:
        ConfigError: The file cannot be read, or the table has faults.
    """
    found = Found()
    document = read_main(path, found)
    table = found.validated(model, document.table.get(name, {}), document, name)
    found.raise_any()
    assert table is not None  # noqa: S101 (without a fault there is one)
    return table


def destination_types(path: Path) -> dict[str, str]:
    """The destinations of all files, each with its type. Nothing of them is validated, so no secret is read.

    Raises:
        ConfigError: One of the files cannot be read.
    """
    found = Found()
    tables = destination_tables(read(path, found))
    found.raise_any()
    return {name: str(table.get("type", "")) for name, table in tables.items()}


def source_names(path: Path) -> list[str]:
    """The sources. Nothing of them is validated, so no secret is read.

    Raises:
        ConfigError: The file cannot be read.
    """
    return list(named_tables(read_main(path, Found()).table, "source"))


def translators(path: Path) -> dict[str, Translator]:
    """What reads the bodies of sources whose senders do not speak as Soda does, by their names.

    Only if there is one is the whole configuration validated, with its secrets.

    Raises:
        ConfigError: The file cannot be read, or has a fault.
    """
    tables = named_tables(read_main(path, Found()).table, "source")
    if all(table.get("type", SODA) == SODA for table in tables.values()):
        return {}
    return {one.name: one.translator for one in load(path).sources if one.translator}


def _hash(documents: Sequence[Document], teams: Sequence[TeamsFile]) -> str:
    main, *included = documents
    digest = hashlib.sha256(main.content)
    others = [*((one.name, one.content) for one in included), *((one.name, one.content) for one in teams)]
    for name, content in others:
        digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:12]
