"""What the tests share: sample events, deliveries, and destinations opened the way the router opens them."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from sodarouter import Delivery, Destination, Event, HttpClient, Outgoing, Store
from sodarouter.ids import new_id
from sodarouter.options import Place

LOOPBACK = Outgoing.model_validate({"allow": ["127.0.0.0/8", "::1"]})
"""Lets the servers of the tests be reached."""
PAYLOADS = Path(__file__).parent / "payloads"
SAMPLES = sorted(path.stem for path in PAYLOADS.glob("*.json"))


def payload(name: str) -> bytes:
    """The bytes of a sample, such as ``v3-incidentCreated``."""
    return (PAYLOADS / f"{name}.json").read_bytes()


def make_event(body: bytes | dict[str, Any] | str = "v4-2026-checkEvaluation", **known: Any) -> Event:
    """An event from a sample's name, from bytes, or from a dict."""
    raw = payload(body) if isinstance(body, str) else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields: dict[str, Any] = {
        "id": new_id(),
        "source": "soda",
        "received": datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
        "type": json.loads(raw)["event"],
    }
    return Event(raw=raw, **(fields | known))


def make_delivery(event: Event, destination: str = "there", **known: Any) -> Delivery:
    fields: dict[str, Any] = {
        "id": f"{event.id}/{destination}",
        "destination": destination,
        "attempt": 1,
        "planned": event.received,
    }
    return Delivery(**(fields | known))


def make_store() -> Store:
    """A store in which nothing is yet."""

    async def read(key: str) -> str | None:
        await trio.lowlevel.checkpoint()
        return None

    return Store(read, time.time())


@asynccontextmanager
async def opened(
    kind: type[Destination[Any]],
    options: dict[str, Any],
    *,
    folder: Path | None = None,
    name: str = "there",
    outgoing: Outgoing | None = None,
) -> AsyncIterator[Any]:
    """A destination made from the keys of its table, opened, and closed at the end."""
    place = Place(folder or Path())
    destination = kind(name, kind.options_type.model_validate(options, context=place))
    destination.http = HttpClient(destination.options, outgoing or LOOPBACK)
    await destination.open()
    try:
        yield destination
    finally:
        await destination.close()
        await destination.http.close()
