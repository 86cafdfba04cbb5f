"""Makes connections that can be asked on: to an address that may be connected to, by way of a proxy, with TLS."""

import ssl
from base64 import b64encode

import httpx2
import trio

from sodarouter.errors import Retry
from sodarouter.outgoing.connection import Connection
from sodarouter.outgoing.failure import no_answer
from sodarouter.outgoing.guard import Guard
from sodarouter.outgoing.network import connect
from sodarouter.outgoing.stream import TcpStream, TlsStream
from sodarouter.outgoing.target import Origin, target


class Proxy:
    """An HTTP proxy.

    Args:
        url: ``http://user:password@host:port``; all but the host can be missing.
    """

    def __init__(self, url: str) -> None:
        proxy = httpx2.Proxy(url)
        self.origin = target(proxy.url).origin
        self.headers: list[tuple[str, str]] = []
        """What it is sent to let a request through."""
        if proxy.raw_auth:
            self.headers.append(("Proxy-Authorization", f"Basic {b64encode(b':'.join(proxy.raw_auth)).decode()}"))


class Connector:
    """Makes the connections of one client.

    Args:
        guard: Is asked about every address that a connection is made to, a proxy's too.
        context: What TLS is made with.
        proxy: By way of which everything goes.
        timeout: Seconds that all of it may take together: name, address, proxy and TLS.
    """

    def __init__(self, guard: Guard, context: ssl.SSLContext, proxy: Proxy | None, timeout: float) -> None:
        context.set_alpn_protocols(["http/1.1"])
        self._guard = guard
        self._context = context
        self._proxy = proxy
        self._timeout = timeout

    async def connect(self, origin: Origin) -> Connection:
        """
        Raises:
            Retry: There is no connection.
        """
        try:
            with trio.fail_after(self._timeout):
                return await self._connect(origin)
        except trio.TooSlowError:
            raise Retry("ConnectTimeout: no connection within connect_timeout") from None

    async def _connect(self, origin: Origin) -> Connection:
        first = self._proxy.origin if self._proxy else origin
        tcp = await connect(self._guard, first.host, first.port)
        try:
            if origin.scheme == "http":
                return Connection(tcp)
            if self._proxy:
                await _tunnel(tcp, origin, self._proxy)
            return Connection(await self._secured(tcp, origin.host))
        except BaseException:
            tcp.close()
            raise

    async def _secured(self, tcp: TcpStream, host: str) -> TlsStream:
        try:
            tls = TlsStream(tcp, self._context, host)
            await tls.shake_hands()
        except (OSError, ValueError) as error:  # ValueError: what a proxy is asked for may be no name
            raise no_answer("ConnectError", error) from None
        return tls


async def _tunnel(tcp: TcpStream, origin: Origin, proxy: Proxy) -> None:
    headers = [("Host", origin.authority), *proxy.headers]
    head = await Connection(tcp).ask("CONNECT", origin.authority, headers, b"")
    if not 200 <= head.status_code < 300:
        raise Retry(f"ProxyError: the proxy answered {head.status_code}")
