"""Makes the request for one delivery."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import quote, unquote

import httpx2

from sodarouter import Delivery, Event, HmacSignature, Reject, StandardWebhooks
from sodarouter_forward.formats import Made, TemplateFormat
from sodarouter_forward.options import ForwardOptions, is_field_value
from sodarouter_forward.tickets import NOTHING, Kept
from sodarouter_forward.urls import is_http


@dataclass(frozen=True, slots=True)
class Composed:
    """A request as it will be sent."""

    method: str
    url: httpx2.URL
    headers: Mapping[str, str]
    body: bytes
    secret_headers: frozenset[str]
    """Names of those whose values are secrets, or made with one."""


class Composer:
    """Makes the requests of one destination: what does not depend on the event is made once."""

    def __init__(self, options: ForwardOptions) -> None:
        self._options = options
        self._url = None if options.url.is_template else httpx2.URL(options.url.get_secret_value())
        self._headers = {
            "Accept-Encoding": "identity",
            "User-Agent": f"sodarouter/{version('sodarouter')}",
        }
        self._make = _maker(options)
        self.renders = any(
            [options.body, options.url.is_template, *(value.is_template for value in options.headers.values())]
        )
        """Whether a template takes part: what it gives may have to be kept secret."""
        self.computes = self.renders or (not isinstance(options.format, TemplateFormat) and options.format.computes)
        """Whether it may take a while."""

    def compose(self, event: Event, delivery: Delivery, now: float, kept: Kept = NOTHING) -> Composed:
        """The request for one delivery: at each attempt the same, but for the number of the attempt and what is signed.

        Args:
            event: What is sent.
            delivery: For which delivery.
            now: Unix time, for signatures that have one.
            kept: What is kept of the event's incident.

        Raises:
            Reject: A template fails, or gives what cannot be a URL or a header.
        """
        options = self._options
        made = self._make(event, delivery, kept)
        message_id = _message_id(delivery)
        usual = {**self._headers, "Content-Type": options.content_type or made.content_type}
        usual |= _about(event, delivery)
        if options.idempotency_header:
            usual[options.idempotency_header] = message_id
        own = {name: self._value(name, event, delivery) for name in options.headers}
        if options.auth:
            own["Authorization"] = options.auth.header
        match options.sign:
            case HmacSignature() as signature:
                signed = signature.sign(made.body, now)
            case StandardWebhooks() as signature:
                signed = signature.sign(made.body, now, message_id)
            case None:
                signed = {}
        # the last counts, whatever its case
        each = {
            name.lower(): (name, value) for some in (usual, made.headers, own, signed) for name, value in some.items()
        }
        target, secret = self._target(event, delivery, kept), frozenset((*own, *signed))
        return Composed(options.method, target, dict(each.values()), made.body, secret)

    def _target(self, event: Event, delivery: Delivery, kept: Kept) -> httpx2.URL:
        if self._url is not None:
            return self._url
        text, head = self._options.url.render(event, delivery, {"kept": kept}), self._options.url.head
        # encoding leaves full stops alone, and a path that climbs is another one than was meant
        if any(unquote(part) in (".", "..") for part in re.split("[?#]", text, maxsplit=1)[0].split("/")):
            raise Reject("url: a part of the rendered path is . or ..")
        if not is_field_value(text) or " " in text or not is_http(text):
            raise Reject("url: what the template gives is no URL")
        url, meant = httpx2.URL(text), httpx2.URL(head)
        if (url.scheme, url.netloc, url.userinfo) != (meant.scheme, meant.netloc, meant.userinfo):
            raise Reject("url: what the template gives has another host")
        return url

    def _value(self, name: str, event: Event, delivery: Delivery) -> str:
        given = self._options.headers[name]
        value = given.render(event, delivery)
        if given.is_template and not is_field_value(value):
            raise Reject(
                f"headers.{name}: what the template gives is not printable ASCII on one line, without spaces at its ends"
            )
        return value


def _maker(options: ForwardOptions) -> Callable[[Event, Delivery, Kept], Made]:
    if isinstance(options.format, TemplateFormat):
        assert options.body is not None  # noqa: S101 (the validator made sure)
        template = options.body
        return lambda event, delivery, kept: Made(template.render(event, delivery, {"kept": kept}).encode())
    make = options.format.make
    return lambda event, delivery, _: make(event, delivery)


def _about(event: Event, delivery: Delivery) -> dict[str, str]:
    headers = {"X-Sodarouter-Event": event.id, "X-Sodarouter-Attempt": str(delivery.attempt)}
    if event.late:
        headers["X-Sodarouter-Late"] = "true"
    if delivery.replay:
        headers["X-Sodarouter-Replay"] = str(delivery.replay)
    if delivery.fallback:
        headers["X-Sodarouter-Fallback-For"] = delivery.fallback.destination
        headers["X-Sodarouter-Fallback-Reason"] = quote(delivery.fallback.reason[:200], safe=" ,:;/()")
    return headers


def _message_id(delivery: Delivery) -> str:
    """`Delivery.id`, fit for a header. Standard Webhooks joins what it signs with full stops, so an id must have none."""
    return quote(delivery.id).replace(".", "%2E")
