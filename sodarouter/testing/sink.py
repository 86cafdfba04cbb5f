"""A real HTTP/1.1 server on loopback for tests: it records what arrives, and answers as it is told.

async with open_sink(Answer(503), Answer(200)) as sink:
    ...                                # something posts to sink.url
    await sink.until_requests(2)
    assert sink.requests[0].body == b"{}"
"""

import ssl
import struct
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from socket import SO_LINGER, SOL_SOCKET

import h11
import trio


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """1 for all requests on the first connection, and so on."""


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] | AsyncIterable[bytes] = b""
    """Several pieces are sent in chunks. ``itertools.repeat(piece)`` never ends, and an async generator may wait."""
    hold: trio.Event | None = None
    """The answer waits for it; an event that nobody sets makes a server that never answers."""
    raw: bytes | None = None
    """Sent instead of all the above, whatever it is; then the connection is closed. ``b""`` hangs up without a word."""
    reset: bool = False
    """Whether that closing is a TCP reset."""


class Sink:
    """What `open_sink` gives."""

    def __init__(self) -> None:
        self.url = ""
        """Scheme, host and port."""
        self.requests: list[Request] = []
        self.connections = 0
        """All that were ever made."""
        self.open_connections = 0
        self.reply: Callable[[Request], Answer] = lambda _: Answer()
        """Chooses the answer to each request; may be replaced at any time, as `script` does."""
        self._changed = trio.Event()

    def script(self, *answers: Answer) -> None:
        """Gives the next requests these answers, in this order, and all further ones the last of them."""
        left = list(answers)
        self.reply = lambda _: left.pop(0) if len(left) > 1 else left[0]

    async def until_requests(self, count: int) -> None:
        """Returns once this many requests have arrived whole."""
        await self._until(lambda: len(self.requests) >= count)

    async def until_closed(self) -> None:
        """Returns once no connection is open."""
        await self._until(lambda: not self.open_connections)

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _serve(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            # clients hang up when they like, and that is no fault of the sink
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
                await self._talk(stream, self.connections)
        finally:
            await trio.aclose_forcefully(stream)
            self.open_connections -= 1
            self._tell()

    async def _talk(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], connection: int) -> None:
        http = h11.Connection(h11.SERVER)
        while request := await _receive(http, stream, connection):
            self.requests.append(request)
            self._tell()
            answer = self.reply(request)
            if answer.hold is not None and not await _held(answer.hold, stream):
                return
            if answer.raw is not None or answer.reset:
                await _break_off(stream, answer)
                return
            await _send(http, stream, answer)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()


async def _receive(http: h11.Connection, stream: trio.abc.Stream, connection: int) -> Request | None:
    """The next request, or ``None`` when the client has closed the connection."""
    head: h11.Request | None = None
    body = b""
    while True:
        match http.next_event():
            case h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some()))
            case h11.Request() as request:
                head = request
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage() if head is not None:
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                return Request(head.method.decode(), head.target.decode(), headers, body, connection)
            case h11.ConnectionClosed():
                return None


async def _send(http: h11.Connection, stream: trio.abc.Stream, answer: Answer) -> None:
    async def send(event: h11.Event) -> None:
        await stream.send_all(http.send(event) or b"")

    headers = dict(answer.headers)
    if isinstance(answer.body, bytes) and answer.status not in (204, 304):
        headers.setdefault("Content-Length", str(len(answer.body)))
    await send(h11.Response(status_code=answer.status, headers=list(headers.items())))
    match answer.body:
        case _ if answer.status in (204, 304):
            pass
        case bytes() as whole:
            await send(h11.Data(data=whole))
        case AsyncIterable() as pieces:
            try:
                async for piece in pieces:
                    await send(h11.Data(data=piece))
            finally:
                if isinstance(pieces, AsyncGenerator):
                    await pieces.aclose()  # the client may have hung up in the middle
        case pieces:
            for piece in pieces:
                await send(h11.Data(data=piece))
    await send(h11.EndOfMessage())


async def _held(hold: trio.Event, stream: trio.abc.Stream) -> bool:
    """Waits; false if the client hung up first."""
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            with suppress(trio.BrokenResourceError):
                await stream.receive_some(1)
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        await hold.wait()
        nursery.cancel_scope.cancel()
        return True
    return False


async def _break_off(stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], answer: Answer) -> None:
    await stream.send_all(answer.raw or b"")
    if answer.reset:
        plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        # a linger time of zero makes close() a reset
        plain.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


@asynccontextmanager
async def open_sink(
    *answers: Answer, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Sink]:
    """A server on loopback, by default on a port that the system chooses, until the block ends.

    Args:
        answers: As for `Sink.script`; none means a 200 to everything.
        tls: Makes it https, with the certificate in this context.
    """
    sink = Sink()
    if answers:
        sink.script(*answers)
    serve = partial(trio.serve_ssl_over_tcp, ssl_context=tls, https_compatible=True) if tls else trio.serve_tcp
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve, sink._serve, port, host=host))
        socket = (listeners[0].transport_listener if tls else listeners[0]).socket
        sink.url = f"{'https' if tls else 'http'}://{host}:{socket.getsockname()[1]}"
        yield sink
        nursery.cancel_scope.cancel()
