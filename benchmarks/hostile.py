"""A good destination and the intake beside ten hostile plugins at once, beside ten good ones, and alone.

    python benchmarks/hostile.py [--rate 50] [--seconds 2] [--rounds 30]

Three routers run, each with a `forward` to a server here, and with ten more destinations, which get every event alike:
hostile ones, good ones in their place, or none. What is measured is the time from sending a signed event of 2 KB to its
200, and to its arrival at the server. Each router is sent events for some seconds in turn, round by round, so that a
machine whose speed drifts treats all alike; what counts is the ratio to the good destination alone. The first seconds are
told apart: in them hostile plugins are still found out.

Plugins whose ``async`` code blocks are not among them: nothing in the same process contains these.
"""

import argparse
import hashlib
import hmac
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import trio
from intake import SAMPLE, VERSIONS, cpu_seconds
from isolation import Sink, free_port, percentile

SECRET = "benchmark"
CONNECTIONS = 16
FOUND_OUT = 15.0
"""Seconds after which each hostile plugin has shown what it is: an enricher that hangs may keep events for five, once."""
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
PLUGIN = '''
import time
from itertools import count

import trio

from sodarouter import Destination, IncidentLink, Options, Retry, hookimpl


class Ways(Options):
    way: str


class Hostile(Destination[Ways]):
    type = "hostile"

    async def deliver(self, event, delivery):
        await getattr(self, self.options.way)(event)

    async def raises(self, event):
        raise ValueError(f"no room for {event.id}")

    async def raises_groups(self, event):
        raise BaseExceptionGroup("all", [ExceptionGroup("some", [OSError(event.id), Retry("busy")]), SystemExit(3)])

    async def hangs(self, event):
        await trio.sleep_forever()

    async def swallows(self, event):
        try:
            await trio.sleep_forever()
        except BaseException:
            pass

    async def huge(self, event):
        raise Retry("r" * 1_000_000, response="q" * 1_000_000)

    async def floods(self, event):
        for number in range(100):
            self.metrics.count("labels", 1, label=f"{event.id} {number}")
        for number in range(10):
            self.log.warning("flood", number=number, event_id=event.id)

    async def rubbish(self, event):
        return IncidentLink(f"javascript:{event.id}", "x" * 1_000_000)

    async def meddler(self, event):
        pass

    def health(self):
        raise SystemExit("not well")


class Sleeping(Destination[Ways]):
    type = "sleeping"

    def deliver(self, event):
        time.sleep(60)


class Batched(Destination[Ways]):
    type = "batched"
    batch_size = 100

    async def deliver_batch(self, batch):
        await trio.sleep_forever()


class Good(Destination[Options]):
    type = "good"

    async def deliver(self, event):
        pass


told = count()


class Meddler:
    """Told and asked of everything."""

    @hookimpl
    def event_accepted(self, event):
        raise SystemExit(f"observer {next(told)}")

    @hookimpl
    def delivery_settled(self, settled):
        raise ValueError(f"observer {next(told)}")

    @hookimpl
    async def enrich(self, event):
        await trio.sleep_forever()

    @hookimpl
    def health(self):
        raise ValueError("not well")


meddler = Meddler()


@hookimpl
def destination_types():
    return [Hostile, Sleeping, Batched, Good]
'''
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
verify = [{{ type = "hmac", header = "X-Soda-Signature", secrets = ["{secret}"], prefix = "sha256=" }}]
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
    (folder / "bench_hostile.py").write_text(PLUGIN, encoding="utf-8")
    info = folder / "bench_hostile-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-hostile\nVersion: 1\n", encoding="utf-8")
    points = "[sodarouter]\nhostile = bench_hostile\nmeddler = bench_hostile:meddler\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")


def configured(side: str, port: int, admin: int, sink: str) -> str:
    """The file of a side."""
    disabled = "[]" if side == "ten hostile" else '["meddler"]'
    toml = CONFIG.format(port=port, admin=admin, sink=sink, secret=SECRET, disabled=disabled)
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
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "sodarouter", "--config", "router.toml"]
            environment = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
            process = subprocess.Popen(command, cwd=name, env=environment, stderr=log)
        try:
            for _ in range(3000):
                if listens(process, port, folder / "log"):
                    break
            yield port, admin, process.pid
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def listens(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    """Looks whether a router listens; waits for a moment if it does not."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return True
    if process.poll() is not None:
        raise SystemExit(log.read_text(encoding="utf-8"))
    time.sleep(0.01)  # until the port is open
    return False


def webhook(number: int) -> bytes:
    """A signed webhook of about 2 KB."""
    body = json.dumps({**SAMPLE, "run": time.monotonic_ns(), "number": number}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"Host": "x", "X-Soda-Signature": f"sha256={signature}", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /webhooks/soda HTTP/1.1\r\n{head}\r\n".encode() + body


@dataclass
class Side:
    """A router that runs, and the server that its good destination posts to."""

    port: int
    pid: int
    sink: Sink
    sent: int = 0
    """Events so far."""

    async def run(self, rate: float, seconds: float) -> Run:
        """Sends so many events a second, and waits until all of them have arrived."""
        count, first = int(rate * seconds), self.sent
        self.sent += count
        sent, answered = [0.0] * count, [0.0] * count
        send, receive = trio.open_memory_channel[int](count)

        async def post() -> None:
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                async for number in receive:
                    await stream.send_all(webhook(first + number))
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


class Found(NamedTuple):
    early: dict[str, Run]
    runs: dict[str, list[Run]]
    cpu: dict[str, float]
    """Seconds of processor time for each event."""


async def measure(rate: float, seconds: float, rounds: int, found_out: float) -> Found:
    """All sides in turn."""
    sides: dict[str, Side] = {}
    found = Found({}, defaultdict(list), {})
    with ExitStack() as routers:
        async with trio.open_nursery() as nursery:
            for name in SIDES:
                sink = Sink()
                (listener,) = await nursery.start(partial(trio.serve_tcp, sink.serve, 0, host="127.0.0.1"))
                url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
                port, admin, pid = routers.enter_context(router(name, url))
                sides[name] = Side(port, pid, sink)
                nursery.start_soon(scrape, admin)
            for name, side in sides.items():
                found.early[name] = await side.run(rate, found_out)
            before = {name: (cpu_seconds(side.pid), side.sent) for name, side in sides.items()}
            for _ in range(rounds):
                for name, side in sides.items():
                    found.runs[name].append(await side.run(rate, seconds))
            for name, side in sides.items():
                used, sent = before[name]
                found.cpu[name] = (cpu_seconds(side.pid) - used) / (side.sent - sent)
            nursery.cancel_scope.cancel()
    return found


async def scrape(port: int) -> None:
    """Asks for the metrics every second, as Prometheus may, and so how all are."""
    while True:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while await stream.receive_some():
                pass
        await trio.sleep(1)


def percentiles(runs: list[Run]) -> list[float]:
    """The 50th and 99th of the time to the 200, and of that to the arrival."""
    answered = [value for run in runs for value in run.answered]
    arrived = [value for run in runs for value in run.arrived]
    return [percentile(values, part) for values in (answered, arrived) for part in (0.5, 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=50.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--found-out", type=float, default=FOUND_OUT, help="seconds before these")
    parser.add_argument("--rounds", type=int, default=30)
    asked = parser.parse_args()
    found = trio.run(measure, asked.rate, asked.seconds, asked.rounds, asked.found_out)
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, "
        + ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    )
    print(
        f"{asked.rate:g} signed events of 2 KB a second, {asked.rounds} rounds of {asked.seconds:g} s each; in ms, with"
    )
    print("the ratio to the good destination alone, and between which two it is in fifths of the rounds")
    print(
        f"{'':12}"
        + "".join(f"{name:>28}" for name in ("200, p50", "200, p99", "arrival, p50", "arrival, p99"))
        + f"{'CPU':>14}"
    )
    fifth = max(asked.rounds // 5, 1)
    fifths = [slice(start, start + fifth) for start in range(0, asked.rounds, fifth)]
    alone = percentiles(found.runs["alone"])
    alone_then = [percentiles(found.runs["alone"][part]) for part in fifths]
    for side in SIDES:
        whole = percentiles(found.runs[side])
        then = [percentiles(found.runs[side][part]) for part in fifths]
        cells = []
        for column, value in enumerate(whole):
            ratios = [one[column] / other[column] for one, other in zip(then, alone_then, strict=True)]
            spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
            cells.append(f"{value * 1000:8.1f} {value / alone[column]:6.2f} {spread:>12}")
        cpu = f"{found.cpu[side] * 1000:6.1f} {found.cpu[side] / found.cpu['alone']:6.2f}"
        print(f"{side:12}" + "".join(f"{cell:>28}" for cell in cells) + f"{cpu:>14}")
    latest = {side: max(run.arrived, default=0.0) for side, run in found.early.items()}
    print(f"the latest arrival of the first {asked.found_out:g} s, before they are found out, in s: ", end="")
    print(", ".join(f"{side} {value:.2f}" for side, value in latest.items()))
    print("the ten: " + "; ".join(f"{name} {what}" for name, what in HOSTILE.items()))


if __name__ == "__main__":
    main()
