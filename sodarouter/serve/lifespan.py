"""Tells an application that serving begins and ends: ASGI's lifespan protocol, for those that speak it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio

from sodarouter.serve.asgi import App, Message

log = structlog.get_logger()


@asynccontextmanager
async def lifespan(app: App, *, patience: float) -> AsyncIterator[dict[str, Any]]:
    """Runs the application's start before the block and its end after it.

    An application that returns or raises when it is asked does without.

    Args:
        patience: Seconds that the application's end may take.

    Yields:
        The state that the application wants to find in each request's scope.

    Raises:
        RuntimeError: The application says that it cannot start.
    """
    state: dict[str, Any] = {}
    to_app, inbox = trio.open_memory_channel[Message](2)
    started, ended = trio.Event(), trio.Event()
    failures: list[str] = []

    async def send(message: Message) -> None:
        kind = message["type"]
        if kind.endswith(".failed"):
            failures.append(message.get("message", ""))
        (started if kind.startswith("lifespan.startup.") else ended).set()

    async def run() -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
        try:
            await app(scope, inbox.receive, send)
        except* Exception:
            if started.is_set():
                log.exception("the web application's lifespan failed")
        finally:
            started.set()
            ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        to_app.send_nowait({"type": "lifespan.startup"})
        await started.wait()
        if failures:
            raise RuntimeError(f"the web application cannot start: {failures[0]}")
        yield state
        to_app.send_nowait({"type": "lifespan.shutdown"})
        with trio.move_on_after(patience):
            await ended.wait()
        nursery.cancel_scope.cancel()
        for failure in failures:
            log.error("the web application did not end well", error=failure)
