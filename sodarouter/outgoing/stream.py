"""The bytes of a connection, for one task at a time."""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import trio

PIECE = 1 << 14
"""Bytes that are read at once: whatever they say, nobody else waits for long while it is looked at."""

T = TypeVar("T")


class Stream(Protocol):
    """What a connection goes over.

    Raises:
        OSError: From all that sends or receives: the connection broke off.

    Cancellation: what was sent or received until then is not known.
    """

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """What comes next; nothing: the other side sends no more."""

    def is_silent(self) -> bool:
        """Whether nothing has come that was not received, not even an end. What has come is lost."""

    def close(self) -> None: ...


class TcpStream:
    """Bytes over TCP.

    trio's own stream gives up the turn after all that it sends, and looks whether something can be read before anything
    can have come: together a tenth of a request.

    Args:
        connected: A socket that does not block.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    async def send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)

    async def receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            with suppress(BlockingIOError):
                return self._socket.recv(PIECE)

    def is_silent(self) -> bool:
        try:
            self._socket.recv(1)
        except OSError as error:
            return isinstance(error, BlockingIOError)
        return False

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


class TlsStream:
    """Bytes over TLS.

    trio's own has locks for tasks that send and receive at once, and cannot say whether something came behind an answer.

    Args:
        tcp: What it goes over. It is closed with this.
        context: Says whom to trust.
        host: Whose certificate it must be.

    Raises:
        ValueError: The host cannot be asked for.
    """

    def __init__(self, tcp: TcpStream, context: ssl.SSLContext, host: str) -> None:
        self._tcp = tcp
        self._come, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._come, self._going, server_hostname=host)

    async def shake_hands(self) -> None:
        """Comes before all else."""
        await self._do(self._tls.do_handshake)

    async def send(self, data: bytes) -> None:
        await self._do(lambda: self._tls.write(data))

    async def receive(self) -> bytes:
        # many servers close the connection without a word
        with suppress(ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return await self._do(lambda: self._tls.read(PIECE))
        return b""

    async def _do(self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush()
            else:
                await self._flush()
                return done
            if data := await self._tcp.receive():
                self._come.write(data)
            else:
                self._come.write_eof()

    async def _flush(self) -> None:
        if self._going.pending:
            await self._tcp.send(self._going.read())

    def is_silent(self) -> bool:
        return not self._come.pending and not self._tls.pending() and self._tcp.is_silent()

    def close(self) -> None:
        self._tcp.close()
