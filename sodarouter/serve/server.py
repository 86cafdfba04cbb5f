"""Accepts connections, watches their deadlines, and ends them in good order."""

import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Literal

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from sodarouter.problem import problem
from sodarouter.serve.asgi import App
from sodarouter.serve.client import PIECE, Client, Stream, Terms
from sodarouter.serve.connection import Connection
from sodarouter.serve.exchange import STOPPED
from sodarouter.serve.lean import LeanConnection
from sodarouter.serve.lifespan import lifespan
from sodarouter.serve.limits import Limits
from sodarouter.serve.listen import Listener
from sodarouter.serve.tls import Tls
from sodarouter.sparing import Sparing

log = structlog.get_logger()

Http = Literal["lean", "hypercorn"]
_PROTOCOLS: Mapping[Http, type[Client]] = {"lean": LeanConnection, "hypercorn": Connection}

LAST_WORDS = 0.5
"""Seconds that are left for telling clients that their requests were cut off."""

_FULL_PROBLEM = problem(503, "Too many connections", "the router has all the connections that it may have")
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n%b\r\n%b" % (
    b"".join(b"%b: %b\r\n" % header for header in _FULL_PROBLEM.headers),
    _FULL_PROBLEM.body,
)


async def serve(
    app: App,
    listeners: Sequence[Listener],
    *,
    stopping: trio.Event,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    tls: Tls | None = None,
    http: Http = "lean",
    refused: Callable[[int], None] = lambda status: None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves an ASGI application until ``stopping`` is set, and then until the requests in flight have ended.

    When it stops, nothing more is accepted, connections without a request are closed at once, and those with one are
    closed after its answer. Requests that have not ended after ``limits.graceful_timeout`` are cancelled and answered
    with a 503. ``task_status`` reports when connections are accepted.

    Args:
        listeners: From `bind`. They are closed at the end, however that comes.
        http: What reads requests and writes answers.
        refused: Told the status of each request that is answered before the application has it: it is none, or was not
            there in time.

    Raises:
        ConfigError: ``tls`` cannot be used.

    Cancellation: as stopping, with no time for the requests in flight.
    """
    try:
        tls_context = tls.ssl_context() if tls else None
        async with lifespan(app, patience=limits.graceful_timeout) as state:
            context, shared = WorkerContext(None), ConnectionState(state)
            terms = Terms(app, limits, _config(limits), context, shared, refused, Sparing())
            await _Server(terms, _PROTOCOLS[http]).run(listeners, tls_context, stopping, task_status)
    finally:
        for listener in listeners:
            listener.close()


class _Server:
    def __init__(self, terms: Terms, protocol: type[Client]) -> None:
        self._terms = terms
        self._protocol = protocol
        self._limits = terms.limits
        self._connections: set[Client] = set()
        self._full = False
        self._cut_off = inf
        """When nothing is waited for any longer."""

    async def run(
        self,
        listeners: Sequence[Listener],
        tls: ssl.SSLContext | None,
        stopping: trio.Event,
        task_status: trio.TaskStatus[None],
    ) -> None:
        doors = [_door(listener, tls) for listener in listeners]
        async with trio.open_nursery() as nursery:
            sweeping = trio.CancelScope(shield=True)
            nursery.start_soon(self._sweep, sweeping)
            try:
                async with trio.open_nursery() as connections:
                    grace = 0.0
                    try:
                        async with trio.open_nursery() as accepting:
                            serving = partial(trio.serve_listeners, self._welcome, doors, handler_nursery=connections)
                            await accepting.start(serving)
                            task_status.started()
                            await stopping.wait()
                            accepting.cancel_scope.cancel()
                        grace = self._limits.graceful_timeout
                    finally:
                        connections.cancel_scope.deadline = trio.current_time() + grace
                        await self._stop(grace)
            finally:
                sweeping.cancel()

    async def _welcome(self, stream: Stream) -> None:
        if len(self._connections) >= self._limits.max_connections and not self._make_room():
            await self._turn_away(stream)
            return
        self._full = False
        connection = self._protocol(self._terms, stream)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def _make_room(self) -> bool:
        """Closes the connection that has been without a request longest: it is missed least. ``False``: all have one."""
        waiting = [connection for connection in self._connections if connection.waits_since is not None]
        if not waiting:
            return False
        longest = min(waiting, key=lambda connection: connection.waits_since or 0.0)
        self._connections.discard(longest)
        longest.abort()
        return True

    async def _turn_away(self, stream: Stream) -> None:
        if not self._full:
            self._full = True
            log.warning("too many connections", limit=self._limits.max_connections)
        if isinstance(stream, trio.SocketStream):
            with trio.move_on_after(LAST_WORDS), suppress(trio.BrokenResourceError):
                await stream.send_all(_FULL)
                await stream.send_eof()
                # closing with a request unread would keep the client from reading this
                await stream.receive_some(PIECE)

    async def _sweep(self, scope: trio.CancelScope) -> None:
        limits = self._limits
        shortest = min(
            limits.handshake_timeout,
            limits.header_timeout,
            limits.keep_alive_timeout,
            limits.send_timeout,
            limits.linger_timeout,
        )
        with scope:
            while True:
                await trio.sleep(min(shortest / 4, 0.5))
                now = trio.current_time()
                for connection in tuple(self._connections):
                    if now > self._cut_off:
                        connection.abort()
                    else:
                        connection.sweep(now)

    async def _stop(self, grace: float) -> None:
        self._cut_off = trio.current_time() + grace + LAST_WORDS
        await self._terms.context.terminated.set()
        for connection in self._connections:
            connection.dismiss(STOPPED)


def _config(limits: Limits) -> Config:
    config = Config()
    config.h11_max_incomplete_size = limits.max_header_bytes
    config.include_server_header = False
    config.errorlog = None  # what there is to say, this package says
    return config


def _door(listener: Listener, tls: ssl.SSLContext | None) -> trio.abc.Listener[Stream]:
    plain = trio.SocketListener(trio.socket.from_stdlib_socket(listener.socket))
    return trio.SSLListener(plain, tls, https_compatible=True) if tls else plain
