"""One client's connection, from its acceptance to its end."""

import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, cast

import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup
from hypercorn.utils import parse_socket_addr

from sodarouter.problem import HAS_ENDED, Answer, problem
from sodarouter.serve.asgi import App, Message, Scope
from sodarouter.serve.exchange import Exchange
from sodarouter.serve.http1 import Http1
from sodarouter.serve.limits import Limits

log = structlog.get_logger()

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

PIECE = 64 * 1024
"""Bytes that are received at once, and of an answer that are sent within one ``send_timeout``."""

LINGER_BYTES = 16 * 1024 * 1024
"""How much of a refused body is thrown away before its sender is cut off."""

PATIENCE = 1.0
"""Seconds between asking a connection to end and cutting it off."""

TOO_SLOW = problem(408, "Request Timeout", "the header fields of the request did not arrive in time")

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(frozen=True)
class Terms:
    """What all connections of a server have in common."""

    app: App
    limits: Limits
    config: Config
    context: WorkerContext
    state: ConnectionState


class Connection:
    """Carries bytes between a socket and the protocol, and runs the application for each request.

    No wait has a timer of its own: that would cost a task or a cancel scope for every request. There are two deadlines,
    mere numbers, and the server's sweeper compares them with the time now and then.
    """

    def __init__(self, terms: Terms, stream: Stream) -> None:
        self._terms = terms
        self._limits = terms.limits
        self._stream = stream
        self._socket = (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket
        self._send_lock = trio.Lock()
        self._protocol = Http1(
            cast("AppWrapper", terms.app),
            terms.config,
            terms.context,
            cast("TaskGroup", self),
            terms.state,
            isinstance(stream, trio.SSLStream),
            _address(self._socket.family, self._socket.getpeername),
            _address(self._socket.family, self._socket.getsockname),
            self._send,
        )
        self._deadline = inf
        """When the client must have done what it is waited for."""
        self._send_deadline = inf
        """When the client must have accepted what is being sent."""
        self._begun = True
        """Whether a request is expected whole: its first byte has come, or the connection is new."""
        self._working = False
        """Whether the application has a request, and so the deadline."""
        self._refusal = TOO_SLOW
        """What a request that is not there in time is answered with."""
        self._last_call = inf
        """When the first request must be there, once the server stops."""
        self._asked = False
        """Whether the client was asked to end."""
        self.waits_since: float | None = trio.current_time()
        """Since when it has had no request; ``None`` while it has one."""
        self._ending = False
        """Whether the last answer has been given."""
        self._ended = False
        """Whether the client has closed its half."""

    async def run(self) -> None:
        """Serves the client until either has enough. What goes wrong ends this connection and nothing else."""
        try:
            async with trio.open_nursery() as self._requests:
                await self._converse()
        except* (*_GONE, OSError):
            pass  # the client has gone, which is its right
        except* Exception:
            log.exception("a connection failed")
        finally:
            self._socket.close()

    def sweep(self, now: float) -> None:
        """Ends what has taken too long."""
        if now > self._send_deadline:
            self.abort()
        elif now > self._deadline:
            if self._asked or self._ending:
                self.abort()
            else:
                self._dismiss()

    def has_ended(self) -> bool:
        """Whether the client has closed its half: it has given up, or only sends no more."""
        return self._ended

    def dismiss(self, refusal: Answer) -> None:
        """Ends the connection, because the server does. A request that it has is answered first.

        One that is on its way, and the first of a new connection, gets a moment to come: its sender was let in and does
        not know better. What then is there is still read. If it is half a request, ``refusal`` answers it.
        """
        self._refusal = refusal
        if not self._begun:
            self._dismiss()
        elif not self._working:
            self._last_call = trio.current_time() + PATIENCE
            self._deadline = min(self._deadline, self._last_call)

    def _dismiss(self) -> None:
        if self._working or self._ending:
            return
        self._asked = True
        self._deadline = trio.current_time() + PATIENCE
        self._protocol.refusal = self._refusal
        # the reader sees the end of the stream, as if the client had closed it
        self._shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """Cuts the connection off, whatever it is doing; whoever waits for its socket finds it closed."""
        with suppress(OSError):
            # otherwise the kernel goes on for minutes to offer the client what it does not take
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def _converse(self) -> None:
        if isinstance(self._stream, trio.SSLStream):
            self._deadline = trio.current_time() + self._limits.handshake_timeout
            await self._stream.do_handshake()
        self._deadline = min(trio.current_time() + self._limits.header_timeout, self._last_call)
        await self._read()
        if self._ending:
            # an application that goes on after its answer does not keep the client
            self._socket.close()

    async def _read(self) -> None:
        thrown_away = 0
        while True:
            try:
                data = await self._stream.receive_some(PIECE)
            except _GONE:
                await self._protocol.handle(Closed())
                return
            if self._ending:
                thrown_away += len(data)
                if thrown_away > LINGER_BYTES:
                    return
            else:
                if not self._begun:
                    self._begun = True
                    self._deadline = trio.current_time() + self._limits.header_timeout
                await self._protocol.handle(RawData(bytes(data)))
            if not data:
                self._ended = True
                # a client that has sent all and closed its half still gets its answer
                return

    async def spawn_app(
        self, _app: AppWrapper, _config: Config, scope: Scope, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Message], Awaitable[None]]:
        """Called by hypercorn's HTTPStream for each request; returns what takes the messages for the application."""
        scope = {**scope, HAS_ENDED: self.has_ended}
        exchange = Exchange(scope, send, self._protocol.invite)
        self._requests.start_soon(exchange.run, self._terms.app)
        return exchange.put

    async def _send(self, event: Event) -> None:
        """Called by the protocol: with bytes for the client, with the beginning and the end of requests, or to end."""
        if isinstance(event, RawData):
            await self._send_bytes(event.data)
        elif isinstance(event, Updated):
            self._working = not event.idle
            self.waits_since = trio.current_time() if event.idle else None
            self._begun = self._working
            self._deadline = trio.current_time() + self._limits.keep_alive_timeout if event.idle else inf
        else:
            await self._end(linger=True)

    async def _send_bytes(self, data: bytes) -> None:
        # the application and the reader, which answers what it cannot parse, may both be at it
        async with self._send_lock:
            try:
                for start in range(0, len(data), PIECE):
                    self._send_deadline = trio.current_time() + self._limits.send_timeout
                    await self._stream.send_all(data[start : start + PIECE])
            except _GONE:
                await self._end(linger=False)
            finally:
                self._send_deadline = inf

    async def _end(self, *, linger: bool) -> None:
        """Ends the connection. With ``linger``, a client that is still sending is let to, for a while.

        If the socket were closed with something unread, the kernel would tell the client so before it reads the answer.
        """
        if self._ending:
            return
        self._ending = True
        await self._protocol.handle(Closed())
        if linger and self._protocol.unread:
            self._deadline = trio.current_time() + self._limits.linger_timeout
            self._shutdown(socket.SHUT_WR)
        else:
            self._shutdown(socket.SHUT_RD)

    def _shutdown(self, how: int) -> None:
        with suppress(OSError):
            self._socket.shutdown(how)


def _address(family: int, ask: Callable[[], Any]) -> tuple[str, int] | None:
    try:
        return parse_socket_addr(family, ask())
    except OSError:
        return None  # the client has gone already
