"""The command line: most of it in this process, which is quick; as a process of its own where that is the point."""

import json
import os
import pty
import re
import shlex
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import closing
from fcntl import ioctl
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trustme
import typer
from commandline import COMMANDS, ID, ROUTES, TWO_RESULTS, free_ports, listening, process, without
from running import OUTGOING, SOURCE, Process, router_process
from support import payload

from sodarouter import soda
from sodarouter.cli import app
from sodarouter.simulate import VOCABULARIES

SIGNED = """
[source.header]
path = "/header"
verify = [{ type = "header", name = "Authorization", value = ["Bearer canary-3f9d-é", "old"] }]
[source.basic]
path = "/basic"
verify = [{ type = "basic", username = "soda", password = "canary-3f9d" }]
[source.hmac]
path = "/hmac"
verify = [{ type = "hmac", header = "X-Signature", secrets = ["canary-3f9d"], prefix = "v1=", timestamp_header = "X-Time" }]
[source.standard]
path = "/standard"
verify = [{ type = "standard-webhooks", secrets = ["whsec_Y2FuYXJ5"] }]
[source.several]
path = "/several"
verify = [
    { type = "basic", username = "soda", password = "canary-3f9d" },
    { type = "hmac", header = "X-Signature", secrets = ["canary-3f9d"], algorithm = "sha512", encoding = "base64" },
    { type = "address", allow = ["127.0.0.1"] },
]
[source.elsewhere]
path = "/elsewhere"
verify = [{ type = "address", allow = ["192.0.2.0/24"] }]
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A router that runs as a process, at addresses that its ``router.toml`` names, with a source of each kind."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "router.toml").write_text(
        listening(*free_ports(2)) + SOURCE + SIGNED + ROUTES % free_ports(1)[0], encoding="utf-8"
    )
    with router_process(folder) as router:
        yield router
        assert router.end(signal.SIGTERM) == 0


# check


def test_check_says_what_there_is_and_warns(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text(OUTGOING + SOURCE + ROUTES % 1)
    ran = sodarouter("check")
    assert ran.status == 0
    assert ran.out == (
        "warning: router.toml: source.soda: nothing is verified: whoever can reach it can send events; "
        "set verify before it faces the internet\n"
        "router.toml: ok: 1 source, 2 destinations, 2 routes\n"
    )


def test_check_warns_of_what_can_never_match(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text(OUTGOING + SOURCE + ROUTES.replace("critical", "critcal") % 1)
    ran = sodarouter("check")
    assert ran.status == 0
    assert ran.out.splitlines()[1] == (
        "warning: router.toml: route[1].match.severity: there is no severity 'critcal'; did you mean 'critical'?"
    )


def test_check_tells_every_fault_on_standard_error_with_status_2(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text('[log]\nlevel = "[bold]"\nlvl = 1\n' + SOURCE)
    ran = sodarouter("check")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "router.toml: log.level: must be 'debug', 'info', 'warning' or 'error'",
        "router.toml: log.lvl: unknown key; did you mean 'level'?",
    ]


def test_check_finds_what_would_keep_the_router_from_starting(sodarouter, tmp_path):
    authority = trustme.CA()
    for name in ("cert", "other"):
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    toml = """
    [server]
    tls = { cert = "cert.pem", key = "other.pem" }
    [admin]
    tls = { cert = "router.toml", key = "cert.pem" }
    [destination.ticket]
    type = "exec"
    command = ["nosuchprog"]
    cwd = "gone"
    [destination.log]
    type = "file"
    path = "cert.pem/events.jsonl"
    """
    (tmp_path / "router.toml").write_text(toml + SOURCE)
    ran = sodarouter("check")
    assert ran.status == 2
    assert ran.err.replace(f"{tmp_path}/", "") == (
        "router.toml: destination.ticket.cwd: there is no folder gone\n"
        "router.toml: destination.log.path: cert.pem is no folder\n"
        "router.toml: server.tls.key: other.pem is not the key of the certificate cert.pem\n"
        "router.toml: admin.tls: router.toml cannot be used with cert.pem; "
        "both must be PEM files, certificate and its key\n"
    )
    (tmp_path / "gone").mkdir()
    (tmp_path / "other.pem").unlink()
    assert sodarouter("check").err.count("other.pem cannot be read: no such file or directory") == 1
    assert "router.toml: destination.ticket: command: 'nosuchprog' is in none of the folders of PATH" in (
        sodarouter("check").err
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cert.pem", "gone", "router.toml"]


def test_check_has_json_for_programs(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text(OUTGOING + SOURCE + ROUTES % 1)
    ran = sodarouter("check", "--json")
    assert ran.status == 0
    assert ran.json == {
        "ok": True,
        "faults": [],
        "warnings": [
            {
                "place": "router.toml: source.soda",
                "fault": "nothing is verified: whoever can reach it can send events",
                "hint": "set verify before it faces the internet",
            }
        ],
        "tests": [],
    }
    (tmp_path / "router.toml").write_text("lgo = 1\n" + SOURCE)
    ran = sodarouter("check", "--json")
    assert (ran.status, ran.err) == (2, "")
    assert ran.json == {
        "ok": False,
        "faults": [{"place": "router.toml: lgo", "fault": "unknown key", "hint": "did you mean 'log'?"}],
        "warnings": [],
        "tests": [],
    }


# the configuration


@pytest.mark.parametrize("command", [[], ["check"], ["events"], ["retry", "--all"], ["simulate", "--post", "soda"]])
def test_without_a_configuration_each_command_says_so(sodarouter, command):
    ran = sodarouter(*command)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "router.toml: there is no such file; name another with --config\n"


def test_the_configuration_is_named_before_or_after_the_command(sodarouter, tmp_path):
    (tmp_path / "a.toml").write_text(SOURCE)
    (tmp_path / "b.toml").write_text(SOURCE)
    assert "a.toml: ok" in sodarouter("--config", "a.toml", "check").out
    assert "a.toml: ok" in sodarouter("check", "-c", "a.toml").out
    assert "b.toml: ok" in sodarouter("--config", "a.toml", "check", "--config", "b.toml").out


def test_a_configuration_with_faults_does_not_run(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text("lgo = 1\n" + SOURCE)
    ran = sodarouter()
    assert (ran.status, ran.err) == (2, "router.toml: lgo: unknown key; did you mean 'log'?\n")


# plugins


def test_plugins_lists_what_each_offers(sodarouter):
    ran = sodarouter("plugins")
    assert ran.status == 0
    head, *rows = ran.out.splitlines()
    assert head.split("  ")[0] == "name"
    assert {row.split()[0] for row in rows} >= {"email", "file", "forward", "prometheus"}
    assert "/metrics" in ran.out
    listed = sodarouter("plugins", "--json").json
    keys = {"name", "version", "distribution", "api", "fault"}
    keys |= {"destinations", "sources", "verifications", "pages", "enriches", "command", "observes"}
    assert all(plugin.keys() == keys for plugin in listed)
    assert next(plugin for plugin in listed if plugin["name"] == "file")["destinations"] == ["file"]


# simulate


@pytest.mark.parametrize(("vocabulary", "event_type"), [(v, e) for v, types in VOCABULARIES.items() for e in types])
def test_simulate_prints_every_type_in_both_vocabularies(sodarouter, vocabulary, event_type):
    ran = sodarouter("simulate", event_type, "--vocabulary", vocabulary)
    assert ran.status == 0
    assert ran.json["event"] == event_type


def _documents(text: str) -> list[dict[str, Any]]:
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        document, at = decoder.raw_decode(text, at)
        found.append(document)
        at += 1  # the newline between two
    return found


def test_simulate_without_a_type_prints_all_of_them(sodarouter):
    events = [document["event"] for document in _documents(sodarouter("simulate").out)]
    assert events == list(soda.EVENT_TYPES)
    both = _documents(sodarouter("simulate", "--vocabulary", "both", "--count", "2").out)
    assert len(both) == 2 * sum(map(len, VOCABULARIES.values()))


def test_simulate_repeats_itself_with_a_seed(sodarouter):
    def parts(seed: str) -> list[Any]:
        return [
            [result["id"] for result in document["checkResults"]]
            for document in _documents(sodarouter("simulate", "checkEvaluation", "--count", "3", "--seed", seed).out)
        ]

    assert parts("7") == parts("7")
    assert parts("7") != parts("8")


def test_simulate_sets_values(sodarouter):
    settings = ["--set", "incident.severity=critical", "--set", "incident.lead=null", "--set", "incident.number=5"]
    incident = sodarouter("simulate", "incidentCreated", *settings).json["incident"]
    assert (incident["severity"], incident["lead"], incident["number"]) == ("critical", None, 5)


def test_a_failing_check_that_is_simulated_matches_as_one(sodarouter):
    (first, *_) = sodarouter("simulate", "checkEvaluation", "--set", "checkResults[0].outcome=fail").json[
        "checkResults"
    ]
    assert (first["outcome"], first["evaluationStatus"]) == ("fail", "fail")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["incidntCreated"], "sodarouter: no event type 'incidntCreated'; did you mean 'incidentCreated'?"),
        (
            ["agreementCreated", "--vocabulary", "v4"],
            "sodarouter: 'agreementCreated' is not in the vocabulary v4; it is in v3",
        ),
        (
            ["incidentCreated", "--set", "incident.sverity=1"],
            "sodarouter: incident: has no 'sverity'; did you mean 'severity'?",
        ),
        (["incidentCreated", "--set", "incident"], "sodarouter: --set incident: write PATH=VALUE"),
    ],
)
def test_simulate_says_what_is_wrong_with_what_it_was_asked(sodarouter, arguments, told):
    ran = sodarouter("simulate", *arguments)
    assert (ran.status, ran.out, ran.err) == (2, "", told + "\n")


@pytest.mark.parametrize("source", ["soda", "header", "basic", "hmac", "standard", "several"])
def test_simulate_posts_signed_as_the_source_expects(sodarouter, live, source):
    ran = sodarouter(
        "simulate", "checkEvaluation", "--count", "2", "--post", source, "-c", f"{live.folder}/router.toml"
    )
    assert ran.status == 0
    assert all(re.fullmatch(rf'checkEvaluation: 200 {{"id": "{ID}"}}', line) for line in ran.out.splitlines())
    assert re.fullmatch(r"2 posted; --seed \d+ makes the same again\n", ran.err)


def test_simulate_has_status_1_when_the_router_refuses(sodarouter, live):
    ran = sodarouter("simulate", "checkEvaluation", "--post", "elsewhere", "-c", f"{live.folder}/router.toml")
    assert ran.status == 1
    assert ran.out.startswith("checkEvaluation: 401 {")


def test_simulate_says_when_there_is_no_such_source_or_no_router(sodarouter, tmp_path):
    (port,) = free_ports(1)
    (tmp_path / "router.toml").write_text(listening(port, 0) + SOURCE)
    ran = sodarouter("simulate", "--post", "sdoa")
    assert (ran.status, ran.err) == (2, "sodarouter: router.toml has no source 'sdoa'; did you mean 'soda'?\n")
    ran = sodarouter("simulate", "validate", "--post", "soda")
    assert ran.status == 1
    assert ran.err.startswith(f"sodarouter: nothing answers at 127.0.0.1:{port}: ")
    assert ran.err.endswith("; does the router run?\n")


async def test_simulate_says_how_many_were_posted_before_the_router_went(sodarouter, tmp_path):
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    (tmp_path / "router.toml").write_text(listening(port, 0) + SOURCE)

    async def answer_one() -> None:
        async with listener, await listener.accept() as stream:
            await stream.receive_some(65536)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_one)
        post = partial(sodarouter, "simulate", "validate", "--count", "3", "--post", "soda")
        ran = await trio.to_thread.run_sync(post)
    assert (ran.status, ran.out) == (1, "validate: 200 {}\n")
    assert ran.err.endswith("; 1 of 3 had been posted; does the router run?\n")


# what the spool holds


def test_events_lists_the_newest_first_and_what_became_of_each(sodarouter, spool):
    ran = sodarouter("events")
    assert ran.status == 0
    head, *rows = ran.out.splitlines()
    assert head.split() == ["id", "received", "source", "type", "deliveries", "subject"]
    assert all(re.match(ID + " ", row) for row in rows)
    told = [re.sub(r"^\S+  \S+ \S+  soda    ", "", row) for row in rows]
    assert [re.split(r" {2,}", row) for row in told] == [
        ["new", "none"],
        ["validate", "none"],
        ["contractPublished", "none", "neondb/soda/public/ecommerce_orders"],
        ["agreementCreated", "none", "string"],
        ["incidentCreated", "1 delivered, 1 dead", "INC-7 Orders are late (critical, reported)"],
        ["checkEvaluation", "1 delivered", "fail: nulls [red] [31m here on orders and 1 more"],
    ]


def test_events_as_json(sodarouter, spool):
    listed = sodarouter("events", "--json").json
    keys = [
        "id",
        "received",
        "source",
        "type",
        "scope",
        "subject",
        "late",
        "repeats",
        "unrouted",
        "withheld",
        "deliveries",
    ]
    assert all(list(event) == keys for event in listed)
    incident = next(event for event in listed if event["type"] == "incidentCreated")
    assert incident["repeats"] == 1
    assert incident["deliveries"] == {"closed": "dead", "log": "delivered"}
    assert incident["received"].endswith("Z")


def test_events_are_chosen_and_turned_over(sodarouter, spool):
    listed = [event["id"] for event in sodarouter("events", "--json").json]
    assert [event["type"] for event in sodarouter("events", "--type", "new", "--json").json] == ["new"]
    assert {event["type"] for event in sodarouter("events", "--unrouted", "--json").json} == {
        "new",
        "contractPublished",
        "agreementCreated",
    }
    first = sodarouter("events", "-n", "2", "--json").json
    rest = sodarouter("events", "--before", first[-1]["id"], "--json").json
    assert [event["id"] for event in first + rest] == listed
    assert sodarouter("events", "--type", "agreementDeleted").out == "no events\n"


def test_a_list_is_empty_for_no_misspelling(sodarouter, spool):
    for command in ("events", "deliveries", "dead", "quarantine"):
        ran = sodarouter(command, "--source", "sodda")
        assert (ran.status, ran.err) == (2, "sodarouter: router.toml has no source 'sodda'; did you mean 'soda'?\n")
    for command, thing in {"events": "event", "deliveries": "delivery", "dead": "delivery"}.items():
        ran = sodarouter(command, "--before", "x")
        assert (ran.status, ran.err) == (1, f"sodarouter: --before x: there is no such {thing}\n")


@pytest.mark.parametrize(
    ("event_type", "told"),
    [("checkEvaluaton", "'checkEvaluaton'; did you mean 'checkEvaluation'?"), ("[bold]", "'[bold]'")],
)
def test_an_event_type_that_soda_does_not_document_may_be_a_misspelling(sodarouter, spool, event_type, told):
    ran = sodarouter("events", "--type", event_type)
    assert (ran.status, ran.out) == (0, f"no events; Soda documents no event type {told}\n")
    assert sodarouter("events", "--type", event_type, "--json").json == []


@pytest.mark.parametrize("command", ["deliveries", "dead", "retry"])
def test_a_destination_that_there_is_not_is_told_with_what_is_near(sodarouter, spool, command):
    ran = sodarouter(command, "--destination", "closd")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "sodarouter: router.toml has no destination 'closd'; did you mean 'closed'?\n"
    assert sodarouter(command, "-d", "zzz").err == "sodarouter: router.toml has no destination 'zzz'\n"
    assert sodarouter(command, "-d", "$route").status == 0
    # the spool knows it still
    without(spool, "log")
    assert sodarouter(command, "-d", "log").status == 0


def test_show_tells_what_came_why_it_went_where_and_how(sodarouter, spool):
    events = {event["type"]: event["id"] for event in sodarouter("events", "--json").json}
    told = sodarouter("show", events["checkEvaluation"]).out
    head, _, document = told.partition("Payload\n")
    assert json.loads(document) == TWO_RESULTS
    head = re.sub(r"configuration [0-9a-f]{12}\b", "configuration CONFIG", head)
    assert re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d\.\d{3}", "*", head).splitlines() == [
        f"checkEvaluation {events['checkEvaluation']}",
        "received * from source soda",
        "fail: nulls [red] [31m here on orders and 1 more",
        "",
        "Decision by configuration CONFIG",
        "  failures: matched: result 2 to log",
        "  route 2: not matched: severity is nothing, wanted critical",
        "",
        "Deliveries",
        "  log: delivered, result 2",
        "    attempt 1 at *, * s, delivered",
        "",
    ]
    told = sodarouter("show", events["incidentCreated"]).out
    assert ", and 1 more time\n" in told
    assert "  failures: not matched: event is incidentCreated, wanted checkEvaluation\n" in told
    assert "  route 2: matched: the whole event to closed, log\n" in told
    assert "  closed: dead (exhausted)\n" in told
    assert "it is kept, and went nowhere" in sodarouter("show", events["new"]).out


def test_show_tells_of_attempts_that_a_crash_cut_off(sodarouter, spool):
    delivery = sodarouter("deliveries", "-d", "log", "--json").json[0]["id"]

    def shown(change: str) -> list[str]:
        with closing(sqlite3.connect(spool / "var/sodarouter.db")) as connection, connection:
            connection.execute(f"UPDATE delivery SET {change} WHERE destination = 'log'")
            connection.execute("UPDATE attempt SET number = 2 WHERE number = 1")
        return re.findall(r"attempt (\d.*?)(?: at .*)?\n", sodarouter("show", delivery).out)

    interrupted = "interrupted, the router stopped in the middle of it"
    assert shown("attempt = 2") == [f"1: {interrupted}", "2"]
    assert shown("attempt = 3") == [f"1: {interrupted}", "2", f"3: {interrupted}"]
    assert shown("state = 'pending', leased = 1, settled = NULL") == [f"1: {interrupted}", "2"]


def test_show_as_json(sodarouter, spool):
    events = {event["type"]: event["id"] for event in sodarouter("events", "--json").json}
    shown = sodarouter("show", events["checkEvaluation"], "--json").json
    event = {"id", "source", "received", "type", "scope", "view", "payload"}
    assert set(shown) == event | {"late", "repeats", "config", "contract_changes", "trace", "deliveries"}
    (delivery,) = shown["deliveries"]
    assert delivery["results"] == [1]
    assert [attempt["number"] for attempt in delivery["history"]] == [1]
    one = sodarouter("show", f"{events['incidentCreated']}/closed", "--json").json
    assert [delivery["destination"] for delivery in one["deliveries"]] == ["closed"]


def test_show_says_when_there_is_no_such_thing(sodarouter, spool):
    ran = sodarouter("show", "nothing")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "sodarouter: there is nothing with the id nothing; `sodarouter events` lists what there is\n"
    event = sodarouter("events", "--json").json[0]["id"]
    ran = sodarouter("show", f"{event}/mail")
    assert (ran.status, ran.err) == (1, f"sodarouter: the event {event} has no delivery to mail\n")


def test_what_a_sender_wrote_cannot_speak_to_the_terminal(sodarouter, spool):
    event = sodarouter("events", "--type", "checkEvaluation", "--json").json[0]["id"]
    for ran in (sodarouter("events"), sodarouter("show", event)):
        assert not {"\x1b", "\u202e"} & set(ran.out)
    assert "\\u202e" in sodarouter("show", event).out, "JSON can say it in other words"


def test_deliveries_and_dead_letters_are_listed(sodarouter, spool):
    head, *rows = sodarouter("deliveries").out.splitlines()
    assert head.split() == ["id", "state", "attempts", "planned", "next", "reason"]
    assert len(rows) == 3
    assert all(re.match(rf"{ID}/(log|closed) +(delivered|dead \(exhausted\)) +1 ", row) for row in rows)
    head, row = sodarouter("dead").out.splitlines()
    assert head.split() == ["id", "cause", "attempts", "given", "up", "reason"]
    assert re.match(rf"{ID}/closed +exhausted +1  ", row)
    assert sodarouter("deliveries", "--state", "pending").out == "no deliveries\n"
    assert sodarouter("dead", "-d", "log").out == "no dead letters\n"
    keys = ["id", "destination", "state", "attempts", "planned", "next_at", "settled", "results", "reason"]
    keys += ["cause", "replay", "fallback", "config", "part", "group"]
    (dead,) = sodarouter("dead", "--json").json
    assert list(dead) == keys
    listed = sodarouter("deliveries", "--json").json
    assert all(list(delivery) == keys for delivery in listed)
    of_event = sodarouter("deliveries", "--event", dead["id"].partition("/")[0], "--json").json
    assert {delivery["destination"] for delivery in of_event} == {"log", "closed"}
    first = sodarouter("deliveries", "-n", "1", "--json").json
    rest = sodarouter("deliveries", "--before", first[0]["id"], "--json").json
    assert first + rest == listed


def test_the_quarantine_is_listed_and_shown(sodarouter, spool):
    (refused,) = sodarouter("quarantine", "--json").json
    assert list(refused) == ["id", "received", "source", "status", "title", "detail", "faults", "bytes"]
    assert (refused["status"], refused["faults"]) == (422, ["checkResults: must be an array"])
    head, row = sodarouter("quarantine").out.splitlines()
    assert head.split() == ["id", "received", "source", "answer", "detail"]
    assert row.startswith(refused["id"])
    shown = sodarouter("show", refused["id"]).out
    assert shown.endswith('Body\n{"event": "checkEvaluation", "checkResults": 3}\n')
    assert sodarouter("show", refused["id"], "--json").json["body"] == '{"event": "checkEvaluation", "checkResults": 3}'


@pytest.mark.parametrize("command", ["events", "deliveries", "dead", "quarantine", "show", "retry"])
def test_without_a_spool_each_command_says_so(sodarouter, tmp_path, command):
    (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + SOURCE)
    ran = sodarouter(command, *({"show": ["x"], "retry": ["x/y"]}.get(command, [])))
    assert (ran.status, ran.out) == (1, "")
    path = tmp_path / "var/sodarouter.db"
    assert ran.err == f"sodarouter: there is no spool at {path}; it is made when the router first starts\n"
    assert not path.exists()


def test_what_is_no_spool_is_told(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text('[spool]\npath = "router.toml"\n' + SOURCE)
    ran = sodarouter("events")
    assert ran.status == 1
    assert ran.err.startswith(
        f"sodarouter: the spool {tmp_path}/router.toml cannot be opened: file is not a database; "
    )


def test_the_commands_that_look_need_no_secret(sodarouter, spool):
    with (spool / "router.toml").open("a") as toml:
        toml.write(
            '[source.x]\npath = "/x"\nverify = [{ type = "header", name = "A", value = { env = "UNSET_CANARY" } }]'
        )
    assert sodarouter("events").status == 0
    assert sodarouter("check").status == 2


def test_the_commands_look_while_the_router_runs(sodarouter, live):
    config = ["-c", f"{live.folder}/router.toml"]
    answer = httpx2.post(f"{live.url}/webhooks/soda", content=payload("v4-2026-checkEvaluation"), trust_env=False)
    event = answer.json()["id"]
    assert event in [listed["id"] for listed in sodarouter("events", "--json", *config).json]
    assert sodarouter("show", event, *config).status == 0
    assert sodarouter("deliveries", *config).status == 0
    assert sodarouter("dead", *config).status == 0
    assert sodarouter("quarantine", *config).out == "the quarantine is empty\n"


# a process of its own


def test_a_second_router_on_the_same_spool_says_who_has_it(live):
    ran = process(folder=live.folder)
    assert (ran.returncode, ran.stdout) == (1, "")
    path = live.folder / "var/sodarouter.db"
    assert ran.stderr.splitlines()[-1] == (
        f"sodarouter: the spool {path} is in use by another sodarouter, process {live.popen.pid}"
    )


def test_an_address_in_use_is_told_with_its_place(live, tmp_path):
    (tmp_path / "router.toml").write_text((live.folder / "router.toml").read_text())
    ran = process(folder=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == (
        f"router.toml: server.listen: {live.ready['listen'][0]}: address already in use; is another sodarouter running?"
    )
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("arguments", [("simulate", "--count", "300"), ("--version",)])
def test_a_reader_that_has_seen_enough_hears_no_complaint(tmp_path, arguments):
    command = [sys.executable, "-m", "sodarouter", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as popen:
        popen.stdout.close()
        assert popen.stderr.read() == b""
    assert popen.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_told(tmp_path):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "sodarouter", "simulate", "validate"]
        ran = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (1, "sodarouter: No space left on device\n")


def test_output_that_is_closed_is_told(tmp_path):
    command = shlex.join([sys.executable, "-m", "sodarouter", "simulate", "validate"])
    ran = subprocess.run(f"{command} >&-", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (1, "sodarouter: Bad file descriptor\n")
    ran = subprocess.run(f"{command} <&- 2>&-", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, json.loads(ran.stdout)["event"]) == (0, "validate")


def test_a_router_runs_with_all_its_output_closed(tmp_path):
    (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + SOURCE + ROUTES % 1)
    command = f"exec {shlex.join([sys.executable, '-m', 'sodarouter'])} <&- >&- 2>&-"
    with subprocess.Popen(command, shell=True, cwd=tmp_path) as popen:
        while popen.poll() is None and process("reload", folder=tmp_path).returncode:
            time.sleep(0.1)
        popen.send_signal(signal.SIGTERM)
    assert popen.returncode == 0


def test_a_row_stays_one_line_on_a_narrow_terminal(spool):
    reader, terminal = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "COLUMNS"}}
    command = [sys.executable, "-m", "sodarouter", "dead"]
    subprocess.run(
        command, cwd=spool, stdout=terminal, stderr=terminal, env=environment | {"TERM": "xterm"}, check=True
    )
    os.close(terminal)
    text = os.read(reader, 65536).decode()
    os.close(reader)
    assert re.search(rf"\n{ID}/closed .*refused|broke off", text)
    assert "\x1b[1m" in text


def test_the_commands_that_look_do_not_import_the_server(tmp_path):
    (tmp_path / "router.toml").write_text(SOURCE)
    command = [sys.executable, "-X", "importtime", "-m", "sodarouter", "events"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ran.stderr.splitlines()}
    assert "pydantic" in imported
    assert not imported & {"hypercorn", "quart", "quart_trio", "httpx2", "prometheus_client", "sodarouter_email"}


def test_the_shell_completes_commands_and_event_types(tmp_path):
    def completed(words: str) -> list[str]:
        asked = {"_SODAROUTER_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return process(folder=tmp_path, env=os.environ | asked).stdout.split()

    assert set(completed("sodarouter re")) == {"reload", "replay", "restore", "resume", "retry"}
    assert completed("sodarouter simulate incident") == ["incidentCreated", "incidentUpdated"]
    script = process(folder=tmp_path, env=os.environ | {"_SODAROUTER_COMPLETE": "source_bash"}).stdout
    assert "complete" in script
    assert "_SODAROUTER_COMPLETE=complete_bash" in script


# help


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_teaches(sodarouter, name):
    command = COMMANDS[name] if name else typer.main.get_command(app)
    assert command.help
    assert len(command.help.partition("\n\n")[0].split()) >= 5
    ran = sodarouter(*name.split(), "--help")
    assert ran.status == 0
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"
        assert (parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar) in ran.out
    assert name or all(command in ran.out for command in COMMANDS if " " not in command)
    assert sodarouter(*name.split(), "-h").out == ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["evnts"],
        ["events", "--limit", "x"],
        ["events", "--limit", "0"],
        ["store", "log", "--limit", "9" * 20],
        ["quarantine", "--limit", "9" * 20],
        ["deliveries", "--replay", "9" * 20],
        ["replay", "--all", "--continue", "9" * 20],
        ["show"],
        ["check", "--bogus"],
    ],
)
def test_a_command_line_that_is_not_understood_has_status_2(sodarouter, arguments):
    ran = sodarouter(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert "Usage: sodarouter" in ran.err


@pytest.mark.parametrize("arguments", [["events", "--type", "\udcff"], ["show", "\udcff"], ["retry", "\udcff/log"]])
def test_an_argument_that_is_no_text_is_told(sodarouter, spool, arguments):
    ran = sodarouter(*arguments)
    assert (ran.status, ran.out, ran.err) == (2, "", "sodarouter: '\\udcff' is no text\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["deliveries", "--state", "foo"],
            "'--state': 'foo' is not one of 'pending', 'leased', 'delivered', 'dead', 'disc",
        ),
        (["events", "--limit", "0"], "'--limit' / '-n': must be at least 1"),
        (["events", "--limit", "x"], "'--limit' / '-n': must be a whole number"),
        (["quarantine", "--limit", "0"], "'--limit' / '-n': must be at least 1"),
    ],
)
def test_a_value_that_is_not_understood_is_told_in_plain_words(sodarouter, arguments, said):
    assert f"Invalid value for {said}" in sodarouter(*arguments).err


def test_the_version_is_told(sodarouter):
    assert re.fullmatch(r"sodarouter \d+\.\d+\.\d+\S*\n", sodarouter("--version").out)
