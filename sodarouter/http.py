"""HTTP as plugins see it: what they serve on the admin listener, and what senders sent."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from sodarouter.delivery import Stats


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request on the admin listener that has passed its token, if it has one."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    stats: Callable[[], Awaitable[Stats]]
    """Asks what the router holds: ``await request.stats()``.

    Raises:
        SpoolError: The spool cannot be read, or has not answered within 5 seconds.
    """


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """What a sender sent to a source, for the verifications and source types of plugins."""

    body: bytes
    """A verification sees it as it came over the wire, a source type without its Content-Encoding."""
    method: str = "POST"
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    """Decoded; of a name that came more than once, the last."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case, values decoded as latin-1; of one that came more than once, all, joined with ``", "``."""
    client: IPv4Address | IPv6Address | None = None
    """Where it came from, past the trusted proxies; ``None`` if that cannot be known."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a page answers, or a source type."""

    body: bytes | str = b""
    """Text is sent as UTF-8."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """A page of the admin listener. An exception in ``handler`` is logged as the plugin's and answered with a 500."""

    path: str
    """Exactly this path, such as ``/metrics``."""
    handler: Callable[[HttpRequest], Awaitable[HttpResponse]]
    methods: tuple[str, ...] = ("GET",)
