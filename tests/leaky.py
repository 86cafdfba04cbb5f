"""A plugin that tells its secrets, and those of the events, wherever it can. `test_canary` installs it."""

import base64
import html
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from urllib.parse import quote

import trio

from sodarouter import (
    Delivery,
    Destination,
    Event,
    HttpRequest,
    HttpResponse,
    HttpRoute,
    Options,
    Plugin,
    Reject,
    Retry,
    Secret,
    Settled,
    hookimpl,
)


class Telling(Exception):
    """Holds a secret in whatever an exception can hold one in."""

    def __init__(self, token: str) -> None:
        super().__init__(token, {"token": token}, token.encode())
        self.token = token
        self.add_note(f"the token was {token}")

    def __repr__(self) -> str:
        return f"Telling({self.token!r})"


class Unfinished:
    def __init__(self, token: str) -> None:
        self.token = token

    def __del__(self) -> None:
        raise Telling(self.token)


def shown(secret: str) -> str:
    """As others would show it."""
    spellings = [repr(secret), repr(secret.encode()), json.dumps(secret), json.dumps(json.dumps({"secret": secret}))]
    return "\n".join([secret, *spellings, html.escape(secret), quote(secret, safe="")])


def encoded(secret: str) -> str:
    """As it stands in headers and in dumps of bytes."""
    behind = (b"", b"r:", b"router:")
    return "\n".join([secret.encode().hex(), *(base64.b64encode(b + secret.encode()).decode() for b in behind)])


def raises(token: str) -> None:
    secret_local = {"in a local": token}
    try:
        secret_local[token]
    except KeyError as error:
        raise Telling(token) from error


def raises_a_group(token: str) -> None:
    raise BaseExceptionGroup(token, [Telling(token), ExceptionGroup(token, [ValueError(token)])])


def raises_what_was_shown(token: str) -> None:
    raise ValueError(shown(token))


def exits(token: str) -> None:
    raise SystemExit(token)


def warns(token: str) -> None:
    warnings.warn(token, stacklevel=1)


def prints(token: str) -> None:
    print(token, file=sys.stderr)
    print(shown(token), end="\n\n")
    sys.stderr.writelines([token, "\n"])


def loses_a_thread(token: str) -> None:
    thread = threading.Thread(target=raises, args=[token])
    thread.start()
    thread.join()


def loses_an_object(token: str) -> None:
    Unfinished(token)


def asks_for_a_retry(token: str) -> None:
    raise Retry(f"refused {token}", response=shown(token))


def rejects(token: str) -> None:
    raise Reject(shown(token), response=token)


def logs(token: str) -> None:
    logging.getLogger("leaky").error("a library has %s and %r", token, token)


WAYS: dict[str, Callable[[str], None]] = {
    way.__name__: way
    for way in (
        raises,
        raises_a_group,
        raises_what_was_shown,
        exits,
        warns,
        prints,
        loses_a_thread,
        loses_an_object,
        asks_for_a_retry,
        rejects,
        logs,
    )
}


class LeakyOptions(Options):
    token: Secret
    how: str = ""
    at_start: str = ""


class Leaky(Destination[LeakyOptions]):
    type = "leaky"

    async def open(self) -> None:
        token = self.options.token.get_secret_value()
        if self.options.at_start == "crash":

            async def crash() -> None:
                raises(token)

            trio.lowlevel.spawn_system_task(crash)
        elif self.options.at_start:
            WAYS[self.options.at_start](token)

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        token = self.options.token.get_secret_value()
        for level in ("debug", "info", "warning", "error"):
            getattr(self.log, level)(f"posting with {token}", token=token, headers={"Authorization": [token.encode()]})
        self.metrics.count("told", token=token, shown=shown(token), encoded=encoded(token))
        callback = event.view.incident and event.view.incident.callback_url
        url = callback.get_secret_value() if callback else ""
        # by itself a callback URL is known by the shape that Soda documents
        known = [event.raw.decode(), repr(event), *([url] if "/incident-link/" in url else [])]
        for secret in (token, encoded(token), *known):
            try:
                WAYS[self.options.how](secret)
            except (Exception, SystemExit):
                self.log.exception("failed", event=event)
        WAYS[self.options.how](token)

    def health(self) -> str:
        if self.options.how == "raises":
            raises(self.options.token.get_secret_value())
        return shown(self.options.token.get_secret_value())

    async def close(self) -> None:
        raises(self.options.token.get_secret_value())


class PluginOptions(Options):
    token: Secret


class LeakyPlugin(Plugin[PluginOptions]):
    @property
    def token(self) -> str:
        return self.options.token.get_secret_value()

    @hookimpl
    def destination_types(self) -> list[type[Leaky]]:
        return [Leaky]

    @hookimpl
    def http_routes(self) -> list[HttpRoute]:
        return [HttpRoute("/leaky", self.page)]

    async def page(self, request: HttpRequest) -> HttpResponse:
        raise Telling(self.token)

    @hookimpl
    def health(self) -> str:
        raise Telling(self.token)

    @hookimpl
    def event_accepted(self, event: Event) -> None:
        self.metrics.gauge("told", 1, event=event.raw.decode(), token=self.token)
        raise ValueError(self.token, event.raw, event)

    @hookimpl
    def event_refused(self, reason: str) -> None:
        raise Telling(self.token)

    @hookimpl
    def delivery_settled(self, settled: Settled) -> None:
        raise SystemExit(self.token)
