"""One request and its answer: what stands between a connection and the application."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf

import structlog
import trio

from sodarouter.problem import answer, problem
from sodarouter.serve.asgi import App, Message, Scope

log = structlog.get_logger()

_WAITING = 2
"""How many pieces of a body, 64 KiB each, wait for the application: as many as the body of a webhook has."""

FAILED = problem(500, "Internal Server Error", "the request could not be handled; the log of the router says why")
STOPPED = problem(
    503, "Stopping", "the router stopped before this was done; send it again", headers={"Retry-After": "5"}
)


class Exchange:
    """Runs the application for one request.

    Args:
        send: Takes the messages of the answer; ``None`` says that there are no more.
        invite: Called before the application waits for the body.
    """

    def __init__(
        self, scope: Scope, send: Callable[[Message | None], Awaitable[None]], invite: Callable[[], Awaitable[None]]
    ) -> None:
        self._scope = scope
        self._send_on = send
        self._invite = invite
        self._to_app, self._inbox = trio.open_memory_channel[Message](_WAITING)
        self._answered = False
        """Whether an answer has begun."""
        self._whole = False
        """Whether its last piece was given."""
        self._over = False
        """Whether nobody listens any longer."""

    async def put(self, message: Message) -> None:
        """Hands the application a message, when it has room for one. What nobody will read is dropped."""
        if message["type"] == "http.disconnect":
            self._over = True
            self._to_app.close()
            return
        with suppress(trio.ClosedResourceError):
            await self._to_app.send(message)

    async def run(self, app: App) -> None:
        """Lets the application answer, and answers in its place when it does not.

        Cancellation: the client is told to send the request again, if no answer had begun.
        """
        try:
            await app(self._scope, self._receive, self._send)
        except* Exception:
            tell_failure(self._scope, gone=self._over and not self._whole)
        finally:
            if not self._answered:
                cancelled = trio.current_effective_deadline() == -inf
                await answer(self._send, STOPPED if cancelled else FAILED)
            await self._send_on(None)

    async def _receive(self) -> Message:
        await self._invite()
        try:
            return await self._inbox.receive()
        except trio.EndOfChannel:
            return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._over:
            await trio.lowlevel.checkpoint()
            return
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._whole = True
        # What h11 has counted as sent must be sent. hypercorn tells of the end of a request from inside its last send, and
        # quart-trio then cancels the handler that is sending: the connection would never be ready for its next request.
        with trio.CancelScope(shield=True):
            await self._send_on(message)
        self._answered = True


def tell_failure(scope: Scope, *, gone: bool) -> None:
    """Logs the exception that is being handled: an application has raised it.

    Args:
        gone: Whether its client had gone.
    """
    about = {"method": scope["method"], "path": scope["path"]}
    if gone:
        # frameworks say so in their own ways; Quart raises
        log.debug("a client did not wait for its answer", **about)
    else:
        log.exception("a request failed", **about)
