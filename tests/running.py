"""A router that runs: inside the test, or as the process that a user would start."""

import json
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import trio
from rawhttp import Served

from sodarouter.address import Address
from sodarouter.config import load
from sodarouter.daemon import Running as Bound
from sodarouter.daemon import run
from sodarouter.delivery import State
from sodarouter.spool import SqliteReader, StoredDelivery

OUTGOING = '[outgoing]\nallow = ["127.0.0.0/8", "::1"]\n'
"""Lets the servers of the tests be reached."""
LISTEN = OUTGOING + '[server]\nlisten = ["127.0.0.1:0"]\n[admin]\nlisten = ["127.0.0.1:0"]\n'
SOURCE = '[source.soda]\npath = "/webhooks/soda"\n'
COMMAND = (sys.executable, "-m", "sodarouter", "--config", "router.toml")


@dataclass
class Running:
    """A router inside the test, and clients for its two listeners."""

    folder: Path
    bound: Bound
    server: httpx2.AsyncClient
    admin: httpx2.AsyncClient
    stopping: trio.Event
    reader: SqliteReader

    async def post(self, body: bytes, path: str = "/webhooks/soda", **known: Any) -> httpx2.Response:
        return await self.server.post(path, content=body, **known)

    async def until_settled(self) -> list[StoredDelivery]:
        """Waits until every event is decided and no delivery is pending, and gives the deliveries, newest first."""

        def waiting() -> bool:
            undecided = any(stored.planned is None for stored in self.reader.events(limit=1000))
            return undecided or any(
                d.state in {State.PENDING, State.LEASED} for d in self.reader.deliveries(limit=1000)
            )

        await until(lambda: not waiting())
        return self.reader.deliveries(limit=1000)


@asynccontextmanager
async def running_router(
    folder: Path, toml: str, *, source: str = SOURCE, listen: str = LISTEN, verify: ssl.SSLContext | bool = True
) -> AsyncIterator[Running]:
    """Runs a configuration on free ports; it is stopped gracefully at the end."""
    path = folder / "router.toml"
    path.write_text(as_served(listen) + source + toml, encoding="utf-8")
    config = load(path)
    stopping = trio.Event()
    with trio.fail_after(120):  # only what hangs is to end by it
        async with trio.open_nursery() as nursery:
            bound = await nursery.start(run, config, stopping)
            reader = SqliteReader(config.file.spool.path)
            async with (
                _client(bound.server[0], verify, secure=config.file.server.tls is not None) as server,
                _client(bound.admin[0], verify, secure=config.file.admin.tls is not None) as admin,
            ):
                yield Running(folder, bound, server, admin, stopping, reader)
            reader.close()
            stopping.set()


def _client(address: Address, verify: ssl.SSLContext | bool, *, secure: bool) -> httpx2.AsyncClient:
    place = "localhost" if address.path else str(address)
    transport = httpx2.AsyncHTTPTransport(verify=verify, uds=str(address.path) if address.path else None)
    return httpx2.AsyncClient(base_url=f"http{'s' * secure}://{place}", transport=transport, trust_env=False)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread or process does; the test's own limit ends it."""
    while not condition():  # noqa: ASYNC110 (a file of another process sets no event)
        await trio.sleep(0.01)


@dataclass
class Process:
    """The router as a process."""

    popen: subprocess.Popen[bytes]
    folder: Path
    ready: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{self.ready['listen'][0]}"

    @property
    def log(self) -> str:
        return (self.folder / "router.log").read_text(encoding="utf-8")

    def until_logged(self, message: str, count: int = 1) -> None:
        """Waits until the log has so many lines with this message."""
        for _ in range(3000):
            if self.log.count(f'"message": "{message}') >= count:
                return
            time.sleep(0.01)  # the log of another process sets no event
        raise AssertionError(f"the log has no {message!r}:\n{self.log}")

    def end(self, signal: int) -> int:
        """Sends a signal and gives the exit status."""
        self.popen.send_signal(signal)
        return self.popen.wait(30)


@contextmanager
def router_process(
    folder: Path, toml: str | None = None, *, launcher: Sequence[str] = (), **known: Any
) -> Iterator[Process]:
    """Starts ``sodarouter`` on a configuration and waits until it is ready. It is killed at the end, if it still runs.

    Args:
        toml: Written to ``router.toml`` with free ports; ``None`` starts the one that is there.
        launcher: A command that becomes the one which is given to it.
        known: As `subprocess.Popen` knows it.
    """
    if toml is not None:
        (folder / "router.toml").write_text(as_served(LISTEN) + SOURCE + toml, encoding="utf-8")
    with (folder / "router.log").open("wb") as log:
        popen = subprocess.Popen([*launcher, *COMMAND], cwd=folder, stderr=log, stdout=log, **known)
    process = Process(popen, folder)
    try:
        process.ready = _until_ready(process)
        yield process
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.wait(30)


def as_served(listen: str) -> str:
    """As the fixtures `http` and `intake` want it, if the test has one of them."""
    http = "" if Served.http == "lean" else f'\nhttp = "{Served.http}"'
    workers = f"\nworkers = {Served.workers}" if Served.workers else ""
    return listen.replace("[server]", f"[server]{http}{workers}", 1)


def _until_ready(process: Process) -> dict[str, Any]:
    for _ in range(3000):
        for line in process.log.splitlines():
            if '"message": "ready"' in line:
                found: dict[str, Any] = json.loads(line)
                return found
        if process.popen.poll() is not None:
            break
        time.sleep(0.01)  # the log of another process sets no event
    raise AssertionError(f"the router did not get ready:\n{process.log}")
