"""Servers in processes of their own: starting and stopping them, and what they take of the machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
ROUTER = [sys.executable, "-m", "sodarouter"]
TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def started(
    command: list[str],
    port: int,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[int]:
    """A server as a process of its own, once it answers requests; gives its id.

    Raises:
        SystemExit: It ended by itself, or answered nothing within half a minute.
    """
    # a program that is installed has its bytecode, whoever starts it; without, a start would mostly be compiling
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(environment or {})}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT)
    try:
        _await(process, port, folder / "log")
        yield process.pid
    finally:
        process.send_signal(stop)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        if _answers(port):
            return
        time.sleep(0.005)  # until the port is open
    raise SystemExit(f"{process.args!r} did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


def _answers(port: int) -> bool:
    """Whether a server answers: a port may be open before anybody listens to what comes."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as probe:
            probe.sendall(b"GET /taken HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return bool(probe.recv(1))
    except OSError:
        return False


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        try:
            tasks = list(Path(f"/proc/{one}/task").iterdir())
            found.extend(int(child) for task in tasks for child in (task / "children").read_text().split())
        except OSError:
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time so far, of a process and of all that it has started."""
    ticks = 0
    for one in family(pid):
        try:
            stat = Path(f"/proc/{one}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        # with what its children had that have ended
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / TICK


def until_quiet(pid: int, seconds: float = 20.0) -> None:
    """Returns once a process has done nothing for a moment: what it put off is part of the price."""
    end, before, still = time.monotonic() + seconds, cpu_seconds(pid), 0
    while still < 3 and time.monotonic() < end:
        time.sleep(0.03)  # so long it must have done nothing, three times
        now = cpu_seconds(pid)
        still = still + 1 if now == before else 0
        before = now


def resident(pid: int) -> float:
    """MiB in memory, of a process and of all that it has started."""
    total = 0
    for one in family(pid):
        try:
            status = Path(f"/proc/{one}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        total += int((status.partition("VmRSS:")[2].split() or ["0"])[0])
    return total / 1024
