"""Finds plugins through the entry-point group ``sodarouter``, loads each by itself, and holds what they offer.

pluggy's own loader stops at the first broken plugin and skips the second of two with one name without a word, so this
one goes through all of them and says of each what is wrong, from which distribution it comes, and what to do.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import EntryPoint
from types import FunctionType, MethodType
from typing import Any, TypeVar, cast

import pluggy
from pydantic import ValidationError

from sodarouter import hookspecs
from sodarouter.batch import BatchItem
from sodarouter.contract import (
    HOOKS,
    check_api,
    check_hook,
    check_route,
    check_source,
    check_type,
    check_verification,
    is_hook,
    wanted_api,
)
from sodarouter.delivery import Delivery
from sodarouter.destination import Destination
from sodarouter.distributions import distribution_of, plugin_entries
from sodarouter.enrich import Enricher
from sodarouter.errors import Fault, PluginError
from sodarouter.event import Event
from sodarouter.failures import describe, is_a
from sodarouter.http import HttpRoute
from sodarouter.metrics import Metrics
from sodarouter.options import Given, Options
from sodarouter.plugin import Plugin, making
from sodarouter.redact import Redactor
from sodarouter.source import SourceType
from sodarouter.store import Store
from sodarouter.verification import VerificationType

AnyDestination = Destination[Any]
KindT = TypeVar("KindT", type[AnyDestination], type[SourceType[Any]], type[VerificationType])

_ROUTINES = (FunctionType, MethodType, staticmethod, classmethod)


@dataclass
class Found:
    """A plugin that an entry point names, before and after it was loaded."""

    name: str
    distribution: str
    version: str
    target: Any = None
    fault: str = ""
    """Why it cannot be used; empty when it can."""
    given: Given | None = None
    """What its options were made of, if it has some."""
    hint: str = "mend or uninstall it, or put its name into [plugins] disabled"
    """What an operator can do if it cannot."""
    api: object = None
    """Which version of the plugin API it says it was written for; ``None``: it does not say."""
    types: list[type[AnyDestination]] = field(default_factory=list)
    sources: list[type[SourceType[Any]]] = field(default_factory=list)
    verifications: list[type[VerificationType]] = field(default_factory=list)
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

    def __init__(self) -> None:
        super().__init__("sodarouter")
        self.add_hookspecs(hookspecs)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        if name in hookspecs.DELIVERING and not isinstance(plugin, Destination):
            if name == "deliver_batch" and is_hook(getattr(plugin, name, None)):
                raise PluginError("deliver_batch is for destination types; give one a method of this name")
            return None
        # pluggy 1.6 would also look into properties, and run them before the destination is open
        if not isinstance(inspect.getattr_static(plugin, name, None), _ROUTINES):
            return None
        options = super().parse_hookimpl_opts(plugin, name)
        if options is not None:
            hook = options.get("specname") or name
            if hook in HOOKS or not options.get("optionalhook"):
                check_hook(hook, getattr(plugin, name))
        return options


def installed() -> set[str]:
    """The names of all plugins, also of those that are disabled."""
    return {entry.name for entry in plugin_entries()}


def entry_point(name: str) -> EntryPoint:
    """The entry point of an installed plugin."""
    return next(entry for entry in plugin_entries() if entry.name == name)


def find(disabled: Iterable[str] = ()) -> list[Found]:
    """Imports every plugin that is installed and not disabled. One that cannot be imported has a ``fault``."""
    blocked = set(disabled)
    found: dict[str, Found] = {}
    named = [(entry.name, distribution_of(entry), entry) for entry in plugin_entries()]
    for _, distribution, entry in sorted(named, key=lambda one: one[:2]):
        if entry.name in blocked:
            continue
        plugin = Found(entry.name, *distribution)
        if entry.name in found:
            found[entry.name].fault = f"{plugin.distribution} {plugin.version} offers a plugin of the same name"
            continue
        found[entry.name] = plugin
        try:
            plugin.target = entry.load()
            plugin.api = wanted_api(plugin.target)
            check_api(plugin.api)
        except PluginError as error:
            plugin.fault, plugin.hint = str(error), error.hint or plugin.hint
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise whatever it likes while it is imported
            plugin.fault = f"it cannot be imported: {describe(error)}"
    return list(found.values())


def made_again(given: Mapping[str, Given | None], redact: Redactor) -> "Plugins":
    """Some of the installed plugins once more, in another process, and no others.

    Args:
        given: What their options are made of, by their names.
        redact: Gets to know their secrets before they are made.
    """
    found = find(installed() - given.keys())
    secrets: set[str] = set()
    options: dict[str, Options] = {}
    try:
        for plugin in found:
            one = given[plugin.name]
            if plugin.options_type is not None and one is not None:
                options[plugin.name] = one.validated(plugin.options_type, secrets)
    finally:
        redact.learn(secrets)
    return Plugins(found, options, redact)


class Plugins:
    """The plugins, made with their options, and what they offer.

    Args:
        found: From `find`. What is wrong with one shows in its ``fault`` afterwards.
        options: The validated options of those that have some, by plugin name.
        redact: Takes secrets out of what they say of themselves.
    """

    def __init__(
        self, found: Iterable[Found], options: Mapping[str, Options], redact: Callable[[str], str] = str
    ) -> None:
        self._redact = redact
        self.found = list(found)
        self.types: dict[str, type[AnyDestination]] = {}
        self.sources: dict[str, type[SourceType[Any]]] = {}
        self.verifications: dict[str, type[VerificationType]] = {}
        self._owners: dict[object, Found] = {}
        self.routes: list[tuple[str, HttpRoute]] = []
        self._manager = _Manager()
        for plugin in self.found:
            if not plugin.fault:
                try:
                    self._register(plugin, options)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # the plugin's own code runs here
                    plugin.fault = str(error) if isinstance(error, PluginError) else describe(error)

    def owner(self, kind: object) -> Found:
        """The plugin that offers a type."""
        return self._owners[kind]

    def faults(self) -> list[Fault]:
        return [Fault(str(plugin), plugin.fault, plugin.hint) for plugin in self.found if plugin.fault]

    def _register(self, plugin: Found, options: Mapping[str, Options]) -> None:
        if isinstance(plugin.target, type):
            plugin.target = _made(plugin, options, self._redact)
        if twin := self._manager.get_name(plugin.target):
            raise PluginError(f"its entry point names the same object as that of the plugin {twin}")
        with _blamed("it cannot be registered"):
            hash(plugin.target)
            self._manager.register(plugin.target, name=plugin.name)
        types = self._ask(plugin, "destination_types")
        deliver: Any = getattr(plugin.target, "deliver", None)
        if is_hook(deliver):
            types.append(_type_of(plugin.name, deliver))
        if not types and not self._manager.get_hookcallers(plugin.target):
            raise PluginError("it implements no hook; mark what implements one with @hookimpl")
        for kind in types:
            check_type(kind)
            self._offer(plugin, "destination", kind.type, kind, self.types, plugin.types)
        for source in self._ask(plugin, "source_types"):
            check_source(source)
            self._offer(plugin, "source", source.type, source, self.sources, plugin.sources)
        for verification in self._ask(plugin, "verification_types"):
            word = check_verification(verification)
            self._offer(plugin, "verification", word, verification, self.verifications, plugin.verifications)
        for route in self._ask(plugin, "http_routes"):
            check_route(route)
            if other := next((name for name, known in self.routes if known.path == route.path), None):
                raise PluginError(f"the plugin {other} serves {route.path} too")
            plugin.routes.append(route)
            self.routes.append((plugin.name, route))

    def _ask(self, plugin: Found, hook: str) -> list[Any]:
        offered: list[Any] = []
        for _, call in self.observers(hook, only=plugin.name):
            with _blamed(f"{hook} fails"):
                answers = call()  # pluggy leaves None out
            if not answers or not isinstance(answers[0], list | tuple):
                raise PluginError(f"{hook} must give a list, not {answers[0] if answers else None!r}")
            offered.extend(answers[0])
        return offered

    def _offer(
        self, plugin: Found, thing: str, word: str, kind: KindT, offered: dict[str, KindT], own: list[KindT]
    ) -> None:
        if word in offered:
            raise PluginError(f"{self.owner(offered[word])} offers the {thing} type {word!r} too")
        offered[word] = kind
        own.append(kind)
        self._owners[kind] = plugin

    def told_of_themselves(self) -> Iterator[tuple[str, Metrics | None, Callable[[], object] | None]]:
        """Each plugin's name, what it counts with, and who asks it how it is."""
        asked = dict(self.observers("health"))
        for name, plugin in self._manager.list_name_plugin():
            # its constructor need not have called that of `Plugin`
            own = object.__getattribute__(plugin, "__dict__").get("metrics") if is_a(plugin, Plugin) else None
            # nor need it be the router's own, and the samples of one that only looks like it might be anything
            metrics = own if type(own) is Metrics else None
            yield name, metrics, partial(_only, asked[name]) if name in asked else None

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

    def enrichers(self) -> list[Enricher]:
        """The plugins that add something to events."""
        return [
            Enricher(name, _first(call), not any(map(inspect.iscoroutinefunction, self._functions(name, "enrich"))))
            for name, call in self.observers("enrich")
        ]

    def _functions(self, name: str, hook: str) -> list[Callable[..., Any]]:
        plugin = self._manager.get_plugin(name)
        return [impl.function for impl in getattr(self._manager.hook, hook).get_hookimpls() if impl.plugin is plugin]

    def _implements(self, plugin: object, hook: str) -> bool:
        return any(impl.plugin is plugin for impl in getattr(self._manager.hook, hook).get_hookimpls())


def _first(call: Callable[..., Any]) -> Callable[[Event], Any]:
    """Of what the implementations of one plugin give, the first: pluggy leaves ``None`` out."""
    return lambda event: next(iter(call(event=event)), None)


class DeliverHook:
    """Calls one destination's ``deliver`` or ``deliver_batch``; pluggy hands it only those arguments that it declares.

    Each destination has a manager of its own: those that come with a reload are called by nothing that was there before.

    Raises:
        PluginError: It implements a hook in a way that cannot be called.
    """

    def __init__(self, destination: AnyDestination) -> None:
        manager = _Manager()
        manager.register(destination, name=f"destination.{destination.name}")
        self.batched = is_hook(getattr(destination, "deliver_batch", None))
        """Whether it takes many at once."""
        name = "deliver_batch" if self.batched else "deliver"
        self._call = getattr(manager.hook, name)
        self.threaded = not inspect.iscoroutinefunction(getattr(destination, name))
        """Whether it is an ordinary function and must be run in a thread."""

    def __call__(self, event: Event, delivery: Delivery, store: Store) -> Any:
        """The coroutine of an async implementation; an ordinary one has done its work when this returns."""
        results = self._call(event=event, delivery=delivery, store=store)
        return results[0] if results else None

    def batch(self, batch: Sequence[BatchItem]) -> Any:
        """As the call, for a destination that takes many at once."""
        results = self._call(batch=batch)
        return results[0] if results else None


def _only(call: Callable[[], list[Any]]) -> object:
    """What the one implementation behind a caller gives; pluggy leaves ``None`` out."""
    return next(iter(call()), None)


@cache
def _type_of(name: str, deliver: Callable[..., Any]) -> type[AnyDestination]:
    """The destination type of a module: the same one when a reload asks again, or its destinations would have changed."""
    return cast("type[AnyDestination]", type(name, (Destination,), {"type": name, "deliver": staticmethod(deliver)}))


def _made(plugin: Found, options: Mapping[str, Options], redact: Callable[[str], str]) -> Plugin[Any]:
    kind = plugin.target
    if plugin.options_type is None:
        raise PluginError(
            f"its entry point names the class {kind.__name__}, which is no Plugin; name the module instead"
        )
    with _blamed("it cannot be made"), making(plugin.name, redact):
        made: Plugin[Any] = kind(options.get(plugin.name) or _defaults(plugin.name, plugin.options_type))
    return made


def _defaults(name: str, options_type: type[Options]) -> Options:
    try:
        return options_type()
    except ValidationError as error:
        missing = ", ".join(".".join(map(str, detail["loc"])) for detail in error.errors(include_input=False))
        raise PluginError(f"it needs [plugin.{name}] with {missing}") from None


@contextmanager
def _blamed(what: str) -> Iterator[None]:
    """Says what a plugin could not do, and why."""
    try:
        yield
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"{what}: {describe(error)}") from error
