"""Intake processes: what is promised holds with them too, whatever becomes of them."""

import gzip
import json
import os
import re
import signal
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trustme
from distributions import SitePackages
from engines import open_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from rawhttp import Served
from running import LISTEN, SOURCE, Running, router_process, running_router, until
from structlog.testing import capture_logs
from support import make_event, payload
from test_daemon import start
from test_systemd import address, ask, configure, launch, listening, stored

from sodarouter.admit import Admitted, Arrival, Here
from sodarouter.config import load
from sodarouter.errors import ConfigError
from sodarouter.observe import Observers
from sodarouter.replies import Replies
from sodarouter.spool import MemorySpool, SqliteReader
from sodarouter.workers import said, worker
from sodarouter.workers.hearing import Hearing, Known
from sodarouter.workers.there import There
from sodarouter.workers.wire import BadFrame, Frame, Wire

SECRET = "canary-of-the-source"
CLOSED = f"""
[source.closed]
path = "/closed"
verify = [{{ type = "header", name = "Authorization", value = "{SECRET}" }}]
"""
TO_FILE = '[destination.log]\ntype = "file"\npath = "events.jsonl"\n[[route]]\nto = ["log"]\n'


@pytest.fixture(autouse=True)
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every router take in with two processes."""
    monkeypatch.setattr(Served, "workers", 2)


def event(number: int) -> bytes:
    return b'{"event": "checkEvaluation", "n": %d}' % number


def workers_of(router: int) -> list[int]:
    """The intake processes of a router, by the numbers of processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == router and b"sodarouter.workers" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return sorted(found)


def kept(folder: Path) -> set[str]:
    """The ids of all events in the spool."""
    with closing(SqliteReader(folder / "var/sodarouter.db")) as reader:
        return {stored.event.id for stored in reader.events(limit=100_000)}


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def refuses(host: str, port: int) -> bool:
    """Whether nobody listens there any more."""
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return True
    return False


async def condition(router: Running) -> Any:
    """What ``/readyz`` says of the intake processes."""
    return (await router.admin.get("/readyz")).json()["workers"]


# -- what is promised holds


async def test_every_answer_is_as_without_them_and_one_scrape_counts_all(tmp_path: Path) -> None:
    async with running_router(tmp_path, TO_FILE, source=SOURCE + CLOSED) as router:
        first = await router.post(payload("v4-2026-checkEvaluation"))
        assert first.status_code == 200
        found = router.reader.event(first.json()["id"])
        assert found
        assert found.event.raw == payload("v4-2026-checkEvaluation")
        again = await router.post(payload("v4-2026-checkEvaluation"))
        assert again.json() == {"id": first.json()["id"], "duplicate": True}
        large = json.dumps({"event": "checkEvaluation", "checkResults": [{"name": "x" * 100}] * 2000}).encode()
        packed = {"Content-Encoding": "gzip"}
        assert (await router.post(gzip.compress(large), headers=packed)).status_code == 200
        known = {"Authorization": SECRET}
        assert (await router.post(event(1), "/closed", headers=known)).status_code == 200
        refused = [
            (await router.post(event(2), "/closed"), 401),
            (await router.post(event(2), "/nowhere"), 404),
            (await router.server.get("/closed"), 405),
            (await router.post(b"x" * (5 * 1024 * 1024 + 1)), 413),
            (await router.post(b'{"event": "checkEvaluation", "checkResults": {}}'), 422),
            (await router.post(b'{"event":'), 400),
        ]
        assert [answer.status_code for answer, _ in refused] == [status for _, status in refused]
        async with await trio.open_tcp_stream("127.0.0.1", router.bound.server[0].port) as stranger:
            await stranger.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert b" 505 " in b"".join([piece async for piece in stranger])
        assert {bytes(body.raw) for body in router.reader.quarantined(limit=9)} == {
            b'{"event": "checkEvaluation", "checkResults": {}}',
            b'{"event":',
        }
        assert {d.state for d in await router.until_settled()} == {"delivered"}
        assert (await condition(router)) == {"wanted": 2, "running": 2, "restarts": 0}
        scrape = (await router.admin.get("/metrics")).text
        shown = dict(re.findall(r"^sodarouter_(\S+) (\S+)$", scrape, re.MULTILINE))
        counted = {name: float(value) for name, value in shown.items() if "_total{" in name and "events_" in name}
        assert counted == {
            'events_received_total{duplicate="false",source="soda",type="checkEvaluation"}': 2,
            'events_received_total{duplicate="true",source="soda",type="checkEvaluation"}': 1,
            'events_received_total{duplicate="false",source="closed",type="checkEvaluation"}': 1,
            'events_refused_total{reason="unverified",source="closed",status="401"}': 1,
            'events_refused_total{reason="not_found",source="",status="404"}': 1,
            'events_refused_total{reason="method",source="closed",status="405"}': 1,
            'events_refused_total{reason="too_large",source="soda",status="413"}': 1,
            'events_refused_total{reason="unusable",source="soda",status="422"}': 1,
            'events_refused_total{reason="malformed",source="soda",status="400"}': 1,
            'events_refused_total{reason="malformed",source="",status="505"}': 1,
        }
        assert (shown["workers"], shown["workers_wanted"], shown["worker_restarts_total"]) == ("2.0", "2.0", "0.0")


async def test_a_spool_that_is_full_is_answered_503_and_takes_in_again_when_there_is_room(tmp_path: Path) -> None:
    async with running_router(tmp_path, "[spool]\nmax_size = 1\n") as router:
        answer = await router.post(event(1))
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert (await router.post(b"{")).status_code == 503, "nor can a body be kept in quarantine"
        rewrite(tmp_path, "")
        assert await router.bound.reload() == ()
        assert (await router.post(event(1))).status_code == 200


async def test_over_tls_and_on_a_unix_socket(tmp_path: Path) -> None:
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    server.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    listen = LISTEN.replace('listen = ["127.0.0.1:0"]', 'listen = ["unix:in.sock"]', 1)
    listen = listen.replace("[admin]", 'tls = { cert = "cert.pem", key = "key.pem" }\n[admin]')
    async with running_router(tmp_path, "", listen=listen, verify=context) as router:
        for number in range(5):
            assert (await router.post(event(number))).status_code == 200
    assert not (tmp_path / "in.sock").exists()


def test_sockets_of_systemd_are_handed_on(tmp_path: Path) -> None:
    with listening(("127.0.0.1", 0)) as public, listening(("127.0.0.1", 0)) as admin:
        configure(tmp_path, address(public), address(admin))
        toml = (tmp_path / "router.toml").read_text()
        (tmp_path / "router.toml").write_text(toml.replace("[server]", "[server]\nworkers = 1"))
        with router_process(tmp_path, **launch(public, admin)) as router:
            assert stored(ask(address(public), payload("v3-incidentCreated")), tmp_path)
            assert router.end(signal.SIGTERM) == 0
        waiting = ask(address(public), event(1))
        with router_process(tmp_path, **launch(public, admin)):
            assert stored(waiting, tmp_path)


# -- when one ends


async def test_one_that_is_killed_is_replaced_the_others_serve_on_and_nothing_acknowledged_is_lost(
    tmp_path: Path,
) -> None:
    acknowledged: list[str] = []
    unanswered = 0
    with router_process(tmp_path, "") as router:
        done = trio.Event()

        async def send(first: int) -> None:
            nonlocal unanswered
            number = first
            while not done.is_set():
                # each on a connection of its own: both processes get some
                async with httpx2.AsyncClient(base_url=router.url, trust_env=False) as client:
                    try:
                        answer = await client.post("/webhooks/soda", content=event(number))
                    except httpx2.TransportError:
                        unanswered += 1
                        continue
                assert answer.status_code == 200
                acknowledged.append(answer.json()["id"])
                number += 4

        async with trio.open_nursery() as nursery:
            for first in range(4):
                nursery.start_soon(send, first)
            await until(lambda: len(acknowledged) > 40)
            victim, other = workers_of(router.popen.pid)
            os.kill(victim, signal.SIGKILL)
            before = len(acknowledged)
            await until(lambda: len(acknowledged) > before + 40)
            assert other in workers_of(router.popen.pid)
            await until(lambda: len(workers_of(router.popen.pid)) == 2)
            done.set()
        router.until_logged("an intake process is lost")
        (line,) = [json.loads(text) for text in router.log.splitlines() if "is lost" in text]
        assert (line["pid"], line["how"], line["level"]) == (victim, "it ended with signal SIGKILL", "error")
        assert unanswered <= 4
        async with httpx2.AsyncClient(base_url=f"http://{router.ready['admin'][0]}", trust_env=False) as admin:
            await until_async(lambda: restarted(admin, 1))
        assert router.end(signal.SIGTERM) == 0
    assert kept(tmp_path) >= set(acknowledged)


async def test_one_that_ends_again_at_once_is_replaced_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with running_router(tmp_path, "") as router:
            for restarts in (1, 2, 3):
                os.kill(workers_of(os.getpid())[-1], signal.SIGKILL)
                await until_async(lambda count=restarts: restarted(router.admin, count))
    pauses = [line["pause"] for line in logs if line["event"].startswith("an intake process is lost")]
    assert len(pauses) == 3
    assert sorted(pauses) == pauses


async def test_one_that_leaves_processes_behind_is_replaced_when_it_has_ended_itself(
    tmp_path: Path, site: SitePackages
) -> None:
    site.install("acme-fork", {"fork": "acme_fork"}, acme_fork=FORK)
    source = f'[source.fork]\npath = "/fork"\nverify = [{{ type = "fork", note = "{tmp_path / "left"}" }}]\n'
    with capture_logs() as logs:
        async with running_router(tmp_path, "", source=source) as router:
            assert (await router.post(event(1), "/fork")).status_code == 200
            left = int((tmp_path / "left").read_text())
            for pid in workers_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
            await until_async(lambda: restarted(router.admin, 2))
            await until(lambda: not runs(left))
    assert {line["how"] for line in logs if "how" in line} == {"it ended with signal SIGKILL"}


async def test_one_that_is_silent_is_taken_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logs:
        async with running_router(tmp_path, "") as router:
            silent, _ = workers_of(os.getpid())
            os.kill(silent, signal.SIGSTOP)
            # not longer than it takes: one that starts has nothing to say for a while
            with monkeypatch.context() as patience:
                patience.setattr(worker, "SILENCE", 3)
                await until(lambda: any(line.get("pid") == silent for line in logs))
            assert (await router.post(event(1))).status_code == 200
    (how,) = [line["how"] for line in logs if line.get("pid") == silent]
    assert how == "it has said nothing for 3 seconds"


def test_they_end_with_a_router_that_is_killed_and_leave_its_port(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    source = SOURCE + CLOSED.replace(f'"{SECRET}"', '{ file = "secret" }')
    with router_process(tmp_path, source.removeprefix(SOURCE)) as router:
        pids = workers_of(router.popen.pid)
        assert len(pids) == 2
        shown = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for pid in pids for name in ("cmdline", "environ"))
        assert SECRET.encode() not in shown
        port = int(router.ready["listen"][0].rpartition(":")[2])
        assert router.end(signal.SIGKILL) == -signal.SIGKILL
        trio.run(until, lambda: not any(map(runs, pids)))
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
            free.listen()


def test_they_heed_no_signals_and_a_stop_lets_requests_finish(tmp_path: Path) -> None:
    with router_process(tmp_path, "") as router:
        pids = workers_of(router.popen.pid)
        for pid in pids:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(pid, number)
        host, _, port = router.ready["listen"][0].rpartition(":")
        with socket.create_connection((host, int(port))) as sender:
            body = event(1)
            head = b"POST /webhooks/soda HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
            sender.sendall(head % len(body))
            assert sender.recv(4096).startswith(b"HTTP/1.1 100 "), "it is under way"
            router.popen.send_signal(signal.SIGTERM)
            router.until_logged("stopping")
            trio.run(until, lambda: refuses(host, int(port)))
            sender.sendall(body)
            assert sender.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert router.popen.wait(30) == 0
        assert not any(map(runs, pids))
        assert json.loads(router.log.splitlines()[-1])["message"] == "stopped"
        assert "is lost" not in router.log
    assert len(kept(tmp_path)) == 1


# -- what they serve


async def test_all_serve_under_the_new_configuration_when_a_reload_is_done_and_so_do_later_ones(
    tmp_path: Path,
) -> None:
    async with running_router(tmp_path, "", source=SOURCE + CLOSED) as router:
        changed = SOURCE + CLOSED.replace(SECRET, "canary-two") + '[source.new]\npath = "/new"\n'
        rewrite(tmp_path, "", source=changed, server="max_body = 100")
        assert await router.bound.reload() == ()

        async def look() -> None:
            known = {"Authorization": "canary-two"}
            for number in range(6):
                # each on a connection of its own: both processes get some
                async with httpx2.AsyncClient(base_url=f"http://{router.bound.server[0]}", trust_env=False) as client:
                    assert (await client.post("/closed", content=event(number))).status_code == 401
                    assert (await client.post("/closed", content=event(number), headers=known)).status_code == 200
                    assert (await client.post("/new", content=event(number))).status_code == 200
                    assert (await client.post("/new", content=b"x" * 101)).status_code == 413

        await look()
        (tmp_path / "router.toml").write_text("this is no TOML")
        for pid in workers_of(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        await until_async(lambda: restarted(router.admin, 2))
        await look()


async def test_one_that_cannot_take_up_a_configuration_is_replaced(
    tmp_path: Path, site: SitePackages, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("acme-picky", {"picky": "acme_picky"}, acme_picky=PICKY)
    source = '[source.picky]\npath = "/picky"\nverify = [{{ type = "picky", mood = "{mood}" }}]\n'
    with capture_logs() as logs:
        async with running_router(tmp_path, "", source=source.format(mood="good")) as router:
            rewrite(tmp_path, "", source=source.format(mood=tmp_path / "bad"))
            # only the processes that are there find fault with it
            (tmp_path / "bad").write_text(" ".join(map(str, workers_of(os.getpid()))))
            assert await router.bound.reload() == ()
            await until_async(lambda: restarted(router.admin, 2))
            assert (await router.post(event(1), "/picky")).status_code == 200
    assert {line["how"] for line in logs if "how" in line} == {
        f"router.toml: source.picky.verify[0].mood: the mood {tmp_path / 'bad'} is none"
    }


def test_one_that_cannot_start_is_a_clear_error(tmp_path: Path, site: SitePackages) -> None:
    site.install("acme-sulky", {"sulky": "acme_sulky"}, acme_sulky=SULKY)
    source = '[source.sulky]\npath = "/sulky"\nverify = [{ type = "sulky" }]\n'
    (tmp_path / "router.toml").write_text(LISTEN.replace("[server]", "[server]\nworkers = 2") + source)
    failed = start(tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("router.toml: server.workers: an intake process cannot serve: ")
    assert "it cannot be imported: RuntimeError: not here" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_how_many_there_may_be_is_bounded(tmp_path: Path) -> None:
    for number, fault in ((65, "server.workers"), (-1, "server.workers")):
        (tmp_path / "router.toml").write_text(LISTEN.replace("[server]", f"[server]\nworkers = {number}") + SOURCE)
        with pytest.raises(ConfigError, match=fault):
            load(tmp_path / "router.toml")


# -- what they say is not believed blindly


@pytest.mark.parametrize(
    ("says", "how"),
    [
        (b"\xff" * 100, r"it said [\d,]+ bytes at once"),
        (struct.pack(">IB", 3, 99) + b"abc", "it said something that nobody says"),
        (
            struct.pack(">IBI?BH", 26, said.EVENT, 1, False, 3, 15) + b"madincidentCreated",
            "it said an event without .*",
        ),
    ],
    ids=["no frame", "no kind", "no webhook"],
)
async def test_one_that_talks_nonsense_is_replaced(tmp_path: Path, site: SitePackages, says: bytes, how: str) -> None:
    site.install("acme-mad", {"mad": "acme_mad"}, acme_mad=MAD.replace("SAYS", repr(says)))
    source = SOURCE + '[source.mad]\npath = "/mad"\nverify = [{ type = "mad" }]\n'
    with capture_logs() as logs:
        async with running_router(tmp_path, "", source=source) as router:
            with pytest.raises(httpx2.TransportError):
                await router.post(event(1), "/mad")
            await until_async(lambda: restarted(router.admin, 1))
            assert (await router.post(event(1))).status_code == 200
    (told,) = [line["how"] for line in logs if "how" in line]
    assert re.fullmatch(how, told)


def a_frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">IB", len(data), kind) + data


MADE = st.one_of(
    st.binary(max_size=40),
    st.builds(a_frame, st.integers(0, 9), st.binary(max_size=60)),
    st.builds(
        lambda number, awaits, source, kind, raw: a_frame(
            said.EVENT, struct.pack(">I?BH", number, awaits, len(source), len(kind)) + source + kind + raw
        ),
        st.integers(0, 3),
        st.booleans(),
        st.sampled_from([b"soda", b"", b"\xff"]),
        st.sampled_from([b"checkEvaluation", b"incidentCreated", b" ", b"\xff", b"x" * 300]),
        st.sampled_from([b'{"event": "checkEvaluation"}', b'{"event": "incidentCreated", "incident": 5}', b"{", b""]),
    ),
    st.builds(
        lambda document: a_frame(said.REFUSED, json.dumps(document).encode()),
        st.fixed_dictionaries(
            {
                "source": st.sampled_from(["soda", None, "other", 5]),
                "status": st.sampled_from([401, 404, 10**40, "x"]),
                "reason": st.sampled_from(["unverified", "x" * 100]),
            }
        ),
    ),
    st.builds(
        lambda document: a_frame(said.PULSE, json.dumps(document).encode()),
        st.fixed_dictionaries(
            {
                "longest": st.sampled_from([0.5, -1, 1e999, "x"]),
                "blocked": st.dictionaries(st.sampled_from(["router", "me"]), st.sampled_from([1, -1, 10**400])),
            }
        ),
    ),
)


@given(sent=st.lists(MADE, max_size=6), parts=st.integers(1, 20))
@settings(max_examples=150)
def test_whatever_comes_is_taken_in_or_is_no_frame(sent: list[bytes], parts: int) -> None:
    told: list[tuple[str | None, int, str]] = []

    async def run() -> None:
        ours, theirs = socket.socketpair()
        observers = Observers(refused=[("test", lambda source, status, reason: told.append((source, status, reason)))])
        admission = Here(MemorySpool(), observers, lambda _: None, lambda _: None, lambda *_: None, Replies())
        wire = Wire(ours, 4096)
        known = Known({b"soda": ("soda", 60.0)}, frozenset({"router"}), 1000, 10)
        hearing = Hearing(wire, admission, lambda: known)
        wire.open()
        with theirs, trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wire.drain)
                for part in range(parts):
                    data = b"".join(sent)
                    theirs.sendall(data[len(data) * part // parts : len(data) * (part + 1) // parts])
                theirs.shutdown(socket.SHUT_WR)
                try:
                    async with trio.open_nursery() as beside:
                        while frames := await wire.frames():
                            await hearing.hear(frames, beside)
                except* BadFrame:
                    pass
                nursery.cancel_scope.cancel()
            hearing.end()
            wire.close()
        assert set(told) <= {(source, status, "unverified") for source in ("soda", None) for status in (401, 404)}
        assert 0 <= hearing.lag.longest <= 0.5

    trio.run(run)


async def test_frames_arrive_whole_however_much_is_sent_and_however_slowly_it_is_read() -> None:
    ours, theirs = socket.socketpair()
    one, other = Wire(ours, 1 << 24), Wire(theirs, 1 << 24)
    one.open()
    other.open()
    sent = [(number % 7, os.urandom(number**2 * 20)) for number in range(150)]
    found: list[Frame] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.drain)
            for kind, data in sent:
                one.put(kind, data[:10], data[10:])
            await trio.lowlevel.checkpoint()
            one.put(7, b"the last")
            while len(found) <= len(sent):
                found += await other.frames()
            await one.clear()
            nursery.cancel_scope.cancel()
    assert found == [*sent, (7, b"the last")]
    one.close()
    assert await other.frames() == []
    other.put(1, b"to nobody")
    await trio.lowlevel.checkpoint()
    other.close()
    assert await other.frames() == []


async def test_what_comes_together_is_one_piece_one_commit_and_one_piece_of_answers(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    router, process = Wire(ours, 1 << 20), Wire(theirs, 1 << 20)
    admitted: list[Admitted] = []
    async with open_engine("sqlite", tmp_path) as engine:
        admission = Here(engine.spool, Observers(), lambda _: None, lambda _: None, lambda _, __: None, Replies())
        known = Known({b"soda": ("soda", 60.0)}, frozenset(), 1000, 10)
        hearing, there = Hearing(router, admission, lambda: known), There(process)
        commits: list[str] = []
        engine.spool._writer._connection.set_trace_callback(
            lambda text: commits.append(text) if text == "COMMIT" else None
        )

        async def send(number: int) -> None:
            sent = make_event({"event": "checkEvaluation", "n": number}, id="of the process")
            admitted.append(await there.admit(Arrival(sent, 60.0)))

        with trio.fail_after(10):
            router.open()
            process.open()
            async with trio.open_nursery() as sending, trio.open_nursery() as beside:
                for number in range(64):
                    sending.start_soon(send, number)
                await hearing.hear(await router.frames(), beside)
                for kind, data in await process.frames():
                    there.hear(kind, data)
            router.close()
            process.close()
        engine.spool._writer._connection.set_trace_callback(None)
        assert (router.count, len(commits), process.count) == (1, 1, 1)
        stored_ids = sorted(stored.event.id for stored in engine.reader.events(limit=99))
        assert sorted(one.id for one in admitted) == stored_ids, "the router gives them their ids"
        assert len(set(stored_ids)) == 64


async def test_the_lag_of_all_loops_is_one(tmp_path: Path, site: SitePackages) -> None:
    site.install("acme-slow", {"slow": "acme_slow"}, acme_slow=SLOW)
    source = SOURCE + '[source.slow]\npath = "/slow"\nverify = [{ type = "slow" }]\n'

    async def told(router: Running, restarts: int) -> bool:
        loop = (await router.admin.get("/readyz")).json()["event_loop"]
        return loop["blocked"].get("plugin slow") == 1 and (await condition(router))["restarts"] == restarts

    async with running_router(tmp_path, "", source=source) as router:
        assert (await router.post(event(1), "/slow")).status_code == 200
        await until_async(lambda: told(router, 0))
        for pid in workers_of(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        await until_async(lambda: told(router, 2))


# -- what the tests share


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePackages:
    made = SitePackages(tmp_path / "site", monkeypatch)
    # for the routers that are processes
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
    return made


VERIFICATION = """
from typing import Literal

from sodarouter import VerificationType, hookimpl
{more}

class Made(VerificationType):
    type: Literal["{name}"] = "{name}"
{body}

@hookimpl
def verification_types():
    return [Made]
"""
PICKY = VERIFICATION.format(
    name="picky",
    more="import os, pathlib\nfrom pydantic import field_validator",
    body="""    mood: str

    def check(self, request, now):
        pass

    @field_validator("mood")
    @classmethod
    def _known(cls, mood):
        found = pathlib.Path(mood)
        if found.exists() and str(os.getpid()) in found.read_text().split():
            raise ValueError(f"the mood {mood} is none")
        return mood
""",
)
SULKY = VERIFICATION.format(
    name="sulky",
    more='import sys\nif any("workers" in text for text in sys.orig_argv):\n    raise RuntimeError("not here")',
    body="    def check(self, request, now):\n        pass\n",
)
MAD = VERIFICATION.format(
    name="mad",
    more="import os",
    body="""    def check(self, request, now):
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
                if target.startswith("socket:"):
                    os.write(int(name), SAYS)
            except OSError:
                pass
""",
)
FORK = VERIFICATION.format(
    name="fork",
    more="import os, pathlib, time",
    body="""    note: str

    def check(self, request, now):
        if left := os.fork():
            pathlib.Path(self.note).write_text(str(left))
        else:
            time.sleep(1000)
""",
)
SLOW = VERIFICATION.format(
    name="slow",
    more="import time",
    body="    def check(self, request, now):\n        time.sleep(0.15)\n",
)


def rewrite(folder: Path, toml: str, *, source: str = SOURCE, server: str = "") -> None:
    listen = LISTEN.replace("[server]", f"[server]\nworkers = 2\n{server}")
    (folder / "router.toml").write_text(listen + source + toml)


async def until_async(condition: Callable[[], Any]) -> None:
    while not await condition():  # noqa: ASYNC110 (as `until`)
        await trio.sleep(0.02)


async def restarted(admin: httpx2.AsyncClient, count: int) -> bool:
    found = (await admin.get("/readyz")).json()["workers"]
    return found == {"wanted": 2, "running": 2, "restarts": count}
