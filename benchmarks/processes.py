"""What `isolation = "process"` costs: a delivery to a file from the router, and by way of a process, in turns."""

import tempfile
import time
from datetime import UTC, datetime
from os import getpid
from pathlib import Path
from statistics import median

import trio

from benchmarks.figures import Figures
from benchmarks.running import resident
from benchmarks.scale import Scale
from sodarouter import Delivery, Event
from sodarouter.attempt import Ended, attempt
from sodarouter.config import Config, load
from sodarouter.ids import new_id
from sodarouter.lanes import Opened, open_destination
from sodarouter.metrics import Metrics
from sodarouter.spool import Claim
from sodarouter.store import Store

TOML = """
[source.soda]
path = "/soda"
[destination.none]
type = "file"
path = "none.jsonl"
[destination.process]
type = "file"
path = "process.jsonl"
isolation = "process"
"""
AGAINST = "none"
SIZES = {"2 KiB": 2_000, "200 KiB": 200_000}


def processes(scale: Scale, figures: Figures) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "router.toml")
        path.write_text(TOML, encoding="utf-8")
        trio.run(measure, load(path), scale, figures)


async def measure(config: Config, scale: Scale, figures: Figures) -> None:
    opened: dict[str, Opened] = {}
    opening: dict[str, dict[str, float]] = {}
    for configured in config.destinations:
        began, memory = time.perf_counter(), resident(getpid())
        opened[configured.name] = await open_destination(config, configured, Metrics())
        seconds = time.perf_counter() - began
        opening[configured.name] = {"opened in s": seconds, "MiB": resident(getpid()) - memory}
    try:
        for _ in range(scale.rounds):
            for size, length in SIZES.items():
                taken = await deliver(opened, length, scale.queued // 10)
                for name, times in taken.items():
                    figures.add(size, name, {"delivery µs": median(times) * 1e6} | opening[name])
    finally:
        for one in opened.values():
            await one.close()


async def deliver(opened: dict[str, Opened], length: int, count: int) -> dict[str, list[float]]:
    """The seconds of each delivery, by destination."""
    took: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(count):
        for name, one in opened.items():  # in turns, so that both have the same neighbours
            event = Event(new_id(), "soda", datetime.now(UTC), "x", b'{"event": "x", "y": "%s"}' % (b"z" * length))
            claim = Claim(1, Delivery(f"{event.id}/{name}", name, 1, event.received), event, 1, 0.0)
            began = time.perf_counter()
            ended = await attempt(one.lane, [claim], [Store(nothing, 0.0)])
            took[name].append(time.perf_counter() - began)
            if ended != [Ended(None)]:
                raise SystemExit(f"a delivery to {name!r} failed: {ended}")
    return took


async def nothing(key: str) -> str | None:
    return None
