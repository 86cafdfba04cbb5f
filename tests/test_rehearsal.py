"""What is said to be sent is what is sent, byte for byte, and why an event went where it went is told truly."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from distributions import SitePackages
from running import OUTGOING, running_router
from sink import Answer, open_sink
from support import payload

from sodarouter.config import load
from sodarouter.decide import explain
from sodarouter.hindsight import silences_of, state_of
from sodarouter.redact import without_callback
from sodarouter.rehearsal import rehearse

PLACES = """
[[team]]
name = "sales"
match = {{ dataset = "s*" }}
channel = "#sales"
[[team]]
name = "rest"
channel = "#rest"
[destination.raw]
type = "forward"
url = "{url}/raw"
[destination.chat]
type = "forward"
url = "{url}/chat/{{{{ delivery.part }}}}"
headers = {{ X-Team = "{{{{ team.name }}}}" }}
body = '{{"channel": {{{{ team.channel | tojson }}}}, "names": {{{{ results | map(attribute="name") | list | tojson }}}}}}'
[destination.file]
type = "file"
path = "events.jsonl"
[[route]]
name = "failures"
match = {{ outcome = "fail" }}
to = ["raw", "file"]
[[route]]
name = "teams"
match = {{ event = "checkEvaluation" }}
to = ["chat"]
each = "team"
[[route]]
name = "incidents"
match = {{ event = "incident*" }}
to = ["raw", "chat"]
"""


def evaluation(*results: tuple[str, str]) -> bytes:
    """Of datasets, each with an outcome; written with odd spaces, which must arrive as they are."""
    listed = [
        {"name": f"rows of {name}", "outcome": outcome, "datasets": [{"name": name}]} for name, outcome in results
    ]
    return json.dumps({"event": "checkEvaluation", "checkResults": listed}, separators=(" , ", " :  ")).encode()


EVENTS = [
    evaluation(("sales", "fail"), ("stock", "pass"), ("orders", "fail"), ("stores", "warn")),
    evaluation(("orders", "pass")),
    payload("v3-incidentCreated"),
    payload("v4-2026-checkEvaluation"),
    b'{"event": "somethingNew", "a": 1e999}',
]


async def test_what_would_be_sent_is_what_is_sent(tmp_path: Path) -> None:
    async with open_sink() as sink, running_router(tmp_path, PLACES.format(url=sink.url)) as router:
        for body in EVENTS:
            await router.post(body)
        await router.until_settled()
        config = load(tmp_path / "router.toml")
        expected: list[tuple[str, bytes, Any]] = []
        lines = []
        for stored in reversed(router.reader.events(limit=100)):
            state = state_of(stored, silences_of(router.reader.silences()))
            for one in rehearse(config, stored.event, explain(stored.event, config.rules, state).planned):
                assert one.preview is not None
                if one.delivery.destination == "file":
                    lines.append(one.preview.body)
                    continue
                headers = {name.lower(): value for name, value in one.preview.headers.items()}
                assert headers.get("x-team") in {None, "**********"}  # every value of `headers` is a secret
                expected.append((headers["idempotency-key"], one.preview.body, headers["content-type"]))
        # the one thing that is sent and never shown is Soda's callback URL
        bodies = [without_callback(request.body.decode()).encode() for request in sink.requests]
        keys = [(request.headers["idempotency-key"], request.headers["content-type"]) for request in sink.requests]
        arrived = [(key, body, kind) for (key, kind), body in zip(keys, bodies, strict=True)]
        assert sorted(arrived) == sorted(expected)
        assert len(arrived) == 2 + 1 + 1 + 2 + 2
        assert (tmp_path / "events.jsonl").read_bytes().splitlines() == [line.rstrip(b"\n") for line in lines]


async def taken_in(folder: Path, toml: str, *bodies: bytes) -> list[str]:
    """Runs a router until these are delivered, and stops it. Gives the events' ids."""
    async with running_router(folder, toml) as router:
        ids = [(await router.post(body)).json()["id"] for body in bodies]
        await router.until_settled()
    return ids


def test_route_does_not_show_the_callback_url_that_is_in_a_file(tmp_path, sodarouter) -> None:
    text = OUTGOING + '[source.soda]\npath = "/soda"\n' + PLACES.format(url="http://127.0.0.1:9")
    (tmp_path / "router.toml").write_text(text)
    (tmp_path / "incident.json").write_bytes(EVENTS[2])
    assert b"/incident-link/" in EVENTS[2]
    assert "/incident-link/" not in sodarouter("route", "incident.json").out
    ran = sodarouter("route", "incident.json", "--destination", "raw", "--json")
    assert "/incident-link/" not in ran.out
    (raw,) = ran.json["deliveries"]
    assert json.loads(raw["body"])["incidentLinkCallbackUrl"] == "**********"


async def test_route_shows_of_a_stored_event_what_was_sent(tmp_path, sodarouter) -> None:
    async with open_sink() as sink:
        (event,) = await taken_in(tmp_path, PLACES.format(url=sink.url), EVENTS[0])
        sent = {r.headers["idempotency-key"].partition("/")[2]: r.body for r in sink.requests}
        url = sink.url
    ran = sodarouter("route", event, "--json")
    assert ran.status == 0
    told = {one["id"].partition("/")[2]: one for one in ran.json["deliveries"]}
    assert {name: told[name]["body"].encode() for name in sent} == sent
    assert set(told) == {*sent, "file"}
    assert [told[name]["group"] for name in ("chat~1", "chat~2")] == ["sales", "rest"]
    human = sodarouter("route", event).out
    assert "  chat part 1, sales: results 1, 2, 4" in human
    for option in (("--source", "soda"), ("--at", "2026-11-23")):
        refused = sodarouter("route", event, *option)
        assert refused.status == 2
        assert "a stored event has its source and its time" in refused.err
    assert url + "/raw" not in human


async def test_an_update_that_came_late_is_told_as_such(tmp_path, sodarouter) -> None:
    updates = [
        json.dumps(
            {"event": "incidentUpdated", "incident": {"id": "i-1", "lastUpdatedTimestamp": f"2026-05-04T{hour}:00:00Z"}}
        )
        for hour in ("12", "11")
    ]
    async with open_sink() as sink:
        newer, older = await taken_in(tmp_path, PLACES.format(url=sink.url), *map(str.encode, updates))
    late = "late: a newer update of this incident had come before it\n"
    for command in ("why", "show"):
        assert late in sodarouter(command, older).out
        assert late not in sodarouter(command, newer).out


async def test_what_has_changed_in_a_contract_is_told(tmp_path, sodarouter) -> None:
    published = [
        json.dumps(
            {"event": "contractPublished", "contract": {"dataset": "shop/orders", "contents": contents}}
        ).encode()
        for contents in ("columns: [{name: id}, {name: amount}]", "columns: [{name: id}, {name: price}]")
    ]
    async with open_sink() as sink:
        first, second = await taken_in(tmp_path, PLACES.format(url=sink.url), *published)
    said = "shop/orders\ncontract: breaking, added\n  column amount removed\n  column price added\n\n"
    for command in ("why", "show", "route"):
        assert "contract: first\n\n" in sodarouter(command, first).out
        assert said in sodarouter(command, second).out
        assert sodarouter(command, second, "--json").json["contract_changes"] == {
            "classes": ["breaking", "added"],
            "changes": ["column amount removed", "column price added"],
        }
    (tmp_path / "p.json").write_bytes(published[0])
    # a payload that has not come yet is compared with what the spool remembers
    assert (
        "contract: breaking, added\n  column price removed\n  column amount added\n"
        in sodarouter("route", "p.json").out
    )
    assert sodarouter("why", first, "--json").json["contract_changes"]["classes"] == ["first"]


def test_a_payload_is_routed_without_a_spool_and_nothing_is_made(tmp_path, sodarouter) -> None:
    (tmp_path / "router.toml").write_text(
        OUTGOING + '[source.soda]\npath = "/x"\n' + PLACES.format(url="http://127.0.0.1:9")
    )
    (tmp_path / "p.json").write_bytes(EVENTS[0])
    ran = sodarouter("route", "p.json", "--destination", "chat")
    assert ran.status == 0
    assert "  failures: matched: results 1, 3 to raw, file" in ran.out
    assert "  incidents: not matched: event is checkEvaluation, wanted incident*" in ran.out
    assert '      {"channel": "#rest", "names": ["rows of orders"]}' in ran.out
    assert "raw" not in ran.out.partition("It would go to")[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.json", "router.toml"]


def test_route_says_what_it_cannot_do(tmp_path, sodarouter) -> None:
    (tmp_path / "router.toml").write_text(
        OUTGOING + '[source.soda]\npath = "/x"\n' + PLACES.format(url="http://127.0.0.1:9")
    )
    (tmp_path / "p.json").write_bytes(b'{"evnt": 1}')
    assert sodarouter("route", "p.json").err.startswith("sodarouter: the payload is no event: ")
    gone = sodarouter("route", "gone.json")
    assert (gone.status, gone.err) == (2, "sodarouter: there is no file 'gone.json' and no event of this id\n")
    (tmp_path / "p.json").write_bytes(EVENTS[1])
    wrong = sodarouter("route", "p.json", "--source", "sdoa")
    assert (wrong.status, wrong.err) == (2, "sodarouter: router.toml has no source 'sdoa'; did you mean 'soda'?\n")
    assert sodarouter("route", "p.json", "-d", "chta").status == 2
    assert sodarouter("route", "p.json", "-d", "file").out.endswith("\nIt would not go to file\n")


async def test_why_tells_of_every_route_and_what_is_otherwise_now(tmp_path, sodarouter) -> None:
    async with open_sink() as sink:
        (event,) = await taken_in(tmp_path, PLACES.format(url=sink.url), EVENTS[1])
    why = sodarouter("why", event)
    assert re.sub(r"[0-9a-f]{12}$", "CONFIG", why.out, flags=re.MULTILINE).splitlines()[2:] == [
        "",
        "It went to chat by configuration CONFIG",
        "  failures: not matched: outcome is pass, wanted fail",
        "  teams: matched: the whole event to chat, for each team",
        "  incidents: not matched: event is checkEvaluation, wanted incident*",
    ]
    text = (tmp_path / "router.toml").read_text()
    (tmp_path / "router.toml").write_text(text.replace('outcome = "fail"', 'outcome = ["fail", "pass"]'))
    changed = sodarouter("why", event).out
    assert "It went to chat by configuration" in changed
    assert "It would go to raw, file, chat by router.toml\n  failures: matched: the whole event to raw, file" in changed
    document = sodarouter("why", event, "--json").json
    assert document["now"]["differs"] is True
    assert document["whole"] is True
    (tmp_path / "router.toml").write_text(text.replace('name = "failures"', 'name = "renamed"'))
    assert not sodarouter("why", event, "--json").json["now"]["differs"]


async def test_why_not_tells_of_the_routes_that_send_there(tmp_path, sodarouter) -> None:
    async with open_sink() as sink:
        (event,) = await taken_in(tmp_path, PLACES.format(url=sink.url), EVENTS[1])
    told = sodarouter("why-not", event, "raw").out
    assert re.sub(r"[0-9a-f]{12}$", "CONFIG", told, flags=re.MULTILINE).splitlines()[3:] == [
        "It did not go to raw by configuration CONFIG",
        "  failures: not matched: outcome is pass, wanted fail",
        "  incidents: not matched: event is checkEvaluation, wanted incident*",
    ]
    assert "It went to chat" in sodarouter("why-not", event, "chat").out
    unknown = sodarouter("why-not", event, "rwa")
    assert (unknown.status, unknown.err) == (2, "sodarouter: no route sends to 'rwa'; did you mean 'raw'?\n")
    assert sodarouter("why", "01a2").status == 1


async def test_why_tells_what_stood_in_for_another(tmp_path, sodarouter) -> None:
    async with open_sink() as sink, open_sink(Answer(410)) as gone:
        toml = f'''
            [destination.pager]
            type = "forward"
            url = "{gone.url}"
            fallback = "mailbox"
            [destination.mailbox]
            type = "forward"
            url = "{sink.url}"
            [[route]]
            name = "failures"
            match = {{ outcome = "fail" }}
            to = ["pager"]
        '''
        (event,) = await taken_in(tmp_path, toml, evaluation(("orders", "fail")))
    stood_in = "  mailbox stands in for pager, which gave up: rejected: answered 410 Gone\n"
    told = sodarouter("why-not", event, "mailbox").out
    assert re.search("\nIt went to mailbox in place of pager by configuration .*\n" + stood_in, told)
    whole = sodarouter("why", event).out
    assert re.search(r"\nIt went to pager by configuration .*\n  failures: matched: .*\n" + stood_in, whole)
    (document,) = sodarouter("why", event, "--json").json["stood_in"]
    assert (document["destination"], document["fallback"]["destination"]) == ("mailbox", "pager")


async def test_orphans_are_the_datasets_that_no_team_owns(tmp_path, sodarouter) -> None:
    bodies = [EVENTS[0], EVENTS[1], payload("v4-2025-08-contractPublished"), payload("v4-2026-checkEvaluation")]
    async with open_sink() as sink:
        toml = PLACES.format(url=sink.url).replace('name = "rest"', 'name = "rest"\nmatch = { dataset = "none" }')
        await taken_in(tmp_path, toml, *bodies)
    listed = sodarouter("orphans", "--json").json
    assert [(one["dataset"], one["results"], one["events"]) for one in listed] == [
        ("orders", 2, 2),
        ("neondb/ecommerce_orders", 1, 1),
        ("neondb/soda/public/ecommerce_orders", 1, 1),
    ]
    assert listed[1]["owners"] == ["owner@example.com", "Data Stewards"]
    table = sodarouter("orphans", "--type", "checkEvaluation").out
    assert table.splitlines()[1].startswith("orders                   2        2")
    text = (tmp_path / "router.toml").read_text()
    (tmp_path / "router.toml").write_text(text.replace('match = { dataset = "none" }', ""))
    assert sodarouter("orphans").out == "every dataset of 4 events belongs to a team\n"
    nothing = "no events; Soda documents no event type 'checkEvalution'; did you mean 'checkEvaluation'?\n"
    assert sodarouter("orphans", "--type", "checkEvalution").out == nothing
    (tmp_path / "router.toml").write_text(re.sub(r"\[\[team\]\]\n(.+\n)*", "", text))
    assert sodarouter("orphans").status == 2


async def test_why_tells_of_what_has_not_arrived(tmp_path, sodarouter) -> None:
    async with open_sink(Answer(410)) as sink:
        (event,) = await taken_in(tmp_path, PLACES.format(url=sink.url), EVENTS[1])
    assert "  chat has not got it, the delivery is dead: rejected: answered 410 Gone\n" in sodarouter("why", event).out
    assert "chat has not got it" not in sodarouter("why", event, "--destination", "raw").out


CRITICAL = """
    from sodarouter import Destination, Preview, hookimpl

    class Critical(Destination):
        type = "critical"

        async def deliver(self): ...

        def preview(self, event, delivery):
            return Preview.nothing("this is no incident")

    @hookimpl
    def destination_types():
        return [Critical]
"""


def test_route_says_why_nothing_would_be_sent(tmp_path, sodarouter, monkeypatch: pytest.MonkeyPatch) -> None:
    SitePackages(tmp_path / "site", monkeypatch).install("critical", {"critical": "critical"}, critical=CRITICAL)
    text = '[source.soda]\npath = "/soda"\n[destination.there]\ntype = "critical"\n[[route]]\nto = ["there"]\n'
    (tmp_path / "router.toml").write_text(text)
    (tmp_path / "evaluation.json").write_bytes(EVENTS[1])
    human = sodarouter("route", "evaluation.json").out
    assert "nothing is sent: this is no incident" in human
    assert "does not say what it would send" not in human
    (told,) = sodarouter("route", "evaluation.json", "--json").json["deliveries"]
    assert (told["previewed"], told["target"], told["body"]) == (True, "nothing is sent: this is no incident", "")
