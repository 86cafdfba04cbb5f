"""The answers of the intake: small JSON documents, refusals as problem documents (RFC 9457)."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sodarouter.errors import Fault

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """What a request is answered with."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def accepted(event: str, *, duplicate: bool) -> Answer:
    """The 200 for an event that is on disk: exactly 200, which is what Soda wants."""
    document: dict[str, Any] = {"id": event}
    if duplicate:
        document["duplicate"] = True
    return _json(200, document, b"application/json")


def problem(
    status: int, title: str, detail: str = "", *, faults: Sequence[Fault] = (), headers: Mapping[str, str] | None = None
) -> Answer:
    """A refusal, clear to the administrator who sees it in Soda, and without anything internal."""
    document: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
    if detail:
        document["detail"] = detail
    if faults:
        document["errors"] = [
            {"path": f.place, "fault": f.fault, **({"hint": f.hint} if f.hint else {})} for f in faults
        ]
    return _json(status, document, b"application/problem+json", headers or {})


def _json(status: int, document: Mapping[str, Any], kind: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps(document, ensure_ascii=False).encode() + b"\n"
    extra = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items())
    return Answer(status, body, ((b"content-type", kind), (b"content-length", str(len(body)).encode()), *extra))


async def answer(send: Send, given: Answer) -> None:
    """Sends an answer over ASGI."""
    await send({"type": "http.response.start", "status": given.status, "headers": given.headers})
    await send({"type": "http.response.body", "body": given.body, "more_body": False})
