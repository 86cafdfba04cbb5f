"""How much is done for an event: a change that loses speed shows here, whatever the machine does beside.

Counts are of one event at a time, the dearest case: nothing is shared with others. They hold for all versions of Python and
of trio that are supported, so the bounds leave room; when one is passed, look for what was added, and raise it if that is
worth it. `python -m benchmarks intake --against CHECKOUT` says what it costs in time.
"""

import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sodarouter_file
import sodarouter_forward
import trio
from running import running_router, until
from sink import open_sink

import sodarouter

EVENTS = 10
DONE = "SELECT NOT EXISTS (SELECT 1 FROM delivery WHERE state = 'pending') AND (SELECT count(*) FROM decision) = ?"
DELIVERED = """
[destination.log]
type = "file"
path = "events.jsonl"
[[route]]
to = ["log"]
"""
SENT = """
[destination.hook]
type = "forward"
url = "{sink}/"
[[route]]
to = ["hook"]
"""
SOURCES = tuple(str(Path(module.__file__).parent) for module in (sodarouter, sodarouter_file, sodarouter_forward))
BOUNDS = {
    "": {
        # verified, read, counted, decided and stored: 260
        "calls": 340,
        # of the connection, and of the timers between: 10
        "steps": 14,
        # with the BEGIN: 14
        "statements": 18,
        # what is stored is decided: 1
        "commits": 1.3,
    },
    DELIVERED: {
        # as above, and a lane that claims, a task that writes to the file in a thread, and settling: 570
        "calls": 750,
        # 23
        "steps": 30,
        # 40
        "statements": 52,
        # claiming, which is not synced, and settling, which also asks for more: 3
        "commits": 3.9,
    },
    SENT: {
        # as above, and a request in place of the thread, with what the test's server does for it: 620
        "calls": 810,
        # 23
        "steps": 30,
        "statements": 52,
        "commits": 3.9,
    },
}
"""For one event, by what is configured: what was counted when it was written, and about a third more."""


class Work(trio.abc.Instrument):
    """Counts what is done while it is on, but for what the test itself does."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.on = False
        self._mine = trio.lowlevel.current_task()

    def call(self, frame: Any, event: str, _: object) -> None:
        """For `sys.setprofile`: a call of a function of the router or of a plugin, or a coroutine that goes on."""
        if event == "call" and self.on and frame.f_code.co_filename.startswith(SOURCES):
            self.counted["calls"] += 1

    def statement(self, text: str) -> None:
        if self.on:
            self.counted["commits" if text == "COMMIT" else "statements"] += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.on and task is not self._mine:
            self.counted["steps"] += 1


@pytest.fixture
async def work(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Work]:
    made = Work()

    class Traced(sqlite3.Connection):
        def __init__(self, *arguments: Any, **known: Any) -> None:
            super().__init__(*arguments, **known)
            if not known.get("uri"):  # those that only read name a URI
                self.set_trace_callback(made.statement)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Traced))
    trio.lowlevel.add_instrument(made)
    threading.setprofile(made.call)  # the writer's thread is started by the test
    sys.setprofile(made.call)
    yield made
    sys.setprofile(None)
    threading.setprofile(None)
    trio.lowlevel.remove_instrument(made)


@pytest.mark.parametrize("toml", BOUNDS, ids=["taken in", "delivered", "sent"])
async def test_no_more_is_done_for_an_event_than_there_is_reason_for(tmp_path, work, toml):
    async with open_sink() as sink, running_router(tmp_path, toml.replace("{sink}", sink.url)) as router:
        with closing(sqlite3.connect(f"file:{tmp_path}/var/sodarouter.db?mode=ro", uri=True)) as spool:

            async def post(number: int) -> None:
                assert (await router.post(b'{"event": "checkEvaluation", "n": %d}' % number)).status_code == 200
                await until(lambda: spool.execute(DONE, (number,)).fetchone() == (1,))

            await post(1)  # what is made for the first of them is not for each
            work.on = True
            for number in range(2, EVENTS + 2):
                await post(number)
            work.on = False
    done = {what: work.counted[what] / EVENTS for what in BOUNDS[toml]}
    assert {what: count for what, count in done.items() if count > BOUNDS[toml][what]} == {}
