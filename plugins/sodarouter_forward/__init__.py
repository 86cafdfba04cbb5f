"""The destination type ``forward``: one HTTP request for each delivery, to any URL."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import trio

from sodarouter import Delivery, Destination, Event, Preview, hookimpl
from sodarouter_forward.hidden import REDACTED, rendered, secrets
from sodarouter_forward.options import ForwardOptions
from sodarouter_forward.request import Composed, Composer

THREADS = 64


class Forward(Destination[ForwardOptions]):
    """Sends what Soda sent, byte for byte, or what a template or another format makes of it."""

    type = "forward"
    default_concurrency = 8
    example: ClassVar[Mapping[str, Any]] = {"url": "{sink}"}

    def __init__(self, name: str, options: ForwardOptions) -> None:
        super().__init__(name, options)
        self._composer = Composer(options)

    async def open(self) -> None:
        # of its own: templates that compute for long take no threads from other destinations
        self._threads = trio.CapacityLimiter(THREADS)
        self._secrets = secrets(self.options)
        if not self.options.tls.verify:
            self.log.warning("the server's certificate is not checked", hint="name its authority with tls.ca")

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        composed = await self._compose(event, delivery)
        answer = await self.http.request(composed.method, composed.url, headers=composed.headers, content=composed.body)
        answer.raise_unless_taken(hide=rendered(composed) | self._secrets if self._composer.renders else self._secrets)

    def preview(self, event: Event, delivery: Delivery) -> Preview:
        composed = self._composer.compose(event, delivery, time.time())
        # any part of the path may be what lets its holder post
        port = f":{composed.url.port}" if composed.url.port else ""
        target = f"{composed.method} {composed.url.scheme}://{composed.url.host}{port}/{REDACTED}"
        headers = {
            name: REDACTED if name in composed.secret_headers else value for name, value in composed.headers.items()
        }
        return Preview(target, composed.body, headers)

    async def _compose(self, event: Event, delivery: Delivery) -> Composed:
        compose = partial(self._composer.compose, event, delivery, time.time())
        if not self._composer.computes:
            return compose()
        return await trio.to_thread.run_sync(compose, abandon_on_cancel=True, limiter=self._threads)


@hookimpl
def destination_types() -> list[type[Destination[Any]]]:
    return [Forward]
