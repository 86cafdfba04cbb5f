"""The connections of one client, kept from one request to the next."""

from collections.abc import Callable

import httpcore2
import trio

IDLE_SECONDS = 5.0
"""How long a connection is kept that nobody uses."""

Connection = httpcore2.AsyncConnectionInterface


class Connections:
    """As many as there are requests at once, which is never more than the destination's ``concurrency``.

    httpcore2's own pool goes through all of its connections and requests whenever one begins or ends: a third of what a
    request took.

    Args:
        make: Makes one to a place. It connects with its first request.
    """

    def __init__(self, make: Callable[[httpcore2.Origin], Connection]) -> None:
        self._make = make
        self._idle: dict[Connection, float] = {}
        """Until when each is kept, on trio's clock; the one that was used last comes last."""
        self._closed = False

    async def take(self, origin: httpcore2.Origin) -> Connection:
        """One that nobody else uses until it is given back."""
        now = trio.current_time()
        while (longest := next(iter(self._idle), None)) and self._idle[longest] < now:
            await self._close(longest)
        # the last is the likeliest to be open still
        for connection in reversed(list(self._idle)):
            # while one is closed, others may be taken, or closed too
            if connection in self._idle and connection.can_handle_request(origin):
                if not connection.has_expired():
                    del self._idle[connection]
                    return connection
                await self._close(connection)
        return self._make(origin)

    async def give_back(self, connection: Connection) -> None:
        """It serves again if its last answer was read to the end."""
        if connection.is_available() and not self._closed:
            self._idle[connection] = trio.current_time() + IDLE_SECONDS
        else:
            await self._close(connection)

    async def close(self) -> None:
        """Closes those that are idle, and each of the others when it is given back."""
        self._closed = True
        while self._idle:
            await self._close(next(iter(self._idle)))

    async def _close(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        # the socket is closed before anything is awaited, so there is nothing that could be cancelled
        with trio.CancelScope(shield=True):
            await connection.aclose()
