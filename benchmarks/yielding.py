"""The intake while a backlog drains to a forward: it is for the deliveries to wait, and not for those who send.

Two routers run, one with a backlog and one without, and each takes in signed webhooks that go nowhere, in short turns. It
stands still while the other has its turn, so that neither takes from the other, and its backlog lasts.
"""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trio

from benchmarks import load
from benchmarks.backlog import fill
from benchmarks.draining import Running, router, sink, taken
from benchmarks.figures import Figures
from benchmarks.load import percentile
from benchmarks.scale import Scale
from benchmarks.webhooks import webhooks

AGAINST = "nothing waits"
CONNECTIONS = 64
TURN = 1.0
"""Seconds at most."""


def yielding(scale: Scale, figures: Figures) -> None:
    backlog = scale.backlogs[0]
    with ExitStack() as running:
        sides = {
            side: (running.enter_context(one(waiting)), webhooks())
            for side, waiting in ((AGAINST, 0), (f"{backlog:,} wait", backlog))
        }
        turns = max(1, round(scale.seconds / TURN))
        for _ in range(scale.rounds * turns):
            for side, (found, requests) in sides.items():
                figures.add("", side, turn(found, requests, min(scale.seconds, TURN)))
        for side, (found, _) in sides.items():
            if side != AGAINST and taken(found.sink) >= backlog:
                figures.note("the backlog was over before the end, so the intake was not beside it all the time")


@contextmanager
def one(waiting: int) -> Iterator[Running]:
    """A router with so many deliveries that wait, which stands still."""
    with tempfile.TemporaryDirectory() as name, sink(Path(name)) as sink_port:
        folder = Path(name)
        if waiting:
            trio.run(fill, folder / "var" / "sodarouter.db", waiting, 1)
        with router(folder, sink_port, 1, [], to_all="incidentCreated") as running:
            os.kill(running.pid, signal.SIGSTOP)
            try:
                yield running
            finally:
                os.kill(running.pid, signal.SIGCONT)


def turn(running: Running, requests: Iterator[bytes], seconds: float) -> dict[str, float]:
    before = taken(running.sink)
    os.kill(running.pid, signal.SIGCONT)
    try:
        found = load.run(("127.0.0.1", running.port), requests, connections=CONNECTIONS, seconds=seconds)
    finally:
        os.kill(running.pid, signal.SIGSTOP)
    # those that come at once when it wakes would be the slowest on either side
    latencies = found.latencies[4 * CONNECTIONS :] or found.latencies
    return {
        "requests/s": found.rate,
        "200, p50 ms": percentile(latencies, 0.5) * 1000,
        "200, p99 ms": percentile(latencies, 0.99) * 1000,
        "deliveries/s": (taken(running.sink) - before) / found.seconds,
    }
