"""Finds plugins through the entry-point group ``sodarouter``, loads each by itself, and holds what they offer.

pluggy's own loader stops at the first broken plugin and skips the second of two with one name without a word, so this
one goes through all of them and says of each what is wrong, from which distribution it comes, and what to do.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from pydantic import ValidationError

from sodarouter import hookspecs
from sodarouter.delivery import Delivery
from sodarouter.destination import Destination
from sodarouter.errors import Fault, PluginError
from sodarouter.event import Event
from sodarouter.http import HttpRoute
from sodarouter.options import Options
from sodarouter.plugin import Plugin

GROUP = "sodarouter"

AnyDestination = Destination[Any]


@dataclass
class Found:
    """A plugin that an entry point names, before and after it was loaded."""

    name: str
    distribution: str
    version: str
    target: Any = None
    fault: str = ""
    """Why it cannot be used; empty when it can."""
    types: list[type[AnyDestination]] = field(default_factory=list)
    routes: list[HttpRoute] = field(default_factory=list)

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.distribution} {self.version})"

    @property
    def options_type(self) -> type[Options] | None:
        """The model of its ``[plugin.NAME]`` table, if it has one."""
        is_plugin = isinstance(self.target, type) and issubclass(self.target, Plugin)
        return self.target.options_type if is_plugin else None


class _Manager(pluggy.PluginManager):
    """Only destinations take part in ``deliver``; the one of a mere module becomes a destination type instead."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        if name == "deliver" and not isinstance(plugin, Destination):
            return None
        return super().parse_hookimpl_opts(plugin, name)


def find(disabled: Iterable[str] = ()) -> list[Found]:
    """Imports every plugin that is installed and not disabled. One that cannot be imported has a ``fault``."""
    blocked = set(disabled)
    found: dict[str, Found] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, _distribution(entry))):
        plugin = Found(entry.name, *_distribution(entry))
        if entry.name in blocked:
            continue
        if entry.name in found:
            found[
                entry.name
            ].fault = f"{plugin.distribution} offers a plugin of the same name; uninstall one of the two"
            continue
        found[entry.name] = plugin
        try:
            plugin.target = entry.load()
        except (Exception, SystemExit) as error:  # a plugin may raise whatever it likes while it is imported
            plugin.fault = f"it cannot be imported: {type(error).__name__}: {error}"
    return list(found.values())


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "?")


class Plugins:
    """The plugins, made with their options, and what they offer.

    Args:
        found: From `find`. What is wrong with one shows in its ``fault`` afterwards.
        options: The validated options of those that have some, by plugin name.
    """

    def __init__(self, found: Iterable[Found], options: Mapping[str, Options]) -> None:
        self.found = list(found)
        self.types: dict[str, type[AnyDestination]] = {}
        self.routes: list[tuple[str, HttpRoute]] = []
        self._manager = _Manager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        for plugin in self.found:
            if not plugin.fault:
                try:
                    self._register(plugin, options)
                except Exception as error:  # the plugin's own code runs here
                    plugin.fault = (
                        f"{type(error).__name__}: {error}" if not isinstance(error, PluginError) else str(error)
                    )

    def faults(self) -> list[Fault]:
        hint = "mend or uninstall it, or put its name into [plugins] disabled"
        return [Fault(str(plugin), plugin.fault, hint) for plugin in self.found if plugin.fault]

    def _register(self, plugin: Found, options: Mapping[str, Options]) -> None:
        options_type = plugin.options_type
        if options_type is not None:
            plugin.target = plugin.target(options.get(plugin.name) or _defaults(plugin.name, options_type))
        try:
            self._manager.register(plugin.target, name=plugin.name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            self._manager.unregister(name=plugin.name)
            raise PluginError(str(error)) from error
        plugin.types = self._ask(plugin, "destination_types", type)
        plugin.routes = self._ask(plugin, "http_routes", HttpRoute)
        deliver: Any = getattr(plugin.target, "deliver", None)
        if _is_deliver(deliver):
            plugin.types.append(
                type(plugin.name, (Destination,), {"type": plugin.name, "deliver": staticmethod(deliver)})
            )
        for kind in plugin.types:
            self._offer(plugin, kind)
        self.routes.extend((plugin.name, route) for route in plugin.routes)

    def _ask(self, plugin: Found, hook: str, kind: type) -> list[Any]:
        answers = [answer for _, caller in self.observers(hook, only=plugin.name) for answer in caller()]
        offered = [item for answer in answers for item in answer]
        for item in offered:
            if not isinstance(item, kind):
                raise PluginError(f"{hook} must give a list of {kind.__name__} objects, not of {item!r}")
        return offered

    def _offer(self, plugin: Found, kind: type[AnyDestination]) -> None:
        if not issubclass(kind, Destination) or not isinstance(getattr(kind, "type", None), str):
            raise PluginError(f"{kind.__name__} is no destination type: it must inherit Destination and set type")
        if not _is_deliver(getattr(kind, "deliver", None)):
            raise PluginError(f"the destination type {kind.type!r} has no deliver method")
        if kind.type in self.types:
            other = next(str(p) for p in self.found if self.types[kind.type] in p.types)
            raise PluginError(f"the destination type {kind.type!r} is offered by {other} too; uninstall one of the two")
        self.types[kind.type] = kind

    def observers(self, hook: str, *, only: str | None = None) -> list[tuple[str, Callable[..., Any]]]:
        """A plugin's name and the caller of its implementation, for each that has one of this hook.

        One by one, because the failure of a plugin must not keep the hook from the others.
        """
        plugins = self._manager.list_name_plugin()
        return [
            (name, self._manager.subset_hook_caller(hook, [p for _, p in plugins if p is not plugin]))
            for name, plugin in plugins
            if plugin is not None and (only is None or name == only) and self._implements(plugin, hook)
        ]

    def _implements(self, plugin: object, hook: str) -> bool:
        return any(impl.plugin is plugin for impl in getattr(self._manager.hook, hook).get_hookimpls())

    def deliverers(self, destinations: Iterable[AnyDestination]) -> dict[str, "Deliverer"]:
        """Registers each destination under its own name and gives what calls its ``deliver`` alone.

        pluggy so checks each implementation's arguments, and hands each only those that it declares.

        Raises:
            PluginError: An implementation asks for an argument that the hook does not have.
        """
        made = list(destinations)
        for destination in made:
            try:
                self._manager.register(destination, name=f"destination.{destination.name}")
            except pluggy.PluginValidationError as error:
                raise PluginError(f"destination {destination.name}: {error}") from error
        others = self._manager.get_plugins()
        return {
            destination.name: Deliverer(
                self._manager.subset_hook_caller("deliver", [p for p in others if p is not destination]),
                threaded=not inspect.iscoroutinefunction(getattr(destination, "deliver")),  # noqa: B009 (plugins add it)
            )
            for destination in made
        }


@dataclass(frozen=True)
class Deliverer:
    """Calls one destination's ``deliver``. ``threaded``: it is an ordinary function and must be run in a thread."""

    call: Callable[..., Any]
    threaded: bool

    def __call__(self, event: Event, delivery: Delivery) -> Any:
        """The coroutine of an async implementation; an ordinary one has done its work when this returns."""
        results = self.call(event=event, delivery=delivery)
        return results[0] if results else None


def _defaults(name: str, options_type: type[Options]) -> Options:
    try:
        return options_type()
    except ValidationError as error:
        missing = ", ".join(".".join(map(str, detail["loc"])) for detail in error.errors(include_input=False))
        raise PluginError(f"it needs [plugin.{name}] with {missing}") from None


def _is_deliver(candidate: object) -> bool:
    return callable(candidate) and hasattr(candidate, "sodarouter_impl")
