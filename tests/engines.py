"""The engines of the spool, each behind what the tests ask of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import make_event

from sodarouter.delivery import Planned, State
from sodarouter.event import Event
from sodarouter.ids import new_id
from sodarouter.spool import (
    ROUTE,
    Claim,
    Decided,
    Keep,
    MemorySpool,
    Outcome,
    Retention,
    Routed,
    SqliteReader,
    SqliteSpool,
)

ENGINES = ["memory", "sqlite"]
NOW = make_event().received.timestamp()
SIZE = 1 << 30
MOST = 10_000
FOREVER = Keep(age=1e9)


def keeping(**known: Keep) -> Retention:
    """Keeps everything but what is said."""
    kinds = ("events", "attempts", "quarantine", "dead_letters")
    return Retention(**(dict.fromkeys(kinds, FOREVER) | known))


@dataclass
class Engine:
    """An engine under test: how it is written and how it is read."""

    spool: Any
    reader: Any

    async def append(self, event: Event | None = None, window: float = 600.0) -> Event:
        event = event or make_event({"event": "checkEvaluation", "n": new_id()})
        await self.spool.append(event, window=window)
        return event

    async def claim(
        self, destination: str = ROUTE, limit: int = 10, now: float = NOW, lease: float = 60.0
    ) -> list[Claim]:
        return (await self.spool.claim({destination: limit}, now, {destination: lease})).claims

    async def planned(self, *destinations: str, **known: Any) -> Event:
        """An event whose decision planned deliveries for these destinations."""
        event = await self.append(**known)
        (claim,) = [c for c in await self.claim() if c.event.id == event.id]
        trace = [{"route": "all", "matched": True, "results": None, "to": list(destinations)}]
        await self.spool.settle([Routed(claim, Decided(trace, [Planned(d) for d in destinations], NOW))])
        return event

    async def dead(self, destination: str = "log", **known: Any) -> str:
        """The id of a new dead letter."""
        event = await self.planned(destination)
        (claim,) = await self.claim(destination, now=NOW)
        await self.spool.settle([ended(claim, State.DEAD, **known)])
        return f"{event.id}/{destination}"


def ended(claim: Claim, state: State = State.DELIVERED, **known: Any) -> Outcome:
    return Outcome(claim, state, **({"started": NOW, "seconds": 0.5} | known))


@asynccontextmanager
async def open_engine(name: str, folder: Path) -> AsyncIterator[Engine]:
    if name == "memory":
        spool = MemorySpool()
        yield Engine(spool, spool)
        return
    on_disk = SqliteSpool(folder / "spool.db", SIZE, MOST)
    reader = SqliteReader(folder / "spool.db")
    try:
        yield Engine(on_disk, reader)
    finally:
        reader.close()
        await on_disk.aclose()
