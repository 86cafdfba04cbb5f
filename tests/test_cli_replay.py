"""``replay``, and ``pause``, ``drain``, ``resume`` and ``destinations``."""

import re
import signal
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
import trio
from commandline import Command, free_ports, listening, run_beside, without
from engines import ended, open_engine
from running import SOURCE, router_process, until
from sink import Answer, open_sink
from support import make_event

from sodarouter.cli.replay import parse_rate
from sodarouter.spool import DeliveryFilter, SqliteReader

TWO = """
[spool]
path = "spool.db"
[destination.log]
type = "file"
path = "events.jsonl"
[destination.archive]
type = "file"
path = "archive.jsonl"
[[route]]
to = ["log"]
"""
LAST = make_event().received


@pytest.fixture
def history(tmp_path: Path) -> list[str]:
    """Five events, an hour apart, the oldest first; the last of them is unrouted, and none is delivered yet."""

    async def fill() -> list[str]:
        async with open_engine("sqlite", tmp_path) as engine:
            events = [
                await engine.planned(
                    *(["log"] if hour < 4 else []),
                    event=make_event(
                        {"event": "incidentCreated", "n": hour}, received=LAST - timedelta(hours=4 - hour)
                    ),
                )
                for hour in range(5)
            ]
            for claim in await engine.claim("log"):
                await engine.spool.settle([ended(claim)])
            return [event.id for event in events]

    (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + SOURCE + TWO)
    return trio.run(fill)


def due(folder: Path, replay: int) -> dict[str, float]:
    """When each delivery of a replay is due, in seconds after the first."""
    with closing(SqliteReader(folder / "spool.db")) as reader:
        found = reader.deliveries(DeliveryFilter(replay=replay), limit=99)
    times = {one.id: one.next_at.timestamp() for one in reversed(found)}
    first = min(times.values())
    return {name: round(time - first, 1) for name, time in times.items()}


# replay


def test_it_has_to_be_said_which_events(sodarouter, history):
    for arguments in ([], ["--to", "log"], ["x", "--all"], ["x", "--since", "2h"]):
        ran = sodarouter("replay", *arguments, "--yes")
        assert (ran.status, ran.out) == (2, "")
        assert ran.err == "sodarouter: name events, or say which with options such as --since, or --all\n"


def test_a_stretch_of_history_is_replayed_to_a_destination(sodarouter, tmp_path, history):
    between = ["--since", "2026-05-04T09:00Z", "--until", "2026-05-04T12:00Z"]
    ran = sodarouter("replay", *between, "--to", "archive", "--dry-run")
    assert (ran.status, ran.out) == (0, "3 events to archive\n")
    ran = sodarouter("replay", *between, "--to", "archive")
    assert (ran.status, ran.out) == (2, "3 events to archive\n")
    assert ran.err == (
        "sodarouter: 3 events to archive: they would be replayed; "
        "there is no terminal to ask at: add --yes to have it done\n"
    )
    ran = sodarouter("replay", *between, "--to", "archive", "--yes")
    assert ran.status == 0
    assert ran.out == (
        "3 events to archive\n"
        "replay 1: 3 deliveries planned, for the next start of the router; `sodarouter deliveries --replay 1` lists them\n"
    )
    planned = sodarouter("deliveries", "--replay", "1", "--json").json
    assert [one["id"] for one in planned] == [f"{event}/archive/1" for event in history[3:0:-1]]
    assert "1 pending, 1 delivered" in sodarouter("events").out


def test_a_replay_is_spread_over_time(sodarouter, tmp_path, history):
    ran = sodarouter("replay", "--all", "--to", "archive", "--to", "log", "--rate", "2/m", "--yes", "--json")
    assert ran.json == {
        "dry_run": False,
        "events": 5,
        "to": ["archive", "log"],
        "replay": 1,
        "planned": 10,
        "deliveries": None,
    }
    assert due(tmp_path, 1) == {
        f"{event}/{name}/1": pytest.approx(30.0 * place, abs=0.2)
        for place, event in enumerate(history)
        for name in ("archive", "log")
    }


def test_the_rate_holds_from_one_batch_to_the_next(sodarouter, tmp_path, history, monkeypatch):
    monkeypatch.setattr("sodarouter.cli.replay.BATCH", 2)
    assert sodarouter("replay", "--all", "--to", "log", "--rate", "1/h", "--yes").status == 0
    assert list(due(tmp_path, 1).values()) == [pytest.approx(3600.0 * place, abs=1.0) for place in range(5)]


def test_only_a_replay_that_was_begun_is_continued(sodarouter, history):
    ran = sodarouter("replay", "--all", "--to", "archive", "--continue", "1", "--yes")
    assert (ran.status, ran.err) == (1, "sodarouter: there is no replay 1\n")
    assert sodarouter("replay", *history[:1], "--to", "archive").status == 0
    assert sodarouter("replay", *history, "--to", "archive", "--continue", "1").status == 0
    assert len(sodarouter("deliveries", "--replay", "1", "--json").json) == len(history)


@pytest.mark.parametrize(("text", "every"), [("50/s", 0.02), ("100/m", 0.6), ("2 / h", 1800.0), ("1/d", 86_400.0)])
def test_a_rate_is_so_many_in_a_time(text, every):
    assert parse_rate(text) == pytest.approx(every)


@pytest.mark.parametrize("text", ["50", "0/s", "1/y", "-1/s", "1.5/s", ""])
def test_a_rate_that_is_none_is_told(sodarouter, history, text):
    ran = sodarouter("replay", "--all", f"--rate={text}")
    assert (ran.status, ran.out) == (2, "")
    assert "a rate is" in ran.err


def test_events_that_are_named_are_replayed_without_a_question(sodarouter, history):
    ran = sodarouter("replay", history[0], history[2], history[0], "--to", "log")
    assert ran.status == 0
    assert ran.out.startswith("2 events to log\nreplay 1: 2 deliveries planned")
    ran = sodarouter("replay", history[0], "nothing", "--to", "log")
    assert (ran.status, ran.out, ran.err) == (1, "", "sodarouter: there is no event nothing\n")


def test_what_was_unrouted_is_decided_anew_by_the_routes_of_today(sodarouter, history):
    ran = sodarouter("replay", "--unrouted", "--yes")
    assert ran.status == 0
    assert ran.out.startswith("1 event to where the routes of today send them\nreplay 1: to be decided anew")
    (planned,) = sodarouter("deliveries", "--replay", "1", "--json").json
    assert planned["id"] == f"{history[4]}/$route/1"


def test_a_replay_that_broke_off_goes_on(sodarouter, history):
    assert sodarouter("replay", history[0], "--to", "log").status == 0
    ran = sodarouter("replay", "--all", "--to", "log", "--continue", "1", "--yes")
    assert "replay 1: 4 deliveries planned" in ran.out


def test_a_replay_that_can_never_be_is_told(sodarouter, tmp_path, history):
    ran = sodarouter("replay", "--all", "--to", "archiv", "--yes")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "sodarouter: router.toml has no destination 'archiv'; did you mean 'archive'?\n"
    ran = sodarouter("replay", "--all", "--to", "log", "--wait", "--yes")
    assert ran.status == 1
    assert ran.err == ("sodarouter: no router runs, so nothing would be delivered; start it, or leave --wait out\n")
    assert sodarouter("replay", "--since", "1h", "--yes").out == "no events\n"
    config = (tmp_path / "router.toml").read_text().replace('path = "spool.db"', 'path = "spool.db"\nmax_backlog = 9')
    (tmp_path / "router.toml").write_text(config)
    ran = sodarouter("replay", "--all", "--to", "log", "--to", "archive", "--yes")
    assert ran.status == 1
    assert ran.err == (
        "sodarouter: 0 deliveries wait already, and 10 more would reach spool.max_backlog, 9, at which senders "
        "are answered 503; replay a shorter stretch at a time\n"
    )


def test_a_replay_says_which_destination_will_not_take_it_for_now(sodarouter, history):
    assert sodarouter("pause", "log").status == 0
    ran = sodarouter("replay", history[0], "--to", "log", "--to", "archive")
    assert ran.err == "log is paused: what is replayed to it waits until `sodarouter resume log`\n"


TO_HOOK = """
[destination.hook]
type = "forward"
url = "{url}"
retry = {{ max_attempts = 1 }}
[destination.log]
type = "file"
path = "events.jsonl"
[[route]]
to = ["hook"]
"""


async def posted(sodarouter: Command, count: int) -> list[str]:
    """Posts events and gives their ids."""
    ran = await run_beside(sodarouter, "simulate", "checkEvaluation", "--count", str(count), "--post", "soda")
    return re.findall(r'"id": "(.*?)"', ran.out)


async def test_a_replay_is_delivered_once_more_and_followed_to_its_end(sodarouter, tmp_path):
    async with open_sink() as sink:
        (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + SOURCE + TO_HOOK.format(url=sink.url))
        with router_process(tmp_path):
            events = await posted(sodarouter, 3)
            await sink.until_requests(3)
            ran = await run_beside(sodarouter, "replay", "--all", "--to", "hook", "--wait", "--yes")
            assert (ran.status, ran.err) == (0, "")
            assert ran.out.splitlines()[-1] == "replay 1: 3 delivered"
            # decided anew: this time the other side refuses
            sink.script(Answer(410))
            ran = await run_beside(sodarouter, "replay", "--all", "--wait", "--yes")
            assert (ran.status, ran.out.splitlines()[-1]) == (1, "replay 2: 3 dead")
    keys = [request.headers["idempotency-key"] for request in sink.requests]
    assert sorted(keys) == sorted(f"{event}/hook{replay}" for event in events for replay in ("", "/1", "/2"))


# pause, drain, resume


def test_halts_are_remembered_and_taken_back(sodarouter, tmp_path, history):
    assert sodarouter("pause", "log", "archive").out == (
        "log is paused: what comes for it waits\narchive is paused: what comes for it waits\n"
    )
    assert sodarouter("drain", "log").out == "log is draining: what comes for it from now on waits\n"
    states = {one["name"]: one["state"] for one in sodarouter("destinations", "--json").json}
    assert states == {"log": "draining", "archive": "paused"}
    assert sodarouter("resume", "log", "--json").json == {"log": None}
    assert sodarouter("resume", "--all").out == "archive is resumed\n"
    assert sodarouter("resume", "--all").out == "no destination is paused or draining\n"
    ran = sodarouter("resume")
    assert (ran.status, ran.err) == (
        2,
        "sodarouter: name destinations, or --all; `sodarouter destinations` lists them\n",
    )


@pytest.mark.parametrize("command", ["pause", "drain", "resume"])
def test_a_destination_that_there_is_not_is_told(sodarouter, history, command):
    ran = sodarouter(command, "log", "archve")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "sodarouter: router.toml has no destination 'archve'; did you mean 'archive'?\n"
    assert all(one["state"] == "active" for one in sodarouter("destinations", "--json").json)


def test_waiting_for_a_drain_needs_a_router(sodarouter, history):
    ran = sodarouter("drain", "log", "--wait")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "sodarouter: no router runs, so nothing would be delivered; start it, or leave --wait out\n"
    assert sodarouter("destinations", "--json").json[0]["state"] == "active"


async def test_a_pause_holds_over_a_restart_and_a_drain_ends_when_nothing_waits(sodarouter, tmp_path):
    async with open_sink() as sink:
        (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + SOURCE + TO_HOOK.format(url=sink.url))
        with router_process(tmp_path) as router:
            await run_beside(sodarouter, "pause", "hook")
            await posted(sodarouter, 2)
            assert router.end(signal.SIGTERM) == 0
        with router_process(tmp_path):
            waiting = ["deliveries", "--state", "pending", "--json"]
            await until(lambda: len(sodarouter(*waiting).json) == 2)
            assert not sink.requests
            ran = await run_beside(sodarouter, "drain", "hook", "--wait")
            assert (ran.status, ran.out) == (0, "hook is drained and paused: what comes for it waits\n")
            assert len(sink.requests) == 2
            await posted(sodarouter, 1)
            await until(lambda: len(sodarouter(*waiting).json) == 1)
            (row,) = (one for one in sodarouter("destinations", "--json").json if one["name"] == "hook")
            assert (row["state"], row["pending"]) == ("paused", 1)
            await run_beside(sodarouter, "resume", "hook")
            await sink.until_requests(3)


async def test_a_drain_that_is_resumed_before_its_end_is_told(sodarouter, tmp_path):
    async with open_sink(Answer(hold=trio.Event())) as sink:
        (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + SOURCE + TO_HOOK.format(url=sink.url))
        with router_process(tmp_path) as router:
            await posted(sodarouter, 1)
            await sink.until_requests(1)

            async def resume() -> None:
                with closing(SqliteReader(tmp_path / "var/sodarouter.db")) as reader:
                    await until(lambda: bool(reader.halts()))
                async with httpx2.AsyncClient(trust_env=False) as client:
                    page = f"http://{router.ready['admin'][0]}/api/destinations/hook"
                    assert (await client.post(page, json={"halt": None})).status_code == 200

            async with trio.open_nursery() as nursery:
                nursery.start_soon(resume)
                ran = await run_beside(sodarouter, "drain", "hook", "--wait")
            assert (ran.status, ran.err) == (1, "sodarouter: hook was resumed before it was drained\n")


# destinations


def test_destinations_are_listed_with_what_waits_for_each(sodarouter, tmp_path, history):
    assert sodarouter("replay", history[0], "--to", "log").status == 0
    assert sodarouter("replay", history[0], history[1]).status == 0
    without(tmp_path, "log")
    rows = sodarouter("destinations", "--json").json
    assert [list(row.values())[:7] for row in rows] == [
        ["renamed", "file", "active", None, 0, 0, 0],
        ["archive", "file", "active", None, 0, 0, 0],
        ["$route", "", "active", None, 2, 0, 0],
        ["log", "", "not configured", None, 1, 0, 0],
    ]
    assert list(rows[0]) == ["name", "type", "state", "breaker", "pending", "leased", "dead", "oldest", "health"]
    head, *lines = sodarouter("destinations").out.splitlines()
    assert head.split() == list(rows[0])
    assert lines[3].split()[:6] == ["log", "not", "configured", "1", "0", "0"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            (
                b'{"ready": false, "destinations": '
                b'{"log": {"breaker": "open", "health": "no room"}, "archive": {"breaker": null}}}'
            ),
            [("open", "no room"), (None, None)],
        ),
        (b'{"ready": true, "destinations": []}', [(None, None)] * 2),
        (b"ok", [(None, None)] * 2),
    ],
)
async def test_breakers_and_health_are_those_of_the_router_that_runs(sodarouter, tmp_path, answer, told):
    async with open_engine("sqlite", tmp_path), open_sink(Answer(503, body=answer)) as sink:
        (tmp_path / "router.toml").write_text(f'[admin]\nlisten = ["{sink.url[7:]}"]\n' + SOURCE + TWO)
        rows = (await run_beside(sodarouter, "destinations", "--json")).json
    assert [(row["breaker"], row["health"]) for row in rows] == told
