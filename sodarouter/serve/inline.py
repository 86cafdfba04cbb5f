"""One request and its answer where no task stands between the connection and the application."""

from collections.abc import Mapping
from functools import lru_cache
from math import inf
from typing import Any, Protocol
from urllib.parse import unquote

import h11
import trio

from sodarouter.problem import WHOLE_BODY
from sodarouter.serve.answering import Answering
from sodarouter.serve.asgi import App, Message, Scope
from sodarouter.serve.client import GONE
from sodarouter.serve.exchange import FAILED, STOPPED, tell_failure
from sodarouter.serve.incoming import Head, Incoming

_DISCONNECT = {"type": "http.disconnect"}


class Wire(Protocol):
    """The connection, as a request needs it."""

    @property
    def is_stopping(self) -> bool: ...

    async def read(self) -> None: ...

    async def send(self, data: bytes) -> None: ...

    def refused(self, error: h11.RemoteProtocolError) -> bytes: ...


class Inline:
    """One request and its answer, in the task of its connection."""

    def __init__(self, connection: Wire, incoming: Incoming, head: Head, scope: Scope) -> None:
        self._connection = connection
        self._incoming = incoming
        self._scope: Scope = {
            **scope,
            **_target(head.target),
            "http_version": head.version.decode("ascii"),
            "method": head.method.decode("ascii").upper(),
            "headers": head.fields,
            "state": scope["state"].copy(),
            WHOLE_BODY: self._whole_body,
        }
        self.answering = Answering(head.method, head.version, keep_alive=head.keep_alive)
        self.over = False
        """Whether nobody listens any longer."""
        self._listening: trio.CancelScope | None = None
        """Waits for the client to go."""
        self._given = False
        """Whether the application has the whole body."""

    async def run(self, app: App) -> None:
        """Lets the application answer, and answers in its place when it does not.

        Cancellation: the client is told to send the request again, if no answer had begun.
        """
        try:
            await app(self._scope, self._receive, self._send)
        except* Exception:
            tell_failure(self._scope, gone=self.over and not self.answering.whole)
        finally:
            if not self.answering.begun and not self.over:
                cancelled = trio.current_effective_deadline() == -inf
                self._tell_end()
                await self._put(self.answering.bytes_instead(STOPPED if cancelled else FAILED))

    async def _receive(self) -> Message:
        incoming = self._incoming
        try:
            while not (self.over or self.answering.whole):
                if not self._given:
                    piece = incoming.body()
                    if piece is not None or incoming.whole:
                        self._given = incoming.whole
                        return {"type": "http.request", "body": piece or b"", "more_body": not incoming.whole}
                with trio.CancelScope() as self._listening:
                    await self._listen()
        except h11.RemoteProtocolError as error:
            self.over = True
            if not self.answering.begun:
                await self._put(self._connection.refused(error))
        except (*GONE, OSError):
            self.over = True
        return _DISCONNECT

    def _whole_body(self) -> bytes | None:
        body = self._incoming.rest()
        self._given = self._given or body is not None
        return body

    async def _listen(self) -> None:
        incoming, connection = self._incoming, self._connection
        if self._given and (incoming.pending or incoming.closed):
            # what comes next is for the next request; a client that has closed its half still gets its answer
            await trio.sleep_forever()
        if invitation := incoming.invitation():
            await connection.send(invitation)
        await connection.read()

    async def _send(self, message: Message) -> None:
        if self.over:
            await trio.lowlevel.checkpoint()
            return
        self._tell_end()
        await self._put(self.answering.bytes_of(message))
        if not self.answering.whole:
            await trio.lowlevel.cancel_shielded_checkpoint()
        elif self._listening is not None:
            self._listening.cancel()

    def _tell_end(self) -> None:
        """Has the answer say that it is the last, if it is: else the next request would go to a connection that ends."""
        if self._connection.is_stopping or not self._incoming.has_come:
            self.answering.keep_alive = False

    async def _put(self, data: bytes) -> None:
        try:
            if data:
                await self._connection.send(data)
        except (*GONE, OSError):
            self.over = True


@lru_cache(maxsize=64)
def _target(target: bytes) -> Mapping[str, Any]:
    """What a scope says of the target of a request."""
    path, _, query = target.partition(b"?")
    return {"path": unquote(path.decode("ascii")), "raw_path": path, "query_string": query}
