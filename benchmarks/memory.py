"""How soon a server is ready, and what memory it takes: at rest, with events that wait, and after load.

The router has the shipped configuration's plugins. What waits goes to a destination that is down, so its events stay in
the spool. Memory is what is resident.
"""

import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks import load
from benchmarks.contenders import DELIVERING, Contender, configured, taking_part
from benchmarks.draining import PATIENCE
from benchmarks.figures import Figures
from benchmarks.intake import AGAINST as AGAINST  # what the router takes, beside what its server takes
from benchmarks.running import ROUTER, cpu_seconds, free_port, resident, started, until_quiet
from benchmarks.scale import Scale

DOWN = """
[outgoing]
allow = ["127.0.0.0/8"]
[destination.down]
type = "forward"
url = "http://127.0.0.1:{port}/"
[[route]]
to = ["down"]
"""
CONNECTIONS = 64
PACE = 200
"""Events a second of the load: in an hour they take 2 GB on disk."""


def memory(scale: Scale, figures: Figures) -> None:
    down = Contender("sodarouter, a destination is down", _down, DELIVERING.requests)
    contenders = [*taking_part(scale, figures), down]
    for _ in range(scale.starts):
        for contender in contenders:
            figures.add("", contender.name, measure(contender, scale))


def _down(folder: Path, port: int) -> list[str]:
    (folder / "router.toml").write_text(configured(port, DOWN.format(port=free_port())), encoding="utf-8")
    return [*ROUTER, "--config", "router.toml"]


def paced(requests: Iterator[bytes]) -> Iterator[bytes]:
    began = time.perf_counter()
    for number, request in enumerate(requests):
        time.sleep(max(0.0, began + number / PACE - time.perf_counter()))  # until its turn
        yield request


def measure(contender: Contender, scale: Scale) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = contender.command(Path(folder), port)
        began = time.perf_counter()
        with started(command, port, Path(folder)) as pid:
            ready, starting = time.perf_counter() - began, cpu_seconds(pid)
            until_quiet(pid)
            rest = resident(pid)
            address, requests = ("127.0.0.1", port), contender.requests(1)
            load.run(address, islice(requests, scale.queued), connections=CONNECTIONS, seconds=PATIENCE)
            until_quiet(pid)
            warm = resident(pid)
            load.run(address, islice(requests, scale.queued), connections=CONNECTIONS, seconds=PATIENCE)
            until_quiet(pid)
            after = resident(pid)
            if contender is DELIVERING:
                load.run(address, paced(requests), connections=CONNECTIONS, seconds=scale.load)
                until_quiet(pid)
                loaded = {f"MiB after {scale.load:g} s of load": resident(pid)}
            else:
                loaded = {}
        return loaded | {
            "start s": ready,
            "start, CPU s": starting,
            "MiB at rest": rest,
            f"MiB after {scale.queued:,} events": warm,
            f"MiB after {2 * scale.queued:,}": after,
            "MiB for each further 1,000": (after - warm) / scale.queued * 1000,
        }
