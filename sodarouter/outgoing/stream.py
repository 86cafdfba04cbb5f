"""The bytes of a connection."""

import socket
from contextlib import suppress

import trio

PIECE = 1 << 16
"""Bytes that are read at once."""


class TcpStream(trio.abc.Stream):
    """Bytes over TCP.

    trio's own stream gives up the turn after all that it sends, and looks whether something can be read before anything
    can have come: together a tenth of a request.

    Args:
        connected: A socket that does not block.

    Raises:
        OSError: From all that sends or receives.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await self.wait_send_all_might_not_block()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.wait_writable(self._socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            with suppress(BlockingIOError):
                return self._socket.recv(max_bytes or PIECE)

    def is_silent(self) -> bool:
        """Whether nothing has come that was not read, not even that the other side has gone. What has come is lost."""
        try:
            self._socket.recv(1)
        except OSError as error:
            return isinstance(error, BlockingIOError)
        return False

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()
