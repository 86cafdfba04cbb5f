"""A destination that works, beside others that hang, refuse, fail or are paused: how long its deliveries take.

    python benchmarks/isolation.py [--rate 100] [--seconds 5] [--rounds 3]

For each case a router runs with a good destination and a bad one, which get every event alike. What is measured is the
time from sending an event to its arrival at the good one, and the time to the 200. The cases run in turn, round by round;
what counts is the ratio to the case with the good destination alone.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

CONFIG = """
[server]
listen = ["127.0.0.1:{port}"]
[admin]
listen = ["127.0.0.1:{admin}"]
[log]
level = "error"
[source.soda]
path = "/webhooks/soda"
[outgoing]
allow = ["127.0.0.0/8"]
[destination.good]
type = "forward"
url = "{sink}/good"
concurrency = 16
"""
BAD = """
[destination.bad]
type = "forward"
url = "{url}"
concurrency = 64
timeout = "2s"
breaker = {breaker}
retry = {{ initial = "100ms", max_delay = "1s" }}
"""
CASES = ("alone", "hangs", "refuses", "fails", "fails, without a breaker", "paused")


class Sink:
    """Answers every request at once but those to ``/hang``, and remembers when each event came to ``/good``."""

    def __init__(self) -> None:
        self.arrived: dict[int, float] = {}
        self._more = trio.Event()

    async def until(self, count: int) -> None:
        """Returns once so many events have come."""
        while len(self.arrived) < count:
            await self._more.wait()
            self._more = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        received = b""
        try:
            while True:
                while b"\r\n\r\n" not in received:
                    piece = await stream.receive_some()
                    if not piece:
                        return
                    received += piece
                head, _, received = received.partition(b"\r\n\r\n")
                (length,) = (
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                )
                while len(received) < length:
                    received += await stream.receive_some()
                body, received = received[:length], received[length:]
                await self._answer(stream, head.split(b" ")[1], body)
        except trio.BrokenResourceError:
            return

    async def _answer(self, stream: trio.SocketStream, path: bytes, body: bytes) -> None:
        if path == b"/hang":
            await trio.sleep_forever()
        if path == b"/good":
            self.arrived[json.loads(body)["number"]] = time.perf_counter()
            self._more.set()
        status = b"500 No" if path == b"/fail" else b"200 OK"
        await stream.send_all(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def router(case: str, sink: str) -> Iterator[int]:
    """A router for a case, and its port."""
    port = free_port()
    toml, to = CONFIG.format(port=port, admin=free_port(), sink=sink), ["good"]
    urls = {"hangs": f"{sink}/hang", "refuses": f"http://127.0.0.1:{free_port()}/", "paused": f"{sink}/good-no"}
    if case != "alone":
        breaker = '"off"' if case.endswith("without a breaker") else '{ pause = "1s", max_pause = "2s" }'
        toml += BAD.format(url=urls.get(case, f"{sink}/fail"), breaker=breaker)
        to.append("bad")
    toml += f"[[route]]\nto = {json.dumps(to)}\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "router.toml"
        path.write_text(toml, encoding="utf-8")
        command = [sys.executable, "-m", "sodarouter"]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([*command, "--config", str(path)], stderr=log)
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    if process.poll() is not None:
                        raise SystemExit((Path(folder) / "log").read_text(encoding="utf-8")) from None
                    time.sleep(0.05)  # until the port is open
            if case == "paused":
                subprocess.run([*command, "pause", "bad", "--config", str(path)], check=True, stdout=subprocess.DEVNULL)
            yield port
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


async def measure(case: str, rate: float, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds to the 200, and to the arrival at the good destination."""
    sink, sent, answered = Sink(), {}, []
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, sink.serve, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        with router(case, url) as port:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            count = int(rate * seconds)
            began = trio.current_time()
            for number in range(count):
                await trio.sleep_until(began + number / rate)
                body = json.dumps({"event": "checkEvaluation", "number": number, "filler": "x" * 2000}).encode()
                head = b"POST /webhooks/soda HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
                sent[number] = time.perf_counter()
                await stream.send_all(head + body)
                answer = await stream.receive_some()
                assert answer.startswith(b"HTTP/1.1 200"), answer
                answered.append(time.perf_counter() - sent[number])
            with trio.fail_after(30):
                await sink.until(count)
            await stream.aclose()
        nursery.cancel_scope.cancel()
    # what was sent while everything was new is left out
    return answered[count // 5 :], [sink.arrived[number] - at for number, at in sent.items()][count // 5 :]


def percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    os.environ["PYTHONWARNINGS"] = "ignore"
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for _ in range(asked.rounds):
        for case in CASES:
            answered, arrived = trio.run(measure, case, asked.rate, asked.seconds)
            found[case].append((percentile(answered, 0.99), percentile(arrived, 0.5), percentile(arrived, 0.99)))
    middle = {case: [statistics.median(column) for column in zip(*rows, strict=True)] for case, rows in found.items()}
    print(
        f"{asked.rate:g} events a second, medians of {asked.rounds} rounds; ms, and the ratio to a good destination alone\n"
    )
    print(f"{'the other one':26} {'200, p99':>16} {'arrival, p50':>16} {'arrival, p99':>16}")
    for case, values in middle.items():
        cells = (
            f"{value * 1000:8.1f}  {value / alone:5.2f}" for value, alone in zip(values, middle["alone"], strict=True)
        )
        print(f"{case:26} " + " ".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
