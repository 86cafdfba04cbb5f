"""The connections of one client, kept from one request to the next."""

import trio

from sodarouter.outgoing.connection import Connection
from sodarouter.outgoing.target import Origin

IDLE_SECONDS = 5.0
"""How long a connection is kept that nobody uses."""


class Connections:
    """As many as there are requests at once, which is never more than the destination's ``concurrency``."""

    def __init__(self) -> None:
        self._idle: dict[Connection, tuple[Origin, float]] = {}
        """Where each leads to, and until when it is kept, on trio's clock; the one that was used last comes last."""
        self._closed = False

    def take(self, origin: Origin) -> Connection | None:
        """One that nobody else uses until it is given back. ``None``: one must be made."""
        now = trio.current_time()
        while (longest := next(iter(self._idle), None)) and self._idle[longest][1] < now:
            self._close(longest)
        # the last is the likeliest to be open still
        while connection := next((one for one in reversed(self._idle) if self._idle[one][0] == origin), None):
            if connection.is_open():
                del self._idle[connection]
                return connection
            self._close(connection)
        return None

    def give_back(self, connection: Connection, origin: Origin) -> None:
        """It serves again if its last answer was read to the end."""
        if not self._closed and connection.serves_again():
            self._idle[connection] = origin, trio.current_time() + IDLE_SECONDS
        else:
            connection.close()

    def close(self) -> None:
        """Closes those that are idle, and each of the others when it is given back."""
        self._closed = True
        while self._idle:
            self._close(next(iter(self._idle)))

    def _close(self, connection: Connection) -> None:
        del self._idle[connection]
        connection.close()
