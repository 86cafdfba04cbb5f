"""What every connection is to the server, whichever protocol reads it: watched, asked to end, and cut off."""

import socket
import ssl
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from sodarouter.problem import Answer, problem
from sodarouter.serve.asgi import App
from sodarouter.serve.limits import Limits
from sodarouter.serve.rules import fault, handshake_hint, hint
from sodarouter.sparing import Sparing

log = structlog.get_logger()

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

PIECE = 64 * 1024
"""Bytes that are received at once, and of an answer that are sent within one ``send_timeout``."""

LINGER_BYTES = 16 * 1024 * 1024
"""How much of a refused body is thrown away before its sender is cut off."""

PATIENCE = 1.0
"""Seconds between asking a connection to end and cutting it off."""

SLOW = "the header fields of the request did not arrive in time"
TOO_SLOW = problem(408, "Request Timeout", SLOW)

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
"""What a stream raises whose client has gone, or which was cut off."""


@dataclass(frozen=True)
class Terms:
    """What all connections of a server have in common."""

    app: App
    limits: Limits
    config: Config
    context: WorkerContext
    state: ConnectionState
    refused: Callable[[int], None]
    """As `sodarouter.serve.serve` takes it."""
    sparing: Sparing
    """For what strangers do."""


class Client(ABC):
    """One connection, as the server sees it.

    No wait has a timer of its own: that would cost a task or a cancel scope for every request. There are two deadlines,
    mere numbers, and the server's sweeper compares them with the time now and then.
    """

    def __init__(self, terms: Terms, stream: Stream) -> None:
        self._terms = terms
        self._limits = terms.limits
        self._stream = stream
        self._socket = (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket
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
        self._refused_with: int | None = None
        """The status of a request that was refused here."""

    async def run(self) -> None:
        """Serves the client until either has enough. What goes wrong ends this connection and nothing else."""
        try:
            async with trio.open_nursery() as self._nursery:
                if isinstance(self._stream, trio.SSLStream):
                    self._deadline = trio.current_time() + self._limits.handshake_timeout
                    await self._shake_hands(self._stream)
                self._deadline = min(trio.current_time() + self._limits.header_timeout, self._last_call)
                await self._converse()
        except* (*GONE, OSError):
            pass  # the client has gone, which is its right
        except* Exception:
            log.exception("a connection failed")
        finally:
            self._socket.close()

    async def _shake_hands(self, stream: "trio.SSLStream[Any]") -> None:
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            failure = error.__cause__
            # one that goes without a word only looks whether somebody listens
            if isinstance(failure, ssl.SSLError) and failure.reason and not isinstance(failure, ssl.SSLEOFError):
                reason = failure.reason.replace("_", " ").lower()
                self._tell("a TLS handshake failed", handshake_hint(reason), reason=reason)
            raise

    @abstractmethod
    async def _converse(self) -> None:
        """Answers requests until there are no more."""

    def sweep(self, now: float) -> None:
        """Ends what has taken too long."""
        if now > self._send_deadline:
            self.abort()
        elif now > self._deadline:
            if self._asked or self._ending:
                self.abort()
            else:
                self._dismiss()

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
        # the reader sees the end of the stream, as if the client had closed it
        self._shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """Cuts the connection off, whatever it is doing; whoever waits for its socket finds it closed."""
        with suppress(OSError):
            # otherwise the kernel goes on for minutes to offer the client what it does not take
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def refused_with(self) -> int | None:
        """The status with which a request was answered that the application has, but could not read."""
        return self._refused_with

    def _tell_refused(self, given: Answer, error: h11.RemoteProtocolError, method: bytes, unread: bytes) -> None:
        """That a request is answered here, and why.

        Args:
            given: The answer.
            error: Why it could not be read.
            method: Of the request, if that could be.
            unread: What could not.
        """
        if self._terms.context.terminated.is_set():
            return  # the stop cuts it off, which is not for the client to mend
        self._refused_with = given.status
        reason = SLOW if self._asked else fault(error)
        advice = hint(method, unread, secure=isinstance(self._stream, trio.SSLStream))
        self._tell("a request was refused", advice, status=given.status, reason=reason)
        if not self._working:
            self._terms.refused(given.status)

    def _tell(self, message: str, advice: str, **known: object) -> None:
        """Logs what a client did that was not taken: a warning, if there is something that can be changed."""
        write = log.warning if advice else log.info
        peer, own = self._peer(), self._own()
        where = {"peer": peer and peer[0], "port": own and own[1]} | ({"hint": advice} if advice else {})
        self._terms.sparing(write, message, advice, *known.values(), **known, **where)

    def _shutdown(self, how: int) -> None:
        with suppress(OSError):
            self._socket.shutdown(how)

    def _peer(self) -> tuple[str, int] | None:
        return _address(self._socket.family, self._socket.getpeername)

    def _own(self) -> tuple[str, int] | None:
        return _address(self._socket.family, self._socket.getsockname)


def _address(family: int, ask: Callable[[], Any]) -> tuple[str, int] | None:
    try:
        return parse_socket_addr(family, ask())
    except OSError:
        return None  # the client has gone already
