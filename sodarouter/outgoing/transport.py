"""Sends the requests of one client over connections of its own, and reads the answers as far as they are wanted.

A client of a library also keeps cookies, follows redirects, reads the environment and logs each URL, and must do none of
these here.
"""

from collections.abc import Mapping
from importlib.metadata import version

import httpx2
from pydantic import SecretStr

from sodarouter.errors import Retry
from sodarouter.outgoing.answer import HttpAnswer
from sodarouter.outgoing.connect import Connector, Proxy
from sodarouter.outgoing.connection import Head
from sodarouter.outgoing.connections import Connections
from sodarouter.outgoing.guard import Guard, literal, refused_message
from sodarouter.outgoing.options import HttpOptions, Outgoing
from sodarouter.outgoing.target import Target, target

_DEFAULTS = [("Accept-Encoding", "identity"), ("User-Agent", f"sodarouter/{version('sodarouter')}")]
_WITH_BODY = {"POST", "PUT", "PATCH"}


class Transport:
    """What a client sends with.

    Raises:
        ValueError: A file of the TLS options is not what it should be.
    """

    def __init__(self, options: HttpOptions, outgoing: Outgoing) -> None:
        self._guard = outgoing.guard
        proxy = options.proxy or outgoing.proxy
        self._proxy = Proxy(proxy.get_secret_value()) if isinstance(proxy, SecretStr) else None
        context = options.tls.context(outgoing)
        self._connector = Connector(self._guard, context, self._proxy, options.connect_timeout)
        self._connections = Connections()
        self._known: tuple[str | httpx2.URL, Target] | None = None

    async def send(self, method: str, url: str | httpx2.URL, headers: Mapping[str, str], content: bytes) -> HttpAnswer:
        """As `HttpClient.request` has it."""
        to = self._target(url)
        own, path = [("Host", to.host), *_DEFAULTS], to.path
        if self._proxy and to.origin.scheme == "http":
            own, path = own + self._proxy.headers, to.absolute
        if content or method in _WITH_BODY:
            own.append(("Content-Length", str(len(content))))
        names = {name.lower() for name in headers}
        every = [*(one for one in own if one[0].lower() not in names), *headers.items()]
        connection = self._connections.take(to.origin) or await self._connector.connect(to.origin)
        try:
            head = await connection.ask(method, path, every, content)
            body, whole = await connection.body()
        finally:
            self._connections.give_back(connection, to.origin)
        return HttpAnswer(head.status_code, _fields(head), body, whole, _line(head), to.url, headers)

    async def close(self) -> None:
        self._connections.close()

    def _target(self, url: str | httpx2.URL) -> Target:
        # most clients ask for one only, again and again
        if self._known is None or self._known[0] is not url:
            known = target(url)
            if self._proxy:
                _ask(self._guard, known.origin.host)
            self._known = url, known
        return self._known[1]


def _ask(guard: Guard, host: str) -> None:
    """A proxy resolves the names, and connects to whatever it likes; an address is asked about all the same."""
    address = literal(host)
    if address is not None and (why := guard.refusal(address)):
        raise Retry(f"not asked of the proxy: {refused_message(address, why)}")


def _fields(head: Head) -> dict[str, str]:
    fields: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode(errors="replace")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _line(head: Head) -> str:
    return f"HTTP/{head.http_version.decode()} {head.status_code} {head.reason.decode('ascii', 'replace')}".rstrip()
