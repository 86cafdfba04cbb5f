"""Frames over a socket between the router and a process that takes in, many at a time.

Each is a length, a kind, and as many bytes. What is put in one turn of the loop leaves in one piece, and all that has come
is read together: a system call for each event would cost more than the event does here.
"""

import socket
import struct
from contextlib import suppress

import trio

CHUNK = 1 << 18
"""Bytes that are read at once."""

_HEAD = struct.Struct(">IB")
_CLOSED = (OSError, ValueError, trio.ClosedResourceError)
"""What waiting for a socket raises that is closed: ``ValueError`` if it was so before."""

Frame = tuple[int, bytes]
"""Its kind, and what is in it."""


class BadFrame(Exception):
    """What was sent is no frame that is taken."""


class Wire(trio.abc.Instrument):
    """One end of the socket. It looks on where the loop ends a turn, from `open` to `close`.

    Args:
        connection: Connected to the other side.
        limit: Bytes of a frame that is taken.
    """

    def __init__(self, connection: socket.socket, limit: int) -> None:
        connection.setblocking(False)
        self.limit = limit
        self.count = 0
        """How often something has come."""
        self._connection = connection
        self._received = bytearray()
        self._put: list[bytes] = []
        self._rest = memoryview(b"")
        """What the socket did not take."""
        self._stuck = trio.Event()
        """Set while there is some."""
        self._waiting = trio.lowlevel.ParkingLot()
        """Who waits until there is none."""

    def open(self) -> None:
        trio.lowlevel.add_instrument(self)

    def close(self) -> None:
        with suppress(KeyError):
            trio.lowlevel.remove_instrument(self)
        if self._connection.fileno() >= 0:
            trio.lowlevel.notify_closing(self._connection)
        self._connection.close()

    def put(self, kind: int, *parts: bytes) -> None:
        """Has a frame sent with the others of this turn. It is thrown away if the other side has gone."""
        self._put.append(_HEAD.pack(sum(map(len, parts)), kind))
        self._put += parts

    def before_io_wait(self, timeout: float) -> None:
        self.flush()

    def flush(self) -> None:
        """Sends what was put at once."""
        if self._put and not self._rest:
            data = b"".join(self._put)
            self._put.clear()
            self._rest = self._unsent(memoryview(data))
            if self._rest:
                # to set the event here would wake nobody: the loop knows already how long it waits
                trio.lowlevel.current_trio_token().run_sync_soon(self._stuck.set)

    def _unsent(self, data: memoryview) -> memoryview:
        """Sends what the socket takes, and gives the rest."""
        try:
            return data[self._connection.send(data) :]
        except BlockingIOError:
            return data
        except OSError:
            return data[:0]  # the other side has gone, which whoever reads finds out

    async def drain(self) -> None:
        """Sends what the socket does not take at once, until it is cancelled."""
        while True:
            await self._stuck.wait()
            while self._rest:
                try:
                    await trio.lowlevel.wait_writable(self._connection)
                except _CLOSED:
                    self._rest = self._rest[:0]
                    break
                self._rest = self._unsent(self._rest)
            self._stuck = trio.Event()
            self._waiting.unpark_all()

    async def clear(self) -> None:
        """Waits, if it has to, until the other side has taken what it was sent."""
        while self._rest:
            await self._waiting.park()

    async def frames(self) -> list[Frame]:
        """The next frames, at least one; none: the other side has gone.

        Raises:
            BadFrame: One is larger than the limit.

        Cancellation: what has arrived stays for the next call.
        """
        while True:
            try:
                await trio.lowlevel.wait_readable(self._connection)
                data = self._connection.recv(CHUNK)
            except BlockingIOError:
                continue
            except _CLOSED:
                return []
            if not data:
                return []
            self._received += data
            self.count += 1
            if found := self._whole():
                return found

    def _whole(self) -> list[Frame]:
        found: list[Frame] = []
        received, at, there = self._received, 0, len(self._received)
        with memoryview(received) as view:
            while there - at >= _HEAD.size:
                length, kind = _HEAD.unpack_from(view, at)
                if length > self.limit:
                    raise BadFrame(f"{length:,} bytes at once")
                end = at + _HEAD.size + length
                if end > there:
                    break
                found.append((kind, bytes(view[at + _HEAD.size : end])))
                at = end
        del received[:at]
        return found
