"""A good destination and the intake beside ten hostile plugins at once, beside ten good ones, and alone.

Three routers run, each with a `forward` to a server here, and with ten more destinations, which get every event alike:
hostile ones, good ones in their place, or none. What is measured is the time from sending a signed event of 2 KB to its
200, and to its arrival at the server. A round has several short turns of each router. The first seconds are told apart: in
them hostile plugins are still found out.

Plugins whose ``async`` code blocks are not among them: nothing in the same process contains these.
"""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import trio

from benchmarks.figures import Figures
from benchmarks.load import percentile
from benchmarks.running import HERE, ROUTER, cpu_seconds, free_port, started
from benchmarks.scale import Scale
from benchmarks.sink import Sink
from benchmarks.webhooks import HEADER, SECRET, webhooks

AGAINST = "alone"
RATE = 50.0
"""Events a second."""
CONNECTIONS = 16
HOSTILE = {
    "raises": "raises another exception for each event",
    "raises_groups": "raises groups in groups",
    "hangs": "never returns",
    "swallows": "swallows its cancellation",
    "threads": "sleeps for a minute in a thread",
    "huge": "asks for a retry with a reason and a response of a million characters",
    "floods": "counts with a hundred new labels and logs ten lines for each event",
    "rubbish": "returns links that are none",
    "batch_hangs": "takes batches, and never returns",
    "meddler": "delivers, but its enricher hangs, its observers raise, and its health check fails",
}
"""The ten, and what each does."""
CONFIG = """
[server]
listen = ["127.0.0.1:{port}"]
[admin]
listen = ["127.0.0.1:{admin}"]
[log]
level = "warning"
[plugins]
disabled = {disabled}
[source.soda]
path = "/webhooks/soda"
verify = [{{ type = "hmac", header = "{header}", secrets = ["{secret}"], prefix = "sha256=" }}]
[outgoing]
allow = ["127.0.0.0/8"]
[destination.good]
type = "forward"
url = "{sink}/good"
concurrency = 16
"""
TYPES = {"threads": "sleeping", "batch_hangs": "batched"}
SIDES = ("alone", "ten good", "ten hostile")


class Run(NamedTuple):
    """Seconds for each event, in the order of sending."""

    answered: list[float]
    arrived: list[float]


def install(folder: Path) -> None:
    """Lays a distribution with all the plugins into a folder, as pip does."""
    shutil.copy(HERE / "bench_hostile.py", folder)
    info = folder / "bench_hostile-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-hostile\nVersion: 1\n", encoding="utf-8")
    points = "[sodarouter]\nhostile = bench_hostile\nmeddler = bench_hostile:meddler\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")


def configured(side: str, port: int, admin: int, sink: str) -> str:
    """The file of a side."""
    disabled = "[]" if side == "ten hostile" else '["meddler"]'
    toml = CONFIG.format(port=port, admin=admin, sink=sink, header=HEADER, secret=SECRET, disabled=disabled)
    to = ["good"]
    if side != "alone":
        to.extend(HOSTILE)
        for way in HOSTILE:
            kind, known = ("good", "") if side == "ten good" else (TYPES.get(way, "hostile"), f'way = "{way}"\n')
            toml += f'[destination.{way}]\ntype = "{kind}"\ntimeout = "2s"\n{known}'
    return toml + f"[[route]]\nto = {json.dumps(to)}\n"


@contextmanager
def router(side: str, sink: str) -> Iterator[tuple[int, int, int]]:
    """A router for a side: the ports of its intake and of its pages, and the id of its process."""
    port, admin = free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install(folder)
        (folder / "router.toml").write_text(configured(side, port, admin, sink), encoding="utf-8")
        paths = os.pathsep.join([name, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
        with started([*ROUTER, "--config", "router.toml"], port, folder, environment, stop=signal.SIGKILL) as pid:
            yield port, admin, pid


@dataclass
class Side:
    """A router that runs, and the server that its good destination posts to."""

    port: int
    pid: int
    sink: Sink
    requests: Iterator[bytes]
    sent: int = 0
    """Events so far."""

    async def run(self, rate: float, seconds: float) -> Run:
        """Sends so many events a second, and waits until all of them have arrived."""
        count, first = int(rate * seconds), self.sent
        # their numbers go on from the turn before
        requests = list(islice(self.requests, count))
        self.sent += count
        sent, answered = [0.0] * count, [0.0] * count
        send, receive = trio.open_memory_channel[int](count)

        async def post() -> None:
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                async for number in receive:
                    await stream.send_all(requests[number])
                    answer = await stream.receive_some()
                    answered[number] = time.perf_counter() - sent[number]
                    assert answer.startswith(b"HTTP/1.1 200"), answer

        async with trio.open_nursery() as posting:
            for _ in range(CONNECTIONS):
                posting.start_soon(post)
            began = trio.current_time()
            for number in range(count):
                await trio.sleep_until(began + number / rate)
                # from here on, even if no connection is free
                sent[number] = time.perf_counter()
                send.send_nowait(number)
            await send.aclose()
        with trio.fail_after(90):
            await self.sink.until(self.sent)
        return Run(answered, [self.sink.arrived[first + number] - sent[number] for number in range(count)])


def hostile(scale: Scale, figures: Figures) -> None:
    figures.note("the ten: " + "; ".join(f"{name} {what}" for name, what in HOSTILE.items()))
    trio.run(measure, scale, figures)


async def measure(scale: Scale, figures: Figures) -> None:
    """All sides in turn."""
    sides: dict[str, Side] = {}
    with ExitStack() as routers:
        async with trio.open_nursery() as nursery:
            for name in SIDES:
                sink = Sink()
                (listener,) = await nursery.start(partial(trio.serve_tcp, sink.serve, 0, host="127.0.0.1"))
                url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
                port, admin, pid = routers.enter_context(router(name, url))
                sides[name] = Side(port, pid, sink, webhooks())
                nursery.start_soon(scrape, admin)
            early = {name: await side.run(RATE, scale.found_out) for name, side in sides.items()}
            latest = ", ".join(f"{name} {max(run.arrived, default=0.0):.2f}" for name, run in early.items())
            figures.note(
                f"the latest arrival of the first {scale.found_out:g} s, before they are found out, in s: {latest}"
            )
            for _ in range(scale.rounds):
                for name, found in (await turns(sides, scale.turns, scale.seconds / 2)).items():
                    figures.add(f"{RATE:g} events a second", name, found)
            nursery.cancel_scope.cancel()


async def turns(sides: dict[str, Side], count: int, seconds: float) -> dict[str, dict[str, float]]:
    """A round, in which each side has so many turns."""
    answered: dict[str, list[float]] = {name: [] for name in sides}
    arrived: dict[str, list[float]] = {name: [] for name in sides}
    used = {name: -cpu_seconds(side.pid) for name, side in sides.items()}
    for _ in range(count):
        for name, side in sides.items():
            run = await side.run(RATE, seconds)
            answered[name] += run.answered
            arrived[name] += run.arrived
    return {
        name: {
            "200, p50 ms": percentile(answered[name], 0.5) * 1000,
            "200, p99 ms": percentile(answered[name], 0.99) * 1000,
            "arrival, p50 ms": percentile(arrived[name], 0.5) * 1000,
            "arrival, p99 ms": percentile(arrived[name], 0.99) * 1000,
            "CPU ms/event": (used[name] + cpu_seconds(side.pid)) / len(answered[name]) * 1000,
        }
        for name, side in sides.items()
    }


async def scrape(port: int) -> None:
    """Asks for the metrics every second, as Prometheus may, and so how all are."""
    while True:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while await stream.receive_some():
                pass
        await trio.sleep(1)
