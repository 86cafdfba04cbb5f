"""The destination type ``forward``: one HTTP request for each delivery, to any URL."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

import trio

from sodarouter import Delivery, Destination, Event, IncidentLink, Preview, Reject, Store, hookimpl
from sodarouter_forward.hidden import REDACTED, rendered, secrets
from sodarouter_forward.options import ForwardOptions
from sodarouter_forward.request import Composed, Composer
from sodarouter_forward.tickets import Kept, found, key_of

THREADS = 64

T = TypeVar("T")


class Forward(Destination[ForwardOptions]):
    """Sends what Soda sent, byte for byte, or what a template or another format makes of it."""

    type = "forward"
    default_concurrency = 8
    example: ClassVar[Mapping[str, Any]] = {"url": "{sink}"}

    def __init__(self, name: str, options: ForwardOptions) -> None:
        super().__init__(name, options)
        self._composer = Composer(options)
        updating = options.updating
        self._updater = Composer(updating) if updating else None

    async def open(self) -> None:
        # of its own: templates that compute for long take no threads from other destinations
        self._threads = trio.CapacityLimiter(THREADS)
        self._secrets = secrets(self.options)
        if self.options.updating:
            self._secrets |= secrets(self.options.updating)
        if not self.options.tls.verify:
            self.log.warning("the server's certificate is not checked", hint="name its authority with tls.ca")

    async def deliver(self, event: Event, delivery: Delivery, store: Store) -> IncidentLink | None:
        key = key_of(event) if self.options.keep else None
        kept = await _kept(store, key)
        composer = self._updater if self._updater and kept else self._composer
        composed = await self._compose(composer, event, delivery, kept)
        answer = await self.http.request(composed.method, composed.url, headers=composed.headers, content=composed.body)
        answer.raise_unless_taken(hide=rendered(composed) | self._secrets if composer.renders else self._secrets)
        if key is None:
            return None
        kept = {**kept, **found(answer, self.options.keep)}
        # it was taken: whatever fails from here on must not have it sent again
        fault = "it has nothing of what is to be kept"
        if kept:
            try:
                store.set(key, kept)
                return await self._link(event, delivery, kept)
            except (ValueError, Reject) as error:
                fault = str(error)
        self.log.error("nothing can be made of the answer", event_id=event.id, fault=fault)
        return None

    async def _link(self, event: Event, delivery: Delivery, kept: Kept) -> IncidentLink | None:
        link = self.options.link
        if link is None:
            return None
        url, text = await self._in_thread(
            lambda: tuple(one.render(event, delivery, {"kept": kept}) if one else "" for one in (link.url, link.text))
        )
        return IncidentLink(url, text)

    def preview(self, event: Event, delivery: Delivery) -> Preview:
        composed = self._composer.compose(event, delivery, time.time())
        # any part of the path may be what lets its holder post
        port = f":{composed.url.port}" if composed.url.port else ""
        target = f"{composed.method} {composed.url.scheme}://{composed.url.host}{port}/{REDACTED}"
        headers = {
            name.lower(): REDACTED if name in composed.secret_headers else value
            for name, value in composed.headers.items()
        }
        return Preview(target, composed.body, headers)

    async def _compose(self, composer: Composer, event: Event, delivery: Delivery, kept: Kept) -> Composed:
        compose = partial(composer.compose, event, delivery, time.time(), kept)
        return await self._in_thread(compose) if composer.computes else compose()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)


async def _kept(store: Store, key: str | None) -> Kept:
    kept = await store.get(key) if key else None
    return kept if isinstance(kept, dict) else {}


@hookimpl
def destination_types() -> list[type[Destination[Any]]]:
    return [Forward]
