"""Checks a plugin as it is installed: its distribution, its hooks, and everything that it offers."""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sodarouter import hookspecs
from sodarouter.delivery import Cause, Settled, State, Stats
from sodarouter.errors import ConfigError, PluginError
from sodarouter.failures import describe
from sodarouter.faults import suggestion
from sodarouter.health import FAILS, Checkup
from sodarouter.http import HttpRequest, HttpResponse
from sodarouter.options import Options, Place
from sodarouter.plugin import API_VERSION
from sodarouter.plugins import Found, Plugins, entry_point, find, installed
from sodarouter.redact import Redactor
from sodarouter.testing.checking import Checks
from sodarouter.testing.conformance import check_destination
from sodarouter.testing.enriching import checked_enricher
from sodarouter.testing.form import form_of_verification
from sodarouter.testing.making import validated
from sodarouter.testing.report import Check, DoubtfulError, NotCheckedError, NotWellError, Report
from sodarouter.testing.samples import MOMENT, sample_delivery, sample_events
from sodarouter.testing.translating import check_source
from sodarouter.testing.vetting import check_verification

OWN = "sodarouter"
"""The distribution of the built-in plugins."""

_NAMED = re.compile(r"(?i)sodarouter[-_.]")
_REQUIRED = re.compile(r"(?i)sodarouter(?![\w.-])")


@dataclass(frozen=True)
class Tables:
    """What a plugin is checked with: tables as `router.toml` has them."""

    plugin: Mapping[str, Any]
    """The keys of ``[plugin.NAME]``."""
    destinations: Mapping[str, Mapping[str, Any]]
    """Those of a ``[destination.NAME]``, by type; a type that is not here is checked with its own `example`."""
    folder: Path
    """Where relative paths start."""
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Those of a ``[source.NAME]`` that are its type's own, by type."""
    verifications: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Those of an entry in a source's ``verify``, by type."""


async def verify_plugin(
    name: str, tables: Tables | None = None, *, told: Callable[[str, Check], object] = lambda *_: None
) -> list[Report]:
    """Checks an installed plugin. Gives a report of the plugin itself, and one of each thing that it offers.

    Args:
        name: That of its entry point.
        tables: What to check it with, instead of its defaults and examples.
        told: Called with the subject and each check as it ends.

    Raises:
        PluginError: No such plugin is installed.
    """
    known = installed()
    if name not in known:
        hint = suggestion(name, known, otherwise="`sodarouter plugins` lists those that are")
        raise PluginError(f"no plugin {name!r} is installed; {hint}")
    tables = tables or Tables({}, {}, Path())
    place = Place(tables.folder)
    plugin = Plugin(*_loaded(name, tables, place))
    redact = Redactor(place.secrets)
    checks = Checks(Report(f"plugin {name}"), partial(told, f"plugin {name}"), redact)
    for check in PLUGIN:
        await checks.make(check, plugin)
    return [checks.report, *[report async for report in _offered(plugin, tables, redact, told)]]


async def _offered(
    plugin: "Plugin", tables: Tables, redact: Redactor, told: Callable[[str, Check], object]
) -> AsyncIterator[Report]:
    for kind in plugin.found.types:
        table = tables.destinations.get(kind.type)
        folder = tables.folder if table else None
        yield await check_destination(kind, table, folder=folder, told=partial(told, f"destination type {kind.type}"))
    for source in plugin.found.sources:
        table = tables.sources.get(source.type)
        folder = tables.folder if table else None
        yield await check_source(source, table, folder=folder, told=partial(told, f"source type {source.type}"))
    for verification in plugin.found.verifications:
        word = form_of_verification(verification).word
        table = tables.verifications.get(word)
        yield await check_verification(
            verification, table, folder=tables.folder, told=partial(told, f"verification type {word}")
        )
    if plugin.plugins.enrichers():
        name = plugin.found.name
        yield await checked_enricher(plugin.plugins, name, redact, partial(told, f"what plugin {name} adds to events"))


@dataclass(frozen=True)
class Plugin:
    """What is checked: a plugin, and the router's hold on it."""

    found: Found
    plugins: Plugins


def _loaded(name: str, tables: Tables, place: Place) -> tuple[Found, Plugins]:
    found = next(plugin for plugin in find(installed() - {name}) if plugin.name == name)
    options: dict[str, Options] = {}
    if found.options_type and (table := tables.plugin or found.target.example):
        try:
            options[name] = validated(found.options_type, table, place, "plugin", name)
        except ConfigError as error:
            raise PluginError("; ".join(map(str, error.faults))) from None
    return found, Plugins([found], options)


async def loads(plugin: Plugin) -> None:
    """The router can load it, and call its hooks"""
    if plugin.found.fault:
        raise NotWellError(plugin.found.fault)


async def offers(plugin: Plugin) -> None:
    """It offers or observes something"""
    found = plugin.found
    used = any(plugin.plugins.observers(hook) for hook in (*hookspecs.OBSERVERS, "enrich", "commands"))
    if not (found.fault or found.types or found.sources or found.verifications or found.routes or used):
        raise DoubtfulError("it offers no type, no page and no commands, and is told of nothing")


async def says_api(plugin: Plugin) -> None:
    """It says which version of the plugin API it was written for"""
    if plugin.found.api is None and plugin.found.distribution != OWN:
        raise DoubtfulError(
            f'put sodarouter_api = "{API_VERSION}" into its module: a router that is too old then says so'
        )


async def named(plugin: Plugin) -> None:
    """Its distribution is called sodarouter-…, so that people find it"""
    name = plugin.found.distribution
    if name != OWN and not _NAMED.match(name):
        raise DoubtfulError(f"it is called {name}")


async def requires_router(plugin: Plugin) -> None:
    """Its distribution requires sodarouter"""
    name = plugin.found.distribution
    _described(plugin)
    if name != OWN and not any(_REQUIRED.match(one) for one in requires(name) or ()):
        raise NotWellError('put "sodarouter" into the dependencies of its pyproject.toml')


async def presented(plugin: Plugin) -> None:
    """Its distribution has a summary and a README"""
    found = _described(plugin)
    for name, key in (("Summary", "description"), ("Description", "readme")):
        if not any(text.strip() for text in found.get_all(name) or ()):
            raise DoubtfulError(f"give its pyproject.toml a {key}")


async def typed(plugin: Plugin) -> None:
    """Type checkers read its annotations"""
    package = entry_point(plugin.found.name).module.partition(".")[0]
    spec = find_spec(package)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    if not folders:
        raise NotCheckedError("a single module cannot say so; only a package can hold a py.typed")
    if not any((folder / "py.typed").is_file() for folder in folders):
        raise DoubtfulError(f"put an empty file py.typed into {package}")


async def observes(plugin: Plugin) -> None:
    """It can be told of everything that happens"""
    for name, event in sample_events().items():
        delivery = sample_delivery(event)
        ends: tuple[tuple[State, str, Cause | None], ...] = (
            (State.DELIVERED, "", None),
            (State.PENDING, "busy", None),
            *((State.DEAD, "gone", cause) for cause in Cause),
        )
        settled = [
            Settled(delivery, event.type, event.source, MOMENT, state, 0.1, reason, cause)
            for state, reason, cause in ends
        ]
        calls: list[tuple[str, dict[str, Any]]] = [
            *(("event_accepted", {"event": event, "duplicate": duplicate}) for duplicate in (False, True)),
            ("event_refused", {"source": None, "status": 404, "reason": "not_found"}),
            ("event_refused", {"source": "soda", "status": 401, "reason": "unverified"}),
            *(("delivery_settled", {"settled": one}) for one in settled),
        ]
        for hook, arguments in calls:
            for _, call in plugin.plugins.observers(hook):
                try:
                    call(**arguments)
                except Exception as error:
                    raise NotWellError(f"{hook} fails at the sample {name}: {describe(error)}") from error


async def serves(plugin: Plugin) -> None:
    """Its pages answer"""

    async def stats() -> Stats:
        return Stats()

    for route in plugin.found.routes:
        for method in route.methods:
            request = HttpRequest(method, route.path, {}, {}, b"", stats)
            answer = route.handler(request)
            response = await answer if inspect.isawaitable(answer) else answer
            if not isinstance(response, HttpResponse):
                raise NotWellError(f"{method} {route.path} gives {response!r}, which is no HttpResponse")


async def says_health(plugin: Plugin) -> None:
    """Its health can be asked for"""
    for name, _, health in plugin.plugins.told_of_themselves():
        said = await Checkup(str)(f"plugin {name}", health) if health else ""
        if said.startswith(FAILS):
            raise NotWellError(said)


async def commands(plugin: Plugin) -> None:
    """Its commands can be asked for their help"""
    for _, call in plugin.plugins.observers("commands"):
        from typer import Typer
        from typer.testing import CliRunner

        given = call(config=Path("router.toml"))
        if not given or not isinstance(given[0], Typer):
            raise NotWellError(f"commands must give a typer.Typer, not {given[0] if given else None!r}")
        ran = CliRunner().invoke(given[0], ["--help"])
        if ran.exit_code:
            raise NotWellError(f"--help fails: {describe(ran.exception) if ran.exception else ran.output}")


PLUGIN: tuple[Callable[[Plugin], Awaitable[None]], ...] = (
    loads,
    says_api,
    offers,
    named,
    requires_router,
    presented,
    typed,
    observes,
    serves,
    says_health,
    commands,
)
"""The checks, in their order. What holds is the first line of the docstring."""


def _described(plugin: Plugin) -> PackageMetadata:
    try:
        return metadata(plugin.found.distribution)
    except PackageNotFoundError:
        raise NotCheckedError(f"{plugin.found.distribution} has no metadata") from None
