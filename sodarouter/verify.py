"""The verifications of a source: who may hand a webhook in, and how a sender proves to be the one.

Soda Cloud documents no signature, so a source lists whatever its sender can do; all that it lists must hold.
"""

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretStr, WithJsonSchema

from sodarouter.errors import Forbidden, Unverified
from sodarouter.options import Network, Options, Secret, parse_network
from sodarouter.signature import HeaderName, HmacSignature, StandardWebhooks
from sodarouter.verification import VerificationType

Ip = IPv4Address | IPv6Address
Headers = Mapping[str, str]
"""Names in lower case, values decoded as latin-1, so that every byte survives. A header that came more than once is one
value, joined with ``", "``: where a proxy checks one copy and the router another, neither decides alone, as the joined
value equals no secret."""


class Request(NamedTuple):
    """What of a request can be verified."""

    headers: Headers
    body: bytes
    client: Ip | None
    """As `client_address` found it; ``None`` is a client whose address is not known, and passes no `Address`."""


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _one_line(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isprintable() or text != text.strip():
        raise ValueError("a header's value is one line without white space at its ends")
    return value


def _without_colon(username: str) -> str:
    if ":" in username:
        raise ValueError("a username for HTTP basic authentication cannot contain a colon")
    return username


def _proxy(value: object) -> IPv4Network | IPv6Network | Literal["unix"]:
    return "unix" if value == "unix" else parse_network(value)


Proxy = Annotated[
    IPv4Network | IPv6Network | Literal["unix"], PlainValidator(_proxy), WithJsonSchema({"type": "string"})
]
"""An option that names proxies whose ``X-Forwarded-For`` is believed: a `Network`, or ``"unix"`` for all that comes in
over a Unix socket."""


class Header(Options):
    """A header with a fixed value: what Soda's webhook dialog can send."""

    type: Literal["header"] = "header"
    name: HeaderName
    """The header, such as `Authorization`."""
    value: Annotated[
        list[Annotated[Secret, AfterValidator(_one_line)]],
        Field(min_length=1),
        BeforeValidator(_listed, json_schema_input_type=Secret | list[Secret]),
    ]
    """Its whole value, such as `Bearer …`; of a list any will do, so that one can be replaced without a gap."""

    def check(self, headers: Headers) -> None:
        """Raises `Forbidden` unless the header holds one of the values. Compares in constant time."""
        given = _present(self.type, headers, self.name)
        if not _equals_any(given, (spelling for value in self.value for spelling in _wire(value.get_secret_value()))):
            raise Forbidden(self.type, f"the header {self.name} holds another value")


class Basic(Options):
    """HTTP basic authentication (RFC 7617)."""

    type: Literal["basic"] = "basic"
    username: Annotated[str, AfterValidator(_without_colon)]
    """The user; cannot contain a colon."""
    password: Secret
    """The password."""

    def check(self, headers: Headers) -> None:
        """Raises `Forbidden` unless user and password are these. Compares in constant time."""
        scheme, _, credentials = _present(self.type, headers, "Authorization").partition(b" ")
        if scheme.lower() != b"basic":
            raise Forbidden(self.type, "the header Authorization is not for the scheme Basic")
        try:
            given = b64decode(credentials.strip(), validate=True)
        except binascii.Error:
            raise Forbidden(self.type, "the header Authorization holds no base64") from None
        if not _equals_any(given, _wire(self._pair)):
            raise Forbidden(self.type, "another user or password")

    @property
    def _pair(self) -> str:
        return f"{self.username}:{self.password.get_secret_value()}"


class Address(Options):
    """The client's address, as `client_address` found it."""

    type: Literal["address"] = "address"
    allow: list[Network] = Field(min_length=1)
    """Addresses and ranges that may send, such as `10.0.0.0/8`. Soda publishes those of its regions."""

    def check(self, client: Ip | None) -> None:
        """Raises `Forbidden` unless the address is known and in one of the ranges."""
        if client is None or not _within(client, self.allow):
            raise Forbidden(self.type, f"{client or 'an unknown address'} is in none of the allowed ranges")


BuiltIn = Header | Basic | HmacSignature | StandardWebhooks | Address
Verification = Annotated[BuiltIn, Field(discriminator="type")]
"""One entry of a source's ``verify``, but for those of plugins."""


def verify(verifications: Sequence[Verification], request: Request, now: float) -> None:
    """Holds a whole request against a source's verifications.

    Args:
        verifications: All of them must hold; an empty list holds for everybody.
        request: The request, its body as it came over the wire.
        now: Unix time in seconds.

    Raises:
        Forbidden: One does not hold.
    """
    verify_head(verifications, request.headers, request.client)
    for verification in verifications:
        if isinstance(verification, HmacSignature | StandardWebhooks):
            try:
                verification.check(request.headers, request.body, now)
            except Unverified as error:
                raise Forbidden(verification.type, str(error)) from None


def verify_head(verifications: Sequence[Verification], headers: Headers, client: Ip | None) -> None:
    """As `verify`, for those verifications that need no body: so a stranger's body need not be read."""
    for verification in verifications:
        match verification:
            case Header() | Basic():
                verification.check(headers)
            case Address():
                verification.check(client)


def sign(verifications: Sequence[Verification | VerificationType], body: bytes, now: float) -> dict[str, str]:
    """The headers with which ``body`` passes at the Unix time ``now``, values as in `Headers`.

    An `Address` cannot be signed and is skipped.
    """
    headers: dict[str, str] = {}
    for verification in verifications:
        match verification:
            case Header():
                headers[verification.name] = verification.value[0].get_secret_value().encode().decode("latin-1")
            case Basic():
                headers["Authorization"] = "Basic " + b64encode(verification._pair.encode()).decode()
            case HmacSignature():
                headers |= verification.sign(body, now)
            case StandardWebhooks():
                headers |= verification.sign(body, now, "msg_" + hashlib.sha256(body).hexdigest()[:32])
            case VerificationType():
                headers |= verification.sign(body, now)
    return headers


def client_address(
    peer: str | None, forwarded_for: str | None, proxies: Collection[IPv4Network | IPv6Network | str]
) -> Ip | None:
    """The address a request came from: the peer's, or what proxies that are trusted say of it.

    ``X-Forwarded-For`` is read from the right, where the nearest proxy wrote, past every proxy that is trusted: what
    stands left of the first stranger is that stranger's own claim.

    Args:
        peer: The address at the other end of the connection; ``None`` for a Unix socket.
        forwarded_for: The value of ``X-Forwarded-For``, if it came.
        proxies: Who is trusted; nobody is unless named. ``"unix"`` stands for whatever comes over a Unix socket.

    Returns:
        The address, an IPv4 one also if it was written as an IPv6 one (``::ffff:192.0.2.7``); ``None`` if it cannot
        be known.
    """
    networks = [proxy for proxy in proxies if not isinstance(proxy, str)]
    address = None if peer is None else _address(peer)
    trusted = "unix" in proxies if peer is None else address is not None and _within(address, networks)
    if not trusted or not forwarded_for:
        return address
    for hop in reversed(forwarded_for.split(",")):
        address = _address(_without_port(hop.strip()))
        if address is None or not _within(address, networks):
            break
    return address


@lru_cache(maxsize=1024)  # a sender has few addresses and sends many requests
def _address(text: str) -> Ip | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _without_port(hop: str) -> str:
    """Some gateways write ``192.0.2.7:4711`` and ``[2001:db8::7]:4711``."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _within(address: Ip, networks: Collection[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks)


def _present(verification: str, headers: Headers, name: str) -> bytes:
    """The bytes of a header as they came over the wire."""
    value = headers.get(name.lower())
    if not value:
        raise Forbidden(verification, f"the header {name} is missing")
    return value.encode("latin-1", "replace")


def _wire(text: str) -> Iterator[bytes]:
    """How a sender may have written a text into a header: no standard says which encoding it is in."""
    yield text.encode()
    with suppress(UnicodeEncodeError):
        yield text.encode("latin-1")


def _equals_any(given: bytes, expected: Iterator[bytes]) -> bool:
    """Compares with every one, so that the time says nothing of which it was."""
    return any([hmac.compare_digest(given, value) for value in expected])
