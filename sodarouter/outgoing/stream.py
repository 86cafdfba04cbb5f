"""The bytes of a connection, as `httpcore2` asks for them."""

import ssl
from contextlib import suppress
from math import inf

import httpcore2
import trio

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class Stream(httpcore2.AsyncNetworkStream):
    """What is written leaves when something is to be read: the head of a request and its body in one piece."""

    def __init__(self, socket: trio.SocketStream, tls: "trio.SSLStream[trio.SocketStream] | None" = None) -> None:
        self._socket = socket
        self._stream = tls or socket
        self._unsent: list[bytes] = []
        self.patience = inf
        """Until when something to read is waited for, on trio's clock. Who reads sets it: there is nothing to wait for
        where an answer came in one piece, and a scope for each would cost a tenth of a request."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 (httpcore2's own)
        if self._unsent:
            data, self._unsent = b"".join(self._unsent), []
            # a server that has seen enough may answer and close before it has all
            with suppress(*_BROKEN):
                await self._stream.send_all(data)
        try:
            if self.patience == inf:
                return bytes(await self._stream.receive_some(max_bytes))
            with trio.fail_at(self.patience):
                return bytes(await self._stream.receive_some(max_bytes))
        except trio.TooSlowError as error:
            raise httpcore2.ReadTimeout from error
        except _BROKEN as error:
            raise httpcore2.ReadError from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 (httpcore2's own)
        self._unsent.append(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's own)
    ) -> "Stream":
        tls = trio.SSLStream(self._socket, ssl_context, server_hostname=server_hostname, https_compatible=True)
        try:
            with trio.fail_after(inf if timeout is None else timeout):
                await tls.do_handshake()
        except BaseException as error:
            await trio.aclose_forcefully(tls)
            match error:
                case trio.TooSlowError():
                    raise httpcore2.ConnectTimeout from error
                case trio.BrokenResourceError():
                    raise httpcore2.ConnectError from error
            raise
        return Stream(self._socket, tls)

    def get_extra_info(self, info: str) -> object:
        """Of a connection that waits for no answer, ``is_readable`` says that the other side has gone."""
        return self._socket.socket.is_readable() if info == "is_readable" else None
