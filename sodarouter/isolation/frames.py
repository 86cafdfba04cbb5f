"""Frames: how the router and a destination's process talk over a socket. Each is a length, and as many bytes."""

import struct

import trio

_LENGTH = struct.Struct(">I")
LARGEST = (1 << 32) - 1
"""Bytes of a frame."""
CHUNK = 1 << 16
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
"""What sending raises when the other side has gone."""


class BadFrame(Exception):
    """What was sent is no frame that is taken."""


class Frames:
    """Whole messages over a stream: each a frame, with its length before it.

    Args:
        stream: Connected to the other side.
        limit: Bytes of a frame that is taken.
    """

    def __init__(self, stream: trio.SocketStream, limit: int = LARGEST) -> None:
        self.stream = stream
        self._limit = limit
        self._buffer = bytearray()

    async def send(self, data: bytes) -> None:
        """Sends a frame.

        Raises:
            One of `GONE`.
        """
        await self.stream.send_all(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> bytes | None:
        """The next frame; ``None`` if the other side has gone.

        Raises:
            BadFrame: It is larger than the limit.

        Cancellation: what has arrived of it stays for the next call.
        """
        if not await self._has(_LENGTH.size):
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self._limit:
            raise BadFrame(f"{length} bytes at once")
        end = _LENGTH.size + length
        if not await self._has(end):
            return None
        data = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return data

    async def _has(self, count: int) -> bool:
        while len(self._buffer) < count:
            try:
                chunk = await self.stream.receive_some(max(CHUNK, count - len(self._buffer)))
            except GONE:
                return False
            if not chunk:
                return False
            self._buffer += chunk
        return True
