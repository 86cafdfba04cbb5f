"""Intake with a durable 200, side by side with a bare server that keeps nothing.

    python benchmarks/intake.py [--connections 64] [--seconds 0.3] [--rounds 25]

All run at once and have their load in turn, in many short slices: so a machine whose speed drifts treats them alike. What
counts is the ratio. CPU is that of whole events: between two slices each router decides and delivers what it has taken in.
"""

import argparse
import hashlib
import hmac
import json
import os
import platform
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path

import load

VERSIONS = ("sodarouter", "hypercorn", "trio", "pydantic")
FASTEST = 10_000
"""Requests that are made ready for each second."""
SECRET = "benchmark"
ROUTER = """
[server]
listen = ["127.0.0.1:{port}"]
[admin]
listen = ["127.0.0.1:0"]
[log]
level = "warning"
[source.soda]
path = "/webhooks/soda"
verify = [{{ type = "hmac", header = "X-Soda-Signature", secrets = ["{secret}"], prefix = "sha256=" }}]
"""
DELIVERED = """
[destination.log]
type = "file"
path = "events.jsonl"
[[route]]
to = ["log"]
"""
SAMPLE = {
    "event": "checkEvaluation",
    "checkResults": [
        {
            "id": "11111111-2222-4333-8444-555555555555",
            "name": "No missing values",
            "definition": "checks:\n  - missing:\n      name: No missing values\n" + "# filler\n" * 130,
            "datasets": [{"name": "orders", "owners": [{"type": "user", "email": "owner@example.com"}]}],
            "evaluationStatus": "fail",
            "value": 1.0,
        }
    ],
}


CONTENDERS = {
    "bare": None,
    "router": ROUTER,
    "router, on hypercorn": ROUTER.replace("[server]", '[server]\nhttp = "hypercorn"'),
    "router, delivering": ROUTER + DELIVERED,
}
"""With the configuration of each; `bare.py` has none."""


def webhooks(count: int) -> list[bytes]:
    """Signed webhooks of about 2 KB, each different from all others, so that none is a repeat."""
    run = time.monotonic_ns()
    requests = []
    for number in range(count):
        body = json.dumps({**SAMPLE, "run": run, "n": number}).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"Host": "x", "X-Soda-Signature": f"sha256={signature}", "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        requests.append(f"POST /webhooks/soda HTTP/1.1\r\n{head}\r\n".encode() + body)
    return requests


@contextmanager
def started(command: list[str], port: int, folder: str) -> Iterator[int]:
    """A server as a process of its own; gives its id."""
    process = subprocess.Popen(command, cwd=folder)
    try:
        for _ in range(1000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)  # until the port is open
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until_done(place: Path) -> None:
    """Waits until a router has decided and delivered all that it has taken in."""
    for spool in place.glob("**/*.db"):
        with closing(sqlite3.connect(f"file:{spool}?mode=ro", uri=True)) as reader:
            while reader.execute("SELECT 1 FROM delivery WHERE state = 'pending' LIMIT 1").fetchone():
                time.sleep(0.01)  # another process does it


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=25)
    asked = parser.parse_args()

    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    latencies: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    cpu = dict.fromkeys(CONTENDERS, 0.0)
    events = dict.fromkeys(CONTENDERS, 0)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        contenders = {}
        for name, toml in CONTENDERS.items():
            port = free_port()
            command = [sys.executable, str(Path(__file__).with_name("bare.py").resolve()), str(port)]
            place = Path(folder, name.replace(", ", "-"))
            place.mkdir()
            if toml is not None:
                (place / "router.toml").write_text(toml.format(port=port, secret=SECRET), encoding="utf-8")
                command = [sys.executable, "-m", "sodarouter", "--config", "router.toml"]
            contenders[name] = (running.enter_context(started(command, port, str(place))), port, place)
        for round_ in range(asked.rounds + 1):
            # another order each time: whoever comes first may find the machine warmer
            for name in random.sample(list(contenders), len(contenders)):
                pid, port, place = contenders[name]
                requests = webhooks(int(FASTEST * asked.seconds))
                before = cpu_seconds(pid)
                found = load.run(
                    ("127.0.0.1", port), iter(requests), connections=asked.connections, seconds=asked.seconds
                )
                until_done(place)
                assert set(found.statuses) == {200}, found.statuses
                if round_:  # the first only warms up
                    rates[name].append(found.rate)
                    latencies[name] += found.latencies
                    # those that were open at the end are answered too
                    events[name] += len(found.latencies) + asked.connections
                    cpu[name] += cpu_seconds(pid) - before

    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, "
        + ", ".join(f"{n} {version(n)}" for n in VERSIONS)
    )
    print(
        f"{asked.connections} connections, {asked.rounds} slices of {asked.seconds:g} s each; 2 KB, signed, no repeats"
    )
    print(f"{'':24} {'requests/s':>10} {'ratio':>7} {'p99 ms':>8} {'CPU us/event':>13}")
    for name in contenders:
        ratio = sum(rates[name]) / sum(rates["bare"])
        ordered = sorted(latencies[name])
        print(
            f"{name:24} {statistics.median(rates[name]):10.0f} {ratio:7.2f}"
            f" {ordered[int(len(ordered) * 0.99)] * 1000:8.1f} {cpu[name] / events[name] * 1e6:13.0f}"
        )


if __name__ == "__main__":
    main()
