"""Sends the requests of one client over connections of its own, and reads the answers as far as they are wanted.

It stands on httpcore2's connections, not on a client above them: a client also keeps cookies, follows redirects, reads the
environment and logs each URL, and must do none of these here.
"""

import math
from collections.abc import Mapping
from importlib.metadata import version

import httpcore2
import httpx2
import trio
from pydantic import SecretStr

from sodarouter.errors import Reject, Retry
from sodarouter.outgoing.answer import HttpAnswer
from sodarouter.outgoing.connections import Connections
from sodarouter.outgoing.failure import FAILURES, explain
from sodarouter.outgoing.guard import Guard, literal, refused_message
from sodarouter.outgoing.network import GuardedNetwork, Refused
from sodarouter.outgoing.options import HttpOptions, Outgoing, is_http
from sodarouter.outgoing.stream import Stream

MAX_READ = 1 << 16
"""Bytes of an answer's body that are read: a connection serves again only when an answer was read to its end."""
READ_SECONDS = 2.0
"""How long an answer's body is waited for after its status."""

_DEFAULTS = {"Accept-Encoding": "identity", "User-Agent": f"sodarouter/{version('sodarouter')}"}


class Transport:
    """What a client sends with.

    Raises:
        ValueError: A file of the TLS options is not what it should be.
    """

    def __init__(self, options: HttpOptions, outgoing: Outgoing) -> None:
        self._guard = outgoing.guard
        self._timeout = {"connect": options.connect_timeout}
        proxy = options.proxy or outgoing.proxy
        self._proxied = isinstance(proxy, SecretStr)
        # it knows how connections are made, by way of a proxy too
        pool = httpcore2.AsyncConnectionPool(
            ssl_context=options.tls.context(outgoing),
            proxy=_proxy(proxy.get_secret_value()) if isinstance(proxy, SecretStr) else None,
            network_backend=GuardedNetwork(self._guard),
        )
        self._connections = Connections(pool.create_connection)

    async def send(self, method: str, url: str | httpx2.URL, headers: Mapping[str, str], content: bytes) -> HttpAnswer:
        """As `HttpClient.request` has it."""
        if isinstance(url, str):
            url = _parsed(url)
        if self._proxied:
            _ask(self._guard, url.host)
        request = httpcore2.Request(
            method,
            httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=_headers(method, url, headers, content),
            content=content,
            extensions={"timeout": self._timeout},
        )
        connection = await self._connections.take(request.url.origin)
        try:
            response = await connection.handle_async_request(request)
            body, whole = await _read(response)
        except Refused as error:
            raise Retry(f"not connected: {error}") from None
        except FAILURES as error:
            # not "from error": it holds the request, and with it the URL and the headers
            raise Retry(explain(error)) from None
        finally:
            await self._connections.give_back(connection)
        return HttpAnswer(
            response.status,
            httpx2.Headers(response.headers),
            body,
            whole,
            _line(response),
            str(url),
            headers,
        )

    async def close(self) -> None:
        await self._connections.close()


def _proxy(text: str) -> httpcore2.Proxy:
    proxy = httpx2.Proxy(text)
    url = httpcore2.URL(scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target="/")
    return httpcore2.Proxy(url, auth=proxy.raw_auth)


def _ask(guard: Guard, host: str) -> None:
    """A proxy resolves the names, and connects to whatever it likes; an address is asked about all the same."""
    address = literal(host)
    if address is not None and (why := guard.refusal(address)):
        raise Retry(f"not asked of the proxy: {refused_message(address, why)}")


def _headers(method: str, url: httpx2.URL, given: Mapping[str, str], content: bytes) -> list[tuple[bytes, bytes]]:
    raw = (given if isinstance(given, httpx2.Headers) else httpx2.Headers(given)).raw
    names = {name.lower() for name, _ in raw}
    added = {"Host": url.netloc, **{name: value.encode() for name, value in _DEFAULTS.items()}}
    if content or method in ("POST", "PUT", "PATCH"):
        added["Content-Length"] = str(len(content)).encode()
    return [*((name.encode(), value) for name, value in added.items() if name.lower().encode() not in names), *raw]


async def _read(response: httpcore2.Response) -> tuple[bytes, bool]:
    """The body, and whether it is all of it."""
    body = b""
    stream: Stream = response.extensions["network_stream"]
    stream.patience = trio.current_time() + READ_SECONDS
    try:
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) >= MAX_READ:
                # not a break, which would leave the generators inside httpcore2 half way through
                stream.patience = -math.inf
    except FAILURES:
        return body, False
    finally:
        stream.patience = math.inf
        await response.aclose()
    return body, True


def _line(response: httpcore2.Response) -> str:
    http = response.extensions.get("http_version", b"HTTP/1.1").decode("ascii", "replace")
    phrase = response.extensions.get("reason_phrase", b"").decode("ascii", "replace")
    return f"{http} {response.status} {phrase}".rstrip()


def _parsed(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        raise Reject("the URL cannot be read as one") from None
    if not is_http(url):
        raise Reject("the URL does not begin with http:// or https:// and a host")
    if url.userinfo:
        raise Reject("the URL holds a user or a password, which belong into a header")
    return url
