"""A configuration takes the place of another while the router works, whole or not at all."""

import json
import os
import signal
import ssl
from collections import Counter
from pathlib import Path

import httpx2
import pytest
import trio
import trustme
from running import LISTEN, SOURCE, as_served, router_process, running_router, until
from sink import Answer, open_sink
from support import payload

from sodarouter.delivery import State
from sodarouter.spool import DeliveryFilter

FILE = '[destination.{name}]\ntype = "file"\npath = "{name}.jsonl"\n'
EVERY = '[[route]]\nto = ["{name}"]\n'


def rewrite(folder: Path, toml: str, *, listen: str = LISTEN, source: str = SOURCE) -> None:
    (folder / "router.toml").write_text(as_served(listen) + source + toml, encoding="utf-8")


def to(name: str) -> str:
    return FILE.format(name=name) + EVERY.format(name=name)


def body(number: int) -> bytes:
    return json.dumps({"event": "checkEvaluation", "number": number}).encode()


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["payload"]["number"] for line in path.read_text().splitlines()] if path.exists() else []


async def test_what_comes_after_a_reload_is_routed_by_the_new_rules(tmp_path: Path) -> None:
    async with running_router(tmp_path, to("old")) as router:
        await router.post(body(1))
        await router.until_settled()
        rewrite(tmp_path, to("new"))
        assert await router.bound.reload() == ()
        await router.post(body(2))
        new, old = await router.until_settled()
        assert (numbers(tmp_path / "old.jsonl"), numbers(tmp_path / "new.jsonl")) == ([1], [2])
        assert new.config != old.config
        assert router.reader.event(new.event).config == new.config
        ready = (await router.admin.get("/readyz")).json()
        assert ready["config"]["hash"] == new.config
        assert ready["config"]["last_reload"]["ok"]


async def test_a_bad_file_leaves_everything_as_it_was_and_is_shown(tmp_path: Path) -> None:
    async with running_router(tmp_path, to("old")) as router:
        before = (await router.admin.get("/readyz")).json()["config"]["hash"]
        rewrite(tmp_path, to("old").replace("path", "pth"))
        (first, *_) = faults = await router.bound.reload()
        assert "pth" in str(first) or any("pth" in str(fault) for fault in faults)
        await router.post(body(1))
        await router.until_settled()
        assert numbers(tmp_path / "old.jsonl") == [1]
        answer = await router.admin.get("/readyz")
        assert answer.status_code == 200
        config = answer.json()["config"]
        assert config["hash"] == before
        assert config["last_reload"]["ok"] is False
        assert any("pth" in fault for fault in config["last_reload"]["faults"])
        metrics = (await router.admin.get("/metrics")).text
        assert "sodarouter_config_last_reload_successful 0" in metrics
        rewrite(tmp_path, to("old"))
        assert await router.bound.reload() == ()
        assert "sodarouter_config_last_reload_successful 1" in (await router.admin.get("/metrics")).text


async def test_a_destination_that_cannot_be_opened_keeps_the_old_ones_open(tmp_path: Path) -> None:
    async with running_router(tmp_path, to("old")) as router:
        rewrite(tmp_path, to("old") + '[destination.bad]\ntype = "file"\npath = "/proc/no/file"\n')
        (fault,) = await router.bound.reload()
        assert str(fault) == "router.toml: destination.bad: cannot be opened: /proc/no: no such file or directory"
        await router.post(body(1))
        await router.until_settled()
        assert numbers(tmp_path / "old.jsonl") == [1]


@pytest.mark.parametrize(
    ("listen", "more", "place"),
    [
        (LISTEN.replace("127.0.0.1:0", "127.0.0.1:1", 1), "", "server.listen"),
        (LISTEN + 'token = "a-token-of-some-length"\n', "", None),
        (LISTEN, '[spool]\npath = "elsewhere.db"\n', "spool.path"),
        (LISTEN, '[plugin.prometheus]\npath = "/elsewhere"\n', "plugin.prometheus"),
        (LISTEN, '[plugins]\ndisabled = ["email"]\n', "plugins"),
    ],
)
async def test_what_needs_a_restart_says_so(tmp_path: Path, listen: str, more: str, place: str | None) -> None:
    async with running_router(tmp_path, to("old")) as router:
        rewrite(tmp_path, to("old") + more, listen=listen)
        faults = await router.bound.reload()
        if place is None:
            assert faults == ()
            assert (await router.admin.get("/readyz")).status_code == 401
            return
        assert [(fault.place, fault.hint) for fault in faults] == [
            (f"router.toml: {place}", "put it back, or restart the router")
        ]


async def test_what_is_under_way_ends_under_the_rules_it_began_with(tmp_path: Path) -> None:
    release = trio.Event()
    hook = '[destination.hook]\ntype = "forward"\nurl = "{url}"\ntimeout = "{timeout}"\n' + EVERY.format(name="hook")
    async with (
        open_sink(Answer(hold=release)) as slow,
        open_sink() as quick,
        running_router(tmp_path, hook.format(url=slow.url, timeout="20s")) as router,
    ):
        await router.post(body(1))
        await slow.until_requests(1)
        rewrite(tmp_path, hook.format(url=quick.url, timeout="1s"))
        assert await router.bound.reload() == ()
        await router.post(body(2))
        await quick.until_requests(1)
        release.set()
        deliveries = await router.until_settled()
        assert [d.state for d in deliveries] == [State.DELIVERED] * 2
        assert [d.attempts for d in deliveries] == [1, 1]
        assert len(slow.requests) == len(quick.requests) == 1


async def test_what_waits_for_a_destination_that_was_removed_stays_visible(tmp_path: Path) -> None:
    hook = '[destination.hook]\ntype = "forward"\nurl = "{url}"\n' + EVERY.format(name="hook")
    async with (
        open_sink(Answer(503, {"Retry-After": "60"})) as sink,
        running_router(tmp_path, hook.format(url=sink.url)) as router,
    ):
        await router.post(body(1))
        await sink.until_requests(1)
        rewrite(tmp_path, to("other"))
        assert await router.bound.reload() == ()
        await until(lambda: not router.reader.deliveries(DeliveryFilter(state=State.LEASED), limit=1))
        (waiting,) = router.reader.deliveries(DeliveryFilter(destination="hook"), limit=9)
        assert waiting.state is State.PENDING
        queue = (await router.admin.get("/readyz")).json()["destinations"]["hook"]
        assert (queue["pending"], queue["breaker"]) == (1, None)
        # it comes back, and what waited goes on
        sink.script(Answer())
        rewrite(tmp_path, hook.format(url=sink.url))
        assert await router.bound.reload() == ()
        router.stopping.set()


async def test_an_unchanged_destination_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    hook = '[destination.hook]\ntype = "forward"\nurl = "{url}"\n' + EVERY.format(name="hook")
    async with open_sink() as sink, running_router(tmp_path, hook.format(url=sink.url)) as router:
        for number in range(3):
            await router.post(body(number))
            await router.until_settled()
            rewrite(tmp_path, hook.format(url=sink.url) + FILE.format(name=f"file-{number}"))
            assert await router.bound.reload() == ()
        assert {request.connection for request in sink.requests} == {1}


@pytest.mark.usefixtures("intake")
async def test_a_certificate_is_renewed_by_a_reload(tmp_path: Path) -> None:
    def certify(authority: trustme.CA) -> ssl.SSLContext:
        server = authority.issue_cert("127.0.0.1")
        (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
        server.private_key_pem.write_to_path(tmp_path / "key.pem")
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    listen = LISTEN.replace("[admin]", 'tls = { cert = "cert.pem", key = "key.pem" }\n[admin]')
    old, new = trustme.CA(), trustme.CA()
    context = certify(old)
    admin = {"listen": listen}
    async with running_router(tmp_path, to("log"), verify=context, **admin) as router:
        await router.post(body(1))
        trusting_new = certify(new)
        assert await router.bound.reload() == ()
        url = f"https://{router.bound.server[0]}"
        async with httpx2.AsyncClient(verify=trusting_new, trust_env=False) as client:
            assert (await client.post(f"{url}/webhooks/soda", content=body(2))).status_code == 200
        (tmp_path / "key.pem").write_text("no key")
        (fault,) = await router.bound.reload()
        assert "key.pem" in str(fault)
        async with httpx2.AsyncClient(verify=trusting_new, trust_env=False) as client:
            assert (await client.post(f"{url}/webhooks/soda", content=body(3))).status_code == 200


@pytest.mark.usefixtures("intake")
async def test_limits_secrets_and_the_level_of_the_log_are_reloaded(tmp_path: Path) -> None:
    async with running_router(tmp_path, to("log")) as router:
        rewrite(tmp_path, to("log") + "[spool]\nmax_size = 1\n")
        assert await router.bound.reload() == ()
        assert (await router.post(body(1))).status_code == 503
        verify = 'verify = [{ type = "header", name = "X-Key", value = "a-new-secret" }]\n'
        rewrite(tmp_path, to("log"), source=SOURCE + verify)
        assert await router.bound.reload() == ()
        assert (await router.post(body(2))).status_code == 401
        assert (await router.post(body(2), headers={"X-Key": "a-new-secret"})).status_code == 200


@pytest.mark.usefixtures("intake")
async def test_thirty_reloads_under_load_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    hook = (
        '[destination.hook]\ntype = "forward"\nurl = "{url}"\ntimeout = "{timeout}s"\n'
        'retry = {{ initial = "100ms", max_delay = "1s" }}\n' + EVERY.format(name="hook")
    )
    acknowledged: list[int] = []
    async with open_sink() as sink, running_router(tmp_path, hook.format(url=sink.url, timeout=20)) as router:
        done = trio.Event()

        async def send(first: int) -> None:
            number = first
            while not done.is_set():
                assert (await router.post(body(number))).status_code == 200
                acknowledged.append(number)
                number += 4

        async with trio.open_nursery() as nursery:
            for first in range(4):
                nursery.start_soon(send, first)
            for round_ in range(30):
                # every other time the destination is another, so that lanes are replaced under way
                rewrite(tmp_path, hook.format(url=sink.url, timeout=20 + round_ % 2))
                assert await router.bound.reload() == ()
            done.set()
        deliveries = []
        while len(deliveries) < len(acknowledged):
            deliveries = router.reader.deliveries(DeliveryFilter(state=State.DELIVERED), limit=100_000)
            await trio.sleep(0.01)
        arrived = Counter(json.loads(request.body)["number"] for request in sink.requests)
        assert arrived == Counter(acknowledged)
        assert {delivery.attempts for delivery in deliveries} == {1}


def test_sighup_reloads_the_process(tmp_path: Path) -> None:
    with router_process(tmp_path, to("old")) as process:
        rewrite(tmp_path, to("new"))
        process.popen.send_signal(signal.SIGHUP)
        process.until_logged("another configuration is in place")
        process.popen.send_signal(signal.SIGHUP)
        process.until_logged("the configuration was read again; its files are as they were")
        httpx2.post(f"{process.url}/webhooks/soda", content=payload("v3-validate"), trust_env=False)
        (tmp_path / "router.toml").write_text("nonsense")
        process.popen.send_signal(signal.SIGHUP)
        process.until_logged("the configuration cannot be used")
        assert httpx2.post(f"{process.url}/webhooks/soda", content=body(1), trust_env=False).status_code == 200
        assert process.end(signal.SIGTERM) == 0
        assert os.path.exists(tmp_path / "new.jsonl")  # noqa: PTH110
