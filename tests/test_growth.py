"""Nothing of an event stays in memory when it is delivered, nor while it waits: the short form of an hour of load.

`python -m benchmarks memory --load 3600` is the long one, with what a process has of the system.
"""

import gc
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing
from running import Running, running_router, until

FIRST, MORE = 50, 100
"""Events until all is there that is made once, and those after which there is no more of it."""
MOST = 1000
"""Bytes for each event: a quarter of its body. Some hundred are caches that are not full yet."""
TO_FILE = """
[destination.log]
type = "file"
path = "events.jsonl"
[[route]]
to = ["log"]
"""
TO_NOBODY = """
[destination.down]
type = "forward"
url = "http://127.0.0.1:1/"
retry = { initial = "1h" }
[[route]]
to = ["down"]
"""
DONE = {
    TO_FILE: "SELECT count(*) FROM delivery WHERE state = 'delivered'",
    TO_NOBODY: "SELECT count(*) FROM delivery WHERE destination = 'down' AND leased = 0",
}
# trio sweeps the deadlines that are over when there are a thousand of them
NOT_TRIO = tracemalloc.Filter(False, str(Path(trio.__file__).parent / "*"))


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def taken_in(router: Running, numbers: range, done: str) -> int:
    """Sends these events, and gives the bytes that are in use when all that can be done with them is done."""
    for number in numbers:
        body = b'{"event": "checkEvaluation", "n": %d, "filler": "%s"}' % (number, b"x" * 4000)
        assert (await router.post(body)).status_code == 200
    with closing(sqlite3.connect(f"file:{router.folder}/var/sodarouter.db?mode=ro", uri=True)) as spool:
        await until(lambda: spool.execute(done).fetchone() == (numbers.stop,))
    await trio.testing.wait_all_tasks_blocked(0.05)
    gc.collect()
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([NOT_TRIO]).traces)


@pytest.mark.parametrize("toml", DONE, ids=["delivered", "waiting"])
async def test_nothing_of_an_event_stays_in_memory(tmp_path, traced, toml):
    async with running_router(tmp_path, toml) as router:
        before = await taken_in(router, range(FIRST), DONE[toml])
        after = await taken_in(router, range(FIRST, FIRST + MORE), DONE[toml])
    assert (after - before) / MORE < MOST
