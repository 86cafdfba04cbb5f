"""The destination type `apprise` against real receivers: an HTTP server and an SMTP server."""

import email
import email.policy
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from random import Random
from typing import Any

import pytest
import trio
from aiosmtpd.smtp import SMTP, Envelope, Session
from hypothesis import given
from hypothesis import strategies as st
from mailing import smtp_server
from pydantic import ValidationError
from running import running_router
from sink import Answer, Sink, open_sink
from sodarouter_apprise import AppriseDestination
from sodarouter_apprise.message import MAX_TITLE, compose, notify_type
from sodarouter_apprise.options import AppriseOptions
from sodarouter_apprise.service import secrets
from support import SAMPLES, make_delivery, make_event, opened

from sodarouter import Event, Fallback, Reject, Retry, State, soda
from sodarouter.redact import REDACTED
from sodarouter.simulate import simulate

CALLBACK = "https://cloud.soda.io/integrations/webhook/8224bbc2/incident-link/510fad8c/tokentokentoken"


@pytest.fixture
async def sink():
    async with open_sink() as sink:
        yield sink


def url_of(sink: Sink, rest: str = "hook") -> str:
    return f"json://{sink.url.partition('//')[2]}/{rest}"


async def deliver_once(url: str, sent: Any = "v4-2026-checkEvaluation", **options: Any) -> None:
    event = make_event(sent)
    async with opened(AppriseDestination, {"url": url, **options}) as destination:
        await trio.to_thread.run_sync(destination.deliver, event, make_delivery(event))


def fault(**options: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        AppriseOptions.model_validate({"url": "json://example.org", **options})
    return str(caught.value)


def message(event: Event, delivery: dict[str, Any] | None = None, **options: Any) -> Any:
    made = AppriseOptions.model_validate({"url": "json://example.org", **options})
    return compose(event, make_delivery(event, **delivery or {}), made)


# what arrives


@pytest.mark.parametrize("sample", SAMPLES)
async def test_every_sample_arrives_as_a_message(sink, sample):
    await deliver_once(url_of(sink), sample)
    [request] = sink.requests
    got = json.loads(request.body)
    made = message(make_event(sample))
    assert (request.method, request.target) == ("POST", "/hook")
    assert (got["title"], got["message"], got["type"]) == (made.title, made.body, made.notify_type)


def test_the_built_in_message_of_a_check():
    made = message(make_event("v4-2026-checkEvaluation"))
    assert made.title == "Failed: No missing values (ecommerce_orders in neondb)"
    assert made.body.splitlines()[0].startswith("failed: ")
    assert made.body_format == "text"


def test_the_built_in_message_of_an_incident_says_what_the_mail_says():
    made = message(make_event("v4-2025-08-incidentCreated"))
    assert made.title.startswith("INC-")
    assert made.body.splitlines()[0].startswith("New incident, ")
    assert made.body.splitlines()[-1].startswith("https://")


def test_of_many_results_ten_are_told():
    results = [{"id": str(number), "name": f"check {number}", "outcome": "fail"} for number in range(25)]
    made = message(make_event({"event": "checkEvaluation", "checkResults": results}))
    assert made.title == "25 failed"
    assert made.body.splitlines() == [*(f"failed: check {number}" for number in range(10)), "and 15 more"]


def test_a_message_says_why_it_comes_once_more():
    body = message(make_event(late=True), {"replay": 2, "fallback": Fallback("pager", "it gave up")}).body
    assert "an older update" in body
    assert "in replay 2" in body
    assert '"pager" gave up: it gave up' in body


@pytest.mark.parametrize("event_type", soda.EVENT_TYPES)
@given(seed=st.integers(0, 1 << 32))
def test_whatever_soda_sends_becomes_a_message_with_one_line_for_a_title(event_type, seed):
    made = message(make_event(simulate(event_type, random=Random(seed), now=datetime(2026, 5, 4, tzinfo=UTC))))
    assert 0 < len(made.title) <= MAX_TITLE
    assert "\n" not in made.title
    assert made.body
    assert all(line.strip() for line in made.body.splitlines())


def test_an_event_of_an_unknown_type_has_its_type_for_a_title():
    made = message(make_event({"event": "somethingNew", "what": [1]}))
    assert made.title == "somethingNew"
    assert made.notify_type == "info"


def test_templates_make_title_and_body():
    made = message(
        make_event(), title="{{ event.type }}\n{{ 'x' * 300 }}", body="*{{ event.id }}*", body_format="markdown"
    )
    assert made.title.startswith("checkEvaluation xxx")
    assert len(made.title) == MAX_TITLE
    assert made.body_format == "markdown"


async def test_html_is_escaped_and_becomes_text_where_a_service_wants_text(sink):
    sent = {"event": "incidentCreated", "incident": {"id": "1", "title": "<b>1 < 2</b>"}}
    html = "<p>{{ incident.title }}</p><p><b>two</b></p>"
    assert message(make_event(sent), html=html).body == "<p>&lt;b&gt;1 &lt; 2&lt;/b&gt;</p><p><b>two</b></p>"
    await deliver_once(url_of(sink, "?format=text"), sent, html=html)
    assert json.loads(sink.requests[0].body)["message"] == "<b>1 < 2</b>\ntwo"


def test_an_empty_message_is_refused():
    with pytest.raises(Reject, match="title and body are empty"):
        message(make_event(), title="{{ '' }}", body=" \n")


@pytest.mark.parametrize(
    "options", [{}, {"body": "{{ payload }}"}, {"html": "{{ payload }}"}, {"title": "{{ payload }}"}]
)
def test_sodas_callback_url_is_in_no_message(options):
    event = make_event({"event": "incidentCreated", "incident": {"id": "1"}, "incidentLinkCallbackUrl": CALLBACK})
    assert "tokentoken" not in repr(message(event, **options))


@pytest.mark.parametrize(
    ("sent", "type_"),
    [
        ({"incident": {"severity": "major"}}, "failure"),
        ({"incident": {"severity": "critical", "status": "reported"}}, "failure"),
        ({"incident": {"severity": "minor"}}, "warning"),
        ({"incident": {}}, "warning"),
        ({"incident": {"severity": "critical", "status": "resolved"}}, "success"),
        ({"checkResults": [{"outcome": "pass"}, {"outcome": "fail"}]}, "failure"),
        ({"checkResults": [{"outcome": "error"}]}, "failure"),
        ({"checkResults": [{"outcome": "pass"}, {"outcome": "warn"}]}, "warning"),
        ({"checkResults": [{"outcome": "notEvaluated"}]}, "warning"),
        ({"checkResults": [{"outcome": "pass"}]}, "success"),
        ({"checkResults": []}, "info"),
        ({}, "info"),
    ],
)
def test_severities_and_outcomes_have_one_of_four_types(sent, type_):
    event = make_event({"event": "incidentCreated" if "incident" in sent else "checkEvaluation", **sent})
    assert notify_type(event.view) == type_
    assert message(event, notify_type="success").notify_type == "success"


# how it ends


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_what_is_not_taken_is_tried_again_and_not_by_apprise(sink, status):
    sink.script(Answer(status))
    with pytest.raises(Retry, match="JSON") as caught:
        await deliver_once(url_of(sink, "secret-path-in-the-url"))
    assert str(status) in caught.value.response
    assert "secret-path" not in repr(caught.value) + caught.value.response
    assert len(sink.requests) == 1


async def test_a_receiver_that_is_not_there_is_tried_again():
    with pytest.raises(Retry):
        await deliver_once("json://127.0.0.1:9/hook")


async def test_redirects_are_not_followed(sink):
    async with open_sink() as elsewhere:
        sink.script(Answer(307, {"Location": f"{elsewhere.url}/hook"}))
        with pytest.raises(Retry):
            await deliver_once(url_of(sink))
        assert not elsewhere.requests


async def test_what_apprise_logs_is_in_no_log(sink, capfd):
    """It quotes URLs, and says at each attempt what is kept with the attempt anyway."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]  # a logger that takes down whatever comes
    logging.getLogger().addHandler(handler)
    sink.script(Answer(500))
    with pytest.raises(Retry):
        await deliver_once(url_of(sink))
    fault(url="slack://hush")
    logging.getLogger().removeHandler(handler)
    assert [record.name for record in records if record.name.startswith("apprise")] == []
    assert capfd.readouterr() == ("", "")


async def test_deliveries_at_once_do_not_share_a_service(sink):
    held = trio.Event()
    sink.script(Answer(hold=held))
    event = make_event()
    async with opened(AppriseDestination, {"url": url_of(sink)}) as destination:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.to_thread.run_sync, destination.deliver, event, make_delivery(event))
            await sink.until_requests(3)
            held.set()
        assert len({id(service) for service in destination._idle}) == 3


# mail, as another independent receiver


@pytest.fixture
def mails() -> Iterator[tuple[int, list[EmailMessage]]]:
    """The port of an SMTP server, and what it gets."""
    got: list[EmailMessage] = []

    class Handler:
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
            assert isinstance(envelope.content, bytes)
            parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(parsed, EmailMessage)
            got.append(parsed)
            return "250 OK"

    with smtp_server(Handler()) as port:
        yield port, got


async def test_mail_arrives(mails):
    port, got = mails
    url = f"mailto://127.0.0.1:{port}?from=soda@example.org&to=team@example.org&mode=insecure"
    await deliver_once(url, "v4-2025-08-incidentCreated")
    [mail] = got
    made = message(make_event("v4-2025-08-incidentCreated"))
    assert mail["Subject"] == made.title
    assert "team@example.org" in mail["To"]
    body = mail.get_body(("html", "plain"))
    assert body is not None
    assert "New incident" in body.get_content()


# through the router


async def test_a_router_delivers_and_tells_no_secret(tmp_path, sink):
    sink.script(Answer(200), Answer(403, body=b"no"))
    (tmp_path / "url").write_text(url_of(sink, "hush-hush-hush"))
    toml = '[destination.chat]\ntype = "apprise"\nurl = { file = "url" }\nretry = { max_attempts = 1 }\n'
    async with running_router(tmp_path, toml + '[[route]]\nto = ["chat"]\n') as router:
        for sample in ("v4-2026-checkEvaluation", "v4-2025-08-incidentCreated"):
            await router.post(make_event(sample).raw)
            settled = await router.until_settled()
        newest, oldest = settled
        (attempt,) = router.reader.attempts(newest.id)
    assert (oldest.state, newest.state) == (State.DELIVERED, State.DEAD)
    assert "403" in attempt.response
    assert "hush" not in newest.reason + attempt.response


# options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "hushhush"}, "must be a URL of Apprise, which begins with the name of a service"),
        ({"url": "slacc://hush/hush"}, "Apprise has no service with this scheme; did you mean slack://?"),
        ({"url": "hush-hush-hush://x"}, "Apprise has no service with this scheme"),
        ({"url": "slack://hush"}, "Apprise cannot use this slack:// URL"),
        ({"url": "json://:hush@"}, "Apprise cannot use this json:// URL"),
        ({"url": "json://example.org?hush=hush&retry=3"}, "leave retry out of the URL"),
        ({"url": "json://example.org?wait=3"}, "leave wait out of the URL"),
        ({"url": "json://example.org?optional=yes"}, "leave optional out of the URL"),
        ({"body": "x", "html": "x"}, "html takes the place of body"),
        ({"body_format": "markdown"}, "body_format is about body"),
        ({"body": "x", "body_format": "html"}, "'text' or 'markdown'"),
        ({"title": "{{ incidnet }}"}, "did you mean 'incident'"),
    ],
)
def test_a_wrong_option_is_told_without_the_url(options, said):
    told = fault(**options)
    assert said in told
    assert "hush" not in told


def test_without_the_package_the_fault_says_how_to_get_it(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "apprise"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert "needs the package apprise; pip install 'sodarouter[apprise]'" in fault(url="json://example.org")


@pytest.mark.parametrize(
    "url",
    [
        "slack://aaaaaaaaa/bbbbbbbbb/cccccccccccc",
        "tgram://123456789:abcdefghijklmnop/12315544/",
        "discord://123456789012345678/abcdefghijklmnopqrstuvwxyz",
        "msteams://team/abcdefgh@ijkl/mnop/qrst",
        "pover://abcdefghijklmnopqrstuvwxyzabcd@abcdefghijklmnopqrstuvwxyzabcd",
        "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    ],
)
def test_every_part_of_a_url_is_a_secret(url):
    hidden = secrets(url)
    for part in url.partition("://")[2].replace("/", " ").replace(":", " ").replace("@", " ").split():
        assert part in hidden or len(part) < 4


def test_a_preview_shows_the_message_and_not_the_url():
    event = make_event()
    options = AppriseOptions.model_validate({"url": "json://user:hush@example.org/hush"})
    shown = AppriseDestination("there", options).preview(event, make_delivery(event))
    assert shown.target == f"json://{REDACTED}"
    assert shown.headers == {"title": message(event).title, "type": "failure", "format": "text"}
    assert shown.body.startswith(b"failed: ")
    assert "hush" not in repr(shown)
