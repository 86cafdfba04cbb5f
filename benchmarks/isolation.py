"""A destination that works, beside others that hang, refuse, fail or are paused: how long its deliveries take.

For each case a router runs with a good destination and a bad one, which get every event alike. What is measured is the
time from sending an event to its arrival at the good one, and the time to the 200. The cases run in turn, round by round.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from benchmarks.figures import Figures
from benchmarks.load import percentile
from benchmarks.running import ROUTER, free_port, started
from benchmarks.scale import Scale
from benchmarks.sink import Sink

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
AGAINST = "alone"
CASES = ("alone", "hangs", "refuses", "fails", "fails, without a breaker", "paused")


SENT = 100.0
"""Events a second."""


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
        Path(folder, "router.toml").write_text(toml, encoding="utf-8")
        environment = {"PYTHONWARNINGS": "ignore"}
        with started([*ROUTER, "--config", "router.toml"], port, Path(folder), environment):
            if case == "paused":
                command = [*ROUTER, "pause", "bad", "--config", "router.toml"]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
            yield port


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


def isolation(scale: Scale, figures: Figures) -> None:
    for _ in range(scale.starts):
        for case in CASES[: 1 + scale.neighbours]:
            # at so low a rate, a p99 takes a while
            answered, arrived = trio.run(measure, case, SENT, scale.seconds * 3)
            figures.add(
                f"{SENT:g} events a second",
                case,
                {
                    "200, p99 ms": percentile(answered, 0.99) * 1000,
                    "arrival, p50 ms": percentile(arrived, 0.5) * 1000,
                    "arrival, p99 ms": percentile(arrived, 0.99) * 1000,
                },
            )
