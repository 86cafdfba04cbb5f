"""The tests of a configuration: what they can ask, and what they say when it is otherwise."""

from pathlib import Path

import pytest
from support import payload

from sodarouter.config import load
from sodarouter.errors import ConfigError
from sodarouter.trial import run_tests

ROUTES = """
[source.soda]
path = "/soda"
[source.staging]
path = "/staging"
[window.office]
days = "mon-fri"
hours = "09:00-18:00"
[destination.chat]
type = "forward"
url = "https://chat.example.org/hook"
body = '{"title": "{{ incident.title if incident else event.type }}", "results": {{ results | length }}}'
[destination.log]
type = "file"
path = "events.jsonl"
[[route]]
match = { event = "incident*", severity = "critical" }
active = ["office"]
to = ["chat"]
[[route]]
match = { event = "checkEvaluation", outcome = "fail", streak = "2", source = "soda" }
to = ["log"]
"""
FAILED = '{ checkResults = [{ id = "1", name = "rows", outcome = "fail", dataTimestamp = "2026-01-05T%s:00:00Z" }] }'


def tried(folder: Path, tests: str) -> dict[str, list[str]]:
    """What every test says, by its name."""
    (folder / "router.toml").write_text(ROUTES + tests)
    return {one.name: list(map(str, one.failures)) for one in run_tests(load(folder / "router.toml"), lambda _: None)}


def test_a_test_passes_if_the_payload_goes_where_it_should_and_says_what_it_should(tmp_path):
    (tmp_path / "incident.json").write_bytes(payload("v3-incidentCreated"))
    assert tried(
        tmp_path,
        """
        [[test]]
        file = "incident.json"
        set = { "incident.severity" = "critical", "incident.title" = "Orders are late" }
        to = ["chat"]
        contains = { chat = ["Orders are late", "POST"] }
        lacks = { chat = "nothing" }
        [[test]]
        name = "at night"
        file = "incident.json"
        set = { "incident.severity" = "critical" }
        received = 2026-01-05T20:00:00+01:00
        to = []
        [[test]]
        name = "not critical"
        sample = "v3/incidentCreated"
        set = { "incident.severity" = "minor" }
        to = []
        """,
    ) == {"test 1": [], "at night": [], "not critical": []}


def test_what_came_before_counts(tmp_path):
    before, now = FAILED % "08", FAILED % "09"
    assert tried(
        tmp_path,
        f"""
        [[test]]
        name = "first"
        sample = "checkEvaluation"
        set = {now}
        to = []
        [[test]]
        name = "second"
        sample = "checkEvaluation"
        set = {now}
        after = [{{ sample = "checkEvaluation", set = {before} }}]
        to = ["log"]
        [[test]]
        name = "elsewhere"
        source = "staging"
        sample = "checkEvaluation"
        set = {now}
        after = [{{ sample = "checkEvaluation", set = {before} }}]
        to = []
        """,
    ) == {"first": [], "second": [], "elsewhere": []}


def test_what_is_otherwise_is_told_with_its_place(tmp_path):
    failures = tried(
        tmp_path,
        """
        [[test]]
        sample = "incidentCreated"
        set = { "incident.severity" = "critical" }
        to = ["log"]
        contains = { chat = "Orders" }
        lacks = { chat = "title" }
        """,
    )["test 1"]
    assert failures[0] == "router.toml: test[0].to: it goes to chat, not to log"
    assert failures[1].startswith(
        "router.toml: test[0].contains.chat: what is sent does not contain 'Orders': {\"title\""
    )
    assert failures[2].startswith("router.toml: test[0].lacks.chat: what is sent contains 'title': {")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ('file = "gone.json"', "file: {folder}/gone.json cannot be read: no such file or directory"),
        ('sample = "incidentCreate"', "sample: no event type 'incidentCreate'; did you mean 'incidentCreated'?"),
        ('sample = "v5/validate"', "sample: there is no vocabulary 'v5'; it is one of v3, v4"),
        ('event = "01a2"', "event: the spool has no event 01a2"),
        ('sample = "validate"\nset = { "a.b.c" = 1 }', "set: "),
        ('file = "router.toml"', "the payload is no event: "),
    ],
)
def test_a_payload_that_cannot_be_had_is_told(tmp_path, asked, told):
    (failure,) = tried(tmp_path, f"[[test]]\n{asked}\nto = []\n")["test 1"]
    assert failure.startswith("router.toml: test[0]: " + told.format(folder=tmp_path))


def test_a_test_of_an_included_file_is_told_with_its_own_place(tmp_path):
    (tmp_path / "router.d").mkdir()
    (tmp_path / "router.d/sales.toml").write_text('[[test]]\nsample = "validate"\nto = ["log"]\n')
    (tmp_path / "router.toml").write_text('include = ["router.d/*.toml"]\n' + ROUTES)
    ((one),) = run_tests(load(tmp_path / "router.toml"), lambda _: None)
    assert str(one.failures[0]).startswith("router.d/sales.toml: test[0].to: it goes to nowhere, not to log")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ('sample = "validate"\nto = ["lgo"]', "test[0].to: there is no destination 'lgo'; did you mean 'log'?"),
        ('sample = "validate"\nto = []\ncontains = { lgo = "x" }', "test[0].contains: there is no destination 'lgo'"),
        ('sample = "validate"\nto = []\nsource = "sda"', "test[0].source: there is no source 'sda'"),
        ("to = []", "test[0]: needs one of file, sample and event"),
        ('sample = "validate"\nevent = "1"\nto = []', "test[0]: needs one of file, sample and event"),
        ('sample = "validate"\nreceived = 2026-01-05T12:00:00\nto = []', "test[0]: received needs a time zone"),
    ],
)
def test_a_test_that_makes_no_sense_is_a_fault_of_the_configuration(tmp_path, asked, told):
    with pytest.raises(ConfigError) as caught:
        tried(tmp_path, f"[[test]]\n{asked}\n")
    assert any(str(fault).startswith(f"router.toml: {told}") for fault in caught.value.faults)


def test_check_runs_the_tests(sodarouter, tmp_path):
    (tmp_path / "router.toml").write_text(ROUTES + '[[test]]\nname = "set-up"\nsample = "validate"\nto = []\n')
    passed = sodarouter("check")
    assert passed.status == 0
    assert passed.out.splitlines()[-1] == "router.toml: ok: 2 sources, 2 destinations, 2 routes; 1 test passed"
    (tmp_path / "router.toml").write_text(ROUTES + '[[test]]\nname = "set-up"\nsample = "validate"\nto = ["log"]\n')
    failed = sodarouter("check")
    assert failed.status == 1
    assert failed.out.splitlines()[-4:] == [
        "failed: set-up",
        "  router.toml: test[0].to: it goes to nowhere, not to log",
        "    route 2: not matched: validate is delivered only where a route names it",
        "router.toml: not as its tests want it: 2 sources, 2 destinations, 2 routes; 1 of 1 test failed",
    ]
    document = sodarouter("check", "--json").json
    assert document["ok"] is False
    (test,) = document["tests"]
    assert (test["name"], len(test["failures"])) == ("set-up", 1)
    assert [step["route"] for step in test["steps"]] == ["route 2"]


def test_a_test_that_goes_elsewhere_tells_why_with_what_came_before_it(sodarouter, tmp_path):
    """`sodarouter route` could not: it knows the spool, and not what a test says came before."""
    (tmp_path / "router.toml").write_text(
        ROUTES
        + f"""
        [[test]]
        sample = "checkEvaluation"
        set = {FAILED % "10"}
        after = [
            {{ sample = "checkEvaluation", set = {FAILED % "08"} }},
            {{ sample = "checkEvaluation", set = {FAILED % "09"} }},
        ]
        to = ["log"]
        [[test]]
        sample = "incidentCreated"
        set = {{ "incident.severity" = "critical" }}
        to = []
        contains = {{ chat = "Orders" }}
        """
    )
    lines = sodarouter("check").out.splitlines()
    assert lines[2:6] == [
        "failed: test 1",
        "  router.toml: test[0].to: it goes to nowhere, not to log",
        "    route 2: not matched: streak is 3, wanted 2",
        "failed: test 2",
    ]
    assert lines[6:8] == [
        "  router.toml: test[1].to: it goes to chat, not to nowhere",
        "    route 1: matched: the whole event to chat",
    ]


def test_who_may_not_read_the_spool_can_check_all_but_tests_that_ask_it(sodarouter, tmp_path):
    (tmp_path / "var").mkdir()
    (tmp_path / "var/sodarouter.db").write_text("nobody can read this")
    test = '[[test]]\nsample = "validate"\nto = []\n'
    (tmp_path / "router.toml").write_text(ROUTES + test)
    assert sodarouter("check").status == 0
    (tmp_path / "router.toml").write_text(ROUTES + test + 'after = [{ event = "01a2" }]\n')
    assert "cannot be opened" in sodarouter("check").err


def test_a_test_may_take_an_event_of_the_spool(sodarouter, spool):
    ids = {event["type"]: event["id"] for event in sodarouter("events", "--json").json}
    with (spool / "router.toml").open("a") as file:
        file.write(f'\n[[test]]\nevent = "{ids["checkEvaluation"]}"\nto = ["log"]\n')
    assert "1 test passed" in sodarouter("check").out
