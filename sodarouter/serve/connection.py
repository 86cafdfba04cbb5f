"""A connection that hypercorn's protocol reads: a task for each request, and one that reads on meanwhile."""

import socket
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, cast

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import AppWrapper, TaskGroup

from sodarouter.problem import HAS_ENDED, REFUSED
from sodarouter.serve.asgi import Message, Scope
from sodarouter.serve.client import GONE, LINGER_BYTES, PIECE, Client, Stream, Terms
from sodarouter.serve.exchange import Exchange
from sodarouter.serve.http1 import Http1


class Connection(Client):
    """Carries bytes between a socket and hypercorn's protocol, and runs the application for each request."""

    def __init__(self, terms: Terms, stream: Stream) -> None:
        super().__init__(terms, stream)
        self._send_lock = trio.Lock()
        self._protocol = Http1(
            cast("AppWrapper", terms.app),
            terms.config,
            terms.context,
            cast("TaskGroup", self),
            terms.state,
            isinstance(stream, trio.SSLStream),
            self._peer(),
            self._own(),
            self._send,
            tell=self._tell_refused,
        )
        self._ended = False
        """Whether the client has closed its half."""

    def has_ended(self) -> bool:
        """Whether the client has closed its half: it has given up, or only sends no more."""
        return self._ended

    def _dismiss(self) -> None:
        if not (self._working or self._ending):
            self._protocol.refusal = self._refusal
        super()._dismiss()

    async def _converse(self) -> None:
        await self._read()
        if self._ending:
            # an application that goes on after its answer does not keep the client
            self._socket.close()

    async def _read(self) -> None:
        thrown_away = 0
        while True:
            try:
                data = await self._stream.receive_some(PIECE)
            except GONE:
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
        scope = {**scope, HAS_ENDED: self.has_ended, REFUSED: self.refused_with}
        exchange = Exchange(scope, send, self._protocol.invite)
        self._nursery.start_soon(exchange.run, self._terms.app)
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
            except GONE:
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
