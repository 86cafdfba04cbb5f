"""The whole way: a webhook comes in over a socket, and arrives where the routes say."""

import json
import ssl
from pathlib import Path

import httpx2
import pytest
import trio
import trustme
from running import running_router, until
from sink import Answer, open_sink
from support import SAMPLES, payload

from sodarouter.delivery import State
from sodarouter.spool import DeliveryFilter, EventFilter


def file_and_forward(url: str) -> str:
    return f"""
        [destination.log]
        type = "file"
        path = "events.jsonl"
        format = "payload"
        [destination.hook]
        type = "forward"
        url = "{url}/hook"
        retry = {{ initial = "1ms" }}
        [[route]]
        to = ["log", "hook"]
    """


async def test_every_sample_arrives_at_every_destination(tmp_path: Path) -> None:
    delivered = [name for name in SAMPLES if name != "v3-validate"]
    async with open_sink() as sink, running_router(tmp_path, file_and_forward(sink.url)) as router:
        for name in SAMPLES:
            assert (await router.post(payload(name))).status_code == 200
        settled = await router.until_settled()
        assert {d.state for d in settled} == {State.DELIVERED}
        assert sorted(request.body for request in sink.requests) == sorted(map(payload, delivered))
        lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
        kinds = sorted(json.loads(line)["event"] for line in lines)
        assert kinds == sorted(json.loads(payload(name))["event"] for name in delivered)


async def test_only_the_results_that_match_travel_and_all_other_bytes_stay(tmp_path: Path) -> None:
    toml = """
        [destination.hook]
        type = "forward"
        url = "%s"
        [[route]]
        match = { outcome = "fail" }
        to = ["hook"]
    """
    given = [(b"a", b"fail"), (b"b", b"pass"), (b"c", b"fail")]
    one, two, three = (b'{"name":"%s" , "outcome":"%s","n":1.0e2}' % pair for pair in given)
    body = b'{"event":"checkEvaluation",  "checkResults" : [ %b,%b , %b ],"x":"\xc3\xa9"}'
    async with open_sink() as sink, running_router(tmp_path, toml % sink.url) as router:
        await router.post(body % (one, two, three))
        await router.until_settled()
        (request,) = sink.requests
        assert request.body == b'{"event":"checkEvaluation",  "checkResults" : [ %b, %b ],"x":"\xc3\xa9"}' % (
            one,
            three,
        )


async def test_an_unrouted_event_is_kept_and_listed(tmp_path: Path) -> None:
    toml = '[destination.log]\ntype = "file"\npath = "x"\n[[route]]\nmatch = { event = "contract*" }\nto = ["log"]\n'
    async with running_router(tmp_path, toml) as router:
        answer = await router.post(payload("v3-incidentCreated"))
        assert await router.until_settled() == []
        (unrouted,) = router.reader.events(EventFilter(unrouted=True), limit=9)
        assert unrouted.event.id == answer.json()["id"]


async def test_a_destination_that_fails_is_retried_with_the_same_id_until_it_takes_it(tmp_path: Path) -> None:
    async with (
        open_sink(Answer(503), Answer(429), Answer(204)) as sink,
        running_router(tmp_path, file_and_forward(sink.url)) as router,
    ):
        await router.post(payload("v3-incidentCreated"))
        await router.until_settled()
        assert len(sink.requests) == 3
        assert len({request.headers["idempotency-key"] for request in sink.requests}) == 1
        (hook,) = router.reader.deliveries(DeliveryFilter(destination="hook"), limit=9)
        attempts = router.reader.attempts(hook.id)
        assert [attempt.state for attempt in attempts] == [State.PENDING, State.PENDING, State.DELIVERED]
        assert "503" in attempts[0].reason


async def test_a_dead_letter_can_be_read_and_retried(tmp_path: Path) -> None:
    async with (
        open_sink(Answer(410, body=b"gone away\x1b[2J"), Answer(200)) as sink,
        running_router(tmp_path, file_and_forward(sink.url)) as router,
    ):
        await router.post(payload("v3-incidentCreated"))
        await router.until_settled()
        (dead,) = router.reader.deliveries(DeliveryFilter(state=State.DEAD), limit=9)
        assert dead.reason.startswith("rejected: ")
        response = router.reader.attempts(dead.id)[0].response
        assert "gone away" in response
        assert "\x1b" not in response
        answer = await router.admin.post("/api/deliveries/retry", json={"deliveries": [dead.id, "no/such"]})
        assert answer.json() == {"retried": [dead.id]}
        assert {d.state for d in await router.until_settled()} == {State.DELIVERED}


async def test_a_destination_that_hangs_keeps_only_itself(tmp_path: Path) -> None:
    hangs = trio.Event()
    async with open_sink(Answer(hold=hangs)) as sink, open_sink() as good:
        toml = (
            file_and_forward(good.url)
            + f"""
            [destination.hung]
            type = "forward"
            url = "{sink.url}"
            concurrency = 2
            [[route]]
            to = ["hung"]
        """
        )
        async with running_router(tmp_path, toml) as router:
            for number in range(20):
                body = b'{"event": "checkEvaluation", "n": %d}' % number
                assert (await router.post(body)).status_code == 200
            await good.until_requests(20)
            await until(lambda: len(router.reader.deliveries(DeliveryFilter(state=State.DELIVERED), limit=99)) == 40)
            assert len(sink.requests) == 2
            stats = (await router.admin.get("/metrics")).text
            assert 'sodarouter_queue_depth{destination="hung",state="leased"} 2.0' in stats
            hangs.set()
            await router.until_settled()


async def test_the_counters_tell_what_happened(tmp_path: Path) -> None:
    async with open_sink() as sink, running_router(tmp_path, file_and_forward(sink.url)) as router:
        await router.post(payload("v4-2026-checkEvaluation"))
        await router.post(payload("v4-2026-checkEvaluation"))
        await router.post(b"no json")
        await router.until_settled()
        text = (await router.admin.get("/metrics")).text
        for line in (
            'sodarouter_events_received_total{duplicate="false",source="soda",type="checkEvaluation"} 1.0',
            'sodarouter_events_received_total{duplicate="true",source="soda",type="checkEvaluation"} 1.0',
            'sodarouter_events_refused_total{reason="malformed",source="soda",status="400"} 1.0',
            'sodarouter_deliveries_total{destination="hook",outcome="delivered"} 1.0',
            "sodarouter_quarantined 1.0",
        ):
            assert line in text


async def test_ready_says_so(tmp_path: Path) -> None:
    async with running_router(tmp_path, "") as router:
        answer = await router.admin.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["ready"] is True
        assert answer.json()["reasons"] == {}


async def test_a_full_spool_is_503_and_not_ready_with_the_reason(tmp_path: Path) -> None:
    async with running_router(tmp_path, '[spool]\nmax_size = "1 KiB"\n') as router:
        answer = await router.post(payload("v3-validate"))
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        ready = await router.admin.get("/readyz")
        assert ready.status_code == 503
        assert "max_size" in ready.json()["reasons"]["spool"]


async def test_the_admin_listener_asks_for_its_token(tmp_path: Path) -> None:
    listen = '[server]\nlisten = ["127.0.0.1:0"]\n[admin]\nlisten = ["127.0.0.1:0"]\ntoken = "canary-token"\n'
    async with running_router(tmp_path, "", listen=listen) as router:
        for path in ("/readyz", "/metrics", "/livez", "/nothing"):
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                answer = await router.admin.get(path, headers=headers)
                assert answer.status_code == 401
                assert "canary" not in answer.text
        headers = {"Authorization": "Bearer canary-token"}
        assert (await router.admin.get("/readyz", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("GET", "/api/deliveries/retry", None, 405),
        ("POST", "/api/deliveries/retry", b"{}", 422),
        ("POST", "/api/deliveries/retry", b"nonsense", 400),
    ],
)
async def test_the_admin_listener_refuses_with_problem_documents(
    tmp_path: Path, method: str, path: str, content: bytes | None, status: int
) -> None:
    async with running_router(tmp_path, "") as router:
        headers = {"Content-Type": "application/json"} if content else {}
        answer = await router.admin.request(method, path, content=content, headers=headers)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


async def test_sources_are_served_over_tls_and_unix_sockets_and_ipv6_alike(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    listen = """
        [server]
        listen = ["127.0.0.1:0", "[::1]:0"]
        tls = { cert = "cert.pem", key = "key.pem" }
        [admin]
        listen = ["unix:admin.sock"]
    """
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    trusting.check_hostname = False  # the certificate is for a name, the test has addresses
    async with running_router(tmp_path, "", listen=listen, verify=trusting) as router:
        for number, address in enumerate(router.bound.server):
            async with httpx2.AsyncClient(verify=trusting, trust_env=False) as client:
                body = b'{"event": "validate", "n": %d}' % number
                assert (await client.post(f"https://{address}/webhooks/soda", content=body)).status_code == 200
        assert len(router.reader.events(limit=9)) == 2
        assert (await router.admin.get("/readyz")).json()["ready"] is True
    assert not (tmp_path / "admin.sock").exists()
