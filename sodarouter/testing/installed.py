"""Checks a plugin as it is installed: its distribution, its hooks, and each destination type that it offers."""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sodarouter.delivery import Cause, Settled, State, Stats
from sodarouter.errors import PluginError
from sodarouter.failures import describe
from sodarouter.faults import faults, suggestion
from sodarouter.http import HttpRequest, HttpResponse
from sodarouter.options import Options, Place
from sodarouter.plugins import Found, Plugins, entry_point, find, installed
from sodarouter.redact import Redactor
from sodarouter.testing.conformance import check_destination, checked
from sodarouter.testing.report import Check, DoubtfulError, NotCheckedError, NotWellError, Report
from sodarouter.testing.samples import MOMENT, sample_delivery, sample_events

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


async def verify_plugin(
    name: str, tables: Tables | None = None, *, told: Callable[[str, Check], object] = lambda *_: None
) -> list[Report]:
    """Checks an installed plugin. Gives a report of the plugin itself, and one of each destination type.

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
    report = Report(f"plugin {name}")
    for check in PLUGIN:
        ended = await checked(partial(check, plugin), check, redact)
        report.checks.append(ended)
        told(report.subject, ended)
    reports = [report]
    for kind in plugin.found.types:
        table = tables.destinations.get(kind.type)
        subject = f"destination type {kind.type}"
        reports.append(
            await check_destination(kind, table, folder=tables.folder if table else None, told=partial(told, subject))
        )
    return reports


@dataclass(frozen=True)
class Plugin:
    """What is checked: a plugin, and the router's hold on it."""

    found: Found
    plugins: Plugins


def _loaded(name: str, tables: Tables, place: Place) -> tuple[Found, Plugins]:
    found = next(plugin for plugin in find(installed() - {name}) if plugin.name == name)
    options: dict[str, Options] = {}
    if found.options_type and tables.plugin:
        try:
            options[name] = found.options_type.model_validate(tables.plugin, context=place)
        except ValidationError as error:
            told = faults(error, found.options_type, tables.plugin, "plugin", name)
            raise PluginError(Redactor(place.secrets)("; ".join(map(str, told)))) from None
    return found, Plugins([found], options)


async def loads(plugin: Plugin) -> None:
    """The router can load it, and call its hooks"""
    if plugin.found.fault:
        raise NotWellError(plugin.found.fault)


async def offers(plugin: Plugin) -> None:
    """It offers or observes something"""
    observed = any(plugin.plugins.observers(hook) for hook in _TOLD)
    if not (plugin.found.fault or plugin.found.types or plugin.found.routes or observed):
        raise DoubtfulError("it offers no destination type and no page, and is told of nothing")


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
    for field, key in (("Summary", "description"), ("Description", "readme")):
        if not any(text.strip() for text in found.get_all(field) or ()):
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
            *(("event_refused", {"source": source, "status": 401, "reason": "forbidden"}) for source in (None, "soda")),
            *(("delivery_settled", {"settled": one}) for one in settled),
        ]
        for hook, arguments in calls:
            for _, call in plugin.plugins.observers(hook):
                try:
                    call(**arguments)
                except Exception as error:
                    raise NotWellError(f"{hook} fails at the sample {name}: {describe(error)}") from error


_TOLD = ("event_accepted", "event_refused", "delivery_settled")


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


PLUGIN: tuple[Callable[[Plugin], Awaitable[None]], ...] = (
    loads,
    offers,
    named,
    requires_router,
    presented,
    typed,
    observes,
    serves,
)
"""The checks, in their order. What holds is the first line of the docstring."""


def _described(plugin: Plugin) -> PackageMetadata:
    try:
        return metadata(plugin.found.distribution)
    except PackageNotFoundError:
        raise NotCheckedError(f"{plugin.found.distribution} has no metadata") from None
