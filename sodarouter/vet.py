"""Asks the verifications of plugins: whatever one of them does, it lets nobody in and comes to no harm outside."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Any

import structlog

from sodarouter.blame import SLOW, blame
from sodarouter.errors import Forbidden, PluginFailed, Unverified
from sodarouter.failures import contained, describe, kind_of, storable
from sodarouter.http import WebhookRequest
from sodarouter.sparing import Sparing
from sodarouter.verification import VerificationType

log = structlog.get_logger()


@dataclass(frozen=True)
class Vetting:
    """One verification of a source, and the name of the plugin that it is of.

    Raises:
        Forbidden: The request does not pass.
        PluginFailed: It cannot be said whether it does.
    """

    plugin: str
    verification: VerificationType
    sparing: Sparing = field(default_factory=Sparing, compare=False, repr=False)

    def head(self, headers: Mapping[str, str], client: IPv4Address | IPv6Address | None) -> None:
        # a plugin cannot change what others are judged by
        self._ask(self.verification.check_head, MappingProxyType(headers), client)

    def whole(self, request: WebhookRequest, now: float) -> None:
        self._ask(self.verification.check, request, now)

    def _ask(self, check: Callable[..., Any], *arguments: object) -> None:
        failures: list[BaseException] = []
        refusal: str | None = None
        answer: object = None
        began = time.perf_counter()
        with contained(failures):
            try:
                answer = check(*arguments)
            except Unverified as error:
                refusal = storable(str(error))
        if (seconds := time.perf_counter() - began) > SLOW:
            blame(f"plugin {self.plugin}")
            known = {"plugin": self.plugin, "verification": self.verification.type, "seconds": round(seconds, 3)}
            self.sparing(log.warning, "a verification blocked the event loop", self.plugin, **known)
        if failures:
            raise PluginFailed(self.plugin, storable(describe(failures[0]))) from failures[0]
        if refusal is not None:
            raise Forbidden(self.verification.type, refusal)
        if answer is not None:
            # whoever answers False means no, and would have let everybody in
            returned = f"{self.verification.type!r} returned a {kind_of(answer)}"
            fault = f"the verification {returned}, where one raises or returns None"
            raise PluginFailed(self.plugin, fault)
