"""Intake with a durable 200, side by side with a bare server that keeps nothing.

    python benchmarks/intake.py [--connections 64] [--seconds 5] [--rounds 5]

Both run in turn, round by round, so that a machine whose speed drifts treats them alike. What counts is the ratio.
"""

import argparse
import hashlib
import hmac
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        contenders = {}
        for name, toml in (("bare", None), ("router", ""), ("router, delivering", DELIVERED)):
            port = free_port()
            command = [sys.executable, str(Path(__file__).with_name("bare.py").resolve()), str(port)]
            place = Path(folder, name.replace(", ", "-"))
            place.mkdir()
            if toml is not None:
                (place / "router.toml").write_text(ROUTER.format(port=port, secret=SECRET) + toml, encoding="utf-8")
                command = [sys.executable, "-m", "sodarouter", "--config", "router.toml"]
            contenders[name] = (command, port, str(place))

        rates: dict[str, list[float]] = {name: [] for name in contenders}
        p99: dict[str, list[float]] = {name: [] for name in contenders}
        cpu: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(asked.rounds):
            for name, (command, port, place_name) in contenders.items():
                warm_up, requests = webhooks(FASTEST), webhooks(int(FASTEST * asked.seconds))
                with started(command, port, place_name) as pid:
                    load.run(("127.0.0.1", port), iter(warm_up), connections=asked.connections, seconds=0.5)
                    before = cpu_seconds(pid)
                    found = load.run(
                        ("127.0.0.1", port), iter(requests), connections=asked.connections, seconds=asked.seconds
                    )
                    used = cpu_seconds(pid) - before
                assert set(found.statuses) == {200}, found.statuses
                rates[name].append(found.rate)
                p99[name].append(found.percentile(0.99))
                cpu[name].append(used / len(found.latencies))

    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, "
        + ", ".join(f"{n} {version(n)}" for n in VERSIONS)
    )
    print(
        f"{asked.connections} connections, medians of {asked.rounds} rounds of {asked.seconds:g} s; 2 KB, signed, no repeats"
    )
    print(f"{'':20} {'requests/s':>10} {'ratio':>7} {'p99 ms':>8} {'CPU us/request':>15}")
    for name in contenders:
        ratio = statistics.median(a / b for a, b in zip(rates[name], rates["bare"], strict=True))
        print(
            f"{name:20} {statistics.median(rates[name]):10.0f} {ratio:7.2f}"
            f" {statistics.median(p99[name]) * 1000:8.1f} {statistics.median(cpu[name]) * 1e6:15.0f}"
        )


if __name__ == "__main__":
    main()
