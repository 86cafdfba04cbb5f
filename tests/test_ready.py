"""`/readyz`, through the admin listener's own pages: ready or not and why, and what there is to see."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from sodarouter import (
    Breaker,
    Condition,
    Halt,
    HttpRequest,
    HttpResponse,
    HttpRoute,
    Lag,
    Loaded,
    Queue,
    Stats,
    Workers,
)
from sodarouter.address import Address
from sodarouter.errors import SpoolError
from sodarouter.lag import monitored
from sodarouter.ready import MAX_WRITER_LAG, readiness
from sodarouter.serve import bind, serve
from sodarouter.survey import Survey
from sodarouter.web import Pages, admin_app

NOW = datetime(2026, 5, 4, 14, 0, tzinfo=UTC)
LOADED = Loaded("0123456789ab", NOW - timedelta(hours=2))
BUSY = Stats(
    {
        "oncall": Queue(3, 1, 2, NOW - timedelta(seconds=42.4), None, Breaker.HALF_OPEN),
        "audit": Queue(pending=5, oldest=NOW + timedelta(seconds=9), halt=Halt.PAUSED, breaker=Breaker.CLOSED),
        "gone": Queue(dead=1),
    },
    quarantined=4,
    spool_bytes=4096,
    backlog=9,
    writer_lag=0.01234,
    loaded=LOADED,
    lag=Lag(0.25, {"destination oncall": 2}),
    max_bytes=8192,
    max_backlog=100,
    destinations={"oncall": Condition(health="slow"), "audit": Condition(health="")},
    plugins={"tickets": Condition(health="no token"), "chat": Condition(health=""), "mute": Condition()},
)


@asynccontextmanager
async def pages(
    stats: Callable[[], Awaitable[Stats]], *, stopping: bool = False, route: HttpRoute | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a real admin listener."""

    app = admin_app(Pages(lambda: stopping, stats), [("health", route)] if route else [], lambda: None)
    listeners = bind([Address.parse("127.0.0.1:0")])
    ended = trio.Event()
    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            await serve(app, listeners, stopping=ended, task_status=task_status)

        await nursery.start(run)
        async with httpx2.AsyncClient(base_url=f"http://{listeners[0].address}", trust_env=False) as client:
            yield client
        ended.set()


def giving(stats: Stats) -> Callable[[], Awaitable[Stats]]:
    async def given() -> Stats:
        return stats

    return given


async def ready(stats: Stats, **known: Any) -> tuple[int, dict[str, Any]]:
    async with pages(giving(stats), **known) as client:
        answer = await client.get("/readyz")
        document: dict[str, Any] = answer.json()
        return answer.status_code, document


async def test_ready_shows_what_matters_at_night() -> None:
    status, found = await ready(BUSY)
    for queue in found["destinations"].values():
        queue.pop("oldest_seconds")  # by the clock on the wall; below by one that stands still
    assert (status, found) == (
        200,
        {
            "ready": True,
            "reasons": {},
            "spool": {
                "bytes": 4096,
                "max_bytes": 8192,
                "backlog": 9,
                "max_backlog": 100,
                "writer_lag": 0.012,
                "quarantined": 4,
            },
            "destinations": {
                "audit": {"pending": 5, "leased": 0, "dead": 0, "breaker": "closed", "halt": "paused", "health": None},
                "gone": {"pending": 0, "leased": 0, "dead": 1, "breaker": None, "halt": None, "health": None},
                "oncall": {
                    "pending": 3,
                    "leased": 1,
                    "dead": 2,
                    "breaker": "half-open",
                    "halt": None,
                    "health": "slow",
                },
            },
            "plugins": {"tickets": {"health": "no token"}, "chat": {"health": None}},
            "config": {
                "hash": "0123456789ab",
                "since": "2026-05-04T12:00:00+00:00",
                "last_reload": {"ok": True, "at": "2026-05-04T12:00:00+00:00", "faults": []},
            },
            "event_loop": {"longest_step": 0.25, "blocked": {"destination oncall": 2}},
        },
    )


def test_the_age_of_the_oldest_is_in_whole_seconds_and_never_negative() -> None:
    found = readiness(BUSY, NOW, stopping=False)["destinations"]
    assert {name: queue["oldest_seconds"] for name, queue in found.items()} == {"audit": 0, "gone": None, "oncall": 42}


async def test_a_reload_that_failed_is_shown_and_leaves_it_ready() -> None:
    failed = replace(LOADED, failed=NOW, faults=("router.toml: route 1.to: there is no destination 'x'",))
    status, found = await ready(replace(BUSY, loaded=failed))
    assert (status, found["ready"]) == (200, True)
    assert found["config"] == {
        "hash": "0123456789ab",
        "since": "2026-05-04T12:00:00+00:00",
        "last_reload": {"ok": False, "at": "2026-05-04T14:00:00+00:00", "faults": list(failed.faults)},
    }


@pytest.mark.parametrize(
    ("stats", "stopping", "reasons"),
    [
        (replace(BUSY, trouble="the disk is full"), False, {"spool": "the disk is full"}),
        (replace(BUSY, trouble="the disk is full", writer_lag=99.0), False, {"spool": "the disk is full"}),
        (
            replace(BUSY, writer_lag=MAX_WRITER_LAG + 2),
            False,
            {"spool": "a change has waited 7 seconds to be on disk; see to the disk under the spool"},
        ),
        (BUSY, True, {"daemon": "it is stopping"}),
        (replace(BUSY, workers=Workers(2, 0, 7)), False, {"workers": "no intake process runs; the log says why"}),
        (replace(BUSY, trouble="no"), True, {"daemon": "it is stopping", "spool": "no"}),
    ],
)
async def test_what_keeps_events_out_is_503_with_the_reasons(
    stats: Stats, stopping: bool, reasons: dict[str, str]
) -> None:
    status, found = await ready(stats, stopping=stopping)
    assert (status, found["ready"], found["reasons"]) == (503, False, reasons)
    assert found["spool"]["bytes"] == 4096, "all the rest is still shown"


async def test_one_intake_process_is_enough() -> None:
    status, found = await ready(replace(BUSY, workers=Workers(2, 1, 7)))
    assert (status, found["workers"]) == (200, {"wanted": 2, "running": 1, "restarts": 7})


async def test_a_writer_that_is_only_slow_leaves_it_ready() -> None:
    assert (await ready(replace(BUSY, writer_lag=MAX_WRITER_LAG)))[0] == 200


async def test_a_spool_that_cannot_be_asked_is_503_with_the_reason() -> None:
    async def failing() -> Stats:
        raise SpoolError("the spool fails: disk I/O error")

    async with pages(failing) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": {"spool": "the spool fails: disk I/O error"}}


async def test_it_answers_while_the_spool_hangs() -> None:
    """On a spool that is not to be cancelled, as SQLite's writer is not."""
    answering = trio.Event()

    async def hung() -> Stats:
        with trio.CancelScope(shield=True):
            await answering.wait()
        return BUSY

    survey = Survey(hung, patience=0.01)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(survey.run)
        async with pages(survey) as client:
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert "has not answered" in answer.json()["reasons"]["spool"]
            answering.set()
        nursery.cancel_scope.cancel()


async def test_a_fault_of_the_routers_own_is_a_500_and_no_reason() -> None:
    async def broken() -> Stats:
        raise ZeroDivisionError

    async with pages(broken) as client:
        assert (await client.get("/readyz")).status_code == 500


async def test_a_plugins_page_that_blocks_the_loop_is_known_by_the_plugins_name() -> None:
    clock = [0.0]

    async def page(_: HttpRequest) -> HttpResponse:
        clock[0] += 2.0
        return HttpResponse("done\n")

    with monitored(now=lambda: clock[0]) as monitor:
        async with pages(giving(BUSY), route=HttpRoute("/queues", page)) as client:
            assert (await client.get("/queues")).text == "done\n"
            await client.get("/readyz")
        assert monitor.lag().blocked == {"plugin health": 1}


def test_the_example_in_the_docs_has_just_what_the_document_has() -> None:
    text = (Path(__file__).parent.parent / "docs/configuration.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"(?ms)^```json\n(.*?)^```$", text)

    def shape(value: Any) -> Any:
        return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else None

    one = replace(
        BUSY,
        queues={"oncall": BUSY.queues["oncall"]},
        lag=Lag(0.0, {"destination oncall": 1}),
        plugins={"tickets": BUSY.plugins["tickets"]},
    )
    assert shape(json.loads(block)) == shape(readiness(one, NOW, stopping=False))
