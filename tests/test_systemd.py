"""Under systemd: what the router tells it, and the sockets that it takes over. The tests play systemd's part."""

import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

import pytest
import trio
import trio.testing
from rawhttp import post
from running import COMMAND, router_process
from structlog.testing import capture_logs
from support import payload

from sodarouter.address import Address
from sodarouter.errors import ConfigError
from sodarouter.serve import bind
from sodarouter.spool import SqliteReader
from sodarouter.systemd import PATIENCE, Notifier, inherited_sockets


class Manager:
    """The socket on which systemd hears its services."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self.socket.settimeout(30)

    def hear(self) -> list[str]:
        """The lines of the next message."""
        return self.socket.recv(4096).decode().split("\n")

    def heard(self) -> list[list[str]]:
        """The messages that have come so far."""
        self.socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.hear())
        except BlockingIOError:
            return found
        finally:
            self.socket.settimeout(30)

    def until(self, line: str) -> list[str]:
        """The next message with this line in it."""
        while line not in (lines := self.hear()):
            pass
        return lines


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    with manager.socket:
        yield manager


# -- what the router tells


async def test_systemd_is_told_that_the_router_is_ready_reloading_and_stopping(manager: Manager) -> None:
    notifier = Notifier(manager.name)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    await notifier.ready("serving")
    await notifier.reloading()
    await notifier.ready("serving again")
    await notifier.status("pruning")
    await notifier.stopping("stopping")
    ready, (reloading, since), again, status, stopping = manager.heard()
    assert (ready, again) == (["READY=1", "STATUS=serving"], ["READY=1", "STATUS=serving again"])
    assert reloading == "RELOADING=1"
    microseconds = int(since.removeprefix("MONOTONIC_USEC="))
    assert before // 1000 <= microseconds <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert (status, stopping) == (["STATUS=pruning"], ["STOPPING=1", "STATUS=stopping"])


async def test_a_socket_in_the_abstract_namespace_will_do() -> None:
    manager = Manager(f"@sodarouter-test-{os.getpid()}")
    with manager.socket:
        await Notifier(manager.name).ready("serving")
        assert manager.hear()[0] == "READY=1"


async def test_a_status_is_one_line_and_cannot_say_more_than_itself(manager: Manager) -> None:
    await Notifier(manager.name).status("a fault\nREADY=1\n")
    assert manager.heard() == [["STATUS=a fault READY=1"]]


async def test_without_systemd_nothing_is_told_nor_watched() -> None:
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "1000000"})
    with capture_logs() as logs:
        await notifier.ready("serving")
        await notifier.feed_watchdog(never)
    assert logs == []


async def test_what_cannot_be_told_is_logged_once_and_stops_nothing(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "missing"))
    with capture_logs() as logs:
        await notifier.ready("serving")
        await notifier.stopping("stopping")
    assert [(line["event"], line["told"], line["reason"]) for line in logs] == [
        ("systemd cannot be told", "READY=1", "No such file or directory")
    ]


async def test_a_manager_that_is_busy_is_waited_for(manager: Manager, autojump_clock: trio.testing.MockClock) -> None:
    stuff(manager)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Notifier(manager.name).ready, "serving")
        await trio.sleep(PATIENCE / 2)
        manager.heard()
        await trio.testing.wait_all_tasks_blocked()
    assert manager.heard() == [["READY=1", "STATUS=serving"]]


async def test_a_manager_that_never_listens_is_not_waited_for(
    manager: Manager, autojump_clock: trio.testing.MockClock
) -> None:
    stuff(manager)
    with capture_logs() as logs:
        await Notifier(manager.name).ready("serving")
    assert trio.current_time() == PATIENCE
    assert [line["reason"] for line in logs] == ["it took no message in 5 seconds"]


def stuff(manager: Manager) -> None:
    """Sends until nothing more fits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(BlockingIOError):
        sender.setblocking(False)
        while True:
            sender.sendto(b"STATUS=noise", manager.name)


# -- the watchdog


async def lives() -> bool:
    return True


async def ails() -> bool:
    return False


async def never() -> bool:
    await trio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize(("alive", "pings"), [(lives, 10), (ails, 0), (never, 0)])
async def test_the_watchdog_is_fed_at_half_its_time_and_only_by_a_router_that_lives(
    manager: Manager, autojump_clock: trio.testing.MockClock, alive: Callable[..., object], pings: int
) -> None:
    environ = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier.from_environment(environ)
    with trio.move_on_after(10 * 30 - 1):
        await notifier.feed_watchdog(alive)
    assert manager.heard() == [["WATCHDOG=1"]] * pings
    assert environ == {}, "children must not speak for the router"


async def test_a_router_that_recovers_in_time_is_fed_again(
    manager: Manager, autojump_clock: trio.testing.MockClock
) -> None:
    answers = [True, False, True]

    async def alive() -> bool:
        return answers.pop(0)

    with trio.move_on_after(2 * 30 + 1):
        await Notifier(manager.name, watchdog=60.0).feed_watchdog(alive)
    assert manager.heard() == [["WATCHDOG=1"]] * 2


async def test_a_watchdog_of_another_process_is_not_fed(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid() + 1)}
    await Notifier.from_environment(environ).feed_watchdog(lives)
    assert manager.heard() == []


# -- the sockets that it takes over


@contextmanager
def handed_over(*sockets: socket.socket | IO[bytes], names: str = "") -> Iterator[tuple[dict[str, str], int]]:
    """The sockets as descriptors that follow one another, the environment that tells of them, and the first of them."""
    first = next(start for start in count(500, 50) if not any(map(is_open, range(start, start + len(sockets)))))
    for number, opened in enumerate(sockets):
        os.dup2(opened.fileno(), first + number)
    environ = {"LISTEN_FDS": str(len(sockets)), "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": names}
    try:
        yield environ, first
    finally:
        for descriptor in range(first, first + len(sockets)):
            if is_open(descriptor):
                os.close(descriptor)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def listening(place: str | tuple[str, int], family: int = socket.AF_INET) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.bind(place)
    opened.listen()
    return opened


def has_ipv6() -> bool:
    try:
        listening(("::1", 0), socket.AF_INET6).close()
    except OSError:
        return False
    return True


PLACES = [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "0.0.0.0")]
if has_ipv6():
    PLACES += [("::1", "[::1]"), ("::", "[::]"), ("::ffff:127.0.0.1", "[::ffff:7f00:1]")]


@pytest.mark.parametrize(("bound", "written"), PLACES)
def test_a_socket_at_a_configured_address_is_taken_over_instead_of_opening_one(bound: str, written: str) -> None:
    with listening((bound, 0), socket.AF_INET6 if ":" in bound else socket.AF_INET) as systemd:
        address = Address.parse(f"{written}:{systemd.getsockname()[1]}")
        with handed_over(systemd, names="sodarouter.socket") as (environ, first):
            inherited = inherited_sockets(environ, [address, Address.parse("127.0.0.1:0")], first=first)
            assert environ == {}
            assert not os.get_inheritable(first), "nor do children inherit the descriptor"
            listener, other = bind([address, Address.parse("127.0.0.1:0")], inherited=inherited)
            assert (listener.address, listener.socket.fileno()) == (address, first)
            assert other.address.port not in (0, address.port)
            listener.close()
            other.close()
        # systemd's own still listens
        with socket.create_connection((bound, address.port)):
            systemd.accept()[0].close()


def test_the_file_of_a_unix_socket_that_was_taken_over_stays(tmp_path: Path) -> None:
    path = tmp_path / "router.sock"
    with listening(str(path), socket.AF_UNIX) as systemd, handed_over(systemd) as (environ, first):
        inherited = inherited_sockets(environ, [Address(path=path)], first=first)
        (listener,) = bind([Address(path=path)], inherited=inherited)
        listener.close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_every_socket_that_the_router_would_not_answer_on_is_a_fault() -> None:
    abstract = f"sodarouter-test-{os.getpid()}"
    with (
        tempfile.TemporaryFile() as file,
        listening(("127.0.0.1", 0)) as wanted,
        listening(("127.0.0.1", 0)) as elsewhere,
        listening(f"\0{abstract}", socket.AF_UNIX) as unnamed,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as idle,
        handed_over(wanted, wanted, elsewhere, unnamed, datagrams, idle, file, names="a:b:c:d:e:f") as (environ, first),
    ):
        here, there = (Address(*opened.getsockname()) for opened in (wanted, elsewhere))
        with pytest.raises(ConfigError) as caught:
            inherited_sockets(environ, [here], first=first)
        assert not any(map(is_open, range(first, first + 6))), "what was taken is closed again"
    assert [(fault.place, fault.fault) for fault in caught.value.faults] == [
        ("b", f"{here} is handed over twice"),
        ("c", f"{there} is neither in server.listen nor in admin.listen"),
        ("d", f"unix:@{abstract} is neither in server.listen nor in admin.listen"),
        ("e", f"descriptor {first + 4} does not listen for TCP or Unix streams"),
        ("f", f"descriptor {first + 5} does not listen for TCP or Unix streams"),
        (f"descriptor {first + 6}", f"descriptor {first + 6} does not listen for TCP or Unix streams"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("LISTEN_PID", ""), ("LISTEN_PID", "1"), ("LISTEN_FDS", ""), ("LISTEN_FDS", "-1"), ("LISTEN_FDS", "many")],
)
def test_sockets_of_another_process_or_of_no_number_are_left_alone(name: str, value: str) -> None:
    with listening(("127.0.0.1", 0)) as systemd, handed_over(systemd) as (environ, first):
        assert inherited_sockets(environ | {name: value}, [], first=first) == {}
        assert is_open(first)


# -- the router as a process

ACTIVATE = """
import fcntl, os, sys
passed, *command = sys.argv[1:]
out_of_the_way = [fcntl.fcntl(int(descriptor), fcntl.F_DUPFD, 100) for descriptor in passed.split(",")]
for number, descriptor in enumerate(out_of_the_way):
    os.dup2(descriptor, 3 + number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(out_of_the_way))}
os.execv(command[0], command)
"""
"""What systemd does between fork and exec. LISTEN_PID is the process that is started, so no other can set it."""


def launch(*sockets: socket.socket, **environ: str) -> dict[str, Any]:
    """How `router_process` starts the router with these sockets handed over, and with more in its environment."""
    descriptors = [opened.fileno() for opened in sockets]
    launcher = [sys.executable, "-c", ACTIVATE, ",".join(map(str, descriptors))] if sockets else []
    return {"launcher": launcher, "pass_fds": descriptors, "env": os.environ | environ}


def configure(folder: Path, server: str, admin: str = "127.0.0.1:0") -> None:
    toml = f'[server]\nlisten = ["{server}"]\n[admin]\nlisten = ["{admin}"]\n[source.soda]\npath = "/webhooks/soda"\n'
    (folder / "router.toml").write_text(toml)


def address(opened: socket.socket) -> str:
    return str(Address(*opened.getsockname()))


def ask(place: str, body: bytes) -> http.client.HTTPConnection:
    """Connects and sends a webhook; the answer is not waited for."""
    connection = http.client.HTTPConnection(place, timeout=30)
    connection.request("POST", "/webhooks/soda", body)
    return connection


def stored(connection: http.client.HTTPConnection, folder: Path) -> bool:
    """Waits for the answer, and looks whether what it says is true."""
    with closing(connection), closing(SqliteReader(folder / "var/sodarouter.db")) as reader:
        answer = connection.getresponse()
        return answer.status == 200 and reader.event(json.load(answer)["id"]) is not None


def test_who_connects_while_no_router_runs_is_answered_by_the_next(tmp_path: Path) -> None:
    with listening(("127.0.0.1", 0)) as public, listening(("127.0.0.1", 0)) as admin:
        configure(tmp_path, address(public), address(admin))
        with router_process(tmp_path, **launch(public, admin)) as router:
            assert (router.ready["listen"], router.ready["admin"]) == ([address(public)], [address(admin)])
            assert stored(ask(address(public), payload("v3-incidentCreated")), tmp_path)
            assert router.end(signal.SIGTERM) == 0
        waiting = [ask(address(public), b'{"event": "checkEvaluation", "n": %d}' % number) for number in range(20)]
        assert select.select([connection.sock for connection in waiting], [], [], 0)[0] == [], "nobody can answer yet"
        with router_process(tmp_path, **launch(public, admin)) as router:
            assert all([stored(connection, tmp_path) for connection in waiting])
            assert router.end(signal.SIGTERM) == 0


def test_the_process_tells_that_it_is_ready_that_it_lives_and_that_it_stops(tmp_path: Path, manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "100000"}
    configure(tmp_path, "127.0.0.1:0")
    with router_process(tmp_path, **launch(**environ)) as router:
        places = f"{router.ready['listen'][0]}, {router.ready['admin'][0]}"
        assert manager.hear() == ["READY=1", f"STATUS=serving on {places}"]
        assert manager.hear() == ["WATCHDOG=1"]
        assert manager.hear() == ["WATCHDOG=1"]
        router.popen.send_signal(signal.SIGTERM)
        assert manager.until("STOPPING=1") == ["STOPPING=1", "STATUS=stopping: what is under way may take 20s"]
        assert router.popen.wait(30) == 0


def test_a_reload_is_told_from_its_beginning_to_its_end_also_when_it_fails(tmp_path: Path, manager: Manager) -> None:
    configure(tmp_path, "127.0.0.1:0")
    good = (tmp_path / "router.toml").read_text(encoding="utf-8")
    with router_process(tmp_path, **launch(NOTIFY_SOCKET=manager.name)) as router:
        assert manager.hear()[0] == "READY=1"
        for content in (good, "nonsense"):
            (tmp_path / "router.toml").write_text(content, encoding="utf-8")
            router.popen.send_signal(signal.SIGHUP)
            assert manager.hear()[0] == "RELOADING=1"
            ready, status = manager.hear()
            assert ready == "READY=1"
            assert ("the last reload failed, router.toml:1" in status) == (content != good)
        assert router.end(signal.SIGTERM) == 0


def test_a_socket_that_the_configuration_does_not_name_stops_the_start(tmp_path: Path) -> None:
    """Senders that connect to it would wait for nothing: systemd accepts connections and nobody answers."""
    configure(tmp_path, "127.0.0.1:0")
    with listening(("127.0.0.1", 0)) as forgotten:
        started = launch(forgotten, LISTEN_FDNAMES="sodarouter.socket")
        command = [*started.pop("launcher"), *COMMAND]
        failed = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False, **started
        )
        hint = "ListenStream= and router.toml must name the same addresses"
        fault = f"{address(forgotten)} is neither in server.listen nor in admin.listen"
        assert failed.stderr == f"sodarouter.socket: {fault}; {hint}\n"
        assert failed.returncode == 2
    assert not (tmp_path / "var").exists(), "it is found before anything is touched"


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="there is no systemd-socket-activate")
def test_what_systemd_itself_hands_over_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "router.sock"
    configure(tmp_path, f"unix:{path}")
    # it starts what it is given at the first connection
    command = ["systemd-socket-activate", f"--listen={path}", *(f"--setenv={name}" for name in os.environ), *COMMAND]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        assert b"Listening on" in process.stderr.readline()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(path))
            client.sendall(post(payload("v3-incidentCreated"), path="/webhooks/soda"))
            assert client.recv(12) == b"HTTP/1.1 200"
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert path.exists(), "it is systemd's to remove"
