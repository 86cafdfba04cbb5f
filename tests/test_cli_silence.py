"""``silence`` and its commands, ``mute`` and ``unmute``: with a router that runs, and without one."""

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from commandline import ID, free_ports, listening
from running import SOURCE, router_process, until

from sodarouter.decide import Silence
from sodarouter.hindsight import silences_of
from sodarouter.spool import SqliteReader

WINDOW = '[window.nights]\nhours = "22:00-06:00"\ntimezone = "Europe/Berlin"\n'
WHY = ("--reason", "a move", "--author", "jo")


@pytest.fixture
def configured(spool: Path) -> Path:
    """As `spool`, with a window."""
    path = spool / "router.toml"
    path.write_text(path.read_text() + WINDOW)
    return spool


def stored(folder: Path) -> list[Silence]:
    (path,) = folder.rglob("*.db")
    with closing(SqliteReader(path)) as reader:
        return silences_of(reader.silences())


# add


def test_what_is_asked_for_is_added_and_told_in_a_sentence(sodarouter, configured):
    ran = sodarouter(
        "silence", "add", "--match", "dataset=prod/*, dev/*", "--match", "attribute.domain=Sales", "--not", "tag=pii",
        "--not", "tag=gdpr", "--to", "log", "--during", "nights", "--for", "2h", *WHY,
    )  # fmt: skip
    assert (ran.status, ran.err) == (0, "")
    (silence,) = stored(configured)
    of = "dataset=prod/*,dev/* attribute.domain=Sales not tag=pii,gdpr"
    assert re.fullmatch(
        rf"silence {silence.id}: {re.escape(of)} during 22:00-06:00 Europe/Berlin is kept from log "
        r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(in 2h\)\n",
        ran.out,
    )
    assert silence.match.model_dump(by_alias=True, exclude_none=True) == {
        "dataset": ["prod/*", "dev/*"],
        "attribute": {"domain": ["Sales"]},
        "not": {"tag": ["pii", "gdpr"]},
    }
    assert (silence.to, silence.author, silence.reason) == (["log"], "jo", "a move")
    assert [window.timezone for window in silence.during] == ["Europe/Berlin"]
    assert silence.ends - silence.starts == pytest.approx(timedelta(hours=2), abs=timedelta(minutes=1))


def test_from_and_until_are_times(sodarouter, configured):
    ran = sodarouter(
        "silence", "add", "--all", "--from", "2098-01-01T00:00Z", "--until", "2098-01-02T00:00Z", *WHY, "--json"
    )
    assert ran.json == {
        "id": stored(configured)[0].id,
        "state": "pending",
        "starts": "2098-01-01T00:00:00.000000Z",
        "ends": "2098-01-02T00:00:00.000000Z",
        "match": {},
        "to": [],
        "during": [],
        "author": "jo",
        "reason": "a move",
    }
    ran = sodarouter("silence", "add", "--all", "--from", "2097-01-01T00:00Z", "--for", "1d", *WHY)
    assert re.search("everything is kept from all destinations from 2.* until 2", ran.out)
    assert stored(configured)[0].ends == datetime(2097, 1, 2, tzinfo=UTC)


def test_you_are_the_author_by_default(sodarouter, configured, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    assert sodarouter("silence", "add", "--all", "--for", "1h", "--reason", "x", "--json").json["author"] == "ada"
    for author in ("", "  "):
        ran = sodarouter("silence", "add", "--all", "--for", "1h", "--reason", "x", "--author", author)
        assert (ran.status, ran.err) == (2, "sodarouter: say who you are: --author NAME\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--for", "1h"], "sodarouter: say what to keep back with --match, or --all for everything\n"),
        (
            ["--all", "--match", "tag=x", "--for", "1h"],
            "sodarouter: say what to keep back with --match, or --all for everything\n",
        ),
        (["--all"], "sodarouter: say when it ends: --for DURATION or --until TIME\n"),
        (
            ["--all", "--for", "1h", "--until", "2099-01-01"],
            "sodarouter: say when it ends: --for DURATION or --until TIME\n",
        ),
        (["--all", "--for", "1h", "--reason", " "], "sodarouter: say why: --reason TEXT\n"),
        (
            ["--all", "--for", "1h", "--to", "lgo"],
            "sodarouter: router.toml has no destination 'lgo'; did you mean 'log'?\n",
        ),
        (
            ["--all", "--for", "1h", "--during", "night"],
            "sodarouter: router.toml has no window 'night'; did you mean 'nights'?\n",
        ),
        (
            ["--all", "--for", "1h", "--since", "2h"],
            "sodarouter: --since goes with --dry-run: what was decided before is not undone\n",
        ),
        (["--match", "datset=x", "--for", "1h"], "--match datset: unknown key; did you mean 'dataset'?\n"),
        (["--match", "tag.x=y", "--for", "1h"], "--match tag.x: unknown key; did you mean 'tag'?\n"),
        (["--not", "not=y", "--for", "1h"], "--not not: unknown key\n"),
        (
            ["--match", "attribute=y", "--for", "1h"],
            "--match attribute: needs the name of one; write attribute.NAME=PATTERN\n",
        ),
        (
            ["--match", "tag=a,", "--not", "tag", "--for", "1h"],
            "".join(
                f"{given}: is no condition; write KEY=PATTERN, such as dataset=prod/*\n"
                for given in ("--match tag=a,", "--not tag")
            ),
        ),
        (
            ["--match", "tag=a", "--match", "tag=b", "--for", "1h"],
            "--match tag: is there twice; write tag=PATTERN,PATTERN for one or the other\n",
        ),
        (
            ["--not", "streak=>=x", "--for", "1h"],
            '--not streak: a count is written like 3, ">=3" or "<10", not \'>=x\'\n',
        ),
        (["--all", "--for", "1h", "--author", "a" * 201], "--author: must have at most 200 characters\n"),
    ],
)
def test_what_does_not_make_a_silence_is_told(sodarouter, configured, arguments, told):
    ran = sodarouter("silence", "add", *WHY, *arguments)
    assert (ran.status, ran.out, ran.err) == (2, "", told)
    assert stored(configured) == []


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--for", "2", 'a duration is written like "30s"'),
        ("--for", "0s", "more than nothing"),
        ("--for", "40000d", "at most a hundred years"),
        ("--until", "2h", "is no time; write 2026-11-23T22:00"),
        ("--from", "9999-99-99", "is no time"),
    ],
)
def test_a_time_that_is_none_is_told_how_to_write_one(sodarouter, configured, option, value, told):
    ran = sodarouter("silence", "add", "--all", *WHY, option, value)
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.err


def test_an_end_in_the_past_is_refused(sodarouter, configured):
    ran = sodarouter("silence", "add", "--all", *WHY, "--until", "2020-01-01")
    assert (ran.status, ran.err) == (1, "sodarouter: a silence has to end after it starts, and in the future\n")


def test_a_word_that_no_event_can_have_is_warned_of(sodarouter, configured):
    ran = sodarouter("silence", "add", "--match", "outcome=fial", "--not", "source=sdoa", "--for", "1h", *WHY)
    assert ran.status == 0
    assert ran.err == (
        "warning: --match outcome: there is no outcome 'fial'; did you mean 'fail'?\n"
        "warning: --not source: there is no source 'sdoa'; did you mean 'soda'?\n"
    )


# a dry run


def test_a_dry_run_is_a_backtest_of_the_silence(sodarouter, configured):
    ran = sodarouter("silence", "add", "--all", "--dry-run")
    lines = ran.out.splitlines()
    assert re.fullmatch(r"6 events from \S+ \S+ to \S+ \S+: 2 would go elsewhere", lines[0])
    rows = [re.split(r"\s{2,}", line) for line in lines[3:6]]
    assert rows[0][:4] == ["destination", "deliveries", "added", "removed"]
    assert {tuple(row[:3]) for row in rows[1:]} == {("log", "2 → 0", "-2"), ("closed", "1 → 0", "-1")}
    assert "withheld by a silence or a window: 0 → 2" in lines
    assert any(
        re.match(r"    after: kept from .*: the whole event: silence trial by nobody: a dry run", line)
        for line in lines
    )
    assert stored(configured) == []


@pytest.mark.parametrize(
    ("arguments", "removed"),
    [
        (["--match", "severity=critical"], {"closed": 1, "log": 1}),
        (["--match", "severity=critical", "--to", "closed"], {"closed": 1}),
        (["--match", "dataset=orders"], {"log": 1}),
        # the result that passed did not go anywhere
        (["--match", "check=rows"], {}),
        (["--match", "event=agreementCreated"], {}),
        (["--all", "--since", "2098-01-01"], {}),
    ],
)
def test_a_dry_run_counts_by_destination_what_would_not_have_gone_there(sodarouter, configured, arguments, removed):
    ran = sodarouter("silence", "add", *arguments, "--dry-run", "--json")
    found = {name: volume["removed"] for name, volume in ran.json["destinations"].items() if volume["removed"]}
    assert found == removed
    assert ran.json["differs"] is bool(removed)


# list, show, end


def test_those_in_force_and_to_come_are_listed_and_the_expired_when_asked_for(sodarouter, configured):
    assert sodarouter("silence").out == "no silences\n"
    add = ["silence", "add", *WHY]
    sodarouter(*add, "--match", "tag=a", "--for", "1h", "--to", "log")
    sodarouter(*add, "--all", "--from", "2098-01-01", "--for", "1h")
    first, coming = stored(configured)
    ran = sodarouter("silence")
    rows = [re.split(r"\s{2,}", line) for line in ran.out.splitlines()]
    assert rows[0] == ["id", "state", "until", "of", "kept from", "author", "reason"]
    assert [[*row[:2], *row[3:]] for row in rows[1:]] == [
        [first.id, "active", "tag=a", "log", "jo", "a move"],
        [coming.id, "pending", "everything", "all destinations", "jo", "a move"],
    ]
    assert re.fullmatch(r"\S+ \S+ \(in 59m \d+s\)", rows[1][2])
    assert sodarouter("silence", "end", first.id).out == f"{first.id}: ended\n"
    assert [one["id"] for one in sodarouter("silence", "--json").json] == [coming.id]
    assert [(one["id"], one["state"]) for one in sodarouter("silence", "--all", "--json").json] == [
        (coming.id, "pending"),
        (first.id, "expired"),
    ]
    assert len(sodarouter("silence", "--all").out.splitlines()) == 3


@pytest.mark.parametrize("command", [("silence", "add", "--all", "--for", "1h", *WHY), ("mute", "soda", "1h")])
def test_one_that_starts_at_once_is_in_force_when_it_is_told(sodarouter, configured, command):
    assert sodarouter(*command, "--json").json["state"] == "active"


def test_what_cannot_be_ended_is_told_why(sodarouter, configured):
    sodarouter("silence", "add", "--all", "--for", "1h", *WHY)
    (silence,) = stored(configured)
    ran = sodarouter("silence", "end", silence.id, "../x", silence.id)
    assert (ran.status, ran.out, ran.err) == (1, f"{silence.id}: ended\n", "../x: there is no such silence\n")
    ran = sodarouter("silence", "end", silence.id, "--json")
    assert (ran.status, ran.json) == (1, {"ended": [], "not_ended": {silence.id: "it has ended already"}})


def test_one_is_shown_whole(sodarouter, configured):
    sodarouter("silence", "add", "--match", "tag=[red]", "--during", "nights", "--for", "1h", *WHY)
    (silence,) = stored(configured)
    sodarouter("silence", "end", silence.id)
    lines = sodarouter("silence", "show", silence.id).out.splitlines()
    assert lines[0] == f"silence {silence.id}"
    assert lines[1].startswith("expired, from 2")
    assert lines[2].startswith("ended before its time: it was meant until 2")
    assert lines[3:] == [
        "of tag=[red] during 22:00-06:00 Europe/Berlin",
        "kept from all destinations",
        "by jo: a move",
        "it has kept back something of 0 events",
    ]
    ran = sodarouter("silence", "show", "nothing")
    assert (ran.status, ran.err) == (
        1,
        "sodarouter: there is no silence nothing; `sodarouter silence --all` lists what there is\n",
    )


# mute


def test_a_source_that_there_is_not_cannot_be_muted(sodarouter, configured):
    told = "sodarouter: router.toml has no source 'sdoa'; did you mean 'soda'?\n"
    for arguments in (["mute", "sdoa", "10m"], ["unmute", "sdoa"]):
        ran = sodarouter(*arguments)
        assert (ran.status, ran.out, ran.err) == (2, "", told)
    ran = sodarouter("mute", "soda", "ten")
    assert ran.status == 2
    assert "a duration is written like" in ran.err


def test_only_what_mutes_the_whole_source_is_ended_by_unmute(sodarouter, configured):
    assert sodarouter("unmute", "soda").out == "soda is not muted\n"
    sodarouter("silence", "add", "--match", "source=soda", "--to", "log", "--for", "1h", *WHY)
    sodarouter("silence", "add", "--match", "source=soda", "--match", "tag=x", "--for", "1h", *WHY)
    sodarouter("mute", "soda", "10m")
    sodarouter("mute", "soda", "1h", "--reason", "press Verify")
    assert [one["reason"] for one in sodarouter("silence", "--json").json][::3] == [
        "soda is muted for 10m",
        "press Verify",
    ]
    assert sodarouter("unmute", "soda").out == "soda is not muted any more\n"
    assert {one["reason"] for one in sodarouter("silence", "--json").json} == {"a move"}


HERE = SOURCE + '[destination.log]\ntype = "file"\npath = "events.jsonl"\n[[route]]\nto = ["log"]\n'


def posted(sodarouter, *arguments: str) -> dict[str, Any]:
    """What is listed of an event that the running router takes in."""
    assert sodarouter("simulate", "incidentCreated", "--post", "soda", *arguments).status == 0
    return sodarouter("events", "-n", "1", "--json").json[0]


def delivered(sodarouter) -> bool:
    """Whether the newest event has arrived."""
    return sodarouter("events", "-n", "1", "--json").json[0]["deliveries"] == {"log": "delivered"}


async def test_the_running_router_keeps_back_what_a_muted_source_takes_in_and_says_so(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + HERE)
    with router_process(tmp_path) as router:
        ran = sodarouter("mute", "soda", "10m")
        assert re.fullmatch(
            r"soda is muted until \S+ \S+ \(in 10m\)\n"
            r"its events are taken in and kept, and can be replayed: "
            r"sodarouter replay --source soda --since \S+ --withheld\n",
            ran.out,
        )
        router.until_logged("a silence is set")
        event = posted(sodarouter)
        await until(lambda: sodarouter("events", "-n", "1").out.splitlines()[1].find("silenced") > 0)
        assert [one["id"] for one in sodarouter("events", "--withheld", "--json").json] == [event["id"]]
        (silence,) = sodarouter("silence", "--json").json
        assert silence["reason"] == "soda is muted for 10m"
        assert sodarouter("silence", "show", silence["id"], "--json").json["kept_back"] == {
            "events": 1,
            "destinations": {"log": 1},
        }
        assert f"kept from log: the whole event: silence {silence['id']} by" in sodarouter("show", event["id"]).out
        assert sodarouter("unmute", "soda").out == "soda is not muted any more\n"
        router.until_logged("a silence was ended before its time")
        posted(sodarouter)
        await until(lambda: delivered(sodarouter))
        (again,) = re.findall(r"sodarouter (replay .*)\n", ran.out)
        assert "1 event to where the routes" in sodarouter(*again.split(), "--yes", "--wait").out
        assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 2
        assert re.search(rf"(?m)^{event['id']} .* 1 delivered ", sodarouter("events").out)


async def test_what_the_router_refuses_is_told(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + HERE)
    with router_process(tmp_path):
        ran = sodarouter("silence", "add", "--all", *WHY, "--until", "2020-01-01")
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.endswith("answers 422: Not possible: a silence has to end after it starts, and in the future\n")
        ran = sodarouter("silence", "add", "--match", "outcome=fail", "--not", "tag=a", "--for", "2h", *WHY, "--json")
        assert re.fullmatch(ID, ran.json["id"])
        (silence,) = stored(tmp_path)
        assert silence.id == ran.json["id"]
        assert silence.describe() == "outcome=fail not tag=a"


async def test_a_dry_run_knows_the_teams(sodarouter, tmp_path):
    team = '[[team]]\nname = "sales"\nmatch = { dataset = "orders" }\n'
    path = tmp_path / "router.toml"
    path.write_text(listening(*free_ports(2)) + team + HERE)
    with router_process(tmp_path):
        failed = ["checkEvaluation", "--set", "checkResults[0].datasets[0].name=orders", "--post", "soda"]
        assert sodarouter("simulate", *failed).status == 0
        await until(lambda: delivered(sodarouter))
    dry = ["silence", "add", "--dry-run", "--json", "--match"]
    volume = sodarouter(*dry, "team=sales").json["destinations"]["log"]
    assert volume["changed"] + volume["removed"] == 1  # by chance the event has other results, or none
    assert not sodarouter(*dry, "team=other").json["differs"]


async def test_what_a_muted_route_kept_back_is_told_as_such(sodarouter, tmp_path):
    always = '[window.always]\nhours = "00:00-24:00"\n'
    muted = HERE.replace("[[route]]\n", '[[route]]\nmute = ["always"]\n')
    (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + always + muted)
    with router_process(tmp_path):
        posted(sodarouter)
        await until(lambda: " muted " in sodarouter("events", "--withheld").out)
