"""Keeps SMTP connections between mails."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from sodarouter_email.options import EmailOptions
from sodarouter_email.session import Session


class Pool:
    """The idle sessions of one destination. There are never more sessions than deliveries at once."""

    def __init__(self, options: EmailOptions, context: ssl.SSLContext | None) -> None:
        self._options = options
        self._context = context
        self._idle: list[tuple[float, Session]] = []
        self._scope = trio.CancelScope()

    def start(self) -> None:
        # a system task, as a destination has no nursery; an exception in it would end the router, but nothing in it raises
        trio.lowlevel.spawn_system_task(self._close_idle)

    def close(self) -> None:
        """Closes all sessions; those that are out are closed when they come back."""
        self._scope.cancel()
        while self._idle:
            self._idle.pop()[1].quit()

    @contextmanager
    def lease(self) -> Iterator[Session]:
        """A session for one mail. It is kept afterwards, unless there was an exception: then nobody knows its state."""
        session = self._idle.pop()[1] if self._idle else Session(self._options, self._context)
        try:
            yield session
        except BaseException:
            session.abort()
            raise
        if session.sent < self._options.messages_per_connection and not self._scope.cancel_called:
            self._idle.append((trio.current_time(), session))
        else:
            session.quit()

    async def _close_idle(self) -> None:
        with self._scope:
            while True:
                # the oldest comes first: sessions are taken from the end and put back there
                since = self._idle[0][0] if self._idle else trio.current_time()
                await trio.sleep_until(since + self._options.idle_timeout)
                limit = trio.current_time() - self._options.idle_timeout
                while self._idle and self._idle[0][0] <= limit:
                    self._idle.pop(0)[1].quit()
