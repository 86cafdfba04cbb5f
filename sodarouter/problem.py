"""The answers of the router: small JSON documents, refusals as problem documents (RFC 9457), and what plugins answer."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sodarouter.errors import Fault
from sodarouter.failures import kind_of
from sodarouter.http import HttpResponse
from sodarouter.link import IncidentLink

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

HAS_ENDED = "sodarouter.has_ended"
"""The key of a scope under which the server says whether the client has closed its half of the connection: ``() -> bool``.
It may still read the answer, but one that gave up looks the same."""

REFUSED = "sodarouter.refused"
"""The key of a scope under which the server says with which status it has answered the request itself, as the body could
not be read: ``() -> int | None``. The application sees only that its client has gone."""

WHOLE_BODY = "sodarouter.whole_body"
"""The key of a scope under which the server gives a body that is there already, whole, instead of the first messages:
``() -> bytes | None``. So nobody need wait for it, which takes a timer."""


@dataclass(frozen=True)
class Answer:
    """What a request is answered with."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def accepted(event: str, *, duplicate: bool = False, link: IncidentLink | None = None) -> Answer:
    """The 200 for an event that is on disk: exactly 200, which is what Soda wants.

    Args:
        event: Its id.
        duplicate: Whether it was there already.
        link: Is put onto the incident by Soda, which takes ``{"link": {"url", "text"}}`` in the answer to an
            ``incidentCreated`` (its documentation of version 3).
    """
    if link is not None:
        return _accepted(json.dumps({"id": event, "link": {"url": link.url, "text": link.text}}).encode() + b"\n")
    # written by hand, on the hot path; an event's id needs no escaping
    body = b'{"id": "%s"%s}\n' % (event.encode(), b', "duplicate": true' if duplicate else b"")
    return _accepted(body)


def _accepted(body: bytes) -> Answer:
    return Answer(200, body, ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))))


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
    body = json.dumps(document, ensure_ascii=False).encode() + b"\n"
    extra = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items())
    about = ((b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body)))
    return Answer(status, body, (*about, *extra))


async def answer(send: Send, given: Answer) -> None:
    """Sends an answer over ASGI."""
    await send({"type": "http.response.start", "status": given.status, "headers": given.headers})
    await send({"type": "http.response.body", "body": given.body, "more_body": False})


_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_FRAMING = {"content-length", "transfer-encoding", "connection"}
"""What the server says itself."""


def of_plugin(who: str, given: object) -> Answer:
    """What a plugin answers, once it is known that it can be sent: later nothing contains what its classes do.

    Raises:
        TypeError: It is no answer,
        ValueError: or one that cannot be sent.
    """
    if not isinstance(given, HttpResponse):
        raise TypeError(f"{who} gave a {kind_of(given)}, no HttpResponse")
    if not (isinstance(given.status, int) and 200 <= given.status <= 599):
        raise ValueError(f"{who} gave an answer with the status {given.status!r}")
    body = given.body.encode() if isinstance(given.body, str) else given.body
    if not isinstance(body, bytes):
        raise TypeError(f"{who} gave an answer with a {kind_of(body)} for its body")
    body = bytes(memoryview(body))
    headers = {"Content-Type": given.content_type, **given.headers}
    for name, value in headers.items():
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise ValueError(f"{who} gave an answer with a header {name!r} that cannot be sent")
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items() if name.lower() not in _FRAMING}
    return Answer(int(given.status), body, (*sent.items(), (b"content-length", b"%d" % len(body))))
