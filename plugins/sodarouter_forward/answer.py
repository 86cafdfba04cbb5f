"""What the other side answered, and what follows from it."""

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx2
import trio

from sodarouter import Reject, Retry
from sodarouter_forward.options import ForwardOptions
from sodarouter_forward.request import Composed

MAX_KEPT = 8192
"""Characters of an answer's body that are kept with the attempt."""
MAX_READ = 1 << 16
"""Bytes of an answer's body that are read: a connection serves again only when an answer was read to its end."""
READ_SECONDS = 2.0
"""How long an answer's body is waited for after its status."""

_NOT_NOW = {408, 425, 429}


def judge(status: int, retry_after: str | None, answer: str, now: float) -> Retry | Reject | None:
    """What a status means for the delivery; ``None``: taken.

    Args:
        status: Of the final answer.
        retry_after: The header of that name, if there was one.
        answer: What to store with the attempt.
        now: Unix time.
    """
    if 200 <= status < 300:
        return None
    reason = f"answered {status} {httpx2.codes.get_reason_phrase(status)}".rstrip()
    if status >= 500 or status in _NOT_NOW:
        return Retry(reason, after=_seconds(retry_after, now), response=answer)
    if 300 <= status < 400:
        reason += ", and redirects are not followed"
    return Reject(reason, response=answer)


def _seconds(retry_after: str | None, now: float) -> float | None:
    """From ``120`` or ``Wed, 21 Oct 2026 07:28:00 GMT``; ``None`` if it is neither."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # the oldest of the three forms of an HTTP date names no zone, and means GMT
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now)


async def read(response: httpx2.Response, hide: Collection[str]) -> str:
    """The status line and the beginning of the body, without the strings in ``hide``.

    The status alone says how the delivery went: a body that breaks off, drips or never ends changes nothing.
    """
    body = b""
    with suppress(httpx2.TransportError), trio.move_on_after(READ_SECONDS) as scope:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) >= MAX_READ:
                # not a break, which would leave the generators inside httpx2 half way through
                scope.cancel()
    head = f"{response.http_version} {response.status_code} {response.reason_phrase}".rstrip()
    # first hidden, then cut: half a secret would no longer be known as one
    return f"{_without(hide, head)[:200]}\n{_without(hide, body.decode(errors='replace'))[:MAX_KEPT]}".rstrip()


REDACTED = "**********"


def _without(secrets: Collection[str], text: str) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def secrets(options: ForwardOptions) -> frozenset[str]:
    """What an answer must not be stored with: many error pages quote the request."""
    found = {options.url.get_secret_value()}
    if options.url.is_template:
        found.update(part for literal in options.url.literals for part in _target_parts(literal))
        found.update(_url_parts(httpx2.URL(options.url.head)))
    else:
        found.update(_url_parts(httpx2.URL(options.url.get_secret_value())))
    found.update(literal.strip() for value in options.headers.values() for literal in value.literals)
    if options.auth:
        found.add(options.auth.header.partition(" ")[2])
    if options.auth and options.auth.basic:
        found.add(options.auth.basic.password.get_secret_value())
    return frozenset(secret for secret in found if len(secret) >= 4)


def rendered(composed: Composed) -> frozenset[str]:
    """The same of a request that templates have taken part in."""
    values = {composed.headers[name] for name in composed.secret_headers}
    found = {str(composed.url), *_url_parts(composed.url), *values}
    return frozenset(secret for secret in found if len(secret) >= 8)


def _url_parts(url: httpx2.URL) -> Iterator[str]:
    """The parts of path and query that are long enough for a token, percent-encoded and not."""
    target = url.raw_path.decode()
    parts = {target, url.path, url.query.decode(), *_target_parts(target), *url.path.split("/")}
    parts.update(value for _, value in url.params.multi_items())
    return (part for part in parts if len(part) >= 8)


def _target_parts(text: str) -> Iterator[str]:
    return (part for part in re.split("[/?&=]", text) if len(part) >= 8)
