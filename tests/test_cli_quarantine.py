"""``quarantine`` and its commands."""

import json
from pathlib import Path

import pytest
import trio
from commandline import CANARY, free_ports, listening
from engines import open_engine
from running import SOURCE
from support import make_event

from sodarouter.ids import new_id
from sodarouter.spool import Refused

READABLE = b'{"event": "checkEvaluation", "checkResults": []}'
BROKEN = (
    b'{"event": "incidentCreated", "incidentLinkCallbackUrl": "https://cloud.soda.io/callback/%s", ' % CANARY.encode()
)
RECEIVED = make_event().received


def refused(raw: bytes, source: str = "soda") -> Refused:
    return Refused(new_id(), source, RECEIVED, raw, 422, "Unexpected shape", "it was not understood then", ("a: b",))


@pytest.fixture
def bodies(tmp_path: Path) -> list[Refused]:
    """What is in quarantine: a body that can be parsed since an upgrade, one that cannot, and one of another source."""
    there = [refused(READABLE), refused(BROKEN), refused(b"[]", "staging")]

    async def fill() -> None:
        async with open_engine("sqlite", tmp_path) as engine:
            for body in there:
                await engine.spool.quarantine(body)

    (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + SOURCE + '[spool]\npath = "spool.db"\n')
    trio.run(fill)
    return there


def listed(sodarouter) -> list[str]:
    return [body["id"] for body in sodarouter("quarantine", "--json").json]


def test_the_quarantine_is_listed_by_source_and_shown(sodarouter, bodies):
    assert listed(sodarouter) == [body.id for body in bodies[::-1]]
    assert [one["source"] for one in sodarouter("quarantine", "--source", "staging", "--json").json] == ["staging"]
    assert "it was not understood then" in sodarouter("quarantine", "show", bodies[0].id).out
    assert (
        sodarouter("quarantine", "show", bodies[1].id, "--json").json == sodarouter("show", bodies[1].id, "--json").json
    )
    ran = sodarouter("quarantine", "show", "nothing")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "sodarouter: there is no quarantined body nothing; `sodarouter quarantine` lists what there is\n"


def test_it_has_to_be_said_which(sodarouter, bodies):
    for command in ("retry", "discard"):
        for arguments in ([], ["x", "--all"], ["x", "--source", "soda"]):
            ran = sodarouter("quarantine", command, *arguments, "--yes")
            assert (ran.status, ran.out) == (2, "")
            assert ran.err.startswith("sodarouter: name quarantined bodies, or --source NAME, or --all; ")


def test_what_can_be_parsed_becomes_an_event_with_the_time_at_which_it_came(sodarouter, bodies):
    ran = sodarouter("quarantine", "retry", "--all", "--yes")
    assert ran.status == 1
    (event,) = sodarouter("events", "--json").json
    assert event["received"] == "2026-05-04T12:00:00.000000Z"
    lines = ran.out.splitlines()
    assert lines[:4] == [
        "3 quarantined bodies",
        "  soda     2 Unexpected shape",
        "  staging  1 Unexpected shape",
        "1 of 3 became events",
    ]
    assert lines[4] == f"  {bodies[0].id}: it is the event {event['id']}"
    assert set(lines[5:]) == {
        f"  {bodies[1].id}: 400 Unreadable JSON: the body ends inside a value at line 1 column {len(BROKEN)}",
        f"  {bodies[2].id}: 400 Not an object: a webhook's body is a JSON object",
    }
    assert listed(sodarouter) == [bodies[2].id, bodies[1].id]


def test_a_dry_run_says_which_would_become_events(sodarouter, bodies):
    ran = sodarouter("quarantine", "retry", bodies[0].id, bodies[2].id, "nothing", "--dry-run", "--json")
    assert ran.status == 1
    assert ran.json == {
        "dry_run": True,
        "asked": [bodies[0].id, bodies[2].id, "nothing"],
        "retried": {bodies[0].id: ""},
        "not_retried": {
            bodies[2].id: "400 Not an object: a webhook's body is a JSON object",
            "nothing": "it is not in the quarantine",
        },
    }
    assert len(listed(sodarouter)) == 3


def test_those_that_are_named_are_tried_without_a_question(sodarouter, bodies):
    ran = sodarouter("quarantine", "retry", bodies[0].id, "--json")
    assert ran.status == 0
    (event,) = sodarouter("events", "--json").json
    assert ran.json["retried"] == {bodies[0].id: event["id"]}


def test_bodies_are_discarded(sodarouter, bodies):
    ran = sodarouter("quarantine", "discard", "--source", "soda")
    assert (ran.status, ran.out) == (2, "2 quarantined bodies\n  soda  2 Unexpected shape\n")
    assert ran.err == (
        "sodarouter: 2 quarantined bodies would be discarded; there is no terminal to ask at: add --yes to have it done\n"
    )
    assert sodarouter("quarantine", "discard", "--source", "soda", "--yes").out.endswith("2 of 2 discarded\n")
    assert listed(sodarouter) == [bodies[2].id]
    ran = sodarouter("quarantine", "discard", bodies[2].id, bodies[0].id)
    assert (ran.status, ran.out) == (
        1,
        f"1 of 2 discarded\n  {bodies[2].id}\n  {bodies[0].id}: it is not in the quarantine\n",
    )
    assert sodarouter("quarantine", "discard", "--all", "--yes").out == "no quarantined bodies\n"


def test_an_export_has_the_body_without_its_callback(sodarouter, bodies):
    documents = [json.loads(line) for line in sodarouter("quarantine", "export").out.splitlines()]
    assert [document["id"] for document in documents] == [body.id for body in bodies[::-1]]
    assert documents[2]["body"] == READABLE.decode()
    assert '"incidentLinkCallbackUrl": "**********"' in documents[1]["body"]
    assert len(sodarouter("quarantine", "export", "--source", "staging").out.splitlines()) == 1
    ran = sodarouter("quarantine", "export", bodies[0].id, "nothing", "-o", "bodies.jsonl")
    assert (ran.status, ran.err) == (1, "sodarouter: nothing: it is not in the quarantine\n")
    assert sodarouter("quarantine", "export", bodies[0].id, "-o", "bodies.jsonl").err == (
        "1 line written to bodies.jsonl\n"
    )
    assert sodarouter("quarantine", "export", "-o", "bodies.jsonl").err == (
        "sodarouter: bodies.jsonl is there already; --force replaces it\n"
    )
    assert sodarouter("quarantine", "export", bodies[0].id, "--source", "soda").status == 2
