"""The contract of a verification that a plugin teaches the router."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar

from sodarouter.http import WebhookRequest
from sodarouter.options import Options


class VerificationType(Options):
    """A way for a sender to prove who it is. Each entry with its ``type`` in a source's ``verify`` is an instance.

    A subclass names its type, its options as fields, and how it judges::

        class Jws(VerificationType):
            type: Literal["jws"] = "jws"
            secret: Secret

            def check(self, request, now): ...

    Returning means that the request passes, and raising `Unverified` that it does not. Whatever else a method raises or
    returns is this plugin's fault, and refuses the request too. They are ordinary functions that run in the router's own
    loop: compute, compare, and return.
    """

    example: ClassVar[Mapping[str, Any]] = {}
    """Its keys but for the type, with which `sodarouter plugin verify` can test it."""

    type: str

    def check_head(self, headers: Mapping[str, str], client: IPv4Address | IPv6Address | None) -> None:
        """Judges what is known before the body is read, so that a stranger's is not even taken in.

        Args:
            headers: As in `WebhookRequest`.
            client: As in `WebhookRequest`.

        Raises:
            Unverified: The request does not pass.
        """

    def check(self, request: WebhookRequest, now: float) -> None:
        """Judges the whole request. Compare secrets with `hmac.compare_digest`.

        Args:
            request: With its body as it came over the wire.
            now: Unix time in seconds.

        Raises:
            Unverified: The request does not pass.
        """

    def sign(self, body: bytes, now: float) -> Mapping[str, str]:
        """The headers with which ``body`` passes, for ``sodarouter simulate --post``; without any, this adds nothing."""
        return {}
