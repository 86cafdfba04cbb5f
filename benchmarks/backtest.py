"""How many stored events a backtest goes through in a second of CPU, and how much memory that takes.

A spool is filled with simulated events, most of them with one result, and each row is a backtest of it in a process of its
own. In the candidate, three of the routes are others, but where it says otherwise. CPU time, as the machine may be shared.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import trio

from benchmarks.figures import Figures
from benchmarks.running import ROOT
from benchmarks.scale import Scale
from sodarouter.backtest import Side, compare
from sodarouter.decide import Route, Routing, compile_rules
from sodarouter.event import Event
from sodarouter.ids import new_id
from sodarouter.simulate import simulate
from sodarouter.spool import EventFilter, SqliteReader, SqliteSpool

KINDS = {"checkEvaluation": 80, "incidentCreated": 8, "incidentUpdated": 10, "contractPublished": 2}
SEVERAL = 0.15
"""The part of the events with more than one result that is kept: so there are 1.3 results in an event, and 2 KB."""


TAGS, DOMAINS = ["pii", "gold", "finance", "daily"], ["Product", "Sales", "Finance"]


def routes(count: int, random: Random) -> list[Route]:
    """Of all kinds, and so narrow that of 20 about one fits an event, as of 1,000."""

    def match(number: int) -> dict[str, Any]:
        outcome = {"event": "checkEvaluation", "outcome": random.choice(["fail", "warn", "pass"])}
        named, many = random.randrange(1, 100), max(1, 100 // count)
        made: list[Callable[[], dict[str, Any]]] = [
            lambda: outcome | {"dataset": [f"dataset_{named + more}" for more in range(many)]},
            lambda: outcome | {"dataset": f"datasource_{named}/*", "not": {"tag": random.choice(TAGS)}},
            lambda: outcome | {"owner": [f"test{named + more}@test.com" for more in range(many)]},
            lambda: outcome | {"tag": random.choice(TAGS), "datasource": f"datasource_{named}"},
            lambda: outcome | {"attribute": {"data_domain": random.choice(DOMAINS)}, "column": f"column_{named}"},
            lambda: {"event": "check*", "check": "No missing*", "column": f"column_{named}"},
            lambda: {"event": "incident*", "severity": ["high", "critical"], "dataset": f"dataset_{named}"},
            lambda: {"event": "contractPublished", "author": f"test{named}@test.com"},
        ]
        return random.choice(made)()

    return [Route.model_validate({"to": [f"d{number % 50}"], "match": match(number)}) for number in range(count)]


def events(count: int, several: float) -> Iterator[Event]:
    random = Random(count)
    moment = datetime(2026, 5, 4, tzinfo=UTC)
    while count:
        (kind,) = random.choices(list(KINDS), list(KINDS.values()))
        body = simulate(kind, random=random, now=moment)
        results = body.get("checkResults") or body.get("incident", {}).get("checkResults") or []
        if len(results) > 1 and random.random() >= several:
            continue
        moment += timedelta(seconds=50)
        count -= 1
        yield Event(new_id(), "soda", moment, kind, json.dumps(body).encode())


async def fill(path: Path, count: int, several: float = SEVERAL) -> None:
    spool = SqliteSpool(path, 1 << 40, 1 << 30)
    waiting: list[Event] = []
    for event in events(count, several):
        waiting.append(event)
        if len(waiting) == 500:
            await _append(spool, waiting)
            waiting = []
    await _append(spool, waiting)
    await spool.aclose()


async def _append(spool: SqliteSpool, waiting: list[Event]) -> None:
    async with trio.open_nursery() as nursery:
        for one in waiting:
            nursery.start_soon(partial(spool.append, one, window=0.0))


def candidate(before: list[Route], changed: int) -> list[Route]:
    others = routes(len(before), Random(1))
    return [*others[:changed], *before[changed:]]


def run(path: str, count: str, changed: str, stateful: str) -> None:
    """One backtest, in a process of its own."""
    before = routes(int(count), Random(int(count)))
    if stateful == "yes":
        match = {"event": "checkEvaluation", "result": "first_failure"}
        before.append(Route.model_validate({"to": ["d0"], "match": match}))
    after = candidate(before, int(changed))
    reader = SqliteReader(Path(path))
    sides = [Side(compile_rules(Routing(route=one))) for one in (before, after)]
    started = time.process_time()
    report = compare(reader.stream(EventFilter()), *sides)
    taken = time.process_time() - started
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.partition("VmHWM:")[2].split()[0])  # getrusage's would be that of the parent, if it has more
    print(json.dumps({"events": report.events, "differing": report.differing, "seconds": taken, "peak": peak}))


def rates(scale: Scale, figures: Figures) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "spool.db")
        trio.run(fill, path, scale.stored)
        for _ in range(scale.rounds):
            for side, asked in SIDES.items():
                command = [sys.executable, "-m", "benchmarks.backtest", str(path), *asked]
                done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
                figures.add(f"{scale.stored:,} events", side, measured(json.loads(done.stdout)))


def measured(found: dict[str, float]) -> dict[str, float]:
    return {
        "events/s of CPU": found["events"] / found["seconds"],
        "CPU µs/event": found["seconds"] / found["events"] * 1e6,
        "events that differ": found["differing"],
        "peak MiB": found["peak"] / 1024,
    }


SIDES = {
    "20 routes, 3 changed": ("20", "3", "no"),
    "20 routes, none changed": ("20", "0", "no"),
    "20 routes, all changed": ("20", "20", "no"),
    "20 routes, 3 changed, one asks the memory": ("20", "3", "yes"),
    "1,000 routes, 3 changed": ("1000", "3", "no"),
    "1,000 routes, all changed": ("1000", "1000", "no"),
}
AGAINST = "20 routes, 3 changed"

if __name__ == "__main__":
    run(*sys.argv[1:])
