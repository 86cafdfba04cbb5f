"""The options of a ``[destination.NAME]`` table with ``type = "forward"``."""

import base64
import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self

import httpx2
from pydantic import AfterValidator, Field, SecretStr, model_validator

from sodarouter import (
    ClientTls,
    HiddenTemplate,
    HmacSignature,
    HttpOptions,
    Options,
    Secret,
    SecretTemplate,
    Signature,
    StandardWebhooks,
    TextTemplate,
    UrlTemplate,
)
from sodarouter_forward.formats import AnyFormat, CloudEventsFormat, RawFormat, StandardWebhooksFormat, TemplateFormat
from sodarouter_forward.tickets import AnswerPathOption, LinkTable, UpdateTable, Word
from sodarouter_forward.urls import target

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[!-~]([ -~\t]*[!-~])?")

_CONNECTION = {
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
"""Headers that frame a request: the HTTP client writes them."""
_ALWAYS = {"content-type", "x-sodarouter-attempt", "x-sodarouter-event"}


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("a header's name is letters, digits and hyphens")
    return name


def is_field_value(value: str) -> bool:
    """Whether it can be a header's value."""
    return _FIELD_VALUE.fullmatch(value) is not None


def _field_value(value: str) -> str:
    if not is_field_value(value):
        raise ValueError("a header's value is printable ASCII on one line, without spaces at its ends")
    return value


def _secret_field_value(secret: SecretStr) -> SecretStr:
    _field_value(secret.get_secret_value())
    return secret


def _hidden_field_value(hidden: HiddenTemplate) -> HiddenTemplate:
    # what a template gives is looked at when it is rendered
    if not hidden.is_template:
        _field_value(hidden.get_secret_value())
    return hidden


HeaderName = Annotated[str, AfterValidator(_header_name)]
SecretHeaderValue = Annotated[Secret, AfterValidator(_secret_field_value)]
HeaderTemplate = Annotated[SecretTemplate, AfterValidator(_hidden_field_value)]


class Basic(Options):
    username: str = Field(min_length=1, pattern=r"^[^:\x00-\x1f\x7f]+$")
    """The user; a colon cannot be part of it."""
    password: Secret
    """The user's password."""


class Auth(Options):
    """One of two ways to fill the `Authorization` header."""

    basic: Basic | None = None
    """`{ username, password }`."""
    bearer: SecretHeaderValue | None = None
    """A token, sent after the word `Bearer`."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.basic is None) == (self.bearer is None):
            raise ValueError("give either basic or bearer")
        return self

    @property
    def header(self) -> str:
        if self.bearer is not None:
            return f"Bearer {self.bearer.get_secret_value()}"
        assert self.basic is not None  # noqa: S101 (the validator made sure)
        pair = f"{self.basic.username}:{self.basic.password.get_secret_value()}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"


class ForwardOptions(HttpOptions):
    url: Annotated[UrlTemplate, AfterValidator(target)]
    """Where to, `https://…` or `http://…`. It counts as a secret: whoever knows a webhook's URL can post to it. Behind the
    host it may be a template; what that inserts is percent-encoded."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """The HTTP method."""
    headers: dict[HeaderName, HeaderTemplate] = Field(default_factory=dict)
    """More headers for each request. Every value counts as a secret, and may be a template."""
    format: AnyFormat = RawFormat()
    """The shape of the body: its name, or a table with that as `type` and options of the format's own. Without it, the body
    is what Soda sent, byte for byte, or what the template `body` makes of it."""
    body: TextTemplate | None = None
    """A template for the body; `format` is then `template`."""
    content_type: Annotated[str, AfterValidator(_field_value)] | None = None
    """The `Content-Type` header. Without it, `application/json` or what the format asks for."""
    auth: Auth | None = None
    """`{ basic = { username, password } }` or `{ bearer }`."""
    sign: Signature | None = None
    """How to sign the body: `{ type = "hmac", … }` or `{ type = "standard-webhooks", … }`."""
    idempotency_header: Literal[""] | HeaderName = "Idempotency-Key"
    """The header with the delivery's id, the same at every attempt. Empty: none."""
    keep: dict[Word, AnswerPathOption] = Field(default_factory=dict)
    """What of the answer to an event of an incident is kept for it: names, each with a JSONPath."""
    update: UpdateTable | None = None
    """`{ url, method, body }`: how events are sent of whose incident something is kept."""
    link: LinkTable | None = None
    """`{ url, text }`: the link that is put onto the incident in Soda, made of what is kept."""

    @model_validator(mode="before")
    @classmethod
    def _a_body_is_a_template(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("body") is not None and "format" not in given:
            return {**given, "format": "template"}
        return given

    @model_validator(mode="after")
    def _format_has_what_it_needs(self) -> Self:
        name = f'format = "{self.format.type}"'
        if isinstance(self.format, TemplateFormat) != (self.body is not None):
            raise ValueError(f"{name} needs body" if self.body is None else f"body has no effect with {name}")
        if isinstance(self.format, CloudEventsFormat) and self.content_type is not None:
            raise ValueError(f"content_type has no effect with {name}")
        signed = isinstance(self.sign, StandardWebhooks)
        if isinstance(self.format, StandardWebhooksFormat) and not signed:
            raise ValueError(f'{name} needs sign = {{ type = "standard-webhooks", … }}')
        return self

    @model_validator(mode="after")
    def _something_is_kept(self) -> Self:
        if not self.keep and (self.update or self.link):
            raise ValueError(f"{'update' if self.update else 'link'} needs keep, which says what of the answer is kept")
        if self.keep and not (self.update or self.link):
            raise ValueError("keep has no effect without update or link")
        return self

    @property
    def updating(self) -> Self | None:
        """The options for events of whose incident something is kept, if these are sent in another way."""
        if self.update is None:
            return None
        changed: dict[str, object] = {"url": self.update.url, "method": self.update.method, "update": None}
        if self.update.body is not None:
            changed |= {"body": self.update.body, "format": TemplateFormat()}
        return self.model_copy(update=changed)

    @model_validator(mode="after")
    def _tls_has_a_use(self) -> Self:
        if self.tls != ClientTls() and httpx2.URL(self.url.head).scheme == "http":
            raise ValueError("tls has no effect on an http:// url")
        return self

    @model_validator(mode="after")
    def _each_header_once(self) -> Self:
        taken = _CONNECTION | _ALWAYS
        for name in (*self._headers_of_other_options(), *self.headers):
            if name.lower() in taken:
                raise ValueError(f"the header {name} is set by another option, twice, or by the router itself")
            taken.add(name.lower())
        return self

    def _headers_of_other_options(self) -> Iterator[str]:
        if self.idempotency_header:
            yield self.idempotency_header
        if self.auth:
            yield "Authorization"
        if not isinstance(self.format, TemplateFormat):
            yield from self.format.header_names
        match self.sign:
            case HmacSignature() as signature:
                signed = signature.sign(b"", 0)
            case StandardWebhooks() as signature:
                signed = signature.sign(b"", 0, "id")
            case None:
                signed = {}
        for name, value in signed.items():
            _field_value(value)
            yield _header_name(name)
