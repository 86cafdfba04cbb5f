"""What `isolation = "process"` costs: a delivery to a file from the router, and by way of a process, in one run.

python benchmarks/processes.py [DELIVERIES]
"""

import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import trio

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
SIZES = {"2 KiB": 2_000, "200 KiB": 200_000}


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "router.toml")
        path.write_text(TOML, encoding="utf-8")
        trio.run(measure, load(path), count)


async def measure(config: Config, count: int) -> None:
    opened: dict[str, Opened] = {}
    for configured in config.destinations:
        begin = time.perf_counter()
        opened[configured.name] = await open_destination(config, configured, Metrics())
        print(f"{configured.name:8} opened in {time.perf_counter() - begin:.2f} s")
    try:
        for name, size in SIZES.items():
            await compare(opened, name, size, count)
        print("memory of the process:", memory())
    finally:
        for one in opened.values():
            await one.close()


async def compare(opened: dict[str, Opened], size: str, length: int, count: int) -> None:
    took: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(count):
        for name, one in opened.items():  # in turns, so that both have the same neighbours
            event = Event(new_id(), "soda", datetime.now(UTC), "x", b'{"event": "x", "y": "%s"}' % (b"z" * length))
            claim = Claim(1, Delivery(f"{event.id}/{name}", name, 1, event.received), event, 1, 0.0)
            begin = time.perf_counter()
            assert await attempt(one.lane, [claim], [Store(nothing, 0.0)]) == [Ended(None)]
            took[name].append(time.perf_counter() - begin)
    middle = {name: statistics.median(times) * 1e6 for name, times in took.items()}
    more = middle["process"] - middle["none"]
    ratio = middle["process"] / middle["none"]
    each = ", ".join(f"{name} {micro:.0f} µs" for name, micro in middle.items())
    print(f"{size}: {each}: {more:.0f} µs more, {ratio:.1f} times as long")


async def nothing(key: str) -> str | None:
    return None


def memory() -> str:
    """Resident, and its own share of what it has in common with others."""
    found = [
        path for path in Path("/proc").glob("[0-9]*") if b"sodarouter.isolation\0process" in _read(path / "cmdline")
    ]
    lines = _read(found[0] / "smaps_rollup").decode().splitlines() if found else []
    return ", ".join(" ".join(line.split()) for line in lines if line.startswith(("Rss", "Pss:")))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
