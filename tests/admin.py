"""The admin listener alone: its app over a spool, served on a real socket, without a daemon behind it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import trio
from engines import Engine, open_engine

from sodarouter.address import Address
from sodarouter.api import add_api
from sodarouter.delivery import Loaded
from sodarouter.event import Event
from sodarouter.operations import Operations
from sodarouter.serve import bind, serve
from sodarouter.web import Pages, admin_app


@dataclass
class Admin:
    """The listener, a client of it, and what it told the daemon that is not there."""

    engine: Engine
    address: Address
    client: httpx2.AsyncClient
    changes: list[None] = field(default_factory=list)
    readmitted: list[Event] = field(default_factory=list)

    async def post(self, page: str, **document: object) -> httpx2.Response:
        return await self.client.post(f"/api/{page}", json=document)


async def _as_it_was() -> Loaded:
    return Loaded("0123456789ab")


@asynccontextmanager
async def open_admin(
    folder: Path,
    *,
    destinations: tuple[str, ...] = ("log", "mail"),
    reload: Callable[[], Awaitable[Loaded]] = _as_it_was,
    listen: Address = Address("127.0.0.1", 0),  # noqa: B008 (frozen)
) -> AsyncIterator[Admin]:
    """Over the spool ``spool.db`` in this folder."""
    async with open_engine("sqlite", folder) as engine, trio.open_nursery() as nursery:
        (listener,) = bind([listen])
        place = f"http://{listener.address}"
        async with httpx2.AsyncClient(base_url=place, trust_env=False) as client:
            admin = Admin(engine, listener.address, client)
            operations = Operations(
                engine.spool,
                engine.spool.refused,
                lambda: destinations,
                changed=lambda: admin.changes.append(None),
                readmitted=admin.readmitted.append,
            )
            app = admin_app(Pages(lambda: False, engine.spool.stats), [], lambda: None)
            add_api(app, operations, reload)
            stopping = trio.Event()

            async def run(task_status: trio.TaskStatus[None]) -> None:
                await serve(app, [listener], stopping=stopping, task_status=task_status)

            await nursery.start(run)
            yield admin
            stopping.set()
