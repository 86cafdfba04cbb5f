"""An SMTP server on loopback, in a thread with a loop of asyncio's."""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtpd.smtp import SMTP


@contextmanager
def smtp_server(handler: object, **known: Any) -> Iterator[int]:
    """Gives its port.

    Args:
        handler: Of `aiosmtpd`: it takes the mails.
        known: What else the server is made with.
    """

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(handler, hostname="localhost", loop=loop, **known), "127.0.0.1")
        serving.put((server.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(stop.set)))
        await stop.wait()
        server.close()

    serving: queue.Queue[tuple[int, Callable[[], object]]] = queue.Queue()
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    port, stop = serving.get(timeout=30)
    try:
        yield port
    finally:
        stop()
        thread.join()
