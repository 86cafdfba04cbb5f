"""The requests that are sent: signed webhooks, no two of them alike, and what other programs take in their place."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

SECRET = "benchmark"
HEADER = "X-Soda-Signature"


def result(number: int, filler: int) -> dict[str, Any]:
    """One result of a check evaluation, of some 400 bytes without filler."""
    return {
        "id": f"11111111-2222-4333-8444-{number:012}",
        "name": "No missing values",
        "definition": "checks:\n  - missing:\n      name: No missing values\n" + "# filler\n" * filler,
        "datasets": [
            {
                "name": f"orders_{number}",
                "datasource": {"name": "prod"},
                "owners": [{"type": "user", "email": "owner@example.com"}],
            }
        ],
        "evaluationStatus": "fail",
        "value": 1.0,
    }


def event(results: int) -> dict[str, Any]:
    """A check evaluation: of 2 KB with one result, of 45 KB with a hundred."""
    filler = 130 if results == 1 else 10
    return {"event": "checkEvaluation", "checkResults": [result(number, filler) for number in range(results)]}


def webhooks(path: str = "/webhooks/soda", results: int = 1) -> Iterator[bytes]:
    """Signed requests without end, each different from all others, so that none is a repeat."""
    # what differs is at the end, so that what comes before is hashed once for all
    start = json.dumps(event(results)).encode()[:-1]
    state = hmac.new(SECRET.encode(), start, hashlib.sha256)
    run = time.monotonic_ns()
    for number in count():
        end = b', "run": %d, "number": %d}' % (run, number)
        signature = state.copy()
        signature.update(end)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"{HEADER}: sha256={signature.hexdigest()}\r\nContent-Length: {len(start) + len(end)}\r\n\r\n"
        )
        yield b"%b%b%b" % (head.encode(), start, end)


def alerts(path: str = "/api/v2/alerts", results: int = 1) -> Iterator[bytes]:
    """The same results as alerts, as Alertmanager takes them."""
    run = time.monotonic_ns()
    bodies = [result(number, 130 if results == 1 else 10) for number in range(results)]
    made = [{"alertname": body["name"], "dataset": body["datasets"][0]["name"], "run": str(run)} for body in bodies]
    parts = [
        json.dumps({"annotations": {"definition": body["definition"]}, "labels": labels}).encode()[:-2]
        for body, labels in zip(bodies, made, strict=True)
    ]
    for number in count():
        end = b', "number": "%d"}}' % number
        whole = b"[%b]" % b", ".join(part + end for part in parts)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(whole)}"
        )
        yield b"%b\r\n\r\n%b" % (head.encode(), whole)
