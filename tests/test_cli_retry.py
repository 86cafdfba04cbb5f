"""``retry``, ``discard`` and ``export``, one by one and by filter, on a spool that no router has."""

import json
import os
import pty
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from commandline import ID, free_ports, listening, without
from engines import Engine, ended, open_engine
from running import SOURCE
from support import make_event

from sodarouter.cli.choose import parse_time
from sodarouter.delivery import Cause, Planned, State
from sodarouter.spool import Decided, Routed

NIGHT = """
[spool]
path = "spool.db"
[destination.oncall]
type = "file"
path = "oncall.jsonl"
[destination.mail]
type = "file"
path = "mail.jsonl"
"""
"""``gone`` is not in it."""


async def _spoil(folder: Path) -> None:
    async with open_engine("sqlite", folder) as engine:
        await engine.dead("oncall", cause=Cause.EXHAUSTED, reason="exhausted after 1 attempt: no route to host")
        await engine.dead("oncall", cause=Cause.EXHAUSTED)
        await _dead_of(engine, "oncall", Cause.REJECTED, {"event": "incidentCreated"}, source="staging")
        await engine.dead("gone", cause=Cause.REJECTED)
        await engine.planned("mail")


async def _dead_of(engine: Engine, destination: str, cause: Cause, body: dict[str, Any], **known: Any) -> None:
    yesterday = make_event().received - timedelta(days=1)
    await engine.planned(destination, event=make_event(body, received=yesterday, **known))
    (claim,) = await engine.claim(destination)
    await engine.spool.settle([ended(claim, State.DEAD, cause=cause, reason="refused: gone", response="410")])


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A spool after a bad night: four dead letters, one of them of a destination that is gone, and one that waits."""
    (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + SOURCE + NIGHT)
    trio.run(_spoil, tmp_path)
    return tmp_path


def ids(listed: list[dict[str, Any]]) -> list[str]:
    return [delivery["id"] for delivery in listed]


# which


@pytest.mark.parametrize("command", ["retry", "discard"])
def test_it_has_to_be_said_which(sodarouter, night, command):
    for arguments in ([], ["x/y", "--all"], ["x/y", "--cause", "rejected"]):
        ran = sodarouter(command, *arguments, "--yes")
        assert (ran.status, ran.out) == (2, "")
        assert ran.err == ("sodarouter: name deliveries, or say which with options such as --destination, or --all\n")


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--all"], 4),
        (["-d", "oncall"], 3),
        (["--cause", "exhausted"], 2),
        (["--type", "incidentCreated"], 1),
        (["--source", "staging", "--cause", "rejected"], 1),
        (["--since", "2026-05-04T00:00Z"], 3),
        (["--until", "2026-05-04T00:00Z"], 1),
        (["--since", "2h"], 0),
        (["--replay", "1"], 0),
    ],
)
def test_the_same_options_choose_for_every_command(sodarouter, night, options, count):
    if options != ["--all"]:
        assert len(sodarouter("dead", *options, "--json").json) == count
        assert len(sodarouter("deliveries", "--state", "dead", *options, "--json").json) == count
        assert len(sodarouter("export", *options).out.splitlines()) == count
    for command in ("retry", "discard"):
        assert len(sodarouter(command, *options, "--dry-run", "--json").json["asked"]) == count


@pytest.mark.parametrize("text", ["2x", "tomorrow", "", "12", "2026-13-01", "99999999999d", "0001-01-01"])
def test_a_time_that_is_none_is_told_how_to_write_one(sodarouter, night, text):
    ran = sodarouter("dead", "--since", text)
    assert (ran.status, ran.out) == (2, "")
    assert "Invalid value for '--since'" in ran.err
    assert "how long ago: 2h, 7d" in ran.err


def test_a_time_without_a_zone_is_a_local_one(monkeypatch):
    assert parse_time("2026-05-04T14:00+02:00") == parse_time("2026-05-04T12:00Z")
    assert parse_time("2026-05-04") == parse_time("2026-05-04T00:00").astimezone()
    assert parse_time("1h 30m") < parse_time("89m")


# retry


def test_many_are_counted_by_destination_and_cause_before_anything_is_done(sodarouter, night):
    ran = sodarouter("retry", "--all", "--dry-run")
    assert ran.status == 1
    assert ran.out.splitlines()[:4] == [
        "4 dead letters",
        "  gone    1 rejected",
        "  oncall  2 exhausted, 1 rejected",
        "3 of 4 would be tried again",
    ]
    assert len(sodarouter("dead", "--json").json) == 4


def test_without_a_terminal_many_need_a_yes(sodarouter, night):
    ran = sodarouter("retry", "--destination", "oncall")
    assert (ran.status, ran.out) == (2, "3 dead letters\n  oncall  2 exhausted, 1 rejected\n")
    assert ran.err == (
        "sodarouter: 3 dead letters would be tried again; there is no terminal to ask at: add --yes to have it done\n"
    )
    assert len(sodarouter("dead", "--json").json) == 4


def test_those_of_a_filter_are_tried_again(sodarouter, night):
    ran = sodarouter("retry", "--destination", "oncall", "--cause", "exhausted", "--yes")
    assert (ran.status, ran.out) == (0, "2 dead letters\n  oncall  2 exhausted\n2 of 2 will be tried again\n")
    assert len(sodarouter("deliveries", "-d", "oncall", "--state", "pending", "--json").json) == 2
    assert len(sodarouter("dead", "-d", "oncall", "--json").json) == 1
    assert sodarouter("retry", "-d", "mail", "--yes").out == "no dead letters\n"


def test_those_that_are_named_are_tried_again_without_a_question(sodarouter, night):
    first, second = ids(sodarouter("dead", "--cause", "exhausted", "--json").json)
    ran = sodarouter("retry", first, second, first)
    assert (ran.status, ran.out) == (0, f"2 of 2 will be tried again\n  {first}\n  {second}\n")


def test_retry_says_which_is_no_dead_letter(sodarouter, night):
    dead = ids(sodarouter("dead", "--cause", "exhausted", "--json").json)[0]
    (waiting,) = ids(sodarouter("deliveries", "--state", "pending", "--json").json)
    why = {
        waiting: "it is pending, not dead",
        **dict.fromkeys(("x/log", "x", f"{dead}/7"), "there is no such delivery"),
    }
    ran = sodarouter("retry", dead, *why, "--dry-run", "--json")
    assert ran.status == 1
    assert ran.json == {"dry_run": True, "asked": [dead, *why], "retried": [dead], "not_retried": why}
    lines = "".join(f"  {delivery}: {reason}\n" for delivery, reason in why.items())
    ran = sodarouter("retry", dead, *why)
    assert (ran.status, ran.out) == (1, f"1 of 5 will be tried again\n  {dead}\n{lines}")


def test_a_dead_letter_without_its_destination_stays_dead(sodarouter, night):
    (gone,) = ids(sodarouter("dead", "-d", "gone", "--json").json)
    why = f"  {gone}: it stays dead, as router.toml has no destination 'gone' any more\n"
    ran = sodarouter("retry", gone)
    assert (ran.status, ran.out) == (1, "0 of 1 will be tried again\n" + why)
    ran = sodarouter("retry", "-d", "gone", "--yes")
    assert (ran.status, ran.out) == (1, "1 dead letter\n  gone  1 rejected\n0 of 1 will be tried again\n" + why)
    without(night, "oncall")
    ran = sodarouter("retry", "-d", "oncall", "--yes")
    assert ran.out.endswith("  3 dead letters: it stays dead, as router.toml has no destination 'oncall' any more\n")
    assert len(sodarouter("dead", "--json").json) == 4


# discard


def test_dead_letters_are_discarded_and_stay_visible(sodarouter, night):
    ran = sodarouter("discard", "--cause", "rejected", "--yes")
    assert (ran.status, ran.out) == (
        0,
        "2 dead letters\n  gone    1 rejected\n  oncall  1 rejected\n2 of 2 discarded\n",
    )
    found = sodarouter("deliveries", "--state", "discarded", "--json").json
    assert [(delivery["destination"], delivery["cause"]) for delivery in found] == [
        ("gone", "rejected"),
        ("oncall", "rejected"),
    ]
    assert "discarded (rejected)" in sodarouter("deliveries").out
    assert "oncall: discarded (rejected)" in sodarouter("show", found[1]["id"]).out
    assert "1 discarded" in sodarouter("events").out


def test_what_waits_is_discarded_only_when_that_is_said(sodarouter, night):
    (waiting,) = ids(sodarouter("deliveries", "--state", "pending", "--json").json)
    ran = sodarouter("discard", waiting)
    assert (ran.status, ran.out) == (
        1,
        f"0 of 1 discarded\n  {waiting}: it is pending, not dead; `--state pending` discards what waits\n",
    )
    ran = sodarouter("discard", "--state", "pending", "--all", "--dry-run")
    assert ran.out == "1 pending delivery\n  mail  1 pending\n1 of 1 would be discarded\n"
    assert sodarouter("discard", "--state", "pending", waiting).status == 0
    assert sodarouter("deliveries", "--state", "pending").out == "no deliveries\n"
    assert sodarouter("discard", "--state", "leased", "--all").status == 2


def test_an_event_that_could_not_be_decided_can_be_given_up_too(sodarouter, night):
    async def undecided() -> None:
        async with open_engine("sqlite", night) as engine:
            event = await engine.append(make_event({"event": "validate"}))
            (claim,) = [claim for claim in await engine.claim() if claim.event.id == event.id]
            await engine.spool.settle([ended(claim, State.DEAD, cause=Cause.EXHAUSTED, reason="a fault in a rule")])

    trio.run(undecided)
    assert "not decided" in sodarouter("events", "--type", "validate").out
    assert sodarouter("retry", "-d", "$route", "--dry-run").out.endswith("1 of 1 would be tried again\n")
    assert sodarouter("discard", "-d", "$route", "--yes").out.endswith("1 of 1 discarded\n")
    assert "not decided" in sodarouter("events", "--type", "validate").out


# on a terminal


def on_a_terminal(folder: Path, answer: str, *arguments: str) -> tuple[int, str]:
    """Runs a command at a terminal of its own, where somebody answers its question."""
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "COLUMNS"}}
    mine, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "sodarouter", *arguments],
        cwd=folder,
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment | {"TERM": "xterm"},
    ) as popen:
        os.close(its)
        seen = b""
        while piece := _read(mine):
            asked = b"[y/N]" in seen
            seen += piece
            if not asked and b"[y/N]" in seen:
                os.write(mine, answer.encode() + b"\n")
    os.close(mine)
    return popen.returncode, seen.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # its other end is closed
        return b""


@pytest.mark.parametrize(("answer", "status", "left"), [("n", 1, 4), ("", 1, 4), ("y", 0, 1)])
def test_on_a_terminal_it_asks(sodarouter, night, answer, status, left):
    ended_with, seen = on_a_terminal(night, answer, "discard", "--destination", "oncall")
    assert ended_with == status
    assert "3 dead letters\n  oncall  2 exhausted, 1 rejected\nDiscard them for good? [y/N]:" in seen
    assert ("nothing was done" if status else "3 of 3 discarded") in seen
    assert len(sodarouter("dead", "--json").json) == left


def test_on_a_terminal_it_shows_how_far_it_is(night):
    ended_with, seen = on_a_terminal(night, "", "export", "--output", "dead.jsonl")
    assert ended_with == 0
    assert re.search("deliveries .*━", seen)
    assert seen.rstrip().endswith("4 lines written to dead.jsonl")


# export


def test_an_export_has_everything_but_the_callback(sodarouter, spool):
    (line,) = sodarouter("export").out.splitlines()
    document = json.loads(line)
    (dead,) = sodarouter("dead", "--json").json
    shown = sodarouter("show", dead["id"], "--json").json
    assert document == {**dead, "history": shown["deliveries"][0]["history"], "event": document["event"]}
    assert {key: shown[key] for key in document["event"]} == document["event"]
    assert document["event"]["payload"]["incidentLinkCallbackUrl"] == "**********"


def test_an_export_to_a_file_is_all_there_or_not_at_all(sodarouter, night):
    ran = sodarouter("export", "--destination", "oncall", "--output", "dead.jsonl")
    assert (ran.status, ran.out, ran.err) == (0, "", "3 lines written to dead.jsonl\n")
    assert len((night / "dead.jsonl").read_text().splitlines()) == 3
    assert (night / "dead.jsonl").stat().st_mode & 0o777 == 0o600
    (night / "there").mkdir()
    ran = sodarouter("export", "--output", "there")
    assert (ran.status, ran.out, ran.err) == (1, "", "sodarouter: there cannot be written: is a directory\n")
    ran = sodarouter("export", "-o", "no/such/folder")
    assert ran.err == "sodarouter: no/such/folder cannot be written: no such file or directory\n"
    assert not list(night.glob("*.part"))


def test_an_export_replaces_a_file_only_by_force(sodarouter, night):
    (night / "dead.jsonl").write_text("yesterday's\n")
    ran = sodarouter("export", "--output", "dead.jsonl")
    assert (ran.status, ran.err) == (1, "sodarouter: dead.jsonl is there already; --force replaces it\n")
    assert (night / "dead.jsonl").read_text() == "yesterday's\n"
    assert sodarouter("export", "--output", "dead.jsonl", "--force").err == "4 lines written to dead.jsonl\n"


def test_an_export_takes_names_or_options_and_other_states(sodarouter, night):
    first, second, *_ = ids(sodarouter("dead", "--json").json)
    assert [json.loads(line)["id"] for line in sodarouter("export", second, first).out.splitlines()] == [second, first]
    ran = sodarouter("export", first, "x/y")
    assert (ran.status, ran.out, ran.err) == (1, "", "sodarouter: x/y: there is no such delivery\n")
    assert sodarouter("export", first, "-d", "oncall").status == 2
    (line,) = sodarouter("export", "--state", "pending").out.splitlines()
    assert json.loads(line)["destination"] == "mail"
    assert sodarouter("export", "-d", "oncal").err == (
        "sodarouter: router.toml has no destination 'oncal'; did you mean 'oncall'?\n"
    )


# what a delivery has to tell


async def _to_be_tried_again(folder: Path) -> str:
    async with open_engine("sqlite", folder) as engine:
        event = await engine.planned("oncall")
        (claim,) = await engine.claim("oncall")
        await engine.spool.settle([ended(claim, State.PENDING, reason="answered 500: " + "no " * 999, next_at=1e10)])
        return event.id


def test_an_attempt_that_failed_is_told_as_that_while_its_delivery_is_pending(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text(SOURCE + NIGHT)
    event = trio.run(_to_be_tried_again, tmp_path)
    assert re.search(
        r"\n  oncall: pending, next attempt in .*\n    attempt 1 at .*, failed: answered 500: (no ){999}\n",
        sodarouter("show", event).out,
    )
    _, row = sodarouter("deliveries").out.splitlines()
    assert re.search(r"answered 500: (no ){60,66}n?o?…$", row), "a table has room for the beginning"


async def _handed_over(folder: Path) -> str:
    """An update that came late, whose delivery stands in for another one, and was replayed."""
    async with open_engine("sqlite", folder) as engine:
        updates = [
            make_event(
                {
                    "event": "incidentUpdated",
                    "incident": {"id": "i", "title": "Late", "lastUpdatedTimestamp": f"{time}Z"},
                }
            )
            for time in ("2026-05-04T12:00:01", "2026-05-04T12:00:00")
        ]
        for event in updates:
            await engine.append(event)
        (_, claim) = await engine.claim()
        await engine.spool.settle([Routed(claim, Decided([], [Planned("oncall")], 0.0, config="0123456789ab"))])
        (claim,) = await engine.claim("oncall")
        gave_up = ended(claim, State.DEAD, reason="the other side is gone", cause=Cause.REJECTED, fallback="mail")
        await engine.spool.settle([gave_up])
        number = await engine.spool.begin_replay(0.0)
        await engine.spool.replay(number, [updates[1].id], ["oncall"], 0.0, first=0.0, every=0.0)
        return updates[1].id


def test_show_and_the_lists_tell_of_causes_replays_fallbacks_and_late_events(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text(SOURCE + NIGHT)
    event = trio.run(_handed_over, tmp_path)
    head = sodarouter("show", event).out
    assert "\nlate: a newer update of this incident had come before it\n" in head
    assert "\nDecision by configuration 0123456789ab\n" in head
    assert "\n  oncall: dead (rejected)\n" in head
    assert (
        "\n  mail: pending, next attempt now\n    stands in for oncall, which gave up: the other side is gone\n" in head
    )
    assert "\n  oncall in replay 1: pending, next attempt now\n" in head
    assert "Late (came late)" in sodarouter("events").out
    assert sodarouter("events", "-n", "1", "--json").json[0]["late"] is True
    (replayed,) = sodarouter("deliveries", "--replay", "1", "--json").json
    assert (replayed["id"], replayed["replay"]) == (f"{event}/oncall/1", 1)
    assert sodarouter("show", replayed["id"], "--json").json["deliveries"][0]["replay"] == 1
    (instead,) = sodarouter("deliveries", "-d", "mail", "--json").json
    assert instead["fallback"] == {"destination": "oncall", "reason": "the other side is gone"}
    assert instead["config"] == "0123456789ab"
    assert "; stands in" not in sodarouter("deliveries", "-d", "mail").out
    assert re.search(rf"{ID}/oncall +rejected +1 ", sodarouter("dead").out)
    assert sodarouter("deliveries", "--type", "incidentUpdted").out == (
        "no deliveries; Soda documents no event type 'incidentUpdted'; did you mean 'incidentUpdated'?\n"
    )


def test_what_waits_says_for_what_it_waits(sodarouter, night):
    def waits() -> str:
        return sodarouter("deliveries", "--state", "pending").out.splitlines()[1].rpartition("  ")[2]

    assert waits() == "now"
    assert sodarouter("pause", "mail").status == 0
    assert waits() == "when resumed"
    without(night, "mail")
    assert waits() == "when configured"
    assert (
        "mail: pending, next attempt when configured"
        in sodarouter("show", sodarouter("deliveries", "--state", "pending", "--json").json[0]["id"]).out
    )
