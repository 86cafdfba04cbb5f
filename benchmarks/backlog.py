"""A backlog that has grown while nobody took it: starting with it, claiming from it, draining a part of it.

The spool's file is filled directly, with events of 2 KB that have fifty deliveries each. What ought to cost the same with
any backlog is compared with that of a small one.
"""

import json
import sqlite3
import tempfile
import time
from pathlib import Path

import trio

from benchmarks import webhooks
from benchmarks.draining import drain, router, sink
from benchmarks.figures import Figures
from benchmarks.running import cpu_seconds, resident
from benchmarks.scale import Scale
from sodarouter.delivery import State
from sodarouter.ids import new_id
from sodarouter.spool import Outcome, SqliteSpool

BATCH = 64
BATCHES = 20
"""That are claimed and settled."""
SECONDS = 5.0
"""Of draining, at most."""


def against(scale: Scale) -> str:
    return _side(scale.backlogs[0])


def _side(deliveries: int) -> str:
    return f"{deliveries:,} deliveries"


def backlog(scale: Scale, figures: Figures) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths, destinations = {}, max(scale.destinations)
        for deliveries in scale.backlogs:
            paths[deliveries] = Path(folder, str(deliveries))
            trio.run(fill, paths[deliveries] / "var" / "sodarouter.db", deliveries, destinations)
        for _ in range(scale.starts):
            for deliveries, place in paths.items():
                found = trio.run(claim_and_settle, place / "var" / "sodarouter.db")
                figures.add("", _side(deliveries), found | start_and_drain(place, destinations, deliveries // 10))


async def fill(path: Path, deliveries: int, destinations: int) -> None:
    """Makes a spool with so many pending deliveries, of which each destination has the same number."""
    path.parent.mkdir(parents=True)
    spool = SqliteSpool(path, 1 << 40, 1 << 30)
    await spool.aclose()  # it has made its tables
    now = int(time.time() * 1_000_000)
    body = json.dumps(webhooks.event(1))[:-1]
    events = (
        (new_id(), now + number, f'{body}, "number": {number}}}'.encode())
        for number in range(deliveries // destinations)
    )
    database = sqlite3.connect(path)
    with database:
        database.execute("PRAGMA synchronous = OFF")
        database.executemany(
            "INSERT INTO event (id, source, received, type, raw) VALUES (?, 'soda', ?, 'checkEvaluation', ?)", events
        )
        database.execute("CREATE TEMP TABLE destination (name)")
        database.executemany("INSERT INTO destination VALUES (?)", [(f"d{number}",) for number in range(destinations)])
        database.execute(
            "INSERT INTO delivery (event, destination, planned, since, next_at)"
            " SELECT seq, name, received, received, received FROM event, destination"
        )
        database.execute("UPDATE held SET amount = (SELECT count(*) FROM delivery) WHERE what = 'backlog'")
        database.execute("UPDATE held SET amount = (SELECT sum(length(raw)) FROM event) WHERE what = 'events'")
    database.close()


async def claim_and_settle(path: Path) -> dict[str, float]:
    """What the spool takes for it, without a router; what is settled is due again at once."""
    spool = SqliteSpool(path, 1 << 40, 1 << 30)
    claiming = settling = 0.0
    count = 0
    claimed = time.perf_counter()
    seconds = 0.0
    for _ in range(BATCHES):
        began, used = time.perf_counter(), time.process_time()
        claims = (await spool.claim({"d0": BATCH}, time.time(), {"d0": 60.0})).claims
        claimed, taken = time.perf_counter(), time.process_time()
        seconds += claimed - began
        claiming += taken - used
        moment = time.time()
        await spool.settle([Outcome(claim, State.PENDING, moment, 0.0, next_at=moment) for claim in claims])
        settling += time.process_time() - taken
        count += len(claims)
    await spool.aclose()
    return {
        "claims/s": count / seconds,
        "CPU µs/claim": claiming / count * 1e6,
        "CPU µs/settled": settling / count * 1e6,
    }


def start_and_drain(folder: Path, destinations: int, most: int) -> dict[str, float]:
    with sink(folder) as sink_port:
        began = time.perf_counter()
        with router(folder, sink_port, destinations, []) as running:
            ready, starting = time.perf_counter() - began, cpu_seconds(running.pid)
            memory = resident(running.pid)
            count, seconds, used = drain(running, most, SECONDS)
            return {
                "start s": ready,
                "start, CPU s": starting,
                "MiB at the start": memory,
                "deliveries/s": count / seconds,
                "CPU µs/delivery": used / count * 1e6,
                "MiB draining": resident(running.pid),
            }
