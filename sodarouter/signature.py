"""Signatures over a body: checked on what comes in, made for what goes out.

Soda's documentation says that a webhook's secret is "used to sign the payload" and publishes neither header nor
algorithm, so every part of `HmacSignature` is a setting. `StandardWebhooks` follows version 1 of the Standard Webhooks
specification (symmetric signatures).
"""

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from sodarouter.errors import Unverified
from sodarouter.options import Duration, Options, Secret


def _header_name(value: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", value):
        # it may be the value that stands in the wrong place, so it is not repeated
        raise ValueError("a header's name is letters, digits and hyphens, such as X-Soda-Signature")
    return value


def _one_line(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("a header's value has no line breaks or other control characters")
    return value


_PIECE = 2047
"""Bytes: of more, hashlib gives up Python's lock, and while another thread is busy it may take milliseconds to have it
back, where hashing them takes three microseconds."""
_LARGE = 64 * 1024
"""Bytes that are worth it."""

HeaderName = Annotated[str, AfterValidator(_header_name)]
"""An option whose value is a header's name: a token of RFC 9110, 5.6.2."""

Headers = Mapping[str, str]
"""Header names in lower case, values as text."""


class _Signer:
    """Signs under one key, which is taken up once."""

    def __init__(self, key: bytes, algorithm: str) -> None:
        self._begun = hmac.new(key, digestmod=algorithm)

    def __call__(self, *parts: bytes) -> bytes:
        made = self._begun.copy()
        for part in parts:
            size = _PIECE if len(part) <= _LARGE else len(part)
            for start in range(0, len(part), size):
                made.update(part[start : start + size])
        return made.digest()


class HmacSignature(Options):
    """An HMAC of the raw body in a header of your choice."""

    type: Literal["hmac"] = "hmac"
    header: HeaderName
    """The header that carries the signature, such as `X-Soda-Signature`."""
    secrets: list[Secret] = Field(min_length=1)
    """The shared secrets; any of them will do, so that one can be replaced without a gap. Signing uses the first."""
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    """The hash function."""
    encoding: Literal["hex", "base64"] = "hex"
    """How the signature is written."""
    prefix: Annotated[str, AfterValidator(_one_line)] = ""
    """What stands before the signature in the header, such as `sha256=`."""
    timestamp_header: HeaderName | None = None
    """A header with the Unix time in seconds, if the sender signs one."""
    tolerance: Duration = 300.0
    """How far the timestamp may be from now, in either direction."""
    signed: str = ""
    """What is signed: `{body}`, or `{timestamp}.{body}`, which is the default when there is a `timestamp_header`."""

    @model_validator(mode="after")
    def _template_fits(self) -> Self:
        names = set(re.findall(r"\{(\w*)\}", self._signed))
        if "body" not in names or names - {"body", "timestamp"}:
            raise ValueError("signed must contain {body} and may contain {timestamp}, nothing else in braces")
        if ("timestamp" in names) != (self.timestamp_header is not None):
            raise ValueError("signed names {timestamp} exactly when timestamp_header is set")
        return self

    @property
    def _signed(self) -> str:
        return self.signed or ("{timestamp}.{body}" if self.timestamp_header else "{body}")

    def check(self, headers: Headers, body: bytes, now: float) -> None:
        """Compares in constant time.

        Args:
            headers: The request's headers, names in lower case.
            body: The raw bytes, as they came over the wire.
            now: Unix time in seconds.

        Raises:
            Unverified: It does not hold.
        """
        given = _present(headers, self.header)
        timestamp = ""
        if self.timestamp_header:
            timestamp = _present(headers, self.timestamp_header)
            _fresh(timestamp, now, self.tolerance)
        # some senders put several signatures into one header, with commas or spaces between them
        signatures = self._pattern.findall(given)
        expected = (self._sign(sign, timestamp, body) for sign in self._signers)
        if not _any_equal(expected, signatures if self.encoding == "base64" else map(str.lower, signatures)):
            raise Unverified(f"the header {self.header} holds {self._fault(signatures)}")

    def _fault(self, signatures: Sequence[str]) -> str:
        """Why none of these is valid, as far as their form says it. None of them is told: it may be valid elsewhere."""
        if not signatures:
            return f"nothing that begins with {self.prefix!r}, its prefix" if self.prefix else "no signature"
        length = len(self._sign(self._signers[0], "", b""))
        if all(len(signature) != length for signature in signatures):
            # not how many it has: each would be a line of its own in the log
            other = "more" if len(signatures[0]) > length else "fewer"
            form = f"{self.algorithm} in {self.encoding} has {length} characters, and this has {other}"
            return f"no signature: {form}; see prefix, encoding and algorithm"
        return "no valid signature: it was made with another secret, or of something else"

    def sign(self, body: bytes, now: float) -> dict[str, str]:
        """The headers that make ``body`` pass `check` at the time ``now``."""
        timestamp = str(int(now)) if self.timestamp_header else ""
        headers = {self.header: self.prefix + self._sign(self._signers[0], timestamp, body)}
        if self.timestamp_header:
            headers[self.timestamp_header] = timestamp
        return headers

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![^,\s]){re.escape(self.prefix)}([^,\s]+)")

    @cached_property
    def _signers(self) -> list[_Signer]:
        return [_Signer(secret.get_secret_value().encode(), self.algorithm) for secret in self.secrets]

    def _sign(self, sign: _Signer, timestamp: str, body: bytes) -> str:
        before, _, after = self._signed.replace("{timestamp}", timestamp).partition("{body}")
        digest = sign(before.encode(), body, after.encode())
        return digest.hex() if self.encoding == "hex" else base64.b64encode(digest).decode()


def _standard_secret(secret: SecretStr) -> SecretStr:
    try:
        key = _standard_key(secret)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("a Standard Webhooks secret is base64, usually behind whsec_")
    return secret


def _standard_key(secret: SecretStr) -> bytes:
    text = secret.get_secret_value().removeprefix("whsec_")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


class StandardWebhooks(Options):
    """The symmetric signature of Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`."""

    type: Literal["standard-webhooks"] = "standard-webhooks"
    secrets: list[Annotated[Secret, AfterValidator(_standard_secret)]] = Field(min_length=1)
    """The shared secrets, `whsec_…`; any of them will do. Signing puts one signature for each into the header."""
    tolerance: Duration = 300.0
    """How far the timestamp may be from now, in either direction."""

    def check(self, headers: Headers, body: bytes, now: float) -> None:
        """As `HmacSignature.check`."""
        message_id, timestamp, given = (
            _present(headers, f"webhook-{part}") for part in ("id", "timestamp", "signature")
        )
        _fresh(timestamp, now, self.tolerance)
        if not _any_equal(self._signatures(message_id, timestamp, body), given.split()):
            raise Unverified("the header webhook-signature holds no valid signature")

    def sign(self, body: bytes, now: float, message_id: str) -> dict[str, str]:
        """The headers that make ``body`` pass `check` at the time ``now``; ``message_id`` stays the same over retries."""
        timestamp = str(int(now))
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(self._signatures(message_id, timestamp, body)),
        }

    @cached_property
    def _signers(self) -> list[_Signer]:
        return [_Signer(_standard_key(secret), "sha256") for secret in self.secrets]

    def _signatures(self, message_id: str, timestamp: str, body: bytes) -> Iterator[str]:
        for sign in self._signers:
            digest = sign(f"{message_id}.{timestamp}.".encode(), body)
            yield f"v1,{base64.b64encode(digest).decode()}"


Signature = Annotated[HmacSignature | StandardWebhooks, Field(discriminator="type")]
"""``{ type = "hmac", … }`` or ``{ type = "standard-webhooks", … }``."""


def _present(headers: Headers, name: str) -> str:
    value = headers.get(name.lower())
    if not value:
        raise Unverified(f"the header {name} is missing")
    return value


def _fresh(timestamp: str, now: float, tolerance: float) -> None:
    try:
        age = now - float(timestamp)
    except ValueError:
        raise Unverified("the timestamp is not a Unix time in seconds") from None
    if not abs(age) <= tolerance:  # also for "nan", which compares false with everything
        raise Unverified(f"the timestamp is {age:.0f} seconds from now, more than the tolerance of {tolerance:.0f}")


def _any_equal(expected: Iterable[str], given: Iterable[str]) -> bool:
    """Whether any pair is equal. Compares every pair, so that the time says nothing of which one was."""
    offered = [value.encode() for value in given]
    return any([hmac.compare_digest(value.encode(), offer) for value in expected for offer in offered])
