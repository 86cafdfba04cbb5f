"""The destination type `forward` against a real HTTP server."""

import hashlib
import hmac
import itertools
import json
import logging
import re
import socket
import ssl
from base64 import b64decode, b64encode
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import tomli
import trio
import trio.testing
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from running import until
from sink import Answer, open_sink
from sodarouter_forward import Forward
from sodarouter_forward.options import ForwardOptions
from sodarouter_forward.request import Composer
from sodarouter_forward.tickets import LinkTable, UpdateTable
from support import SAMPLES, make_delivery, make_event, make_store, opened, payload

from sodarouter import ClientTls, Fallback, Reject, Retry
from sodarouter.outgoing.answer import judge

WEBHOOK_SECRET = "whsec_" + b64encode(b"a key of twenty-four byt").decode()


@pytest.fixture
async def sink():
    async with open_sink() as sink:
        yield sink


def forwarding(url: str, **options: Any) -> AbstractAsyncContextManager[Forward]:
    return opened(Forward, {"url": f"{url}/hook", **options})


async def deliver_once(url: str, sent: Any = "v4-2026-checkEvaluation", **options: Any) -> None:
    event = make_event(sent)
    async with forwarding(url, **options) as forward:
        await forward.deliver(event, make_delivery(event), make_store())


def fault(**options: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Forward.options_type.model_validate({"url": "https://example.org/hook", **options})
    return str(caught.value)


# what arrives


@pytest.mark.parametrize("sample", SAMPLES)
async def test_every_sample_arrives_byte_for_byte(sink, sample):
    await deliver_once(sink.url, sample)
    [request] = sink.requests
    assert request.body == payload(sample)
    assert (request.method, request.target) == ("POST", "/hook")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("sodarouter/")


@pytest.mark.parametrize(
    "raw",
    [
        b' {\t"event" :\r\n"validate" , "n": 1.0e+2, "a":"\\u00e9\\/" }\n\n',
        '{"event":"validate","text":"\u00e9 \u2028 \U0001f9c3 \u202e"}'.encode(),
        b'{"event":"validate","event":"validate","big":' + b"9" * 400 + b"}",
    ],
)
async def test_odd_bytes_arrive_as_they_came(sink, raw):
    await deliver_once(sink.url, raw)
    assert sink.requests[0].body == raw


async def test_a_large_body_arrives_whole(sink):
    raw = b'{"event":"validate","text":"' + b"x" * 3_000_000 + b'"}'
    await deliver_once(sink.url, raw)
    assert sink.requests[0].body == raw


async def test_a_template_makes_the_body(sink):
    await deliver_once(
        sink.url,
        {"event": "validate", "name": "Zo\u00eb"},
        body='{"text": {{ payload.name | tojson }}, "id": "{{ delivery.id }}"}',
        content_type="application/vnd.chat+json; charset=utf-8",
    )
    [request] = sink.requests
    assert json.loads(request.body)["text"] == "Zo\u00eb"
    assert int(request.headers["content-length"]) == len(request.body)
    assert request.headers["content-type"] == "application/vnd.chat+json; charset=utf-8"


async def test_a_template_that_fails_is_refused_and_sends_nothing(sink):
    with pytest.raises(Reject):
        await deliver_once(sink.url, body="{{ payload.no.such.thing }}")
    assert not sink.requests


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_the_method_is_a_choice(sink, method):
    await deliver_once(sink.url, method=method)
    assert sink.requests[0].method == method


async def test_the_query_is_sent_as_it_was_written(sink):
    event = make_event()
    async with opened(Forward, {"url": f"{sink.url}/a%2Fb?key=x%20y&key=z+1#part"}) as forward:
        await forward.deliver(event, make_delivery(event), make_store())
    assert sink.requests[0].target == "/a%2Fb?key=x%20y&key=z+1"


async def test_own_headers_are_sent(sink):
    await deliver_once(sink.url, headers={"X-Api-Key": "k3y", "User-Agent": "ours/1"})
    headers = sink.requests[0].headers
    assert (headers["x-api-key"], headers["user-agent"]) == ("k3y", "ours/1")


async def test_basic_authentication(sink):
    await deliver_once(sink.url, auth={"basic": {"username": "zo\u00eb", "password": "p:ss w\u00f6rd"}})
    kind, token = sink.requests[0].headers["authorization"].split()
    assert (kind, b64decode(token).decode()) == ("Basic", "zo\u00eb:p:ss w\u00f6rd")


async def test_bearer_authentication(sink):
    await deliver_once(sink.url, auth={"bearer": "t0ken"})
    assert sink.requests[0].headers["authorization"] == "Bearer t0ken"


async def test_the_idempotency_key_is_the_deliverys_and_stays_the_same_over_retries(sink):
    sink.script(Answer(503), Answer(200))
    event = make_event()
    async with forwarding(sink.url) as forward:
        with pytest.raises(Retry):
            await forward.deliver(event, make_delivery(event), make_store())
        await forward.deliver(event, make_delivery(event, attempt=2), make_store())
    first, second = (request.headers for request in sink.requests)
    assert first["idempotency-key"] == second["idempotency-key"] == f"{event.id}/there"
    assert first["x-sodarouter-event"] == second["x-sodarouter-event"] == event.id
    assert (first["x-sodarouter-attempt"], second["x-sodarouter-attempt"]) == ("1", "2")


async def test_what_is_late_replayed_or_stands_in_for_another_says_so(sink):
    event = make_event(late=True)
    async with opened(Forward, {"url": sink.url}) as forward:
        await forward.deliver(
            event, make_delivery(event, replay=3, fallback=Fallback("pager", "gone: \u00e9\nno")), make_store()
        )
        await forward.deliver(make_event(), make_delivery(make_event()), make_store())
    marked, plain = (request.headers for request in sink.requests)
    assert marked["x-sodarouter-late"] == "true"
    assert marked["x-sodarouter-replay"] == "3"
    assert marked["x-sodarouter-fallback-for"] == "pager"
    assert marked["x-sodarouter-fallback-reason"] == "gone: %C3%A9%0Ano"
    assert {name for name in plain if name.startswith("x-sodarouter-")} == {
        "x-sodarouter-event",
        "x-sodarouter-attempt",
    }


async def test_the_idempotency_header_can_be_named_and_turned_off(sink):
    await deliver_once(sink.url, idempotency_header="X-Request-Id")
    await deliver_once(sink.url, idempotency_header="")
    named, none = (request.headers for request in sink.requests)
    assert named["x-request-id"].endswith("/there")
    assert "idempotency-key" not in named
    assert "idempotency-key" not in none


async def test_a_delivery_id_that_does_not_fit_a_header_is_encoded(sink):
    event = make_event()
    async with forwarding(sink.url, sign={"type": "standard-webhooks", "secrets": [WEBHOOK_SECRET]}) as forward:
        await forward.deliver(event, make_delivery(event, "eu.prod \u00fc\r\nX: y"), make_store())
    headers = sink.requests[0].headers
    assert headers["idempotency-key"] == headers["webhook-id"] == f"{event.id}/eu%2Eprod%20%C3%BC%0D%0AX%3A%20y"


async def test_an_answers_cookies_are_not_kept(sink):
    sink.script(Answer(200, {"Set-Cookie": "session=1; Path=/"}))
    event = make_event()
    async with forwarding(sink.url) as forward:
        for _ in range(2):
            await forward.deliver(event, make_delivery(event), make_store())
    assert "cookie" not in sink.requests[1].headers


async def test_one_connection_serves_many_deliveries(sink):
    sink.script(Answer(200, body=b"taken, thank you" * 100))
    event = make_event()
    async with forwarding(sink.url) as forward:
        for _ in range(5):
            await forward.deliver(event, make_delivery(event), make_store())
    assert (len(sink.requests), sink.connections) == (5, 1)


# templates in the URL and in headers


INCIDENT = {"event": "incidentCreated", "incident": {"id": "a/../b?c#d &%", "number": 7, "title": "Zo\u00eb\r\nX-A: b"}}


async def test_a_url_may_hold_templates_and_what_they_insert_is_encoded(sink):
    event = make_event(INCIDENT)
    async with opened(
        Forward, {"url": f"{sink.url}/v2/{{{{ incident.id }}}}/x%20y?n={{{{ incident.number }}}}"}
    ) as forward:
        await forward.deliver(event, make_delivery(event), make_store())
    assert sink.requests[0].target == "/v2/a%2F..%2Fb%3Fc%23d%20%26%25/x%20y?n=7"


async def test_a_header_may_hold_a_template(sink):
    headers = {"X-Dedup": "soda-{{ incident.number }}", "X-Brace": "{ {x} }"}
    await deliver_once(sink.url, INCIDENT, headers=headers)
    assert sink.requests[0].headers["x-dedup"] == "soda-7"
    assert sink.requests[0].headers["x-brace"] == "{ {x} }"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"headers": {"X-A": "{{ incident.title }}"}}, "headers.X-A: what the template gives is not printable ASCII"),
        ({"headers": {"X-A": "{{ '' }}"}}, "headers.X-A: what the template gives is not"),
        ({"headers": {"X-A": "{{ contract.dataset }}"}}, "template, line 1, of a secret: it fails on this event"),
        ({"path": "/{{ '..' }}/x"}, r"url: a part of the rendered path is . or .."),
        ({"path": "/{{ '.' }}"}, r"url: a part of the rendered path is . or .."),
        ({"path": "/{{ incident.title | safe }}"}, "url: what the template gives is no URL"),
        ({"path": "/{{ contract.dataset }}"}, "template, line 1, of a secret: it fails on this event"),
    ],
)
async def test_what_a_template_gives_that_cannot_be_sent_is_refused(sink, options, reason):
    url = sink.url + options.pop("path", "/hook")
    event = make_event(INCIDENT)
    async with opened(Forward, {"url": url, **options}) as forward:
        with pytest.raises(Reject, match=re.escape(reason)):
            await forward.deliver(event, make_delivery(event), make_store())
    assert not sink.requests


@given(st.text())
def test_no_event_chooses_the_host(text):
    event = make_event({"event": "x", "a": text})
    url = "https://example.org:8443/a/{{ payload.a }}?b={{ payload.a | safe }}#{{ payload.a }}"
    composer = Composer(ForwardOptions.model_validate({"url": url}))
    try:
        composed = composer.compose(event, make_delivery(event), 0)
    except Reject:
        return
    assert (composed.url.scheme, composed.url.host, composed.url.port) == ("https", "example.org", 8443)
    assert composed.url.path.startswith("/a/")


async def test_a_template_that_computes_for_long_keeps_nothing_else(sink, monkeypatch):
    monkeypatch.setattr("sodarouter.template.budget.SECONDS", 0.2)
    late = 0.0

    async def others() -> None:
        nonlocal late
        while True:
            due = trio.current_time() + 0.01
            await trio.sleep_until(due)
            late = max(late, trio.current_time() - due)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        with pytest.raises(Reject, match="it was stopped after"):
            await deliver_once(
                sink.url, body="{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
            )
        nursery.cancel_scope.cancel()
    assert late < 0.15


# previews


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"body": "{{ incident.title | tojson }}", "content_type": "text/plain", "method": "PUT"},
        {"headers": {"X-Key": "c4nary-{{ incident.number }}", "User-Agent": "c4nary/1"}, "auth": {"bearer": "c4nary"}},
        {"sign": {"type": "hmac", "header": "X-Signature", "secrets": ["c4nary"], "timestamp_header": "X-Time"}},
        {"sign": {"type": "standard-webhooks", "secrets": [WEBHOOK_SECRET]}, "idempotency_header": ""},
    ],
)
async def test_a_preview_is_what_arrives(sink, options):
    event = make_event(INCIDENT, late=True)
    delivery = make_delivery(event, replay=2, fallback=Fallback("pager", "gone"), attempt=3)
    table = {"url": f"{sink.url}/c4nary/{{{{ incident.number }}}}", **options}
    shown = Forward("there", ForwardOptions.model_validate(table)).preview(event, delivery)
    async with opened(Forward, table) as forward:
        assert forward.preview(event, delivery) == shown
        await forward.deliver(event, delivery, make_store())
    [request] = sink.requests
    assert shown.target == f"{request.method} {sink.url}/**********"
    assert shown.body == request.body
    arrived = {
        name: value for name, value in request.headers.items() if name not in ("host", "content-length", "connection")
    }
    hidden = {name for name, value in shown.headers.items() if value == "**********"}
    assert {**shown.headers, **{name: arrived[name] for name in hidden}} == arrived
    assert hidden <= {"x-key", "user-agent", "authorization", "x-signature", "x-time", *WEBHOOK_HEADERS}
    assert "c4nary" not in repr(shown)


WEBHOOK_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def test_a_preview_refuses_what_deliver_would():
    event = make_event()
    with pytest.raises(Reject, match="template"):
        Forward("there", ForwardOptions.model_validate({"url": "http://h/", "body": "{{ incident.id }}"})).preview(
            event, make_delivery(event)
        )


# signatures


async def test_the_hmac_is_made_over_the_bytes_that_were_sent(sink):
    sign = {"type": "hmac", "header": "X-Soda-Signature", "secrets": ["s3cret"], "prefix": "sha256="}
    await deliver_once(sink.url, '{"event":"validate", "a":"\u00e9"}\n'.encode(), sign=sign)
    [request] = sink.requests
    expected = hmac.new(b"s3cret", request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-soda-signature"] == f"sha256={expected}"


async def test_the_hmac_is_made_over_what_a_template_gave(sink):
    sign = {
        "type": "hmac",
        "header": "X-Sig",
        "secrets": ["s3cret"],
        "algorithm": "sha512",
        "encoding": "base64",
        "timestamp_header": "X-Time",
    }
    await deliver_once(sink.url, {"event": "validate", "a": "\u00e9"}, sign=sign, body="text={{ payload.a }}")
    [request] = sink.requests
    signed = request.headers["x-time"].encode() + b"." + "text=\u00e9".encode()
    assert b64decode(request.headers["x-sig"]) == hmac.new(b"s3cret", signed, hashlib.sha512).digest()


async def test_the_standard_webhooks_library_accepts_the_signature_and_the_id_stays_over_retries(sink):
    sink.script(Answer(503), Answer(200))
    event = make_event()
    async with forwarding(sink.url, sign={"type": "standard-webhooks", "secrets": [WEBHOOK_SECRET]}) as forward:
        with pytest.raises(Retry):
            await forward.deliver(event, make_delivery(event), make_store())
        await forward.deliver(event, make_delivery(event, attempt=2), make_store())
    for request in sink.requests:
        assert standardwebhooks.Webhook(WEBHOOK_SECRET).verify(request.body, request.headers) == json.loads(event.raw)
        assert request.headers["webhook-id"] == f"{event.id}/there"


# what answers mean


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
async def test_these_answers_mean_taken(sink, status):
    sink.script(Answer(status))
    await deliver_once(sink.url)
    assert len(sink.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 507, 599, 600, 999])
async def test_these_answers_mean_later(sink, status):
    sink.script(Answer(status, body=b"not now"))
    with pytest.raises(Retry, match=f"answered {status}") as caught:
        await deliver_once(sink.url)
    assert caught.value.after is None
    assert caught.value.response == f"HTTP/1.1 {status}\nnot now"
    assert len(sink.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 418, 422, 426, 431, 451, 499])
async def test_these_answers_mean_never(sink, status):
    sink.script(Answer(status, body=b"no"))
    with pytest.raises(Reject, match=f"answered {status}") as caught:
        await deliver_once(sink.url)
    assert caught.value.response == f"HTTP/1.1 {status}\nno"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_redirects_are_refused_and_not_followed(sink, status):
    sink.script(Answer(status, {"Location": f"{sink.url}/elsewhere"}))
    with pytest.raises(Reject, match=f"answered {status}.*redirects are not followed"):
        await deliver_once(sink.url)
    assert len(sink.requests) == 1


async def test_retry_after_in_seconds_and_as_a_date_is_passed_on(sink):
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for value, least, most in [("120", 120, 120), (date, 3590, 3600)]:
        sink.script(Answer(429, {"Retry-After": value}))
        with pytest.raises(Retry) as caught:
            await deliver_once(sink.url)
        assert least <= caught.value.after <= most


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("9" * 400, float("inf")),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("-5", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("9" * 5000 + " Nov 1994", None),
    ],
)
def test_retry_after_is_read_in_all_its_forms_and_nonsense_is_ignored(retry_after, seconds):
    now = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()
    verdict = judge(503, retry_after, "", now)
    assert isinstance(verdict, Retry)
    assert verdict.after == seconds


async def test_only_the_beginning_of_an_answer_is_kept_and_bad_bytes_are_replaced(sink):
    sink.script(Answer(400, body=b"\xff" + b"x" * 10_000))
    with pytest.raises(Reject) as caught:
        await deliver_once(sink.url)
    assert caught.value.response == "HTTP/1.1 400\n\ufffd" + "x" * 8191


# what goes wrong on the way


@pytest.fixture
def refusing():
    """The ``host:port`` of a socket that is bound and does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


async def test_nobody_listening_means_later(refusing):
    with pytest.raises(Retry, match=r"^ConnectError: Connection refused$"):
        await deliver_once(f"http://{refusing}")


async def test_a_server_that_does_not_accept_means_later_after_the_connect_timeout():
    """A full backlog: the kernel leaves the next connection unanswered."""
    with trio.socket.socket() as deaf:
        await deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        waiting = [trio.socket.socket() for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for client in waiting:
                nursery.start_soon(client.connect, ("127.0.0.1", port))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Retry, match=r"^ConnectTimeout: no connection within connect_timeout$"):
                await deliver_once(f"http://127.0.0.1:{port}", connect_timeout="200ms")
            nursery.cancel_scope.cancel()
        for client in waiting:
            client.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(raw=b""), id="hangs up without a word"),
        pytest.param(Answer(reset=True), id="resets"),
        pytest.param(Answer(raw=b"HTTP/1.1 20"), id="breaks off in the status line"),
        pytest.param(Answer(raw=b"HTTP/1.1 503 Busy\r\nX: y\r\n"), id="breaks off in the headers"),
        pytest.param(Answer(raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), id="speaks something else"),
        pytest.param(Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000), id="sends endless headers"),
    ],
)
async def test_a_broken_answer_means_later(sink, answer):
    sink.script(answer, Answer(200))
    event = make_event()
    async with forwarding(sink.url) as forward:
        with pytest.raises(Retry, match=r"^(RemoteProtocolError|ReadError): "):
            await forward.deliver(event, make_delivery(event), make_store())
        await forward.deliver(event, make_delivery(event), make_store())


@pytest.mark.parametrize("reset", [False, True])
async def test_the_status_counts_when_the_body_breaks_off(sink, reset):
    sink.script(
        Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", reset=reset),
        Answer(raw=b"HTTP/1.1 410 Gone\r\nContent-Length: 100\r\n\r\nhalf", reset=reset),
    )
    await deliver_once(sink.url)
    with pytest.raises(Reject, match="answered 410 Gone"):
        await deliver_once(sink.url)


@pytest.mark.parametrize("status", [200, 500])
async def test_an_endless_body_is_left_after_its_beginning(sink, status):
    sink.script(Answer(status, body=itertools.repeat(b"x" * 5000)))
    event = make_event()
    async with forwarding(sink.url) as forward:
        if status == 200:
            await forward.deliver(event, make_delivery(event), make_store())
        else:
            with pytest.raises(Retry) as caught:
                await forward.deliver(event, make_delivery(event), make_store())
            assert len(caught.value.response) < 8300
        await sink.until_closed()


@pytest.mark.parametrize("status", [200, 400])
async def test_a_body_that_never_comes_is_not_waited_for(sink, monkeypatch, status):
    monkeypatch.setattr("sodarouter.outgoing.connection.READ_SECONDS", 0.1)

    async def stuck():
        yield b"some"
        await trio.sleep_forever()

    sink.script(Answer(status, body=stuck()))
    if status == 200:
        await deliver_once(sink.url)
    else:
        with pytest.raises(Reject) as caught:
            await deliver_once(sink.url)
        assert caught.value.response == "HTTP/1.1 400\nsome"


# cancellation


async def test_what_is_cancelled_takes_no_connection_from_others(sink):
    never, event = trio.Event(), make_event()
    async with forwarding(sink.url) as forward:

        async def four() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(forward.deliver, event, make_delivery(event), make_store())

        await four()
        sink.script(Answer(hold=never))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(four)
            await sink.until_requests(8)
            nursery.cancel_scope.cancel()
        await sink.until_closed()
        sink.script(Answer(200))
        await four()
        await four()
        assert (len(sink.requests), sink.connections) == (16, 8)


async def test_a_connection_that_nobody_has_used_for_long_is_left(sink, monkeypatch):
    monkeypatch.setattr("sodarouter.outgoing.connections.IDLE_SECONDS", -1.0)
    event = make_event()
    async with forwarding(sink.url) as forward:
        for connections in (1, 2, 3):
            await forward.deliver(event, make_delivery(event), make_store())
            await until(lambda: sink.open_connections == 1)
            assert sink.connections == connections


async def test_fifty_cancelled_at_once_close_their_connections(sink):
    sink.script(Answer(hold=trio.Event()))
    event = make_event()
    async with forwarding(sink.url) as forward:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(forward.deliver, event, make_delivery(event), make_store())
            await sink.until_requests(50)
            assert sink.open_connections == 50
            nursery.cancel_scope.cancel()
        await sink.until_closed()
        sink.script(Answer(200))
        await forward.deliver(event, make_delivery(event), make_store())


async def test_closing_closes_the_idle_connections(sink):
    await deliver_once(sink.url)
    await sink.until_closed()


# TLS


@pytest.fixture
def authority(tmp_path):
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return ca


def server_context(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
    return context


async def test_a_named_authority_is_trusted(authority, tmp_path):
    async with open_sink(tls=server_context(authority)) as sink:
        event = make_event()
        options = {"url": f"{sink.url}/hook", "tls": {"ca": "ca.pem"}}
        async with opened(Forward, options, folder=tmp_path) as forward:
            await forward.deliver(event, make_delivery(event), make_store())
        assert sink.requests[0].body == event.raw


async def test_an_unknown_authority_is_not_trusted(authority):
    async with open_sink(tls=server_context(authority)) as sink:
        with pytest.raises(Retry, match=r"^ConnectError: certificate not accepted: unable to get local issuer cert"):
            await deliver_once(sink.url)
        assert not sink.requests


async def test_a_certificate_for_another_name_is_not_accepted(authority, tmp_path):
    async with open_sink(tls=server_context(authority, "other.example")) as sink:
        with pytest.raises(Retry, match=r"^ConnectError: certificate not accepted: IP address mismatch$"):
            await deliver_once(sink.url, tls={"ca": str(tmp_path / "ca.pem")})


async def test_the_check_of_the_certificate_can_be_turned_off(authority):
    async with open_sink(tls=server_context(authority)) as sink:
        await deliver_once(sink.url, tls={"verify": False})
        assert len(sink.requests) == 1


@pytest.mark.parametrize("files", ["one", "two"])
async def test_a_client_certificate_is_shown(authority, tmp_path, files):
    context = server_context(authority)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = authority.issue_cert("router@example.org")
    tls = {"ca": str(tmp_path / "ca.pem"), "cert": str(tmp_path / "cert.pem")}
    if files == "one":
        mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    else:
        mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        mine.private_key_pem.write_to_path(tmp_path / "key.pem")
        tls["key"] = str(tmp_path / "key.pem")
    async with open_sink(tls=context) as sink:
        await deliver_once(sink.url, tls=tls)
        with pytest.raises(Retry, match=r"^(Read|Write|RemoteProtocol)Error: "):
            await deliver_once(sink.url, tls={"ca": tls["ca"]})
        assert len(sink.requests) == 1


async def test_plain_http_from_a_server_that_should_speak_tls_means_later(sink):
    with pytest.raises(Retry, match=r"^ConnectError: TLS: "):
        await deliver_once(sink.url.replace("http:", "https:"))


# proxies


@asynccontextmanager
async def open_proxy(status: bytes = b"200 Connection established"):
    """A small HTTP proxy: tunnels for https, absolute URLs for http. Gives its ``host:port`` and the heads it was sent."""
    heads: list[bytes] = []

    async def pump(source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope) -> None:
        async for data in source:
            await target.send_all(data)
        scope.cancel()

    async def serve(client: trio.SocketStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await client.receive_some()
        head, _, rest = data.partition(b"\r\n\r\n")
        heads.append(head)
        method, target, _ = head.split(b"\r\n")[0].split()
        if not status.startswith(b"2"):
            await client.send_all(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
            return
        address = target if method == b"CONNECT" else target.split(b"/")[2]
        host, _, port = address.decode().partition(":")
        server = await trio.open_tcp_stream(host, int(port))
        async with server, trio.open_nursery() as nursery:
            if method == b"CONNECT":
                await client.send_all(b"HTTP/1.1 " + status + b"\r\n\r\n")
            else:
                await server.send_all(head.replace(b"http://" + address, b"", 1) + b"\r\n\r\n" + rest)
            nursery.start_soon(pump, client, server, nursery.cancel_scope)
            nursery.start_soon(pump, server, client, nursery.cancel_scope)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}", heads
        nursery.cancel_scope.cancel()


async def test_a_proxy_carries_http(sink):
    async with open_proxy() as (proxy, heads):
        await deliver_once(sink.url, proxy=f"http://user:pr0xy@{proxy}")
    assert sink.requests[0].body == payload("v4-2026-checkEvaluation")
    assert heads[0].startswith(f"POST {sink.url}/hook HTTP/1.1".encode())
    assert b"Proxy-Authorization: Basic " + b64encode(b"user:pr0xy") in heads[0]


async def test_a_proxy_tunnels_https_and_sees_nothing_of_it(authority, tmp_path):
    async with open_sink(tls=server_context(authority)) as sink, open_proxy() as (proxy, heads):
        tls = {"ca": str(tmp_path / "ca.pem")}
        await deliver_once(sink.url, proxy=f"http://{proxy}", tls=tls, auth={"bearer": "t0ken"})
        assert sink.requests[0].headers["authorization"] == "Bearer t0ken"
    assert heads[0].startswith(b"CONNECT 127.0.0.1:")
    assert b"t0ken" not in heads[0]


async def test_a_proxy_that_refuses_means_later(refusing):
    async with open_proxy(b"407 c4nary") as (proxy, _):
        with pytest.raises(Retry, match=r"^ProxyError: the proxy answered 407$"):
            await deliver_once(f"https://{refusing}", proxy=f"http://{proxy}")


async def test_proxies_and_logins_of_the_environment_are_not_used(sink, refusing, monkeypatch, tmp_path):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{refusing}")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    await deliver_once(sink.url)
    assert "authorization" not in sink.requests[0].headers


# secrets


CANARIES = {
    "path": "c4nary-in-path",
    "query": "c4nary in+query",
    "header": "c4nary-in-header",
    "username": "c4nary-user",
    "password": "c4nary-in-password",
    "proxy": "c4nary-in-proxy",
    "key": "c4nary-in-key",
}


def canary_options(base: str, **options: Any) -> dict[str, Any]:
    return {
        "url": f"{base}/{CANARIES['path']}?token=c4nary%20in%2Bquery",
        "headers": {"X-Key": CANARIES["header"]},
        "auth": {"basic": {"username": CANARIES["username"], "password": CANARIES["password"]}},
        "sign": {"type": "hmac", "header": "X-Signature", "secrets": [CANARIES["key"]]},
        **options,
    }


@pytest.fixture
def no_canary(caplog):
    caplog.set_level(logging.INFO)
    encoded = b64encode(f"{CANARIES['username']}:{CANARIES['password']}".encode()).decode()

    def check(text: str) -> None:
        assert "c4nary" not in text
        assert encoded not in text
        assert encoded not in caplog.text
        assert "c4nary" not in caplog.text

    return check


@pytest.mark.parametrize("status", [302, 400, 500])
@pytest.mark.parametrize("length", [0, 2040, 65_400])
async def test_an_answer_that_quotes_the_request_is_stored_without_secrets(sink, no_canary, status, length):
    """Also where the quotation lies across the limit of what is kept."""

    def quoting(request):
        lines = [request.target, "c4nary in+query", *(f"{name}: {value}" for name, value in request.headers.items())]
        raw = f"HTTP/1.1 {status} no {request.target}\r\n\r\n{'x' * length}" + "\n".join(lines)
        return Answer(raw=raw.encode())

    sink.reply = quoting
    event = make_event()
    async with opened(Forward, canary_options(sink.url)) as forward:
        with pytest.raises((Retry, Reject)) as caught:
            await forward.deliver(event, make_delivery(event), make_store())
    assert CANARIES["path"] in sink.requests[0].target
    assert "**********" in caught.value.response
    no_canary(f"{caught.value!r} {caught.value} {caught.value.response}")


async def test_an_answer_that_quotes_what_templates_gave_is_stored_without_it(sink, no_canary):
    options = {
        "url": f"{sink.url}/c4nary-in-path/{{{{ incident.number }}}}?q=c4nary{{{{ incident.number }}}}",
        "headers": {"X-Key": "c4nary-key-{{ incident.number }}"},
    }
    sink.reply = lambda request: Answer(400, body=f"{sink.url}{request.target} {request.headers['x-key']}".encode())
    event = make_event(INCIDENT)
    async with opened(Forward, options) as forward:
        with pytest.raises(Reject) as caught:
            await forward.deliver(event, make_delivery(event), make_store())
    assert "**********" in caught.value.response
    no_canary(f"{caught.value!r} {caught.value.response}")


@pytest.mark.parametrize(
    ("answer", "proxied"),
    [
        (Answer(raw=b""), False),
        (Answer(raw=b"c4nary\r\n\r\n"), False),
        (Answer(raw=b"HTTP/1.1 c4nary\r\n\r\n"), False),
        (Answer(reset=True), False),
        (Answer(200), True),
    ],
)
async def test_no_failure_on_the_way_tells_a_secret(sink, refusing, no_canary, answer, proxied):
    sink.script(answer)
    options = {"proxy": f"http://me:{CANARIES['proxy']}@{refusing}"} if proxied else {}
    event = make_event()
    async with opened(Forward, canary_options(sink.url, **options)) as forward:
        with pytest.raises(Retry) as caught:
            await forward.deliver(event, make_delivery(event), make_store())
    no_canary(f"{caught.value!r} {caught.value} {caught.value.response}")
    assert sink.url.removeprefix("http://") not in caught.value.reason
    assert caught.value.__cause__ is None


async def test_an_unknown_host_is_not_named(no_canary):
    class NoSuchHost(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host, *_, **__):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, *_):
            raise AssertionError

    trio.socket.set_custom_hostname_resolver(NoSuchHost())
    with pytest.raises(Retry, match=r"^ConnectError: Name or service not known$") as caught:
        await deliver_once("http://c4nary.invalid")
    no_canary(str(caught.value))


# options


@pytest.mark.parametrize(
    "url",
    ["c4nary", "ftp://c4nary/x", "//c4nary/x", "http://", "http:///c4nary", "http://x:c4nary/", "http://x:70000/c4nary",
     "http://x/c4nary\x00", " http://x/c4nary", "http://me:c4nary@x/"],
)  # fmt: skip
def test_a_url_that_cannot_be_used_is_a_fault_that_does_not_quote_it(url):
    text = fault(url=url)
    assert "url" in text
    assert "c4nary" not in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"method": "GET"}, "POST"),
        ({"headers": {"Bad Name": "x"}}, "a header's name"),
        ({"headers": {"X-A\r\nX-B": "x"}}, "a header's name"),
        ({"headers": {"X-A": "c4nary\r\nX-B: y"}}, "a header's value"),
        ({"headers": {"X-A": "c4nary\u00e9"}}, "a header's value"),
        ({"headers": {"X-A": " c4nary"}}, "a header's value"),
        ({"headers": {"Content-Length": "5"}}, "the header Content-Length is set"),
        ({"headers": {"content-type": "text/plain"}}, "the header content-type is set"),
        ({"headers": {"idempotency-key": "c4nary"}}, "the header idempotency-key is set"),
        ({"headers": {"Authorization": "c4nary"}, "auth": {"bearer": "c4nary"}}, "the header Authorization is set"),
        (
            {"headers": {"x-s": "c4nary"}, "sign": {"type": "hmac", "header": "X-S", "secrets": ["c4nary"]}},
            "the header x-s is set",
        ),
        ({"headers": {"X-A": "c4nary", "x-a": "c4nary"}}, "the header x-a is set"),
        ({"content_type": "text/plain\nX: y"}, "a header's value"),
        ({"idempotency_header": "X Y"}, "a header's name"),
        ({"idempotency_header": "Content-Length"}, "the header Content-Length is set"),
        ({"sign": {"type": "hmac", "header": "X Y", "secrets": ["c4nary"]}}, "a header's name"),
        ({"sign": {"type": "hmac", "header": "X", "prefix": "a\n", "secrets": ["c4nary"]}}, "a header's value"),
        ({"sign": {"type": "hmac", "header": "content-type", "secrets": ["c4nary"]}}, "the header content-type is set"),
        ({"auth": {}}, "either basic or bearer"),
        ({"auth": {"bearer": "c4nary", "basic": {"username": "u", "password": "c4nary"}}}, "either basic or bearer"),
        ({"auth": {"bearer": "c4nary\n"}}, "a header's value"),
        ({"auth": {"basic": {"username": "a:b", "password": "c4nary"}}}, "username"),
        ({"proxy": "socks5://c4nary"}, "http://"),
        ({"proxy": "https://c4nary"}, "begins with http://"),
        ({"tls": {"ca": "no-such-file"}}, "ca cannot be used: No such file or directory"),
        ({"tls": {"cert": "no-such-file"}}, "cert and key cannot be used: No such file or directory"),
        ({"tls": {"key": "no-such-file"}}, "key needs cert"),
        ({"tls": {"ca": "no-such-file", "verify": False}}, "no effect"),
        ({"tls": {"verify": False}, "url": "http://x/"}, "no effect on an http:// url"),
        ({"body": "{{ open"}, "template, line 1"),
        ({"connect_timeout": "0s"}, "connect_timeout"),
        ({"follow_redirects": True}, "follow_redirects"),
    ],
)
def test_options_that_cannot_work_are_faults(options, expected):
    text = fault(**options)
    assert expected in text
    assert "c4nary" not in text


def test_a_tls_file_that_is_no_certificate_is_a_fault(authority, tmp_path):
    (tmp_path / "text.pem").write_text("hello")
    assert "ca cannot be used: no certificate or crl found" in fault(tls={"ca": str(tmp_path / "text.pem")})
    assert "cert and key cannot be used: " in fault(tls={"cert": str(tmp_path / "ca.pem")})


# documentation


DOCS = (Path(__file__).parent.parent / "docs/destinations/forward.md").read_text(encoding="utf-8")


def test_the_documentation_has_every_option_and_no_other():
    named = re.findall(r"^\| `([\w.]+)` \| ", DOCS.partition("## More")[0], re.MULTILINE)
    tables = {"tls": ClientTls, "update": UpdateTable, "link": LinkTable}
    inner = {f"{table}.{name}" for table, model in tables.items() for name in model.model_fields}
    assert set(named) == set(ForwardOptions.model_fields) - set(tables) | inner


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL))
async def test_the_examples_in_the_documentation_load(example, authority, tmp_path, monkeypatch):
    for name in re.findall(r'env = "(\w+)"', example):
        monkeypatch.setenv(name, "https://example.org/hook" if name.endswith("URL") else WEBHOOK_SECRET)
    mine = authority.issue_cert("router@example.org")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    mine.private_key_pem.write_to_path(tmp_path / "client-key.pem")
    [table] = tomli.loads(example)["destination"].values()
    assert table.pop("type") == Forward.type
    table.pop("order_by", None)
    event = make_event("v3-incidentCreated")
    async with opened(Forward, table, folder=tmp_path) as forward:
        forward.preview(event, make_delivery(event))
        if body := forward.options.body:
            assert json.loads(body.render(event, make_delivery(event)))
