"""The daemon as a process: killed, stopped, started again."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import trio
from running import router_process, until
from sink import Answer, open_sink
from support import payload

TO_FILE = '[destination.log]\ntype = "file"\npath = "events.jsonl"\n[[route]]\nto = ["log"]\n'


def bodies(count: int) -> list[bytes]:
    return [b'{"event": "checkEvaluation", "n": %d}' % number for number in range(count)]


async def test_killed_between_200_and_delivery_it_loses_nothing(tmp_path: Path) -> None:
    """The destination hangs, so that nothing is delivered; after SIGKILL the next start delivers all that was answered."""
    async with open_sink(Answer(hold=trio.Event())) as hung:
        toml = f'[destination.hook]\ntype = "forward"\nurl = "{hung.url}"\n[[route]]\nto = ["hook"]\n'
        with router_process(tmp_path, toml) as router:
            async with httpx2.AsyncClient(base_url=router.url, trust_env=False) as client:
                acknowledged = {(await client.post("/webhooks/soda", content=body)).json()["id"] for body in bodies(50)}
            await hung.until_requests(1)
            assert router.end(signal.SIGKILL) == -signal.SIGKILL
        # what had been leased is due at once: the dead process's leases of a minute and more are not waited for
        hung.script(Answer(200))
        hung.requests.clear()
        with router_process(tmp_path) as router:
            await hung.until_requests(50)
            arrived = {request.headers["idempotency-key"].split("/")[0] for request in hung.requests}
            assert arrived == acknowledged
            assert router.end(signal.SIGTERM) == 0


async def test_sigterm_lets_finish_what_is_under_way(tmp_path: Path) -> None:
    held = trio.Event()
    async with open_sink(Answer(hold=held)) as slow:
        toml = f'[destination.hook]\ntype = "forward"\nurl = "{slow.url}"\n[[route]]\nto = ["hook"]\n'
        with router_process(tmp_path, toml) as router:
            async with httpx2.AsyncClient(base_url=router.url, trust_env=False) as client:
                await client.post("/webhooks/soda", content=payload("v3-incidentCreated"))
            await slow.until_requests(1)
            router.popen.send_signal(signal.SIGTERM)
            await until(lambda: '"message": "stopping"' in router.log)
            held.set()
            # in a thread: the sink has to answer meanwhile
            assert await trio.to_thread.run_sync(router.popen.wait, 30) == 0
    with sqlite3.connect(tmp_path / "var/sodarouter.db") as spool:
        assert spool.execute("SELECT state FROM delivery").fetchall() == [("delivered",)]
    spool.close()


def test_sigint_stops_it_too(tmp_path: Path) -> None:
    with router_process(tmp_path, TO_FILE) as router:
        assert router.end(signal.SIGINT) == 0
        assert json.loads(router.log.splitlines()[-1])["message"] == "stopped"


def test_a_second_daemon_on_the_same_spool_refuses_to_start(tmp_path: Path) -> None:
    with router_process(tmp_path, TO_FILE) as router:
        second = start(tmp_path)
        assert second.returncode == 1
        assert f"in use by another sodarouter, process {router.popen.pid}" in second.stderr
        assert "Traceback" not in second.stderr


def test_an_address_in_use_is_told_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        toml = f'[server]\nlisten = ["{listen}"]\n[admin]\nlisten = ["127.0.0.1:0"]\n[source.soda]\npath = "/in"\n'
        (tmp_path / "router.toml").write_text(toml)
        failed = start(tmp_path)
    assert failed.returncode == 2
    assert f"server.listen: {listen}: address already in use; is another sodarouter running?" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_destination_that_cannot_be_opened_stops_the_start_and_is_named(tmp_path: Path) -> None:
    toml = '[source.soda]\npath = "/in"\n[destination.log]\ntype = "file"\npath = "/proc/no/events.jsonl"\n'
    (tmp_path / "router.toml").write_text(toml)
    failed = start(tmp_path)
    assert failed.returncode == 2
    assert "router.toml: destination.log: cannot be opened: /proc/no: no such file or directory\n" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look at" * 50])
def test_a_spool_that_is_damaged_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/sodarouter.db").write_bytes(content)
    (tmp_path / "router.toml").write_text('[source.soda]\npath = "/in"\n')
    failed = start(tmp_path)
    assert failed.returncode == 1
    assert "not a database" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert (tmp_path / "var/sodarouter.db").read_bytes() == content


def start(folder: Path) -> subprocess.CompletedProcess[str]:
    """Starts a router that is expected to give up."""
    return subprocess.run(
        [sys.executable, "-m", "sodarouter", "--config", "router.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
