"""The commands on events that were divided: each part has an id of its own, and the id without it means all of them."""

import json
from pathlib import Path

import pytest
import trio
from engines import NOW, ended, open_engine
from running import SOURCE
from support import make_event

from sodarouter.delivery import Cause, Planned, State
from sodarouter.spool import Decided, Routed

TOML = """
[spool]
path = "spool.db"
[destination.mail]
type = "file"
path = "mail.jsonl"
[[route]]
each = "owner"
to = ["mail"]
"""
RESULTS = [
    {"name": f"check {number}", "outcome": "fail", "datasets": [{"name": "a", "owners": [{"email": owner}]}]}
    for number, owner in enumerate(["ann@example.org", "bob@example.org", "ann@example.org"])
]
PARTS = (
    Planned("mail", (0, 2), part=1, group="ann@example.org"),
    Planned("mail", (1,), part=2, group="bob@example.org"),
)


@pytest.fixture
def event(tmp_path: Path) -> str:
    """The id of an event of which one part was delivered, and one given up."""

    async def spoil() -> str:
        async with open_engine("sqlite", tmp_path) as engine:
            event = await engine.append(make_event({"event": "checkEvaluation", "checkResults": RESULTS}))
            (claim,) = await engine.claim()
            await engine.spool.settle([Routed(claim, Decided([], PARTS, NOW))])
            first, second = await engine.claim("mail")
            known = {"cause": Cause.REJECTED, "reason": "rejected: no such person"}
            await engine.spool.settle([ended(first), ended(second, State.DEAD, **known)])
            return event.id

    (tmp_path / "router.toml").write_text(SOURCE + TOML)
    return trio.run(spoil)


def test_each_part_is_listed_with_what_it_has_in_common(sodarouter, event):
    listed = sodarouter("deliveries", "--json").json
    assert [(one["id"], one["part"], one["group"], one["results"]) for one in listed] == [
        (f"{event}/mail~2", 2, "bob@example.org", [1]),
        (f"{event}/mail~1", 1, "ann@example.org", [0, 2]),
    ]
    assert f"{event}/mail~2" in sodarouter("dead").out
    shown = sodarouter("show", event).out
    assert "\n  mail part 1: delivered, ann@example.org, results 1, 3\n" in shown
    assert "\n  mail part 2: dead (rejected), bob@example.org, result 2\n" in shown
    assert "rejected: no such person" in shown


def test_an_id_without_a_part_shows_all_parts_and_one_with_it_that_one(sodarouter, event):
    def parts(wanted: str) -> list[int]:
        return [one["part"] for one in sodarouter("show", wanted, "--json").json["deliveries"]]

    assert parts(f"{event}/mail") == [1, 2]
    assert parts(f"{event}/mail~2") == [2]
    ran = sodarouter("show", f"{event}/mail~3")
    assert ran.status == 1
    assert f"the event {event} has no delivery to mail~3" in ran.err


def test_a_part_is_retried_discarded_and_exported_by_its_id(sodarouter, event):
    dead = f"{event}/mail~2"
    (exported,) = map(json.loads, sodarouter("export", dead).out.splitlines())
    assert exported["id"] == dead
    assert sodarouter("retry", dead).out == f"1 of 1 will be tried again\n  {dead}\n"
    ran = sodarouter("retry", dead, f"{event}/mail", f"{event}/mail~1", "--json")
    assert ran.json["not_retried"] == {
        dead: "it is pending, not dead",
        f"{event}/mail": f"there is no such delivery, but {event}/mail~1 to ~2",
        f"{event}/mail~1": "it is delivered, not dead",
    }
    assert sodarouter("discard", dead, "--state", "pending").status == 0
    assert [one["state"] for one in sodarouter("deliveries", "--json").json] == ["discarded", "delivered"]


def test_a_replay_has_the_same_parts(sodarouter, event):
    assert sodarouter("replay", event, "--to", "mail").status == 0
    listed = sodarouter("deliveries", "--replay", "1", "--json").json
    assert [(one["id"], one["group"], one["results"]) for one in listed] == [
        (f"{event}/mail~2/1", "bob@example.org", [1]),
        (f"{event}/mail~1/1", "ann@example.org", [0, 2]),
    ]
