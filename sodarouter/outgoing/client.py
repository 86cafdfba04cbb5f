"""The HTTP client that destinations are given."""

import json as encoding
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sodarouter.options import Options
from sodarouter.outgoing.answer import HttpAnswer
from sodarouter.outgoing.options import HttpOptions, Outgoing

if TYPE_CHECKING:
    import httpx2

    from sodarouter.outgoing.transport import Transport


class HttpClient:
    """Makes HTTP requests by the router's rules, over connections that are kept for the next one.

    It connects only to addresses that `[outgoing]` lets through, asked of the very address, after the name was resolved.
    It follows no redirects, keeps no cookies, and takes nothing from the environment.

    Args:
        options: Those of its destination. What they say of TLS, proxy and time to connect, it heeds if they are
            `HttpOptions`.
        outgoing: What holds for all requests of the router. By default no private address may be connected to.
    """

    def __init__(self, options: Options | None = None, outgoing: Outgoing | None = None) -> None:
        self._options = options if isinstance(options, HttpOptions) else HttpOptions()
        self._outgoing = outgoing or Outgoing()
        self._transport: Transport | None = None

    def open(self) -> "Transport":
        """Makes what the connections are made with; the first request does so otherwise.

        Raises:
            ValueError: A file of the TLS options is not what it should be.
        """
        if self._transport is None:
            # most of what the router does needs no client, and this takes a fifth of a second to import
            from sodarouter.outgoing.transport import Transport

            self._transport = Transport(self._options, self._outgoing)
        return self._transport

    async def request(
        self,
        method: str,
        url: "str | httpx2.URL",
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        json: object = None,
    ) -> HttpAnswer:
        """Sends a request and gives the answer, whatever its status: `HttpAnswer.raise_unless_taken` judges that.

        Of the answer's body 64 KiB are read, and for 2 seconds at most.

        Args:
            method: Such as ``"POST"``.
            url: Where to.
            headers: Instead of those, or beside those, that the client sets itself.
            content: The body.
            json: Is made the body, with its content type, unless it is ``None``.

        Raises:
            Retry: There was no answer, or the address is refused. The reason has neither the URL nor the host.
            Reject: It is no URL that can be asked for.

        Cancellation: the connection is closed, and whether the request arrived is not known.
        """
        headers = headers or {}
        if json is not None:
            content = encoding.dumps(json, ensure_ascii=False).encode()
            if "content-type" not in map(str.lower, headers):
                headers = {"Content-Type": "application/json", **headers}
        return await self.open().send(method, url, headers, content)

    async def close(self) -> None:
        """Closes its connections. The next request would open new ones."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()
