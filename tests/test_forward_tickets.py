"""`forward` and what its other side makes of incidents: kept, updated and linked."""

import json
import ssl
from typing import Any

import pytest
import trustme
from pydantic import ValidationError
from running import SOURCE, running_router
from sink import Answer, open_sink
from sodarouter_forward import Forward
from structlog.testing import capture_logs
from support import make_delivery, make_event, opened

from sodarouter import IncidentLink, Store
from sodarouter.spool import DeliveryFilter

JIRA = {
    "keep": {"key": "$.key"},
    "link": {"url": "https://jira.example/browse/{{ kept.key }}", "text": "{{ kept.key }}"},
}
CREATED = "v4-2025-08-incidentCreated"


def answer(document: object) -> Answer:
    return Answer(201, body=json.dumps(document).encode())


class Memory:
    """What a destination keeps, over its deliveries."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def open(self) -> Store:
        async def read(key: str) -> str | None:
            return self.values.get(key)

        return Store(read, 0.0)

    def close(self, store: Store) -> None:
        self.values |= {key: kept.value for key, kept in store.seal().items() if kept}


async def deliver(forward: Forward, memory: Memory, **known: Any) -> IncidentLink | None:
    event, store = make_event(CREATED, **known), memory.open()
    try:
        return await forward.deliver(event, make_delivery(event), store)
    finally:
        memory.close(store)


async def test_an_incident_becomes_a_ticket_and_its_update_changes_it():
    update = {"url": "URL/issue/{{ kept.key }}/comment", "body": '{"at": "{{ kept.key }}"}'}
    async with open_sink(answer({"id": 1, "key": "OPS/17"})) as sink:
        update["url"] = update["url"].replace("URL", sink.url)
        memory = Memory()
        async with opened(Forward, {"url": f"{sink.url}/issue", "update": update, **JIRA}) as forward:
            link = IncidentLink("https://jira.example/browse/OPS/17", "OPS/17")
            assert await deliver(forward, memory) == link
            assert await deliver(forward, memory) == link
        first, second = sink.requests
        assert (first.method, first.target, first.body) == ("POST", "/issue", make_event(CREATED).raw)
        assert (second.method, second.target, second.body) == ("PUT", "/issue/OPS%2F17/comment", b'{"at": "OPS/17"}')


async def test_incidents_are_told_apart_by_their_source_and_id():
    update = {"url": "/{{ kept.key }}"}
    async with open_sink(answer({"key": "A"})) as sink:
        update["url"] = sink.url + update["url"]
        memory = Memory()
        async with opened(Forward, {"url": f"{sink.url}/new", "update": update, **JIRA}) as forward:
            await deliver(forward, memory)
            await deliver(forward, memory, source="staging")
        assert [request.target for request in sink.requests] == ["/new", "/new"]
    assert list(memory.values) == [f"{source}/{make_event(CREATED).view.incident.id}" for source in ("soda", "staging")]


async def test_without_update_every_event_is_sent_alike_and_the_link_is_of_the_last():
    async with open_sink(answer({"key": "A"}), answer({"key": "B"})) as sink:
        memory = Memory()
        async with opened(Forward, {"url": f"{sink.url}/new", **JIRA}) as forward:
            assert [(await deliver(forward, memory)).text for _ in range(2)] == ["A", "B"]


async def test_an_update_that_keeps_the_body_has_the_destination_s_format():
    update = {"url": "/{{ kept.key }}", "method": "PATCH"}
    async with open_sink(answer({"key": "A"})) as sink:
        update["url"] = sink.url + update["url"]
        options = {"url": sink.url, "body": "{{ event.type }}", "update": update, **JIRA}
        memory = Memory()
        async with opened(Forward, options) as forward:
            await deliver(forward, memory)
            await deliver(forward, memory)
        assert [(r.method, r.body) for r in sink.requests] == [
            ("POST", b"incidentCreated"),
            ("PATCH", b"incidentCreated"),
        ]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"<html>", "it has nothing of what is to be kept"),
        (b'{"key": ', "it has nothing of what is to be kept"),
        (b'{"key": {"deep": 1}}', "it has nothing of what is to be kept"),
        (b'{"key": null}', "it has nothing of what is to be kept"),
        (b"17", "it has nothing of what is to be kept"),
        (b'{"key": "%s"}' % (b"x" * 20_000), "store: the value of"),
    ],
)
async def test_an_answer_of_which_nothing_can_be_kept_is_told_and_the_event_not_sent_again(body, fault):
    async with open_sink(Answer(201, body=body)) as sink:
        async with opened(Forward, {"url": sink.url, **JIRA}) as forward:
            with capture_logs() as logged:
                assert await deliver(forward, Memory()) is None
        (line,) = [line for line in logged if line["log_level"] == "error"]
        assert line["event"] == "nothing can be made of the answer"
        assert line["fault"].startswith(fault)


async def test_an_answer_that_is_nested_deep_does_not_have_the_event_sent_again():
    deep = b'{"a":' * 190 + b'{"key": "A"}' + b"}" * 190
    async with (
        open_sink(Answer(201, body=deep)) as sink,
        opened(Forward, {"url": sink.url, **JIRA, "keep": {"key": "$..key"}}) as forward,
    ):
        with capture_logs() as logged:
            assert await deliver(forward, Memory()) is None
    assert [line["event"] for line in logged] == ["nothing can be made of the answer"]


async def test_a_link_whose_template_fails_is_told_and_the_ticket_kept():
    link = {"url": "https://x/{{ kept.other.deep }}"}
    async with open_sink(answer({"key": "A"})) as sink:
        memory = Memory()
        async with opened(Forward, {"url": sink.url, "keep": {"key": "$.key"}, "link": link}) as forward:
            with capture_logs() as logged:
                assert await deliver(forward, memory) is None
    assert len(memory.values) == 1
    assert "template, line 1" in next(line["fault"] for line in logged if line["log_level"] == "error")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"keep": {"key": "key"}}, 'a JSONPath begins with "$", as in $.issue.key'),
        ({"keep": {"key": "$.["}}, "is no JSONPath: expected a shorthand selector"),
        ({"keep": {"key": 7}}, "a JSONPath is a text"),
        ({"keep": {"Key!": "$.key"}}, "String should match pattern"),
        ({"keep": {"key": "$.key"}}, "keep has no effect without update or link"),
        ({"link": {"url": "https://x/"}}, "link needs keep, which says what of the answer is kept"),
        ({"update": {"url": "https://x/"}}, "update needs keep"),
        ({"keep": {"key": "$.key"}, "update": {"url": "https://{{ kept.key }}/"}}, "stands behind the host"),
        ({"body": "{{ kept.key }}"}, "'kept' is nothing that a template sees"),
    ],
)
def test_what_cannot_be_meant_is_a_fault(options, fault):
    with pytest.raises(ValidationError) as caught:
        Forward.options_type.model_validate({"url": "https://example.org/hook", **options})
    assert fault in str(caught.value)


async def test_the_ticket_of_an_incident_is_linked_in_soda_and_updated(tmp_path):
    """All of it: one router, a tracker, and a server that stands for Soda's."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    async with open_sink(answer({"key": "OPS-17"})) as tracker, open_sink(tls=context) as soda:
        port = soda.url.rpartition(":")[2]
        toml = f"""
            [links]
            hosts = ["localhost:{port}"]
            [destination.jira]
            type = "forward"
            url = "{tracker.url}/issue"
            keep = {{ key = "$.key" }}
            link = {{ url = "https://jira.example/{{{{ kept.key }}}}" }}
            order_by = "incident"
            update = {{ url = "{tracker.url}/issue/{{{{ kept.key }}}}" }}
            [[route]]
            to = ["jira"]
        """
        listen = """
            [outgoing]
            allow = ["127.0.0.0/8"]
            ca = "ca.pem"
            [server]
            listen = ["127.0.0.1:0"]
            [admin]
            listen = ["127.0.0.1:0"]
        """
        async with running_router(tmp_path, toml, listen=listen, source=SOURCE) as router:
            callback = f"https://localhost:{port}/incident-link/1/0123456789abcdef"
            for status in ("reported", "fixing", "resolved"):
                body = {"event": "incidentUpdated", "incident": {"id": "i-1", "status": status}}
                await router.post(json.dumps({**body, "incidentLinkCallbackUrl": callback}).encode())
            await router.until_settled()
            assert [request.target for request in tracker.requests] == ["/issue", "/issue/OPS-17", "/issue/OPS-17"]
            (request,) = soda.requests
            assert json.loads(request.body) == {"url": "https://jira.example/OPS-17", "text": "jira"}
            assert len(router.reader.deliveries(DeliveryFilter(destination="$link"), limit=9)) == 1
