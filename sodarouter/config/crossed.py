"""The faults of a configuration that show only between tables, or between it and the one that runs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sodarouter.address import LIVE_PATH, Address
from sodarouter.config.tables import File
from sodarouter.errors import Fault
from sodarouter.faults import dotted, suggestion


def crossed(file: File, destinations: Mapping[str, Mapping[str, Any]], unsure: set[str]) -> Iterator[Fault]:
    """The faults that show only between tables; of tables that are ``unsure``, none that something is missing."""
    if not file.source and "source" not in unsure:
        yield Fault("source", "there is none", 'add one: [source.soda] with path = "/webhooks/soda"')
    yield from _paths(file)
    yield from _routes(file, destinations, unsure)
    yield from _tests(file, destinations, unsure)
    if "destination" not in unsure:
        yield from _fallbacks(destinations)
    if not unsure & {"server", "admin"}:
        yield from _listening(file)
    yield from _unreadable(file)


def _routes(file: File, destinations: Iterable[str], unsure: set[str]) -> Iterator[Fault]:
    if "destination" not in unsure:
        for number, route in enumerate(file.route):
            yield from _unknown(dotted(["route", number, "to"]), route.to, destinations)
        yield from _unknown("unrouted.to", file.unrouted.to, destinations)
        yield from _unknown("links.prefer", file.links.prefer, destinations)
    if "window" not in unsure:
        for number, route in enumerate(file.route):
            yield from _unknown(dotted(["route", number, "active"]), route.active, file.window, "window")
            yield from _unknown(dotted(["route", number, "mute"]), route.mute, file.window, "window")


def _tests(file: File, destinations: Iterable[str], unsure: set[str]) -> Iterator[Fault]:
    for number, test in enumerate(file.test):
        if "destination" not in unsure:
            for key, names in (("to", test.to), ("contains", test.contains), ("lacks", test.lacks)):
                yield from _unknown(dotted(["test", number, key]), names, destinations)
        if "source" not in unsure and test.source is not None:
            yield from _unknown(dotted(["test", number, "source"]), [test.source], file.source, "source")


def _paths(file: File) -> Iterator[Fault]:
    taken: dict[str, str] = {}
    for name, source in file.source.items():
        path = source.get("path")
        if not isinstance(path, str):
            continue  # the model says so
        if path == LIVE_PATH:
            yield Fault(f"source.{name}.path", f"{LIVE_PATH} is the router's own")
        if path in taken:
            yield Fault(f"source.{name}.path", f"source.{taken[path]} has the same path")
        taken.setdefault(path, name)


def _unknown(place: str, names: Iterable[str], known: Iterable[str], thing: str = "destination") -> Iterator[Fault]:
    for name in names:
        if name not in known:
            yield Fault(place, f"there is no {thing} {name!r}", suggestion(name, known))


def _fallbacks(destinations: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    named = {name: table.get("fallback") for name, table in destinations.items()}
    following = {name: fallback for name, fallback in named.items() if isinstance(fallback, str)}
    told: set[str] = set()
    for name, fallback in following.items():
        place = dotted(["destination", name, "fallback"])
        yield from _unknown(place, [fallback], destinations)
        path = [name]
        while (after := following.get(path[-1])) and after not in path:
            path.append(after)
        if fallback == name:
            yield Fault(place, "a destination cannot stand in for itself", "name another, or leave it out")
        elif after == name and name not in told:
            told.update(path)
            yield Fault(place, f"goes in a circle: {', '.join([*path, name])}", "leave one of them out")


def _listening(file: File) -> Iterator[Fault]:
    taken: dict[Address, str] = {}
    for name, table in (("server", file.server), ("admin", file.admin)):
        for number, address in enumerate(table.listen):
            place = f"{name}.listen[{number}]"
            if address in taken:
                yield Fault(place, f"{address} is taken by {taken[address]}", "each needs an address of its own")
            elif address.path or address.port:  # port 0 is any free port: not the same one
                taken[address] = place
    if file.admin.token is None:
        for address in file.admin.listen:
            if not address.is_local:
                yield Fault("admin.token", f"is missing, and {address} can be reached from elsewhere", "set a token")


_RELOADED = {"server": {"max_body", "max_memory", "body_timeout", "trusted_proxies"}, "admin": {"token"}}
"""What may change in these tables while the router runs. What they listen on, and how, is there since the start."""


def fixed(running: File, file: File, unsure: set[str]) -> Iterator[Fault]:
    """What cannot be changed by a reload, and was."""
    for table in ("server", "admin"):
        for key, value in getattr(running, table):
            if table not in unsure and key not in _RELOADED[table] and getattr(getattr(file, table), key) != value:
                yield Fault(f"{table}.{key}", *_RESTART)
    for key in ("path", "key"):
        if "spool" not in unsure and getattr(file.spool, key) != getattr(running.spool, key):
            yield Fault(f"spool.{key}", *_RESTART)
    if "plugins" not in unsure and file.plugins != running.plugins:
        yield Fault("plugins", *_RESTART)
    if "plugin" not in unsure:
        for name in dict.fromkeys([*running.plugin, *file.plugin]):
            if file.plugin.get(name) != running.plugin.get(name):
                yield Fault(f"plugin.{name}", *_RESTART)


_RESTART = ("cannot be changed while the router runs", "put it back, or restart the router")


def _unreadable(file: File) -> Iterator[Fault]:
    for name, table in (("server", file.server), ("admin", file.admin)):
        for key, path in table.tls or ():
            try:
                if path:
                    path.open("rb").close()
            except OSError as error:
                yield Fault(f"{name}.tls.{key}", f"{path} cannot be read: {(error.strerror or '').lower()}")
