"""The tables of `router.toml`: their keys, defaults and meanings. `docs/configuration.md` is held against them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, model_validator

from sodarouter.address import Address
from sodarouter.breaker import BreakerOption, BreakerPolicy
from sodarouter.decide import OrderBy, Route, TeamTable, Window
from sodarouter.options import LISTED, LISTED_SCHEMA, ConfigPath, Duration, Options, Place, Secret, Size
from sodarouter.outgoing import Outgoing
from sodarouter.rate import Rate
from sodarouter.seal import SealKey, parse_keys
from sodarouter.settle import RetryPolicy
from sodarouter.source import SODA
from sodarouter.spool import Keep, Retention
from sodarouter.verify import Proxy, Verification

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
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


def _callback_host(text: str) -> str:
    if not _HOST.fullmatch(text.lower()):
        raise ValueError(
            'a host is written like "soda.example.org" or, where its port is not 443, "soda.example.org:8443"'
        )
    return text.lower().removesuffix(":443")


def _before_soda_gives_up(seconds: float) -> float:
    if seconds > 9:
        raise ValueError("must be at most 9s: Soda itself gives up after 10s")
    return seconds


Name = Annotated[str, AfterValidator(_name)]
"""Of a source, a destination or a window: it stands in ids, headers, metrics and file names."""
CallbackHost = Annotated[str, AfterValidator(_callback_host)]
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
    body_timeout: Duration = Field(default=8.0, gt=0)
    """How long a sender may take for its body; Soda itself gives up after 10 seconds."""
    header_timeout: Duration = Field(default=10.0, gt=0)
    """How long a client may take for the head of a request."""
    keep_alive: Duration = Field(default=75.0, gt=0)
    """How long a connection may be idle between two requests: longer than a proxy in front keeps it."""
    max_connections: int = Field(default=1024, ge=1)
    """Connections at once. For a further one, that which has been without a request longest is closed; if all have one,
    it is closed itself. The requests under way are shared equally by the sources."""
    max_memory: Size = Size(64 * 1024 * 1024)
    """Bytes of bodies that are being taken in at once, shared equally by the sources; over it senders are answered 503."""
    stop_timeout: Duration = 20.0
    """How long requests and deliveries that are under way may take to finish when the router stops."""
    http: Literal["lean", "hypercorn"] = "lean"
    """What reads requests and writes answers: the router's own, or hypercorn, which takes several times as long."""
    workers: int = Field(default=0, ge=0, le=64)
    """Processes that take in, beside the one that stores, decides and delivers. 0: that one takes in itself. Each has an
    equal share of `max_connections` and `max_memory`."""
    trusted_proxies: list[Proxy] = Field(default=[])
    """Proxies whose `X-Forwarded-For` is believed: networks, or `unix` for whatever connects to a Unix socket."""


class Admin(ListenerTable):
    """`[admin]`: the listener for operators: `/readyz`, `/metrics`, the admin API, and what plugins serve."""

    listen: list[Listen] = Field(default=[Address("127.0.0.1", 8081)], min_length=1)
    """Addresses, as in `[server]`. Anywhere but on loopback or a Unix socket a token is required."""
    token: Secret | None = None
    """What clients must send as `Authorization: Bearer …`."""


class KeepTable(Options):
    """How much of one kind is kept."""

    age: Duration = Field(gt=0)
    """How old it may get."""
    size: Size | None = None
    """How many bytes there may be of it; the oldest goes first."""


def _keep(value: object) -> object:
    return {"age": value} if isinstance(value, str) else value


KeepFor = Annotated[KeepTable, BeforeValidator(_keep, json_schema_input_type=Duration | KeepTable)]


class RetentionTable(Options):
    """`[spool.retention]`: how long each kind of thing is kept: `"30d"`, or `{ age = "30d", size = "5 GiB" }`.

    An event with a delivery that is pending or a dead letter is kept in any case.
    """

    events: KeepFor = KeepTable(age=30 * 86_400.0)
    """Events with their decisions and deliveries, from when they came in. The size is that of their bodies."""
    attempts: KeepFor = KeepTable(age=30 * 86_400.0)
    """Attempts of settled deliveries. The size is that of what the destinations answered."""
    quarantine: KeepFor = KeepTable(age=90 * 86_400.0)
    """Bodies in quarantine, from when they came in."""
    dead_letters: KeepFor = KeepTable(age=90 * 86_400.0)
    """Dead letters, from when they were given up; then they are discarded. The size is that of their events' bodies."""

    def kept(self) -> Retention:
        return Retention(**{name: Keep(table.age, table.size) for name, table in self})


def _retention(value: object) -> object:
    return {"events": value} if isinstance(value, str) else value


class Spool(Options):
    """`[spool]`: the durable store."""

    path: ConfigPath = Path("var/sodarouter.db")
    """The SQLite file; its folder is made if it is missing."""
    retention: Annotated[
        RetentionTable, BeforeValidator(_retention, json_schema_input_type=Duration | RetentionTable)
    ] = RetentionTable()
    """How long each kind of thing is kept; `"30d"` alone is that of events."""
    max_size: Size = Size(10 * 1024**3)
    """The size at which nothing more is taken in: senders are answered 503."""
    max_backlog: int = Field(default=1_000_000, ge=1)
    """The number of pending deliveries at which nothing more is taken in: senders are answered 503."""
    key: SealKey | None = None
    """Seals Soda's callback URLs in the spool; by default the router makes a key and keeps it in a file beside it."""

    @property
    def keys(self) -> Sequence[bytes]:
        return parse_keys(self.key.get_secret_value()) if self.key else ()


class Log(Options):
    """`[log]`: what goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written."""
    format: Literal["auto", "human", "json"] = "auto"
    """`auto` is for people on a terminal and JSON otherwise."""


class SourceTable(Options):
    """`[source.NAME]`: an intake endpoint. Its type may add keys, and plugins may add types to ``verify``."""

    type: str = SODA
    """Who sends: Soda Cloud, or a source type that a plugin offers."""
    path: Annotated[str, AfterValidator(_url_path)]
    """The path of its URL, such as `/webhooks/soda`."""
    verify: list[Verification] = Field(default=[])
    """What a request must prove; all of the list must hold. Without any, whoever knows the URL can send."""
    duplicate_window: Duration = 600.0
    """For how long the same bytes are taken for a repeat of the same event."""
    reply_with_link: Annotated[Duration, AfterValidator(_before_soda_gives_up)] | None = Field(default=None, gt=0)
    """How long the answer to an `incidentCreated` may wait for the link of what a destination makes of it: it then has the
    link, instead of the callback URL. 9 seconds at most, as Soda itself gives up after 10."""


class DestinationTable(Options):
    """`[destination.NAME]`: the keys that every destination has; its type adds its own."""

    type: str
    """A destination type that a plugin offers."""
    timeout: Duration = Field(default=30.0, gt=0)
    """How long one attempt may take."""
    concurrency: int | None = Field(default=None, ge=1, le=1000)
    """How many attempts may run at once; the type has its own default."""
    rate: Rate | None = None
    """How many attempts may be started in a time."""
    batch_size: int | None = Field(default=None, ge=1, le=10_000)
    """How many deliveries may go into one attempt, of a type that takes batches; the type has its own default."""
    mode: Literal["at-least-once", "at-most-once"] = "at-least-once"
    """Whether, when it is not known that a delivery arrived, a duplicate is better than a gap."""
    retry: RetryPolicy = RetryPolicy()
    """When a delivery that failed is tried again."""
    breaker: BreakerOption = BreakerPolicy()
    """When a destination that fails again and again is left alone; `"off"`: never."""
    order_by: OrderBy | None = None
    """What a delivery never overtakes an earlier one of."""
    fallback: str | None = None
    """The destination that is handed what ends as a dead letter here."""
    isolation: Literal["none", "process"] = "none"
    """Whether it runs in processes of its own, which are killed at the timeout."""

    @model_validator(mode="after")
    def _once(self) -> "DestinationTable":
        if self.mode == "at-most-once" and "retry" in self.model_fields_set:
            raise ValueError('mode = "at-most-once" has nothing to retry; leave retry out')
        return self


class Unrouted(Options):
    """`[unrouted]`: what becomes of events that no route matches. They are kept and counted in any case."""

    to: list[str] = Field(default=[])
    """Destinations."""


class LinksTable(Options):
    """`[links]`: the links that destinations make of incidents, one of which is put onto the incident in Soda."""

    prefer: list[str] = Field(default=[])
    """Destinations whose links are preferred, the best first. By default the first link that is made is taken."""
    hosts: list[CallbackHost] = Field(default=[])
    """Hosts that callback URLs may have beside Soda's own, `cloud.soda.io` and `cloud.us.soda.io`."""


class TeamsTable(Options):
    """`[teams]`: who owns which dataset, when that is kept in files of its own."""

    files: list[ConfigPath] = Field(default=[])
    """CSV files with a row for each, or TOML files with `[[team]]` tables; they come after those of this file."""


class Payload(Options):
    """Where the payload of a test comes from: one of `file`, `sample` and `event`."""

    file: ConfigPath | None = None
    """A file with the payload, as Soda sends it."""
    sample: str | None = None
    """An event type, of which a sample is made: `incidentCreated`, or `v3/incidentCreated`."""
    event: str | None = None
    """The id of an event in the spool."""
    set: dict[str, Any] = Field(default={})
    """Values that are set in the payload, by their paths."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "Payload":
        if sum(given is not None for given in (self.file, self.sample, self.event)) != 1:
            raise ValueError("needs one of file, sample and event")
        return self


Texts = Annotated[list[Annotated[str, Field(min_length=1)]], LISTED, LISTED_SCHEMA]


class TestTable(Payload):
    """A `[[test]]` table: what has to become of a payload."""

    __test__ = False  # it is no test of pytest's

    name: str | None = None
    """What it is called; `test 1` and so on by default."""
    source: str | None = None
    """The source that it comes from; otherwise the first."""
    received: datetime = datetime(2026, 1, 5, 12, tzinfo=UTC)
    """When it comes, for windows of time: by default a Monday at noon, UTC."""
    enriched: dict[str, dict[str, Any]] | None = None
    """What plugins add to it, by their names; without, nothing, or what they have added to the `event` of the spool."""
    after: list[Payload] = Field(default=[])
    """What came before it from the same source, the oldest first."""
    to: list[str]
    """The destinations that it goes to, exactly these."""
    contains: dict[str, Texts] = Field(default={})
    """Texts that what goes to a destination has in it."""
    lacks: dict[str, Texts] = Field(default={})
    """Texts that it must not have in it."""

    @model_validator(mode="after")
    def _has_a_zone(self) -> "TestTable":
        if self.received.tzinfo is None:
            raise ValueError("received needs a time zone: 2026-01-05T12:00:00Z")
        return self


class PluginsTable(Options):
    """`[plugins]`: which of the installed plugins are used."""

    disabled: list[str] = Field(default=[])
    """Plugins that are not loaded, by name."""


class Defaults(Options):
    """`[defaults]`: what destinations and routes have that do not say it themselves."""

    destination: dict[str, Any] = Field(default={})
    """Keys of every destination."""
    type: dict[str, dict[str, Any]] = Field(default={})
    """Keys and options of every destination of a type, by the type."""
    route: dict[str, Any] = Field(default={})
    """Keys of every route; those of `match` one by one."""


class File(Options):
    """The whole configuration. Tables of sources, destinations and plugins are validated by what the plugins say.

    What an included file holds is validated by this model too, and then added to that of `router.toml`.
    """

    include: list[Annotated[str, Field(min_length=1)]] = Field(default=[])
    """Further files: paths, or patterns such as `router.d/*.toml`."""
    server: Server = Server()
    admin: Admin = Admin()
    spool: Spool
    log: Log = Log()
    outgoing: Outgoing = Outgoing()
    source: dict[Name, dict[str, Any]] = Field(default={})
    """Intake endpoints by name."""
    plugins: PluginsTable = PluginsTable()
    plugin: dict[str, dict[str, Any]] = Field(default={})
    """Options of plugins by name."""
    defaults: Defaults = Defaults()
    destination: dict[Name, dict[str, Any]] = Field(default={})
    """Where events go, by name."""
    team: list[TeamTable] = Field(default=[])
    """Who owns which dataset."""
    teams: TeamsTable = TeamsTable()
    window: dict[Name, Window] = Field(default={})
    """Times that recur, by name."""
    route: list[Route] = Field(default=[])
    """Which events go where. They are tried in order."""
    unrouted: Unrouted = Unrouted()
    links: LinksTable = LinksTable()
    test: list[TestTable] = Field(default=[])
    """Payloads and what has to become of them: `sodarouter check` runs them."""
