"""A router and a sink, each in a process of its own, and how fast the one empties itself into the other."""

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contenders import configured
from benchmarks.running import HERE, ROUTER, cpu_seconds, free_port, started

PATIENCE = 180.0
"""Seconds after which a backlog that does not shrink is given up."""


class Running(NamedTuple):
    pid: int
    port: int
    sink: int
    """The port of the sink."""


@contextmanager
def sink(folder: Path) -> Iterator[int]:
    port, place = free_port(), folder / "sink"
    place.mkdir(exist_ok=True)
    with started([sys.executable, str(HERE / "sink.py"), str(port)], port, place):
        yield port


@contextmanager
def router(
    folder: Path, sink_port: int, destinations: int, routes: list[dict[str, Any]], *, to_all: str = "*"
) -> Iterator[Running]:
    """A router that forwards to the sink, ``d0`` and so on.

    Args:
        routes: Matches, besides the one that sends events to all destinations.
        to_all: Which type of events that one takes.
    """
    port = free_port()
    tables = '[outgoing]\nallow = ["127.0.0.0/8"]\n'
    for number in range(destinations):
        tables += f'[destination.d{number}]\ntype = "forward"\nurl = "http://127.0.0.1:{sink_port}/d{number}"\n'
    for match in routes:
        tables += f'[[route]]\nto = ["d0"]\nmatch = {inline(match)}\n'
    tables += f"[[route]]\nto = {json.dumps([f'd{number}' for number in range(destinations)])}\n"
    tables += f"match = {inline({'event': to_all})}\n" if to_all != "*" else ""
    (folder / "router.toml").write_text(configured(port, tables), encoding="utf-8")
    with started([*ROUTER, "--config", "router.toml"], port, folder) as pid:
        yield Running(pid, port, sink_port)


def inline(value: object) -> str:
    """A value as TOML writes it within a line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def taken(sink_port: int) -> int:
    """The deliveries that have come to a sink."""
    with urllib.request.urlopen(f"http://127.0.0.1:{sink_port}/taken") as answer:
        return int(answer.read())


def drain(running: Running, count: int, seconds: float = PATIENCE) -> tuple[int, float, float]:
    """Waits until so many deliveries more have come, or the time is over.

    Gives how many came, within which seconds, and the router's seconds of CPU.
    """
    first, began, used = taken(running.sink), time.perf_counter(), cpu_seconds(running.pid)
    while (came := taken(running.sink) - first) < count and time.perf_counter() < began + seconds:
        time.sleep(0.01)  # until there are more
    return came, time.perf_counter() - began, cpu_seconds(running.pid) - used
