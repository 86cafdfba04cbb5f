"""What the other side answered, and what follows from it."""

import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import JsonValue
from pydantic_core import from_json

from sodarouter.errors import Reject, Retry

MAX_KEPT = 8192
"""Characters of an answer's body that are kept with the attempt."""
LEAST = 8
"""Characters of a part of a request that is taken out of what is kept: shorter ones stand in ordinary words."""
REDACTED = "**********"

_NOT_NOW = {408, 425, 429}
_OPEN_HEADERS = {"accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The answer to a request.

    The status alone says how a delivery went: a body that breaks off, drips or never ends changes nothing.
    """

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes
    """As it was sent, or the beginning of it."""
    whole: bool
    """Whether the body was read to its end."""
    line: str = ""
    """The status line."""
    url: str = field(default="", repr=False)
    """What was asked."""
    sent: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The headers of the request."""

    def json(self) -> JsonValue:
        """The body as JSON; ``None`` if it is none, or was not read to its end."""
        try:
            value: JsonValue = from_json(self.body) if self.whole else None
        except ValueError:
            return None
        return value

    def raise_unless_taken(self, hide: Collection[str] | None = None) -> None:
        """Returns if the status says that the request was taken.

        Args:
            hide: What must not be stored with the answer, as error pages like to quote the request. ``None``: the parts of
                its URL and its headers.

        Raises:
            Retry: A status of 500 or more, 408, 425 or 429. It heeds ``Retry-After``.
            Reject: Any other but 2xx. Redirects are among them: they are never followed.
        """
        if 200 <= self.status < 300:
            return
        text = self.excerpt(request_secrets(self.url, self.sent) if hide is None else hide)
        raise judge(self.status, self.headers.get("retry-after"), text, time.time())

    def excerpt(self, hide: Collection[str] = ()) -> str:
        """The status line and the beginning of the body, without the strings in ``hide``."""
        # first hidden, then cut: half a secret would no longer be known as one
        body = _without(hide, self.body.decode(errors="replace"))[:MAX_KEPT]
        return f"{_without(hide, self.line)[:200]}\n{body}".rstrip()


def judge(status: int, retry_after: str | None, answer: str, now: float) -> Retry | Reject:
    """What a status other than 2xx means for a delivery.

    Args:
        status: Of the final answer.
        retry_after: The header of that name, if there was one.
        answer: What to store with the attempt.
        now: Unix time.
    """
    reason = f"answered {status} {_phrase(status)}".rstrip()
    if status >= 500 or status in _NOT_NOW:
        return Retry(reason, after=_seconds(retry_after, now), response=answer)
    if 300 <= status < 400:
        reason += ", and redirects are not followed"
    return Reject(reason, response=answer)


def _phrase(status: int) -> str:
    # of our own table: what the server calls it may be anything
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


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


def request_secrets(url: str, headers: Mapping[str, str]) -> frozenset[str]:
    """What of a request an answer must not be stored with: the parts of its URL behind the host, and its headers."""
    found = {url, *_parts(url)}
    for name, value in headers.items():
        if name.lower() not in _OPEN_HEADERS:
            found.update([value, value.partition(" ")[2]])
    return frozenset(secret for secret in found if len(secret) >= LEAST)


def _parts(url: str) -> Iterator[str]:
    """Percent-encoded and not."""
    split = urlsplit(url)
    yield from (split.path, split.query, unquote(split.path), unquote(split.query))
    target = split.path + (f"?{split.query}" if split.query else "")
    yield target
    for part in re.split("[/?&=]", target):
        yield from (part, unquote(part))
    yield from (value for _, value in parse_qsl(split.query))


def _without(secrets: Collection[str], text: str) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text
