"""The destination type ``forward``: one HTTP request for each delivery, to any URL."""

import time
from functools import partial
from typing import Any

import httpx2
import trio

from sodarouter import Delivery, Destination, Event, Preview, Retry, hookimpl
from sodarouter_forward.answer import REDACTED, judge, read, rendered, secrets
from sodarouter_forward.failure import explain
from sodarouter_forward.options import ForwardOptions
from sodarouter_forward.request import Composed, Composer

LIMITS = httpx2.Limits()
"""None: there are never more connections than the destination's ``concurrency``."""

THREADS = 64


class Forward(Destination[ForwardOptions]):
    """Sends what Soda sent, byte for byte, or what a template or another format makes of it.

    It stands on httpx2's transport, not on its client: a client also keeps cookies, follows redirects, reads the
    environment and logs each URL, and a forwarder must do none of these.
    """

    type = "forward"
    default_concurrency = 8

    def __init__(self, name: str, options: ForwardOptions) -> None:
        super().__init__(name, options)
        self._composer = Composer(options)

    async def open(self) -> None:
        options = self.options
        self._timeout = httpx2.Timeout(None, connect=options.connect_timeout).as_dict()
        # of its own: templates that compute for long take no threads from other destinations
        self._threads = trio.CapacityLimiter(THREADS)
        self._secrets = secrets(options)
        if not options.tls.verify:
            self.log.warning("the server's certificate is not checked", hint="name its authority with tls.ca")
        self._transport = httpx2.AsyncHTTPTransport(
            verify=options.tls.context(),
            trust_env=False,
            limits=LIMITS,
            proxy=options.proxy.get_secret_value() if options.proxy else None,
        )

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        composed = await self._compose(event, delivery)
        request = httpx2.Request(
            composed.method,
            composed.url,
            headers=composed.headers,
            content=composed.body,
            extensions={"timeout": self._timeout},
        )
        try:
            response = await self._transport.handle_async_request(request)
        except httpx2.TransportError as error:
            # not "from error": it holds the request, and with it the URL and the headers
            raise Retry(explain(error)) from None
        try:
            answer = await read(
                response, rendered(composed) | self._secrets if self._composer.renders else self._secrets
            )
        finally:
            await response.aclose()
        if refusal := judge(response.status_code, response.headers.get("Retry-After"), answer, time.time()):
            raise refusal

    def preview(self, event: Event, delivery: Delivery) -> Preview:
        composed = self._composer.compose(event, delivery, time.time())
        # any part of the path may be what lets its holder post
        port = f":{composed.url.port}" if composed.url.port else ""
        target = f"{composed.method} {composed.url.scheme}://{composed.url.host}{port}/{REDACTED}"
        headers = {
            name: REDACTED if name in composed.secret_headers else value for name, value in composed.headers.items()
        }
        return Preview(target, composed.body, headers)

    async def close(self) -> None:
        await self._transport.aclose()

    async def _compose(self, event: Event, delivery: Delivery) -> Composed:
        compose = partial(self._composer.compose, event, delivery, time.time())
        if not self._composer.computes:
            return compose()
        return await trio.to_thread.run_sync(compose, abandon_on_cancel=True, limiter=self._threads)


@hookimpl
def destination_types() -> list[type[Destination[Any]]]:
    return [Forward]
