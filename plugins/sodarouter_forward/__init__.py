"""The destination type ``forward``: one HTTP request for each delivery, to any URL."""

import time
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import httpx2

from sodarouter import Delivery, Destination, Event, HmacSignature, Retry, StandardWebhooks, hookimpl
from sodarouter_forward.answer import judge, read, secrets
from sodarouter_forward.failure import explain
from sodarouter_forward.options import ForwardOptions

LIMITS = httpx2.Limits()
"""None: there are never more connections than the destination's ``concurrency``."""


class Forward(Destination[ForwardOptions]):
    """Sends what Soda sent, byte for byte, or what a template makes of it.

    It stands on httpx2's transport, not on its client: a client also keeps cookies, follows redirects, reads the
    environment and logs each URL, and a forwarder must do none of these.
    """

    type = "forward"
    default_concurrency = 8

    async def open(self) -> None:
        options = self.options
        self._url = httpx2.URL(options.url.get_secret_value())
        self._timeout = httpx2.Timeout(None, connect=options.connect_timeout).as_dict()
        self._headers = {
            "Accept-Encoding": "identity",
            "User-Agent": f"sodarouter/{version('sodarouter')}",
            "Content-Type": options.content_type,
        }
        self._own_headers = {name: value.get_secret_value() for name, value in options.headers.items()}
        if options.auth:
            self._own_headers["Authorization"] = options.auth.header
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
        template = self.options.body
        body = event.raw if template is None else template.render(event, delivery).encode()
        request = httpx2.Request(
            self.options.method,
            self._url,
            headers=self._headers_for(event, delivery, body),
            content=body,
            extensions={"timeout": self._timeout},
        )
        try:
            response = await self._transport.handle_async_request(request)
        except httpx2.TransportError as error:
            # not "from error": it holds the request, and with it the URL and the headers
            raise Retry(explain(error)) from None
        try:
            answer = await read(response, self._secrets)
        finally:
            await response.aclose()
        if refusal := judge(response.status_code, response.headers.get("Retry-After"), answer, time.time()):
            raise refusal

    async def close(self) -> None:
        await self._transport.aclose()

    def _headers_for(self, event: Event, delivery: Delivery, body: bytes) -> httpx2.Headers:
        message_id = _message_id(delivery)
        headers = httpx2.Headers(self._headers)
        headers["X-Sodarouter-Event"] = event.id
        headers["X-Sodarouter-Attempt"] = str(delivery.attempt)
        if event.late:
            headers["X-Sodarouter-Late"] = "true"
        if delivery.replay:
            headers["X-Sodarouter-Replay"] = str(delivery.replay)
        if delivery.fallback:
            headers["X-Sodarouter-Fallback-For"] = delivery.fallback.destination
            headers["X-Sodarouter-Fallback-Reason"] = quote(delivery.fallback.reason[:200], safe=" ,:;/()")
        if self.options.idempotency_header:
            headers[self.options.idempotency_header] = message_id
        headers.update(self._own_headers)
        match self.options.sign:
            case HmacSignature() as signature:
                headers.update(signature.sign(body, time.time()))
            case StandardWebhooks() as signature:
                headers.update(signature.sign(body, time.time(), message_id))
        return headers


def _message_id(delivery: Delivery) -> str:
    """`Delivery.id`, fit for a header. Standard Webhooks joins what it signs with full stops, so an id must have none."""
    return quote(delivery.id).replace(".", "%2E")


@hookimpl
def destination_types() -> list[type[Destination[Any]]]:
    return [Forward]
