"""A connection on which one task does everything: it reads a request, runs the application, and sends its answer.

What it saves is what stands between a socket and an application elsewhere: a task for each request, a channel for its
body, and layers that hand events to one another.
"""

import os
import select
import socket
from contextlib import suppress
from math import inf

import h11
import trio

from sodarouter.problem import HAS_ENDED, REFUSED
from sodarouter.serve.answering import Answering
from sodarouter.serve.client import LINGER_BYTES, PIECE, Client, Stream, Terms
from sodarouter.serve.incoming import Head, Incoming
from sodarouter.serve.inline import Inline
from sodarouter.serve.rules import refusal

_HALF_CLOSED = getattr(select, "POLLRDHUP", 0)
"""What Linux tells of; elsewhere it shows when it is read."""


class LeanConnection(Client):
    """Carries bytes between a socket and the application."""

    def __init__(self, terms: Terms, stream: Stream) -> None:
        super().__init__(terms, stream)
        self._plain = isinstance(stream, trio.SocketStream)
        self._incoming = Incoming(terms.config.h11_max_incomplete_size)
        self._exchange: Inline | None = None
        """The request whose answer this connection is for."""
        self._scope = {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "scheme": "http" if self._plain else "https",
            "root_path": "",
            "client": self._peer(),
            "server": self._own(),
            "extensions": {},
            "state": terms.state,
            HAS_ENDED: self.has_ended,
            REFUSED: self.refused_with,
        }

    def has_ended(self) -> bool:
        """Whether the client has closed its half: it has given up, or only sends no more."""
        if self._incoming.closed or self._socket.fileno() < 0:
            return True
        # nobody may have read since the request was whole
        poll = select.poll()
        poll.register(self._socket.fileno(), _HALF_CLOSED)
        return bool(poll.poll(0))

    def sweep(self, now: float) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.answering.whole and self._send_deadline == inf:
            # its application goes on after its answer, which is no reason to keep the client
            self._exchange = None
            self._nursery.start_soon(self._go_on, exchange)
        super().sweep(now)

    async def _converse(self) -> None:
        while (head := await self._next()) is not None:
            exchange = self._exchange = Inline(self, self._incoming, head, self._scope)
            await exchange.run(self._terms.app)
            if self._exchange is not exchange:
                return  # `_go_on` has
            self._exchange = None
            if not self._ready_for_another(exchange):
                break
            if self._begun:
                await trio.lowlevel.checkpoint()  # who sends many requests at once must not keep the others
        await self._end()

    async def _go_on(self, exchange: Inline) -> None:
        if self._ready_for_another(exchange):
            await self._converse()
        else:
            await self._end()

    async def _next(self) -> Head | None:
        """The head of the next request; ``None``: there will be none."""
        incoming = self._incoming
        try:
            while True:
                head = incoming.head()
                if head is not None:
                    self._working, self._begun, self.waits_since, self._deadline = True, True, None, inf
                    return head
                if incoming.closed:
                    return None
                await self.read()
                if not self._begun:
                    self._begun = True
                    self._deadline = trio.current_time() + self._limits.header_timeout
        except h11.RemoteProtocolError as error:
            await self.send(self.refused(error))
            return None

    def _ready_for_another(self, exchange: Inline) -> bool:
        incoming = self._incoming
        exchange.over = True
        if not exchange.answering.whole or not exchange.answering.keep_alive:
            return False
        try:
            # what came with the head costs nothing to throw away
            while not incoming.whole and incoming.body() is not None:
                pass
        except h11.RemoteProtocolError:
            return False
        if not incoming.whole or self.is_stopping:
            return False
        now = trio.current_time()
        self.waits_since, self._working, self._begun = now, False, incoming.pending
        self._deadline = now + (self._limits.header_timeout if self._begun else self._limits.keep_alive_timeout)
        return True

    async def _end(self) -> None:
        """Ends the connection. A client that is still sending is let to, for a while.

        If the socket were closed with something unread, the kernel would tell the client so before it reads the answer.
        """
        self._ending = True
        incoming = self._incoming
        if not incoming.closed and (not incoming.whole or incoming.pending):
            self._deadline = trio.current_time() + self._limits.linger_timeout
            self._shutdown(socket.SHUT_WR)
            thrown_away = 0
            while thrown_away <= LINGER_BYTES and (data := await self._stream.receive_some(PIECE)):
                thrown_away += len(data)
        self._socket.close()

    async def read(self) -> None:
        """Waits for more of what the client sends.

        Raises:
            OSError: The client has gone.
            trio.BrokenResourceError, trio.ClosedResourceError: So it has.
        """
        if not self._plain:
            self._incoming.feed(await self._stream.receive_some(PIECE))
            return
        while True:
            if self._socket.fileno() < 0:
                raise trio.ClosedResourceError  # cut off while its answer was on its way
            # trio's own would look first whether something is there, which it hardly ever is
            await trio.lowlevel.wait_readable(self._socket)
            with suppress(BlockingIOError):
                self._incoming.feed(os.read(self._socket.fileno(), PIECE))
                return

    async def send(self, data: bytes) -> None:
        """Sends all, whatever is cancelled meanwhile: half an answer is none.

        Raises:
            OSError: The client has gone.
            trio.BrokenResourceError, trio.ClosedResourceError: So it has.
        """
        sent = 0
        if self._plain and len(data) <= PIECE:
            # The kernel takes a short answer at once. trio's own would give up the turn all the same, and need a shield.
            with suppress(BlockingIOError):
                sent = os.write(self._socket.fileno(), data)
        if sent == len(data):
            return
        with trio.CancelScope(shield=True):
            try:
                for start in range(sent, len(data), PIECE):
                    self._send_deadline = trio.current_time() + self._limits.send_timeout
                    await self._stream.send_all(data[start : start + PIECE])
            finally:
                self._send_deadline = inf

    def refused(self, error: h11.RemoteProtocolError) -> bytes:
        """The answer to what is no request."""
        given = self._refusal if self._asked else refusal(error)
        if self._asked or not self._incoming.closed:  # else the client has gone, which is no news
            self._tell_refused(given, error, self._incoming.method, self._incoming.unread)
        return Answering(self._incoming.method, b"1.1", keep_alive=False).bytes_instead(given)

    @property
    def is_stopping(self) -> bool:
        """Whether the server is, and so every answer the last."""
        return self._terms.context.terminated.is_set()
