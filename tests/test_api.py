"""The admin API: what each page does, what it refuses, and that its documentation says so."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from admin import Admin, open_admin
from engines import NOW
from quart import Quart
from support import make_event

from sodarouter.api import add_api
from sodarouter.contract import OWN_API
from sodarouter.decide import Silence
from sodarouter.delivery import Cause, Halt, Loaded, State
from sodarouter.ids import new_id
from sodarouter.operations import BATCH
from sodarouter.options import LONGEST
from sodarouter.spool import DeliveryFilter, EventFilter, Refused

DOCS = Path(__file__).parent.parent / "docs/api.md"
LATER = "2099-01-01T00:00:00Z"


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    async with open_admin(tmp_path) as opened:
        yield opened


def refused(raw: bytes) -> Refused:
    return Refused(new_id(), "soda", make_event().received, raw, 422, "Unexpected shape", "")


# what it does


async def test_dead_letters_are_retried(admin: Admin) -> None:
    dead = await admin.engine.dead(cause=Cause.REJECTED)
    answer = await admin.post("deliveries/retry", deliveries=[dead, "no/such", f"{dead}/1"])
    assert (answer.status_code, answer.json()) == (200, {"retried": [dead]})
    assert admin.engine.reader.count_deliveries(DeliveryFilter()) == {State.PENDING: 1}
    assert admin.changes


async def test_deliveries_are_discarded(admin: Admin) -> None:
    dead = await admin.engine.dead()
    waiting = f"{(await admin.engine.planned('mail')).id}/mail"
    answer = await admin.post("deliveries/discard", deliveries=[dead, waiting, "no/such"])
    assert (answer.status_code, answer.json()) == (200, {"discarded": [dead, waiting]})
    assert admin.engine.reader.count_deliveries(DeliveryFilter()) == {State.DISCARDED: 2}


async def test_events_are_replayed_spread_over_time(admin: Admin) -> None:
    events = [(await admin.engine.planned("mail")).id for _ in range(3)]
    number = (await admin.post("replays")).json()["replay"]
    answer = await admin.post(f"replays/{number}", events=[*events, "gone"], to=["log"], after=60, every=0.5)
    assert (answer.status_code, answer.json()) == (200, {"planned": 3})
    due = [
        delivery.next_at.timestamp()
        for delivery in admin.engine.reader.deliveries(DeliveryFilter(replay=number), limit=9)[::-1]
    ]
    assert [after - due[0] for after in due] == pytest.approx([0, 0.5, 1.0])
    again = await admin.post(f"replays/{number}", events=events, to=["log"])
    assert again.json() == {"planned": 0}
    assert (await admin.post("replays")).json()["replay"] == number + 1


async def test_a_replay_to_nowhere_is_decided_anew(admin: Admin) -> None:
    event = (await admin.engine.planned("mail")).id
    number = (await admin.post("replays")).json()["replay"]
    assert (await admin.post(f"replays/{number}", events=[event])).json() == {"planned": 1}
    (claim,) = await admin.engine.claim(now=4e9)
    assert (claim.event.id, claim.delivery.replay) == (event, number)


async def test_a_replay_that_would_take_more_than_a_hundred_years_is_refused(admin: Admin) -> None:
    events = [(await admin.engine.planned("mail")).id for _ in range(2)]
    assert (await admin.post("replays")).json() == {"replay": 1}
    answer = await admin.post("replays/1", events=events, to=["log"], after=LONGEST, every=1)
    assert (answer.status_code, answer.json()["title"]) == (422, "Not possible")
    assert answer.json()["detail"] == "the last of these events would be due in more than a hundred years"
    assert admin.engine.reader.count_deliveries(DeliveryFilter(replay=1)) == {}
    assert (await admin.post("replays/1", events=events[:1], to=["log"], after=LONGEST)).json() == {"planned": 1}
    assert len(admin.engine.reader.deliveries(DeliveryFilter(replay=1), limit=9)) == 1


@pytest.mark.parametrize("number", [0, 2, 1 << 64])
async def test_a_replay_that_was_never_begun_is_told(admin: Admin, number: int) -> None:
    event = (await admin.engine.planned("mail")).id
    assert (await admin.post("replays")).json() == {"replay": 1}
    answer = await admin.post(f"replays/{number}", events=[event], to=["log"])
    assert (answer.status_code, answer.json()["title"]) == (404, "No such replay")
    assert answer.json()["detail"] == f"no replay {number} was begun"
    assert admin.engine.reader.count_deliveries(DeliveryFilter()) == {State.PENDING: 1}


async def test_a_destination_is_halted_and_resumed(admin: Admin) -> None:
    for halt in ("paused", "draining"):
        answer = await admin.post("destinations/log", halt=halt)
        assert (answer.status_code, answer.json()) == (200, {"halt": halt})
        assert admin.engine.reader.halts() == {"log": Halt(halt)}
    assert (await admin.post("destinations/log", halt=None)).json() == {"halt": None}
    assert admin.engine.reader.halts() == {}


async def test_a_destination_that_is_gone_can_still_be_resumed(admin: Admin) -> None:
    await admin.engine.spool.halt("gone", Halt.PAUSED, NOW)
    assert (await admin.post("destinations/gone", halt=None)).status_code == 200
    assert admin.engine.reader.halts() == {}


async def test_quarantined_bodies_are_tried_again_or_discarded(admin: Admin) -> None:
    bodies = [refused(b'{"event": "validate"}'), refused(b"["), refused(b"{")]
    for body in bodies:
        await admin.engine.spool.quarantine(body)
    good, bad, other = (body.id for body in bodies)
    found = (await admin.post("quarantine/retry", ids=[good, bad, "none"])).json()
    (event,) = admin.engine.reader.events(EventFilter(event_type="validate"), limit=9)
    assert event.event.received == bodies[0].received
    assert found["events"] == {good: event.event.id}
    assert found["left"] == {
        bad: "400 Unreadable JSON: the body ends inside a list at line 1 column 1",
        "none": "it is not in the quarantine any more",
    }
    assert [one.id for one in admin.readmitted] == [event.event.id]
    assert (await admin.post("quarantine/discard", ids=[good, other])).json() == {"discarded": [other]}
    assert [body.id for body in admin.engine.reader.quarantined(limit=9)] == [bad]


async def test_a_silence_is_added_and_ended(admin: Admin) -> None:
    before = datetime.now(UTC)
    asked = {"match": {"dataset": "prod/*", "not": {"tag": ["pii"]}}, "to": ["log"], "author": "jo", "reason": "move"}
    window = {"hours": "22:00-06:00", "timezone": "Europe/Berlin"}
    answer = await admin.post("silences", **asked, during=[window], ends="2099-01-01T00:00:00+02:00")
    assert answer.status_code == 200
    (stored,) = admin.engine.reader.silences()
    silence = Silence.restored(stored.value, stored.ends)
    assert answer.json() == {
        "id": stored.id,
        "starts": stored.starts.isoformat(),
        "ends": "2098-12-31T22:00:00+00:00",
    }
    assert before <= silence.starts == stored.starts
    assert (silence.id, silence.ends) == (stored.id, stored.ends)
    assert silence.describe() == "dataset=prod/* not tag=pii during 22:00-06:00 Europe/Berlin"
    assert admin.changes
    assert (await admin.post(f"silences/{stored.id}/end")).json() == {"ended": True}
    assert (await admin.post(f"silences/{stored.id}/end")).json() == {"ended": False}
    assert (await admin.post("silences/none/end")).json() == {"ended": False}


async def test_a_reload_says_what_runs_then_and_what_was_wrong(tmp_path: Path) -> None:
    async def reload() -> Loaded:
        return Loaded("0123456789ab", faults=("router.toml: lgo: unknown key",))

    async with open_admin(tmp_path, reload=reload) as admin:
        answer = await admin.post("reload")
        assert (answer.status_code, answer.json()) == (
            200,
            {"config": "0123456789ab", "faults": ["router.toml: lgo: unknown key"]},
        )


# what it refuses


@pytest.mark.parametrize(
    ("page", "body", "detail"),
    [
        ("deliveries/retry", {}, "deliveries: is missing"),
        ("deliveries/retry", {"deliveries": "x"}, 'deliveries: must be a list; write ["…"]'),
        ("deliveries/retry", {"deliveries": [1]}, "deliveries[0]: must be text"),
        ("deliveries/discard", {"delivery": []}, "delivery: unknown key; did you mean 'deliveries'?"),
        ("deliveries/discard", {"deliveries": ["x"] * (BATCH + 1)}, "deliveries: must have at most 500 entries"),
        ("deliveries/discard", {"deliveries": ["x" * 301]}, "deliveries[0]: must have at most 300 characters"),
        ("deliveries/discard", {"deliveries": [""]}, "deliveries[0]: must not be empty"),
        ("replays", {"to": []}, "to: unknown key"),
        ("replays/1", {"events": [], "after": -1, "every": "1s"}, "after: must be at least 0; every: must be a number"),
        ("replays/1", {"events": [], "every": 1e12}, "every: must be at most 3155760000"),
        ("destinations/log", {"halt": "stopped"}, "halt: must be 'paused' or 'draining'"),
        ("destinations/log", {}, "halt: is missing"),
        ("quarantine/retry", {"ids": None}, "ids: must be a list"),
        ("reload", {"force": True}, "force: unknown key"),
        ("silences", {"author": "jo", "reason": "", "ends": LATER}, "reason: must not be empty"),
        ("silences", {"author": "jo", "reason": "x", "ends": "2099-01-01T00:00:00"}, "ends: needs a time zone"),
        ("silences", {"author": "jo", "reason": "x"}, "ends: is missing"),
        (
            "silences",
            {"author": "jo", "reason": "x", "ends": LATER, "match": {"datset": "x"}},
            "match.datset: unknown key; did you mean 'dataset'?",
        ),
        ("silences/x/end", {"now": True}, "now: unknown key"),
    ],
)
async def test_a_document_that_is_not_as_it_must_be_is_refused(
    admin: Admin, page: str, body: dict[str, object], detail: str
) -> None:
    answer = await admin.post(page, **body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == detail
    assert answer.json()["errors"][0]["path"] in detail
    assert not admin.changes


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"deliveries=", "application/x-www-form-urlencoded", 415),
        (b'{"deliveries": []}', "application/json; charset=utf-8", 200),
        (b"nonsense", "application/json", 400),
        (b'{"events": [], "every": NaN}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"deliveries": []}' + b" " * (1 << 20), "application/json", 413),
    ],
)
async def test_only_json_is_taken_so_that_another_site_cannot_make_a_browser_post(
    admin: Admin, content: bytes, content_type: str, status: int
) -> None:
    answer = await admin.client.post("/api/deliveries/retry", content=content, headers={"Content-Type": content_type})
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


async def test_a_destination_that_is_not_configured_is_told_with_what_is_near(admin: Admin) -> None:
    number = (await admin.post("replays")).json()["replay"]
    event = (await admin.engine.planned("mail")).id
    for answer in (
        await admin.post("silences", author="jo", reason="x", to=["log", "lgo"], ends=LATER),
        await admin.post("destinations/lgo", halt="paused"),
        await admin.post(f"replays/{number}", events=[event], to=["mail", "lgo"]),
    ):
        assert answer.status_code == 404
        assert answer.json()["title"] == "No such destination"
        assert answer.json()["detail"] == "no destination 'lgo' is configured; did you mean 'log'?"
    assert admin.engine.reader.halts() == {}
    assert admin.engine.reader.count_deliveries(DeliveryFilter(replay=number)) == {}


@pytest.mark.parametrize(
    ("ends", "detail"),
    [
        ("2020-01-01T00:00:00Z", "a silence has to end after it starts, and in the future"),
        ("2999-01-01T00:00:00Z", "a silence ends within a hundred years"),
    ],
)
async def test_a_silence_without_a_sensible_end_is_refused(admin: Admin, ends: str, detail: str) -> None:
    answer = await admin.post("silences", author="jo", reason="x", ends=ends)
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)
    assert admin.engine.reader.silences() == []
    assert not admin.changes


@pytest.mark.parametrize("page", ["nothing", "retry", "replays/x", "replays/-1", "destinations/a/b"])
async def test_there_are_no_other_pages(admin: Admin, page: str) -> None:
    answer = await admin.post(page)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "the admin listener has no such page; sources are at the addresses of [server]"


async def test_a_page_that_is_asked_in_another_way_says_how_it_is(admin: Admin) -> None:
    answer = await admin.client.get("/api/reload")
    assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert answer.json()["detail"] == "this page takes OPTIONS, POST"


async def test_a_spool_that_fails_is_told(admin: Admin, tmp_path: Path) -> None:
    dead = await admin.engine.dead()
    (tmp_path / "spool.db").rename(tmp_path / "elsewhere.db")
    answer = await admin.post("deliveries/retry", deliveries=[dead])
    assert answer.status_code == 503
    assert answer.json()["title"] == "The spool failed"


# its documentation


def documented() -> list[tuple[str, Any, Any]]:
    """Page, request and answer of the rows of the table."""
    rows = re.findall(r"(?m)^\| `/api/(.*?)` \| `(.*?)` \| `(.*?)` \|$", DOCS.read_text(encoding="utf-8"))
    return [(page, json.loads(asked), json.loads(answered)) for page, asked, answered in rows]


def test_every_page_is_documented() -> None:
    app = Quart("admin")
    add_api(app, operations=None, reload=None)  # type: ignore[arg-type]  # nothing is asked of it
    pages = {rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith(OWN_API)}
    names = {"NUMBER": "<int:number>", "NAME": "<name>", "ID": "<silence>"}
    shown = {re.sub("NUMBER|NAME|ID", lambda found: names[found[0]], page) for page, _, _ in documented()}
    assert {OWN_API + page for page in shown} == pages


@pytest.mark.parametrize(("page", "asked", "answered"), documented())
async def test_what_is_documented_can_be_asked_and_is_answered_so(
    admin: Admin, page: str, asked: Any, answered: Any
) -> None:
    text = json.dumps(asked).replace("NAME", "log")
    assert await admin.engine.spool.begin_replay(0.0) == 1
    answer = await admin.post(page.replace("NUMBER", "1").replace("NAME", "log"), **json.loads(text))
    assert answer.status_code == 200
    assert answer.json().keys() == answered.keys()
