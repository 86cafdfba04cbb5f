"""Records a router: it starts on no spool at all, is killed, starts again, and is stopped."""

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import httpx2
import trio
from torture import account
from torture.daemon import Life, life

from .trace import ARGUMENTS, Operation, parse

SPOOL = "spool.db"
TOML = """
[server]
listen = ["127.0.0.1:0"]
[admin]
listen = ["127.0.0.1:0"]
[spool]
path = "spool/{spool}"
[source.soda]
path = "/"
[destination.log]
type = "file"
path = "one.jsonl"
[destination.copy]
type = "file"
path = "two.jsonl"
[[route]]
to = ["log", "copy"]
"""
AT_ONCE = 16
"""Senders, so that events share commits."""
BODY = 2000
"""Bytes."""
LIMIT = 200.0
"""Seconds that it may take on a machine that has much else to do."""
TAIL = 4096
"""Bytes at the end of a trace, in which the ends of all threads stand."""


async def record(folder: Path) -> list[Operation]:
    """All that two lives of a router did to its spool, in order.

    In the first the ``-wal`` is moved into the database and begun anew; the second finds what the first left.
    """
    config = folder / "router.toml"
    config.write_text(TOML.format(spool=SPOOL), encoding="utf-8")
    spool = folder / "spool" / SPOOL
    numbers = count()
    with trio.fail_after(LIMIT):
        async with _recorded(folder, "first") as router:
            await _burst(router, numbers)
            await _settled(spool)
            before = spool.stat().st_mtime_ns
            while spool.stat().st_mtime_ns == before:  # only a checkpoint writes to it
                await _burst(router, numbers)
            await _burst(router, numbers)
            router.kill()
        async with _recorded(folder, "second") as router:
            await _burst(router, numbers)
            await _settled(spool)
            await router.stop()
    operations: list[Operation] = []
    for name in ("first", "second"):
        with (folder / f"{name}.trace").open(encoding="ascii") as lines:
            operations.extend(parse(lines, folder / "spool"))
    return operations


@asynccontextmanager
async def _recorded(folder: Path, name: str) -> AsyncIterator[Life]:
    trace = folder / f"{name}.trace"
    tracer = ("strace", *ARGUMENTS, "-o", str(trace))
    async with life(folder / "router.toml", folder / "router.log", under=tracer) as begun:
        await begun.until_ready()
        yield begun
        await begun.until_ended()
    with trio.fail_after(30):
        # the tracer ends a moment after the router
        while not _is_whole(trace, begun.process.pid):  # noqa: ASYNC110 (a file)
            await trio.sleep(0.01)


def _is_whole(trace: Path, pid: int) -> bool:
    with trace.open("rb") as lines:
        lines.seek(-min(TAIL, trace.stat().st_size), os.SEEK_END)
        return re.search(rb"^%d +\+\+\+ " % pid, lines.read(), re.MULTILINE) is not None


async def _burst(router: Life, numbers: Iterator[int]) -> None:
    async with (
        httpx2.AsyncClient(base_url=router.url, timeout=LIMIT, trust_env=False) as client,
        trio.open_nursery() as senders,
    ):
        for _ in range(AT_ONCE):
            body = json.dumps({"event": "checkEvaluation", "n": next(numbers), "filler": "#" * BODY})
            senders.start_soon(_post, client, body)


async def _post(client: httpx2.AsyncClient, body: str) -> None:
    (await client.post("/", content=body)).raise_for_status()


async def _settled(spool: Path) -> None:
    while account.read(spool).unsettled:  # noqa: ASYNC110 (a file)
        await trio.sleep(0.05)
