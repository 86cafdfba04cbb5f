"""What a spool does whose file holds what was delivered long ago, beside one that holds little of it.

The files are filled by SQL: every event is tiny, was delivered to one of fifty destinations by one attempt, and lies
within the retention. A hundred dead letters are spread over it; ``seldom`` had the first ten events and none since. Ten
million events take 3.5 GB in the folder for temporary files.
"""

import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio

from benchmarks.figures import Figures
from benchmarks.running import ROUTER, cpu_seconds, free_port, resident, started
from benchmarks.scale import Scale
from sodarouter.delivery import Planned, State
from sodarouter.event import Event
from sodarouter.ids import new_id
from sodarouter.spool import (
    ROUTE,
    DeliveryFilter,
    EventFilter,
    Keep,
    Outcome,
    Retention,
    Routed,
    SqliteReader,
    SqliteSpool,
)

DAYS = 25.0
"""Over which the events are spread, the last of them now."""
FEW = 100
BATCH = 64
BATCHES = 10
LIMIT = 50
"""Of what is listed."""
FILL = """
INSERT INTO event (seq, id, source, received, type, raw)
    SELECT n, printf('%08x-%04x-7000-8000-%012x', n >> 16, n & 65535, n), 'soda', :first + n * :step, 'validate',
        CAST('{"event": "validate"}' AS BLOB) FROM number;
INSERT INTO decision (event, planned, trace) SELECT n, 1, '[]' FROM number;
INSERT INTO delivery (event, destination, state, attempt, planned, since, next_at, settled)
    SELECT n, iif(n <= 10, 'seldom', 'd' || (n % 50)), iif(n % :seldom = 0, 'dead', 'delivered'), 1,
        :first + n * :step, :first + n * :step, 0, :first + n * :step + 1000 FROM number;
INSERT INTO attempt SELECT n, 1, :first + n * :step, 0.001, 'delivered', '', '' FROM number;
"""
SERVED = """
[server]
listen = ["127.0.0.1:{port}"]
[admin]
listen = ["127.0.0.1:{admin}"]
[log]
level = "warning"
[source.soda]
path = "/soda"
[destination.d0]
type = "file"
path = "d0.jsonl"
[[route]]
to = ["d0"]
"""


def against(scale: Scale) -> str:
    return _side(scale.histories[0])


def _side(events: int) -> str:
    return f"{events:,} events"


def history(scale: Scale, figures: Figures) -> None:
    with tempfile.TemporaryDirectory() as folder:
        places = {events: Path(folder, str(events)) for events in scale.histories}
        for events, place in places.items():
            trio.run(fill, spool_in(place), events)
            size = spool_in(place).stat().st_size
            figures.note(f"{_side(events)}: {size / 1e6:,.0f} MB, {size / events:,.0f} bytes an event")
        for _ in range(scale.starts):
            for events, place in places.items():
                for case, found in trio.run(measure, spool_in(place)).items():
                    figures.add(case, _side(events), found)
                figures.add("start of the router", _side(events), start(place))


def spool_in(place: Path) -> Path:
    return place / "var" / "sodarouter.db"


async def fill(path: Path, events: int) -> None:
    path.parent.mkdir(parents=True)
    await SqliteSpool(path, 1 << 40, 1 << 30).aclose()  # it has made its tables
    step = int(DAYS * 86_400_000_000 / events)
    values = {"first": int(time.time() * 1_000_000) - step * events, "step": step, "seldom": max(1, events // FEW)}
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -200000")
        numbers = "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :events)"
        for statement in FILL.split(";")[:-1]:
            insert, select, rest = statement.partition("SELECT")
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            database.execute(f"{insert} {numbers} {select} {rest}", used | {"events": events})
        database.execute("UPDATE held SET amount = (SELECT sum(length(raw)) FROM event) WHERE what = 'events'")
    # it has a log again, as a router leaves it
    await SqliteSpool(path, 1 << 40, 1 << 30).aclose()


async def measure(path: Path) -> dict[str, dict[str, float]]:
    """What each thing that a router or a command does takes, of the whole process and by the clock."""
    found: dict[str, dict[str, float]] = {}

    @contextmanager
    def timed(case: str, times: int = 1) -> Iterator[None]:
        began, used = time.perf_counter(), time.process_time()
        yield
        found[case] = {
            "CPU µs": (time.process_time() - used) / times * 1e6,
            "µs": (time.perf_counter() - began) / times * 1e6,
        }

    with timed("open and recover"):
        spool = SqliteSpool(path, 1 << 40, 1 << 30)
        await spool.recover(time.time(), {"d0": None})
    try:
        with timed("stats, as for /readyz"):
            await spool.stats()
        await work(spool, timed)
        for case, days in (("nothing is old", 2 * DAYS), ("much is old", DAYS / 2)):
            kept = Retention(*[Keep(age=days * 86_400)] * 4)
            with timed(f"a step of pruning: {case}"):
                await spool.prune(kept, time.time(), 500)
    finally:
        await spool.aclose()
    with closing(SqliteReader(path)) as reader:
        for case, ask in asked(reader).items():
            with timed(case):
                ask()
    return found


async def work(spool: SqliteSpool, timed: Callable[..., Any]) -> None:
    """Events come, are decided and delivered."""
    from sodarouter.spool import Decided  # another version may have none, and the other parts run with it

    events = [
        Event(new_id(), "soda", datetime.now(UTC), "validate", b'{"n": "%d"}' % n) for n in range(BATCH * BATCHES)
    ]
    count = len(events)
    with timed("append an event", count):
        for start in range(0, count, BATCH):
            await together([partial(spool.append, one, window=60.0) for one in events[start : start + BATCH]])
    claims = []
    with timed("claim what is to be decided", count):
        for _ in range(BATCHES):
            claims += (await spool.claim({ROUTE: BATCH}, time.time(), {ROUTE: 60.0})).claims
    with timed("settle a decision", count):
        for start in range(0, count, BATCH):
            some = claims[start : start + BATCH]
            await spool.settle([Routed(one, Decided([], [Planned("d0")], time.time())) for one in some])
    claims = []
    with timed("claim a delivery", count):
        for _ in range(BATCHES):
            claims += (await spool.claim({"d0": BATCH}, time.time(), {"d0": 60.0})).claims
    with timed("settle a delivery", count):
        for start in range(0, count, BATCH):
            some = claims[start : start + BATCH]
            await spool.settle([Outcome(one, State.DELIVERED, time.time(), 0.001) for one in some])


async def together(calls: list[Callable[[], Awaitable[object]]]) -> None:
    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(call)


def asked(reader: SqliteReader) -> dict[str, Callable[[], object]]:
    """What the commands ask."""
    some = reader.deliveries(limit=LIMIT)
    last = reader.events(limit=LIMIT)[-1].event
    hour = EventFilter(since=last.received)

    def deliveries(**wanted: Any) -> Callable[[], object]:
        return lambda: reader.deliveries(DeliveryFilter(**wanted), limit=LIMIT)

    return {
        "list events": lambda: reader.events(limit=LIMIT, before=last.id),
        "list events: unrouted": lambda: reader.events(EventFilter(unrouted=True), limit=LIMIT),
        "count events: the last ones": lambda: reader.count_events(hour),
        "show an event": lambda: (reader.event(last.id), reader.deliveries(DeliveryFilter(event=last.id), limit=LIMIT)),
        "list deliveries": lambda: reader.deliveries(limit=LIMIT, before=some[-1].id),
        "list deliveries: to d1": deliveries(destination="d1"),
        "list deliveries: to one that had few": deliveries(destination="seldom"),
        "list deliveries: to one that had none": deliveries(destination="never"),
        "list deliveries: delivered to d1": deliveries(destination="d1", state=State.DELIVERED),
        "list deliveries: pending": deliveries(state=State.PENDING),
        "list deliveries: leased": deliveries(state=State.LEASED),
        "list deliveries: discarded": deliveries(state=State.DISCARDED),
        "list dead letters": deliveries(state=State.DEAD),
        "list dead letters: of d0": deliveries(state=State.DEAD, destination="d0"),
        "count deliveries: of a replay": lambda: reader.count_deliveries(DeliveryFilter(replay=1)),
        "attempts of a delivery": lambda: reader.attempts(some[-1].id),
    }


def start(place: Path) -> dict[str, float]:
    port = free_port()
    (place / "router.toml").write_text(SERVED.format(port=port, admin=free_port()), encoding="utf-8")
    began = time.perf_counter()
    with started([*ROUTER, "--config", "router.toml"], port, place) as pid:
        return {"CPU µs": cpu_seconds(pid) * 1e6, "µs": (time.perf_counter() - began) * 1e6, "MiB": resident(pid)}
