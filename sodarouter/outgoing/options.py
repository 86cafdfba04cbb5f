"""What can be said of the requests that the router makes: for all of them in `[outgoing]`, and for each destination."""

import ssl
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, SecretStr, ValidationInfo, model_validator

from sodarouter.options import SECRET_SCHEMA, ConfigPath, Duration, Network, Options, Secret, read_secret
from sodarouter.outgoing.guard import Guard, allowable

if TYPE_CHECKING:
    import httpx2


def http_url(secret: SecretStr) -> SecretStr:
    """The URL of something on the web.

    Raises:
        ValueError: It is none. The message says nothing of what was given, as it may be a password.
    """
    import httpx2  # not above: commands that send nothing need not wait for it

    try:
        url = httpx2.URL(secret.get_secret_value())
    except httpx2.InvalidURL:
        url = httpx2.URL()
    if not is_http(url):
        raise ValueError("must be an absolute URL that begins with http:// or https://")
    return secret


def is_http(url: "httpx2.URL") -> bool:
    """Whether something on the web can be asked for by it."""
    return url.scheme in ("http", "https") and bool(url.host) and 0 < (url.port or 80) <= 65535


def _without_user(secret: SecretStr) -> SecretStr:
    import httpx2

    if httpx2.URL(secret.get_secret_value()).userinfo:
        raise ValueError("must not hold a user or a password")
    return secret


def _plain_proxy(secret: SecretStr) -> SecretStr:
    if not http_url(secret).get_secret_value().lower().startswith("http://"):
        raise ValueError("a proxy's URL begins with http://; what it carries may still be https")
    return secret


def _proxy_or_off(value: object, info: ValidationInfo) -> SecretStr | Literal["off"]:
    # "off" must not become a secret, or it would be taken out of everything that is printed
    return "off" if value == "off" else _plain_proxy(read_secret(value, info))


HttpUrl = Annotated[Secret, AfterValidator(http_url), AfterValidator(_without_user)]
"""The URL of a webhook or an API. A secret, as whoever knows a webhook's URL can post to it."""

ProxyUrl = Annotated[Secret, AfterValidator(_plain_proxy)]
ProxyOrOff = Annotated[SecretStr | Literal["off"], PlainValidator(_proxy_or_off), SECRET_SCHEMA]


class ClientTls(Options):
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

    def context(self, outgoing: "Outgoing | None" = None) -> ssl.SSLContext:
        """What the connections are made with.

        Args:
            outgoing: Whose authorities are trusted where this table names none.

        Raises:
            ValueError: A file cannot be read, or is not what it should be.
        """
        ca = self.ca or (outgoing.ca if outgoing and self.verify else None)
        try:
            found = ca.stat() if ca else None
            trusting = (self.verify, ca, found and (found.st_mtime_ns, found.st_size, found.st_ino))
            # one that shows a certificate is nobody else's
            context = _shared(*trusting) if not self.cert else _new(*trusting)
        except OSError as error:
            raise ValueError(f"ca cannot be used: {_cause(error)}") from None
        if self.cert:
            try:
                # the empty password keeps OpenSSL from asking for one on the terminal
                context.load_cert_chain(self.cert, self.key, password="")
            except OSError as error:
                raise ValueError(f"cert and key cannot be used: {_cause(error)}") from None
        return context


def _new(verify: bool, ca: Path | None, written: tuple[int, ...] | None) -> ssl.SSLContext:
    """
    Args:
        verify: Whether the server is verified at all.
        ca: Who is trusted, instead of the authorities of the system.
        written: Changes when the file does.

    Raises:
        OSError: The file cannot be used.
    """
    if ca:
        return ssl.create_default_context(cafile=ca)
    import httpx2

    return httpx2.create_ssl_context(verify=verify, trust_env=False)


# reading all the authorities of the system takes 20 to 40 ms, and most destinations trust the same
_shared = lru_cache(maxsize=16)(_new)


def _cause(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return error.strerror or type(error).__name__
    return (
        (error.reason or "not in PEM form, or the key is encrypted or not the certificate's").replace("_", " ").lower()
    )


class HttpOptions(Options):
    """The base of a destination's options whose `http` is to heed what its table says of TLS, proxy and time."""

    tls: ClientTls = ClientTls()
    """Whom to trust, and who to be, on `https://`."""
    proxy: ProxyOrOff | None = None
    """An HTTP proxy, `http://user:password@host:port`, instead of that of `[outgoing]`; `"off"`: none. Proxies named in
    the environment are not used."""
    connect_timeout: Duration = Field(5.0, gt=0)
    """How long making the connection may take, with the lookup of the name, the proxy and TLS; the destination's `timeout`
    limits the whole attempt."""


class Outgoing(Options):
    """`[outgoing]`: the requests that the router makes."""

    allow: list[Annotated[Network, AfterValidator(allowable)]] = Field(default=[])
    """Ranges of private and loopback addresses that may be connected to, such as `10.1.0.0/16`."""
    proxy: ProxyUrl | None = None
    """An HTTP proxy, `http://user:password@host:port`, for destinations that name none."""
    ca: ConfigPath | None = None
    """Certificates (PEM) of the authorities to trust instead of the system's, for destinations that name none."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.ca:
            ClientTls().context(self)
        return self

    @property
    def guard(self) -> Guard:
        return Guard(tuple(self.allow))
