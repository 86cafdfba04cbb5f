"""A server under test, and a client that sends any bytes whatever and reads HTTP/1.1 answers."""

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import trio
from quart import request
from quart_trio import QuartTrio

from sodarouter.address import Address
from sodarouter.serve import Limits, Listener, Tls, bind, serve
from sodarouter.serve.server import Http

LOOPBACK = Address.parse("127.0.0.1:0")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes = b""

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        return json.loads(self.body)


class Client:
    """One connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._received = bytearray()

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self, *, head: bool = False) -> Answer:
        """The next answer; with ``head`` one that has no body."""
        status_line, *lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer = Answer(int(status_line.split()[1]), headers)
        if head or answer.status < 200 or answer.status in {204, 304}:
            return answer
        if "content-length" in headers:
            answer.body = await self._exactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            while size := int(await self._until(b"\r\n"), 16):
                answer.body += await self._exactly(size)
                await self._exactly(2)
            await self._exactly(2)
        else:
            answer.body = await self.rest()
        return answer

    async def ask(self, request: bytes) -> Answer:
        await self.send(request)
        return await self.answer()

    async def rest(self) -> bytes:
        """What comes until the server closes the connection."""
        while await self._more():
            pass
        rest = bytes(self._received)
        self._received.clear()
        return rest

    async def _more(self) -> bool:
        data = await self.stream.receive_some(65536)
        self._received += data
        return bool(data)

    async def _until(self, mark: bytes) -> bytes:
        while (at := self._received.find(mark)) < 0:
            assert await self._more(), f"the server closed the connection after {bytes(self._received)!r}"
        return (await self._exactly(at + len(mark)))[: -len(mark)]

    async def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            assert await self._more(), f"the server closed the connection after {bytes(self._received)!r}"
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


@dataclass
class Served:
    """A server that runs."""

    listener: Listener
    limits: Limits
    stopping: trio.Event
    ended: trio.Event
    """Set when it has stopped."""
    scope: trio.CancelScope
    http: ClassVar[Http] = "lean"
    """What reads and writes in every server, see the fixture of this name."""
    workers: ClassVar[int] = 0
    """How many processes take in for every router, see the fixture `intake`."""

    @asynccontextmanager
    async def connect(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
        address = self.listener.address
        stream: trio.abc.Stream
        if address.path is not None:
            stream = await trio.open_unix_socket(address.path)
        else:
            stream = await trio.open_tcp_stream(address.host, address.port)
        if tls is not None:
            stream = trio.SSLStream(stream, tls, server_hostname="localhost", https_compatible=True)
        try:
            yield Client(stream)
        finally:
            await trio.aclose_forcefully(stream)

    async def stop(self) -> float:
        """Stops it; returns how many seconds that took."""
        began = trio.current_time()
        self.stopping.set()
        await self.ended.wait()
        return trio.current_time() - began


@asynccontextmanager
async def served(
    app: Callable[..., Any], *, address: Address = LOOPBACK, tls: Tls | None = None, within: float = 10, **limits: float
) -> AsyncIterator[Served]:
    """Serves ``app`` as the router does, for as long as the block lasts, which is ``within`` seconds at most."""
    (listener,) = bind([address])
    running = Served(listener, Limits(**limits), trio.Event(), trio.Event(), trio.CancelScope())

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        with running.scope:
            await serve(
                app,
                [listener],
                stopping=running.stopping,
                limits=running.limits,
                tls=tls,
                http=Served.http,
                task_status=task_status,
            )
        running.ended.set()

    with trio.fail_after(within):
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            yield running
            running.stopping.set()


def post(body: bytes = b"", *headers: str, path: str = "/") -> bytes:
    """A request with a body."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body of the request."""
    if scope["type"] == "http":
        await reply(send, await read(receive))


async def read(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += message["body"]
        if not message["more_body"]:
            return body


async def reply(send: Any, body: bytes = b"", status: int = 200) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def quart() -> QuartTrio:
    """The same as a quart-trio application, which does not wait long for a body."""
    app = QuartTrio(__name__)
    app.config["BODY_TIMEOUT"] = 0.2

    @app.post("/")
    async def index() -> bytes:
        return await request.get_data()

    return app
