"""Who does what a command asks for: the router that runs or, while none does, the command itself."""

import json
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
import trustme
from admin import open_admin
from commandline import free_ports, listening, run_beside
from engines import MOST, SIZE, ended, open_engine
from running import OUTGOING, SOURCE, router_process, until
from sink import Answer, Sink, open_sink
from support import make_event

from sodarouter.address import Address
from sodarouter.delivery import Halt, Loaded
from sodarouter.ids import new_id
from sodarouter.spool import Lock, Refused, SqliteReader, SqliteSpool
from sodarouter.store import Kept

NOTHING = SOURCE + '[destination.log]\ntype = "file"\npath = "events.jsonl"\n[spool]\npath = "spool.db"\n'


@pytest.mark.parametrize("running", [True, False], ids=["through the router", "without the router"])
async def test_a_dead_letter_that_is_retried_arrives(sodarouter, tmp_path, running):
    async with open_sink(Answer(503), Answer(200)) as sink:
        toml = f'[destination.hook]\ntype = "forward"\nurl = "{sink.url}"\nretry = {{ max_attempts = 1 }}\n'
        toml = listening(*free_ports(2)) + SOURCE + toml + '[[route]]\nto = ["hook"]\n'
        (tmp_path / "router.toml").write_text(toml)
        with router_process(tmp_path) as router:
            assert sodarouter("simulate", "checkEvaluation", "--post", "soda").status == 0
            await sink.until_requests(1)
            await until(lambda: bool(sodarouter("dead", "--json").json))
            if not running:
                router.end(signal.SIGTERM)
            ran = await run_beside(sodarouter, "retry", "--all", "--yes")
            assert ran.out.endswith("1 of 1 will be tried again\n")
            if running:
                await sink.until_requests(2)
        if not running:
            with router_process(tmp_path):
                await sink.until_requests(2)
    first, second = (request.headers["idempotency-key"] for request in sink.requests)
    assert first == second


async def test_a_quarantined_body_that_the_router_can_parse_is_delivered(sodarouter, tmp_path):
    toml = SOURCE + '[destination.log]\ntype = "file"\npath = "events.jsonl"\n[[route]]\nto = ["log"]\n'
    (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + toml)
    (tmp_path / "var").mkdir()
    spool = SqliteSpool(tmp_path / "var/sodarouter.db", SIZE, MOST)
    event = make_event(received=datetime.now(UTC).replace(microsecond=0))
    body = Refused(new_id(), "soda", event.received, event.raw, 422, "Unexpected shape", "of an earlier version")
    await spool.quarantine(body)
    await spool.aclose()
    with router_process(tmp_path):
        ran = await run_beside(sodarouter, "quarantine", "retry", body.id)
        assert re.fullmatch(rf"1 of 1 became events\n  {body.id}: it is the event \S+\n", ran.out)
        await until(lambda: (tmp_path / "events.jsonl").exists() and (tmp_path / "events.jsonl").stat().st_size > 0)
    (listed,) = sodarouter("events", "--json").json
    assert datetime.fromisoformat(listed["received"]) == event.received


def test_the_commands_reach_listeners_with_tls_and_on_unix_sockets(sodarouter, spool, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("soda.example.org")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    (port,) = free_ports(1)
    text = (spool / "router.toml").read_text()
    server = f'[server]\nlisten = ["127.0.0.1:{port}"]\ntls = {{ cert = "cert.pem", key = "key.pem" }}\n'
    text = re.sub(
        r"(?s)^.*?(?=\[source)", OUTGOING + server + '[admin]\nlisten = ["unix:a"]\ntoken = "canary-3f9d"\n', text
    )
    (spool / "router.toml").write_text(text)
    with router_process(spool):
        assert sodarouter("simulate", "validate", "--post", "soda").status == 0
        assert sodarouter("retry", "--all", "--yes").out.endswith("1 of 1 will be tried again\n")


def test_a_router_that_has_the_last_certificate_or_token_is_told_how_to_take_up_the_new_one(sodarouter, tmp_path):
    def write(token: str) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        tls = f'tls = {{ cert = "cert.pem", key = "key.pem" }}\ntoken = "{token}"\n'
        (tmp_path / "router.toml").write_text(listening(*ports).removesuffix(OUTGOING) + tls + NOTHING)

    ports = free_ports(2)
    told = "if {} was changed since its last reload, the router still has the one before: send it SIGHUP\n"
    write("canary-3f9d-1")
    with router_process(tmp_path) as router:
        (tmp_path / "router.toml").write_text((tmp_path / "router.toml").read_text().replace("3f9d-1", "3f9d-2"))
        assert sodarouter("reload").err.endswith(told.format("the token"))
        write("canary-3f9d-3")
        assert sodarouter("reload").err.endswith(told.format("its certificate"))
        router.popen.send_signal(signal.SIGHUP)
        while sodarouter("pause", "log").status:
            time.sleep(0.05)


def test_a_listener_that_asks_for_a_certificate_is_not_reached_and_that_is_told(sodarouter, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("soda.example.org")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server, admin = free_ports(2)
    tls = 'tls = { cert = "cert.pem", key = "key.pem", client_ca = "ca.pem" }\n'
    listen = f'[server]\nlisten = ["127.0.0.1:{server}"]\n{tls}[admin]\nlisten = ["127.0.0.1:{admin}"]\n{tls}'
    (tmp_path / "router.toml").write_text(listen + NOTHING)
    with router_process(tmp_path):
        told = (
            "the listener at 127.0.0.1:{} asks its clients for a certificate (client_ca), and this command has none\n"
        )
        ran = sodarouter("pause", "log")
        assert (ran.status, ran.err) == (1, f"sodarouter: {told.format(admin)}")
        ran = sodarouter("simulate", "validate", "--post", "soda")
        assert (ran.status, ran.err) == (1, f"sodarouter: {told.format(server)}")
        # looking needs no router
        assert sodarouter("destinations").status == 0


def a_spool(folder: Path, admin: int) -> Path:
    (folder / "router.toml").write_text(listening(0, admin) + NOTHING)
    trio.run(SqliteSpool(folder / "spool.db", SIZE, MOST).aclose)
    return folder / "spool.db"


def test_a_router_that_does_not_listen_where_the_configuration_says_is_told(sodarouter, tmp_path):
    (port,) = free_ports(1)
    lock = Lock(a_spool(tmp_path, port))
    ran = sodarouter("pause", "log")
    lock.release()
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch(
        rf"sodarouter: the spool {tmp_path}/spool\.db is in use by another sodarouter, process \d+; "
        rf"the admin listener does not answer at 127\.0\.0\.1:{port}: .*refused\n",
        ran.err,
    )


async def test_what_the_router_refuses_is_told(sodarouter, tmp_path):
    """The file has a destination that the router, which was started before, has not."""
    (port,) = free_ports(1)
    async with open_admin(tmp_path, destinations=("mail",), listen=Address("127.0.0.1", port)):
        (tmp_path / "router.toml").write_text(listening(0, port) + NOTHING)
        lock = Lock(tmp_path / "spool.db")
        ran = await run_beside(sodarouter, "pause", "log")
        lock.release()
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == (
        "sodarouter: the router's admin listener answers 404: No such destination: no destination 'log' is configured\n"
    )


async def test_the_router_of_another_spool_is_left_alone(sodarouter, tmp_path):
    """It listens where this configuration has its admin listener, but has another spool."""
    (tmp_path / "other").mkdir()
    (port,) = free_ports(1)
    async with open_admin(tmp_path / "other", listen=Address("127.0.0.1", port)) as other:
        path = await trio.to_thread.run_sync(a_spool, tmp_path, port)
        assert (await run_beside(sodarouter, "pause", "log")).out == "log is paused: what comes for it waits\n"
        assert other.engine.reader.halts() == {}
    with closing(SqliteReader(path)) as reader:
        assert reader.halts() == {"log": Halt.PAUSED}


@asynccontextmanager
async def breaking_off(folder: Path, *answers: object) -> AsyncIterator[Sink]:
    """A router that breaks off: its admin listener gives these answers, and then none."""
    good = [Answer(body=json.dumps(answer).encode()) for answer in answers]
    async with open_sink(Answer(), *good, Answer(raw=b"")) as sink:
        (folder / "router.toml").write_text(f'[admin]\nlisten = ["{sink.url[7:]}"]\n' + NOTHING)
        lock = Lock(folder / "spool.db")
        yield sink
        lock.release()


async def test_what_was_done_before_a_failure_is_told(sodarouter, tmp_path, monkeypatch):
    monkeypatch.setattr("sodarouter.cli.bulk.BATCH", 1)
    monkeypatch.setattr("sodarouter.cli.replay.BATCH", 1)
    async with open_engine("sqlite", tmp_path) as engine:
        first, _ = await engine.dead("log"), await engine.dead("log")
        number = await engine.spool.begin_replay(0.0)
    async with breaking_off(tmp_path, {"retried": [first]}) as sink:
        ran = await run_beside(sodarouter, "retry", "--all", "--yes")
    # the oldest first
    assert json.loads(sink.requests[1].body) == {"deliveries": [first]}
    failed = r"sodarouter: the admin listener does not answer at 127\.0\.0\.1:\d+: [^;]+; "
    assert ran.status == 1
    assert re.fullmatch(failed + r"before that, 1 of 2 will be tried again\n", ran.err)
    async with breaking_off(tmp_path, {"replay": number}, {"planned": 1}):
        ran = await run_beside(sodarouter, "replay", "--all", "--to", "log", "--yes")
    assert ran.status == 1
    assert re.fullmatch(
        failed
        + rf"1 of 2 events had been planned: the same command with --continue {number} --until \S+Z plans the others\n",
        ran.err,
    )
    (until,) = re.findall("--until (.*?) ", ran.err)
    again = ["replay", "--all", "--to", "log", "--continue", f"{number}", "--until", until, "--yes"]
    assert f"replay {number}: 2 deliveries planned" in (await run_beside(sodarouter, *again)).out


# reload


FAULTS = ("router.toml: lgo: unknown key", "router.toml: route[0].to: there is no destination '[x]'")
STAYS = "nothing was changed: the router goes on with the configuration 0123456789ab"


@pytest.mark.parametrize(
    ("faults", "status", "out", "err"),
    [
        ((), 0, "the router runs with the configuration 0123456789ab now\n", ""),
        (FAULTS, 2, "", "".join(f"{line}\n" for line in (*FAULTS, STAYS))),
    ],
)
async def test_a_reload_tells_what_runs_then_or_every_fault(sodarouter, tmp_path, faults, status, out, err):
    async def reload() -> Loaded:
        return Loaded("0123456789ab", faults=faults)

    (port,) = free_ports(1)
    async with open_admin(tmp_path, reload=reload, listen=Address("127.0.0.1", port)):
        (tmp_path / "router.toml").write_text(listening(0, port) + NOTHING)
        lock = Lock(tmp_path / "spool.db")
        ran = await run_beside(sodarouter, "reload")
        assert (ran.status, ran.out, ran.err) == (status, out, err)
        ran = await run_beside(sodarouter, "reload", "--json")
        assert (ran.status, ran.json) == (status, {"config": "0123456789ab", "faults": list(faults)})
        lock.release()


def test_without_a_router_there_is_nothing_to_reload(sodarouter, tmp_path):
    a_spool(tmp_path, 0)
    ran = sodarouter("reload")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == ("sodarouter: no router runs on this spool: its next start reads the configuration anyway\n")


@pytest.mark.parametrize("running", [True, False], ids=["through the router", "without the router"])
async def test_what_a_destination_keeps_is_shown_and_forgotten(sodarouter, tmp_path, running):
    (tmp_path / "router.toml").write_text(listening(*free_ports(2)) + NOTHING)
    async with open_engine("sqlite", tmp_path) as engine:
        await engine.planned("log")
        (claim,) = await engine.claim("log")
        expires = datetime.now(UTC).timestamp() + 1000
        kept = {"i-1": Kept('"OPS-1"', expires), "i-2": Kept('{"n":[2]}', expires), "old": Kept("1", 1.0)}
        await engine.spool.settle([ended(claim, kept=kept)])
    with router_process(tmp_path) if running else nullcontext():
        shown = sodarouter("store", "log", "--json").json
        assert [(one["key"], one["value"]) for one in shown] == [("i-1", "OPS-1"), ("i-2", {"n": [2]})]
        table = sodarouter("store", "log", "--limit", "1", "--after", "i-1").out
        assert re.search(r"i-2 +\{\"n\": \[2\]\}", table)
        assert sodarouter("store", "log", "--after", "i-2").out == "log keeps nothing after this key\n"
        ran = await run_beside(sodarouter, "store", "log", "--forget", "i-1", "--forget", "none")
        assert (ran.status, ran.out) == (1, "log has forgotten 1 key\n")
        assert "log keeps nothing under 'none'" in ran.err
        assert (await run_beside(sodarouter, "store", "log", "--forget", "none")).out == "log has forgotten 0 keys\n"
        assert [one["key"] for one in sodarouter("store", "log", "--json").json] == ["i-2"]
    ran = sodarouter("store", "lgo")
    assert (ran.status, ran.err) == (2, "sodarouter: router.toml has no destination 'lgo'; did you mean 'log'?\n")
