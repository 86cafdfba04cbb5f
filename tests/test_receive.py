"""The intake, over real sockets: what each request is answered, and what is kept of it."""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from running import LISTEN, Running, running_router, until
from structlog.testing import capture_logs
from support import PAYLOADS, SAMPLES, make_event, payload

from sodarouter.admit import Here
from sodarouter.errors import SpoolError, SpoolFull
from sodarouter.event import Event
from sodarouter.observe import Observers
from sodarouter.receive import Intake, Receiver, Source
from sodarouter.replies import Replies
from sodarouter.spool import MemorySpool

pytestmark = pytest.mark.usefixtures("http")

TOKEN = "Bearer canary-4711"
SOURCES = f"""
[source.open]
path = "/open"
duplicate_window = "1h"
[source.closed]
path = "/closed"
verify = [{{ type = "header", name = "Authorization", value = "{TOKEN}" }}]
"""


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_router(tmp_path, "", source=SOURCES) as router:
        yield router


def shown_of(body: bytes) -> bytes:
    """What people see of a body: a callback URL is sealed, and only a delivery has it back."""
    return make_event(body).raw_redacted


def is_problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """RFC 9457: the media type, and the members that a client may rely on."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["title"]
    return document


@pytest.mark.parametrize("sample", SAMPLES)
async def test_every_sample_is_accepted_and_kept_byte_for_byte(router: Running, sample: str) -> None:
    answer = await router.post(payload(sample), "/open")
    assert answer.status_code == 200
    stored = router.reader.event(answer.json()["id"])
    assert stored
    assert stored.event.raw == shown_of(payload(sample))
    assert stored.event.source == "open"


async def test_unknown_types_and_unknown_fields_are_accepted(router: Running) -> None:
    for body in (b'{"event": "scanFailed", "scan": {"state": "timedOut"}}', b'{"event": "validate", "new": [1, {}]}'):
        assert (await router.post(body, "/open")).status_code == 200


async def test_the_content_type_does_not_matter(router: Running) -> None:
    for number, kind in enumerate(("text/plain", "application/x-www-form-urlencoded", "")):
        body = b'{"event": "validate", "n": %d}' % number
        assert (await router.post(body, "/open", headers={"Content-Type": kind})).status_code == 200


async def test_a_repeat_gets_the_same_id_and_is_not_delivered_again(router: Running) -> None:
    body = payload("v4-2025-08-contractPublished")
    first, second = await router.post(body, "/open"), await router.post(body, "/open")
    assert second.status_code == 200
    assert second.json() == {"id": first.json()["id"], "duplicate": True}
    assert len(router.reader.events(limit=9)) == 1


async def test_the_same_bytes_at_another_source_are_another_event(router: Running) -> None:
    body = payload("v3-validate")
    one = await router.post(body, "/open")
    other = await router.post(body, "/closed", headers={"Authorization": TOKEN})
    assert one.json()["id"] != other.json()["id"]


async def test_who_is_not_verified_is_refused_and_nothing_is_kept(router: Running) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN.lower()}):
        answer = await router.post(b'{"event": "validate"}', "/closed", headers=headers)
        is_problem(answer, 401)
        assert "canary" not in answer.text
        assert answer.headers["www-authenticate"]
    is_problem(await router.post(b"not json", "/closed"), 401)
    assert router.reader.events(limit=9) == []
    assert router.reader.quarantined(limit=9) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"hello", 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        (b'"event"', 400),
        (b"{}", 400),
        (b'{"event": 5}', 400),
        (b'{"event": "validate", "x": NaN}', 400),
        (b'{"event":"x","d":' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
        (b'{"event": "checkEvaluation", "checkResults": {}}', 422),
        (b'{"event": "incidentCreated", "incident": []}', 422),
    ],
)
async def test_a_verified_body_that_cannot_be_parsed_goes_to_quarantine(
    router: Running, body: bytes, status: int
) -> None:
    answer = await router.post(body, "/closed", headers={"Authorization": TOKEN})
    document = is_problem(answer, status)
    (refused,) = router.reader.quarantined(limit=9)
    assert (refused.raw, refused.source, refused.status) == (body, "closed", status)
    assert refused.detail == document["detail"]


async def test_every_fault_of_a_shape_is_told_with_its_path(router: Running) -> None:
    body = {"event": "checkEvaluation", "checkResults": [{"datasets": 5}, "text"]}
    document = is_problem(await router.post(json.dumps(body).encode(), "/open"), 422)
    assert [error["path"] for error in document["errors"]] == ["checkResults[0].datasets", "checkResults[1]"]


async def test_what_is_no_webhook_path_is_not_found(router: Running) -> None:
    for path in ("/", "/open/", "/readyz", "/metrics", "/api/retry", "/openx", "/%6fpen/.."):
        is_problem(await router.post(b"{}", path), 404)


async def test_the_internet_sees_that_the_router_lives_and_nothing_else(router: Running) -> None:
    answer = await router.server.get("/livez")
    assert (answer.status_code, answer.text) == (200, "ok\n")
    is_problem(await router.server.get("/readyz"), 404)


async def test_only_post_is_allowed(router: Running) -> None:
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = await router.server.request(method, "/open")
        is_problem(answer, 405)
        assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_bodies_are_taken_and_kept_plain(router: Running, encoding: str) -> None:
    body = payload("v3-incidentCreated")
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    answer = await router.post(packed, "/open", headers={"Content-Encoding": encoding})
    assert router.reader.event(answer.json()["id"]).event.raw == shown_of(body)


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"{}" * 999)[:-9], gzip.compress(b"{}") + b"rest"],
    ids=["none of it", "cut off", "more behind it"],  # what it compresses has the time in it
)
async def test_what_does_not_decompress_goes_to_quarantine(router: Running, body: bytes) -> None:
    is_problem(await router.post(body, "/open", headers={"Content-Encoding": "gzip"}), 400)
    assert [refused.raw for refused in router.reader.quarantined(limit=9)] == [body]


async def test_what_decompresses_and_does_not_parse_is_kept_readable(router: Running) -> None:
    is_problem(await router.post(gzip.compress(b"{"), "/open", headers={"Content-Encoding": "gzip"}), 400)
    assert [refused.raw for refused in router.reader.quarantined(limit=9)] == [b"{"]


async def test_unknown_encodings_are_named(router: Running) -> None:
    is_problem(await router.post(b"{}", "/open", headers={"Content-Encoding": "br"}), 415)


async def test_a_body_over_the_cap_is_refused_with_and_without_a_length(router: Running) -> None:
    large = b'{"event": "x", "filler": "' + b"x" * (5 << 20) + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 1 << 16):
            yield large[start : start + (1 << 16)]

    is_problem(await router.post(large, "/open"), 413)
    is_problem(await router.post(pieces(), "/open"), 413)  # type: ignore[arg-type]
    bomb = gzip.compress(large)
    assert len(bomb) < 50_000
    is_problem(await router.post(bomb, "/open", headers={"Content-Encoding": "gzip"}), 413)
    assert router.reader.quarantined(limit=9) == []


async def test_a_body_that_comes_too_slowly_is_answered_408(tmp_path: Path) -> None:
    toml = '[server]\nlisten = ["127.0.0.1:0"]\nbody_timeout = "200ms"\n[admin]\nlisten = ["127.0.0.1:0"]\n'
    async with running_router(tmp_path, "", source=SOURCES, listen=toml) as router:
        port = router.server.base_url.port
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b'POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{"event"')
        answer = b""
        while piece := await stream.receive_some():
            answer += piece
        assert answer.startswith(b"HTTP/1.1 408 ")
        await stream.aclose()


async def test_a_sender_that_goes_away_before_its_body_is_whole_leaves_nothing(router: Running) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", router.server.base_url.port)
    await stream.send_all(b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{")
    await stream.aclose()

    told = 'reason="disconnected",source="open",status="499"'
    while told not in (await router.admin.get("/metrics")).text:  # noqa: ASYNC110 (no event comes from over there)
        await trio.sleep(0.01)
    assert router.reader.events(limit=9) == []


async def test_a_sender_that_goes_away_after_its_body_is_still_taken_in(router: Running) -> None:
    body = payload("v3-incidentCreated")
    stream = await trio.open_tcp_stream("127.0.0.1", router.server.base_url.port)
    await stream.send_all(b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await stream.aclose()
    await until(lambda: len(router.reader.events(limit=9)) == 1)


HEAD = b"POST /open HTTP/1.1\r\nHost: x\r\n"
REFUSED = [
    (b"hello, is there anybody?\r\n\r\n", 400, "malformed"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "malformed"),
    (HEAD + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 431, "too_large"),
    (HEAD + b"X: x\r\n" * 150 + b"\r\n", 431, "too_large"),
    (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed"),
    (HEAD[:-5], 408, "timeout"),
]


async def test_what_is_refused_before_it_reaches_a_source_is_counted_and_told_once_a_minute(tmp_path: Path) -> None:
    listen = LISTEN.replace("[admin]", 'header_timeout = "100ms"\n[admin]')
    async with running_router(tmp_path, "[plugin.prometheus]\n", source=SOURCES, listen=listen) as router:
        with capture_logs() as logs:
            for sent, status, _ in REFUSED + REFUSED:
                assert (await sent_raw(router, sent)).split()[1] == b"%d" % status
            # who only looks whether somebody listens has asked for nothing, and who goes is not refused
            for sent in (b"", HEAD[:-5]):
                async with await connected(router) as stream:
                    await stream.send_all(sent)
            assert (await sent_raw(router, HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n")).split()[1] == b"400"
        counted = Counter(("", str(status), reason) for _, status, reason in REFUSED + REFUSED)
        counted["open", "400", "malformed"] = 1
        shown = (await router.admin.get("/metrics")).text
        found = re.findall(r'events_refused_total{reason="(\w+)",source="(\w*)",status="(\w+)"} (\S+)', shown)
        assert {(source, status, reason): float(count) for reason, source, status, count in found} == counted
    told = [line for line in logs if line["event"] == "a request was refused"]
    assert [line["status"] for line in told] == [*(status for _, status, _ in REFUSED), 400]
    assert {line["peer"] for line in told} == {"127.0.0.1"}
    assert {line["port"] for line in told} == {router.bound.server[0].port}
    assert [line["hint"] for line in told if "hint" in line] == [
        "a client speaks TLS, but this listener has no tls",
        "a client speaks HTTP/2; have the proxy speak HTTP/1.1 to the router",
    ]


async def test_whoever_sends_other_numbers_each_time_gets_no_more_lines(tmp_path: Path) -> None:
    verify = '[{ type = "standard-webhooks", secrets = ["whsec_c2VjcmV0"] }]'
    source = f'[source.signed]\npath = "/signed"\nverify = {verify}\n'
    async with running_router(tmp_path, "", source=source) as router:
        with capture_logs() as logs:
            for number in range(3):
                stale = {"webhook-id": "m", "webhook-timestamp": str(number), "webhook-signature": "v1,eA=="}
                assert (await router.server.post("/signed", content=b"{}", headers=stale)).status_code == 401
    (told,) = [line for line in logs if line["event"] == "a request was refused"]
    assert "seconds from now" in told["reason"]


async def connected(router: Running) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", router.server.base_url.port)


async def sent_raw(router: Running, sent: bytes) -> bytes:
    """What comes back until the connection is closed."""
    async with await connected(router) as stream:
        await stream.send_all(sent)
        return b"".join([piece async for piece in stream])


class FailingSpool(MemorySpool):
    """A spool whose disk has a bad day."""

    def __init__(self, error: SpoolError) -> None:
        super().__init__()
        self.error: SpoolError | None = error

    async def append(self, event: Event, *, window: float, deciding: Any = None) -> Any:
        if self.error:
            raise self.error
        return await super().append(event, window=window, deciding=deciding)


@pytest.mark.parametrize(("error", "word"), [(SpoolFull("full"), "spool_full"), (SpoolError("I/O"), "spool_failed")])
async def test_a_failing_spool_is_answered_503_until_it_recovers(error: SpoolError, word: str) -> None:
    spool, told = FailingSpool(error), []
    observers = Observers(refused=[("test", lambda source, status, reason: told.append((source, status, reason)))])
    admission = Here(spool, observers, lambda _: None, lambda _: None, lambda *_: None, Replies())
    receiver = Receiver([Source("soda", "/in", (), 600)], Intake(1000, 5), admission)
    answer = await ask(receiver)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert str(error) not in answer.text
    assert told == [("soda", 503, word)]
    spool.error = None
    assert (await ask(receiver)).status_code == 200


async def ask(receiver: Receiver) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=receiver)  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
        return await client.post("/in", content=b'{"event": "validate"}')


def test_the_samples_are_there() -> None:
    assert len(SAMPLES) == len(list(PAYLOADS.iterdir())) >= 10
