"""The options of a ``[destination.NAME]`` table with ``type = "forward"``."""

import base64
import re
import ssl
from collections.abc import Iterator
from typing import Annotated, Literal, Self

import httpx2
from pydantic import AfterValidator, Field, SecretStr, model_validator

from sodarouter import (
    ConfigPath,
    Duration,
    HiddenTemplate,
    HmacSignature,
    Options,
    Secret,
    SecretTemplate,
    Signature,
    StandardWebhooks,
    TextTemplate,
    UrlTemplate,
)
from sodarouter_forward.formats import AnyFormat, CloudEventsFormat, RawFormat, StandardWebhooksFormat, TemplateFormat

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


def is_http(text: str) -> bool:
    """Whether it is the URL of something on the web."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host) and 0 < (url.port or 80) <= 65535


def _http_url(secret: SecretStr) -> SecretStr:
    # says nothing of what was given: it may be a password
    if not is_http(secret.get_secret_value()):
        raise ValueError("must be an absolute URL that begins with http:// or https://")
    return secret


def _target(hidden: HiddenTemplate) -> HiddenTemplate:
    # all of it, unless it is a template: then what stands before that, the host at least
    _http_url(SecretStr(hidden.head))
    if httpx2.URL(hidden.head).userinfo:
        raise ValueError("must not hold a user or a password; put them into auth.basic")
    return hidden


def _plain_proxy(secret: SecretStr) -> SecretStr:
    if httpx2.URL(secret.get_secret_value()).scheme != "http":
        raise ValueError("a proxy's URL begins with http://; what it carries may still be https")
    return secret


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


class Tls(Options):
    ca: ConfigPath | None = None
    """Certificates (PEM) of the authorities to trust instead of the system's."""
    cert: ConfigPath | None = None
    """A client certificate with its chain (PEM)."""
    key: ConfigPath | None = None
    """The unencrypted key of `cert` (PEM), if it is not in the same file."""
    verify: bool = True
    """Whether to check the server's certificate and name. Without, anyone on the way can read and answer."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.key and not self.cert:
            raise ValueError("key needs cert")
        if self.ca and not self.verify:
            raise ValueError("ca has no effect with verify = false")
        if self.ca or self.cert:
            self.context()
        return self

    def context(self) -> ssl.SSLContext:
        """What the connections are made with.

        Raises:
            ValueError: A file cannot be read, or is not what it should be.
        """
        context = self._server_checks()
        if self.cert:
            try:
                # the empty password keeps OpenSSL from asking for one on the terminal
                context.load_cert_chain(self.cert, self.key, password="")
            except OSError as error:
                raise ValueError(f"cert and key cannot be used: {_cause(error)}") from None
        return context

    def _server_checks(self) -> ssl.SSLContext:
        if self.ca is None:
            return httpx2.create_ssl_context(verify=self.verify, trust_env=False)
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ValueError(f"ca cannot be used: {_cause(error)}") from None


def _cause(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return error.strerror or type(error).__name__
    return (
        (error.reason or "not in PEM form, or the key is encrypted or not the certificate's").replace("_", " ").lower()
    )


class ForwardOptions(Options):
    url: Annotated[UrlTemplate, AfterValidator(_target)]
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
    tls: Tls = Tls()
    """Whom to trust, and who to be, on `https://`."""
    proxy: Annotated[Secret, AfterValidator(_http_url), AfterValidator(_plain_proxy)] | None = None
    """An HTTP proxy, `http://user:password@host:port`. Proxies named in the environment are not used."""
    connect_timeout: Duration = Field(5.0, gt=0)
    """How long making the connection may take; the destination's `timeout` limits the whole attempt."""

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
    def _tls_has_a_use(self) -> Self:
        if self.tls != Tls() and httpx2.URL(self.url.head).scheme == "http":
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
