"""What a plugin serves on the admin listener, and what it is handed for it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

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
class HttpResponse:
    body: bytes | str = b""
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
