"""The intake among nonsense: each request is refused or taken, the next good one is taken, and nothing is left behind.

``SODAROUTER_FUZZ`` is the number of requests, 1200 by default; docs/operations.md has the figures of a longer run.
"""

import gzip
import hmac
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from rawhttp import Client
from running import Process, router_process
from support import SAMPLES, payload

REQUESTS = int(os.environ.get("SODAROUTER_FUZZ", "1200"))
KEY = "a-key-for-fuzzing"
CONFIG = f"""
[source.signed]
path = "/signed"
verify = [{{ type = "hmac", header = "X-Soda-Signature", secrets = ["{KEY}"], prefix = "sha256=" }}]
"""
GROWTH = 12 * 1024 * 1024
"""Bytes that the process may grow by after its first third: a leak of 6 KB a request would be more."""

PATIENCE = 0.02
"""Seconds that an answer has before the request is ended: at once, the end would overtake the answer to what is refused
before it is whole; and what is never whole has none before its end."""

Make = Callable[[random.Random], bytes]


def request(body: bytes, *headers: str, path: str = "/webhooks/soda", method: str = "POST") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def signed(body: bytes) -> bytes:
    signature = hmac.new(KEY.encode(), body, "sha256").hexdigest()
    return request(body, f"X-Soda-Signature: sha256={signature}", path="/signed")


def damaged(chance: random.Random) -> bytes:
    """A sample with some bytes changed, left out or doubled: JSON or not, known shape or not."""
    body = bytearray(payload(chance.choice(SAMPLES)))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(body))
        match chance.randrange(4):
            case 0:
                body[at] = chance.randrange(256)
            case 1:
                del body[at : at + chance.randint(1, 40)]
            case 2:
                body[at:at] = body[at : at + chance.randint(1, 40)]
            case 3:
                body[at:at] = chance.choice(
                    [b"null", b"[", b"{", b'"', b"NaN", b"\xff", b"1e999", b"\\u0000", b"0" * 30]
                )
        if not body:
            break
    return bytes(body)


def other_json(chance: random.Random) -> bytes:
    def value(depth: int) -> object:
        kinds = ["text", "number", "nothing", "list", "object"][: 3 if depth > 4 else 5]
        match chance.choice(kinds):
            case "list":
                return [value(depth + 1) for _ in range(chance.randint(0, 4))]
            case "object":
                keys = ["event", "checkResults", "incident", "contract", "datasets", "id", "x"]
                return {chance.choice(keys): value(depth + 1) for _ in range(chance.randint(0, 4))}
            case "number":
                return chance.choice([0, -1, 1.5, 10**30, True])
            case "text":
                return chance.choice(["", "checkEvaluation", "incidentUpdated", "\u2603", "\x00", "x" * 300])
        return None

    return json.dumps(value(0)).encode()


def bad_http(chance: random.Random) -> bytes:
    good = bytearray(request(b'{"event": "validate"}'))
    head = good.index(b"\r\n\r\n")
    for _ in range(chance.randint(1, 4)):
        good[chance.randrange(head)] = chance.randrange(256)
    return bytes(good)


KINDS: dict[str, Make] = {
    "damaged": lambda chance: request(damaged(chance)),
    "another shape": lambda chance: request(b'{"event": "checkEvaluation", "checkResults": %d}' % chance.randrange(99)),
    "other JSON": lambda chance: request(other_json(chance)),
    "damaged and signed": lambda chance: signed(damaged(chance)),
    "badly signed": lambda chance: signed(damaged(chance) + b" ")[:-1] + b"!",
    "unsigned": lambda chance: request(damaged(chance), path="/signed"),
    "bad HTTP": bad_http,
    "noise": lambda chance: chance.randbytes(chance.randint(1, 400)) + b"\r\n\r\n",
    "nowhere": lambda chance: request(b"{}", path=f"/{chance.randrange(10**6)}"),
    "another method": lambda chance: request(b"{}", method=chance.choice(["GET", "PUT", "DELETE", "OPTIONS"])),
    "too large": lambda _: request(b"", "X: y").replace(b"Content-Length: 0", b"Content-Length: 99999999"),
    "bad gzip": lambda chance: request(gzip.compress(damaged(chance))[:-3], "Content-Encoding: gzip"),
    "unknown encoding": lambda _: request(b"{}", "Content-Encoding: br"),
    "broken off": lambda chance: request(damaged(chance))[: -chance.randint(1, 100)],
}
REFUSALS = {"400", "401", "404", "405", "413", "415", "422"}


def resident(process: Process) -> int:
    """Bytes."""
    status = Path(f"/proc/{process.popen.pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


async def ask(process: Process, sent: bytes) -> str:
    """The status of the answer, if there is one."""
    host, port = process.ready["listen"][0].rsplit(":", 1)
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        client = Client(stream)
        try:
            await client.send(sent)
            with trio.move_on_after(PATIENCE):
                return str((await client.answer()).status)
            await stream.send_eof()
            return str((await client.answer()).status)
        except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError, AssertionError, ValueError):
            return "none"


@pytest.mark.usefixtures("http")
def test_nonsense_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    chance = random.Random(20260504)
    answered: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    sizes: list[int] = []

    async def some(process: Process, count: int) -> None:
        left = [(kind, KINDS[kind](chance)) for kind in chance.choices(list(KINDS), k=count)]

        async def work() -> None:
            while left:
                kind, sent = left.pop()
                answered[kind][await ask(process, sent)] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(work)
        assert await ask(process, request(b'{"event": "validate", "n": %d}' % len(sizes))) == "200"
        sizes.append(resident(process))

    with router_process(tmp_path, CONFIG) as process:
        began = time.monotonic()
        for _ in range(6):
            trio.run(some, process, REQUESTS // 6)
        seconds = time.monotonic() - began
        assert process.popen.poll() is None
        assert '"level": "critical"' not in process.log
        assert "Traceback" not in process.log
    every = sum(answered.values(), Counter())
    print(f"{every.total()} requests in {seconds:.0f} s: {dict(every)}; MiB: {[size >> 20 for size in sizes]}")
    assert set(every) >= REFUSALS | {"200"}
    assert not {status for status in every if status.startswith("5")} - {"501", "505"}
    assert set(answered["badly signed"]) | set(answered["unsigned"]) == {"401"}
    assert max(sizes[2:]) - sizes[1] < GROWTH
