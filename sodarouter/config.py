"""`router.toml`: read, validated whole, and made into what the daemon runs on. Every fault is found before any is told."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, WithJsonSchema

from sodarouter.address import LIVE_PATH, Address
from sodarouter.decide import Route, Rules, compile_rules
from sodarouter.errors import ConfigError, Fault
from sodarouter.faults import dotted, faults, nearest, suggestion, without_type
from sodarouter.options import ConfigPath, Duration, Options, Place, Redactor, Secret, Size
from sodarouter.plugins import AnyDestination, Plugins, find, installed
from sodarouter.settle import RetryPolicy
from sodarouter.verify import Proxy, Verification

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PATH = re.compile(r"/(?:(?![?#%])[!-~])*")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError('a name is a letter or a digit, then letters, digits, "-" and "_", 64 of them at most')
    return text


def _url_path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError('a path begins with "/" and has no spaces, "?", "#" or "%" in it')
    return text


def _address(value: object, info: ValidationInfo) -> Address:
    folder = info.context.folder if isinstance(info.context, Place) else Path()
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError('an address is written like "127.0.0.1:8080", "[::1]:8080" or "unix:run/router.sock"')  # noqa: TRY004
    address = Address.parse(value)
    return replace(address, path=folder / address.path) if address.path else address


OptionsT = TypeVar("OptionsT", bound=Options)

Name = Annotated[str, AfterValidator(_name)]
"""Of a source or a destination: it stands in ids, headers, metrics and file names."""
Listen = Annotated[Address, BeforeValidator(_address), WithJsonSchema({"type": "string"})]


class Tls(Options):
    """Serve HTTPS on every address of the listener."""

    cert: ConfigPath
    """The certificate chain, PEM."""
    key: ConfigPath
    """Its private key, PEM."""
    client_ca: ConfigPath | None = None
    """If set, clients must show a certificate that one of these authorities, PEM, has signed."""


class ListenerTable(Options):
    """What both listeners have."""

    listen: list[Listen] = Field(min_length=1)
    """Addresses: `host:port`, `[ipv6]:port` or `unix:path`."""
    tls: Tls | None = None
    """Certificate and key for HTTPS."""


class Server(ListenerTable):
    """`[server]`: the listener that faces the internet. It serves the sources and `/livez`, nothing else."""

    listen: list[Listen] = Field(default=[Address("127.0.0.1", 8080)], min_length=1)
    """Addresses: `host:port`, `[ipv6]:port` or `unix:path`."""
    max_body: Size = Size(5 * 1024 * 1024)
    """The largest body, over the wire and after decompression."""
    body_timeout: Duration = 8.0
    """How long a sender may take for its body; Soda itself gives up after 10 seconds."""
    header_timeout: Duration = 10.0
    """How long a client may take for the head of a request."""
    keep_alive: Duration = 75.0
    """How long a connection may be idle between two requests: longer than a proxy in front keeps it."""
    max_connections: int = Field(default=1024, ge=1)
    """Connections at once; further ones are closed."""
    stop_timeout: Duration = 20.0
    """How long requests and deliveries that are under way may take to finish when the router stops."""
    trusted_proxies: list[Proxy] = Field(default=[])
    """Proxies whose `X-Forwarded-For` is believed: networks, or `unix` for whatever connects to a Unix socket."""


class Admin(ListenerTable):
    """`[admin]`: the listener for operators: `/readyz`, `/metrics`, the admin API, and what plugins serve."""

    listen: list[Listen] = Field(default=[Address("127.0.0.1", 8081)], min_length=1)
    """Addresses, as in `[server]`. Anywhere but on loopback or a Unix socket a token is required."""
    token: Secret | None = None
    """What clients must send as `Authorization: Bearer …`."""


class Spool(Options):
    """`[spool]`: the durable store."""

    path: ConfigPath = Path("var/sodarouter.db")
    """The SQLite file; its folder is made if it is missing."""
    retention: Duration = 30 * 86_400.0
    """How long events are kept after they came in. One with a pending delivery is kept in any case."""
    max_size: Size = Size(10 * 1024**3)
    """The size at which nothing more is taken in: senders are answered 503."""


class Log(Options):
    """`[log]`: what goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written."""
    format: Literal["auto", "human", "json"] = "auto"
    """`auto` is for people on a terminal and JSON otherwise."""


class SourceTable(Options):
    """`[source.NAME]`: an intake endpoint."""

    path: Annotated[str, AfterValidator(_url_path)]
    """The path of its URL, such as `/webhooks/soda`."""
    verify: list[Verification] = Field(default=[])
    """What a request must prove; all of the list must hold. Without any, whoever knows the URL can send."""
    duplicate_window: Duration = 600.0
    """For how long the same bytes are taken for a repeat of the same event."""


class DestinationTable(Options):
    """`[destination.NAME]`: the keys that every destination has; its type adds its own."""

    type: str
    """A destination type that a plugin offers."""
    timeout: Duration = Field(default=30.0, gt=0)
    """How long one attempt may take."""
    concurrency: int | None = Field(default=None, ge=1, le=1000)
    """How many attempts may run at once; the type has its own default."""
    retry: RetryPolicy = RetryPolicy()
    """When a delivery that failed is tried again."""


class Unrouted(Options):
    """`[unrouted]`: what becomes of events that no route matches. They are kept and counted in any case."""

    to: list[str] = Field(default=[])
    """Destinations."""


class PluginsTable(Options):
    """`[plugins]`: which of the installed plugins are used."""

    disabled: list[str] = Field(default=[])
    """Plugins that are not loaded, by name."""


class File(Options):
    """The whole file. Tables of destinations and plugins are validated by what the plugins say."""

    server: Server = Server()
    admin: Admin = Admin()
    spool: Spool
    log: Log = Log()
    source: dict[Name, SourceTable] = Field(default={})
    plugins: PluginsTable = PluginsTable()
    plugin: dict[str, dict[str, Any]] = Field(default={})
    destination: dict[Name, dict[str, Any]] = Field(default={})
    route: list[Route] = Field(default=[])
    unrouted: Unrouted = Unrouted()


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
    file: File
    destinations: tuple[ConfiguredDestination, ...]
    rules: Rules
    plugins: Plugins
    redact: Redactor

    def warnings(self) -> Iterator[Fault]:
        """What an operator should know and may want."""
        for name, source in self.file.source.items():
            if not source.verify:
                yield Fault(
                    f"{self.path.name}: source.{name}",
                    "nothing is verified: whoever can reach it can send events",
                    "set verify before it faces the internet",
                )
        server = self.file.server
        if server.stop_timeout < server.body_timeout:
            place = f"{self.path.name}: server.stop_timeout"
            yield Fault(place, "is shorter than body_timeout", "a sender may be cut off when the router stops")
        there = installed()
        for name in self.file.plugins.disabled:
            if name not in there:
                place = f"{self.path.name}: plugins.disabled"
                yield Fault(place, f"no plugin {name!r} is installed", suggestion(name, there))


def load(path: Path) -> Config:
    """Reads, validates and compiles a configuration, and loads the plugins for it.

    Raises:
        ConfigError: With every fault that was found, each with its place.
    """
    place = Place(path.absolute().parent)
    document = _read(path)
    found: list[Fault] = []
    file = _validated(File, document, place, found)
    # nothing is said of what is missing because a table is misspelt or broken
    unsure = {nearest(key, File.model_fields) for key in document if key not in File.model_fields}
    if file is None:
        # what can be judged beside the broken tables is judged all the same, so that every fault is told at once
        unsure |= {fault.place.partition(".")[0].partition("[")[0] for fault in found}
        whole = {key: table for key, table in document.items() if key in File.model_fields and key not in unsure}
        file = File.model_validate({"spool": {}} | whole, context=place)
    plugins = _plugins(file, place, found)
    destinations = tuple(_destinations(document, plugins, place, found))
    found.extend(_crossed(file, document, unsure))
    if found:
        raise _config_error(path, found, place)
    return Config(
        path, file, destinations, compile_rules(file.route, file.unrouted.to), plugins, Redactor(place.secrets)
    )


def load_table(path: Path, name: str, model: type[OptionsT]) -> OptionsT:
    """One table alone: for commands that need no more of the file, and no secrets of the rest.

    Raises:
        ConfigError: The file cannot be read, or the table has faults.
    """
    found: list[Fault] = []
    place = Place(path.absolute().parent)
    table = _validated(model, _read(path).get(name, {}), place, found, name)
    if table is None:
        raise _config_error(path, found, place)
    return table


def _config_error(path: Path, found: Iterable[Fault], place: Place) -> ConfigError:
    redact = Redactor(place.secrets)
    told = [Fault(f"{path.name}: {f.place}", redact(f.fault), redact(f.hint)) for f in dict.fromkeys(found)]
    return ConfigError(told)


def _read(path: Path) -> dict[str, Any]:
    try:
        # its default path too starts at the folder of the file, so the table is always validated
        return {"spool": {}} | tomli.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([Fault(str(path), "there is no such file", "name another with --config")]) from None
    except OSError as error:
        raise ConfigError([Fault(str(path), f"cannot be read: {(error.strerror or '').lower()}")]) from None
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


def _crossed(file: File, document: Mapping[str, Any], unsure: set[str]) -> Iterator[Fault]:
    """The faults that show only between tables; of tables that are ``unsure``, none that something is missing."""
    if not file.source and "source" not in unsure:
        yield Fault("source", "there is none", 'add one: [source.soda] with path = "/webhooks/soda"')
    yield from _paths(file)
    if "destination" not in unsure:
        destinations = _tables(document, "destination")
        for number, route in enumerate(file.route):
            yield from _unknown(dotted(["route", number, "to"]), route.to, destinations)
        yield from _unknown("unrouted.to", file.unrouted.to, destinations)
    if not unsure & {"server", "admin"}:
        yield from _listening(file)


def _paths(file: File) -> Iterator[Fault]:
    taken: dict[str, str] = {}
    for name, source in file.source.items():
        if source.path == LIVE_PATH:
            yield Fault(f"source.{name}.path", f"{LIVE_PATH} is the router's own")
        if source.path in taken:
            yield Fault(f"source.{name}.path", f"source.{taken[source.path]} has the same path")
        taken.setdefault(source.path, name)


def _unknown(place: str, names: Iterable[str], destinations: Iterable[str]) -> Iterator[Fault]:
    for name in names:
        if name not in destinations:
            yield Fault(place, f"there is no destination {name!r}", suggestion(name, destinations))


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
