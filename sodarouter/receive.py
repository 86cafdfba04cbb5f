"""Receives: the webhook endpoint, plain ASGI. A 200 means that the event is on disk.

Bytes come in, are verified, parsed and handed to `sodarouter.admit`, in this order; a body that was verified and cannot
be parsed goes to quarantine.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qsl

import structlog
import trio

from sodarouter.address import LIVE_PATH
from sodarouter.admit import LARGE, Admission, Arrival
from sodarouter.body import decompressed, joined, too_large
from sodarouter.config import ConfiguredSource
from sodarouter.config.tables import Server
from sodarouter.errors import Forbidden, Malformed, PluginFailed, SenderError, SpoolError, SpoolFull
from sodarouter.event import Event
from sodarouter.http import WebhookRequest
from sodarouter.ids import new_id
from sodarouter.parse import parse
from sodarouter.problem import HAS_ENDED, REFUSED, WHOLE_BODY, Answer, Receive, Scope, Send, accepted, answer, problem
from sodarouter.replies import Reply
from sodarouter.shares import Holding, Overloaded, Shares
from sodarouter.sparing import Sparing
from sodarouter.spool import Refused
from sodarouter.translate import Translator
from sodarouter.verify import Ip, Proxy, Request, Verification, client_address, verify, verify_head
from sodarouter.vet import Vetting

RETRY_AFTER = 30
"""Seconds that a sender is asked to wait when the spool cannot take anything."""

_NUMBER = re.compile(r"\d+")

log = structlog.get_logger()


@dataclass(frozen=True)
class Source:
    """One intake endpoint."""

    name: str
    path: str
    verifications: tuple[Verification, ...]
    duplicate_window: float
    """Seconds within which the same bytes are the same event."""
    vettings: tuple[Vetting, ...] = ()
    """The verifications of plugins, asked after the others."""
    translator: Translator | None = None
    """What makes events of the requests of a sender that does not speak as Soda does."""
    reply_with_link: float | None = None
    """Seconds that the answer to an ``incidentCreated`` may wait for a link."""

    @classmethod
    def of(cls, configured: ConfiguredSource) -> "Source":
        table = configured.table
        return cls(
            configured.name,
            table.path,
            configured.verifications,
            table.duplicate_window,
            configured.vettings,
            configured.translator,
            table.reply_with_link,
        )

    @property
    def methods(self) -> tuple[str, ...]:
        return self.translator.source.methods if self.translator else ("POST",)


@dataclass(frozen=True)
class Intake:
    """The limits of every source."""

    max_body: int
    """Bytes, over the wire and after decompression."""
    body_timeout: float
    """Seconds that a sender has for its body. Soda gives up after 10 itself."""
    trusted_proxies: tuple[Proxy, ...] = ()
    max_requests: int = 1024
    """Requests at once, of all sources together."""
    max_memory: int = 64 * 1024 * 1024
    """Bytes of bodies at once, of all sources together."""

    @classmethod
    def of(cls, server: Server) -> "Intake":
        """The share of one process, where several take in."""
        processes = max(server.workers, 1)
        return cls(
            server.max_body,
            server.body_timeout,
            tuple(server.trusted_proxies),
            max(server.max_connections // processes, 1),
            server.max_memory // processes,
        )


class _Waiting(NamedTuple):
    """An answer that waits for a link, and how many seconds it may."""

    event: str
    reply: Reply
    seconds: float


class Disconnected(Exception):
    """The sender went away before its body was whole."""


class Receiver:
    """The ASGI application of the listener that faces the internet: the sources, and ``/livez``.

    Args:
        admission: What takes in that which was verified and parsed.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        intake: Intake,
        admission: Admission,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._admission = admission
        self._now = now
        self._sparing = Sparing()
        # pydantic keeps Python's lock while it parses: a second large body at a time would only take memory
        self._parsing = trio.CapacityLimiter(1)
        self.replace(sources, intake)

    def replace(self, sources: Iterable[Source], intake: Intake) -> None:
        """Takes in for other sources from now on. A request that is under way ends under the rules it began with."""
        self._sources = {source.path: source for source in sources}
        self._intake = intake
        names = [source.name for source in self._sources.values()]
        self._shares = Shares(names, intake.max_requests, intake.max_memory, intake.max_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == LIVE_PATH and scope["method"] in {"GET", "HEAD"}:
            await answer(send, Answer(200, b"ok\n", ((b"content-type", b"text/plain"), (b"content-length", b"3"))))
            return
        source = self._sources.get(scope["path"])
        try:
            given = await self._take(source, scope, receive)
            if isinstance(given, _Waiting):
                await self._reply(given, scope, receive, send)
                return
        except Disconnected:
            status = scope.get(REFUSED, _nothing)()
            reason = _reason(status) if status else "disconnected"
            self._admission.refused(source.name if source else None, status or 499, reason)
            return
        except SpoolError as error:
            told = {"source": source.name if source else None, "error": str(error)}
            self._sparing(log.error, "an event could not be stored", *told.values(), **told)
            given = self._refused(source, "spool_full" if isinstance(error, SpoolFull) else "spool_failed", UNAVAILABLE)
        except Overloaded as error:
            assert source is not None  # noqa: S101 (only a source has a share)
            self._sparing(log.warning, "a request was shed", source.name, source=source.name, reason=str(error))
            given = self._refused(source, "overloaded", OVERLOADED)
        except PluginFailed as error:
            assert source is not None  # noqa: S101 (only a source has a plugin)
            known = {"plugin": error.plugin, "source": source.name, "error": error.fault, "exc_info": error.__cause__}
            # what it says may hold what a stranger sent: it would be of another kind every time
            self._sparing(log.error, "a plugin failed over a request", source.name, type(error.__cause__), **known)
            given = self._refused(source, "plugin_failed", FAILED)
        except SenderError as error:
            self._tell(error, source, scope)
            given = self._refused(source, _reason(error.status), _problem(error, source))
        await answer(send, given)

    def refused(self, status: int) -> None:
        """Told of what the server has answered itself."""
        self._admission.refused(None, status, _reason(status))

    def _tell(self, error: SenderError, source: Source | None, scope: Scope) -> None:
        if isinstance(error, Malformed):
            return  # told when it went to quarantine
        reason = error.reason if isinstance(error, Forbidden) else f"{error.title}: {error.detail}"
        # whoever finds the port of the router asks it for paths of other programs, and can send any timestamp to a source
        write, kind = (log.warning, (source.name, _NUMBER.sub("", reason))) if source else (log.info, ())
        peer = scope["client"][0] if scope["client"] else None
        known = {"status": error.status, "reason": reason, "path": scope["path"][:200], "peer": peer}
        self._sparing(write, "a request was refused", error.status, *kind, **known)

    def _refused(self, source: Source | None, reason: str, given: Answer) -> Answer:
        self._admission.refused(source.name if source else None, given.status, reason)
        return given

    async def _take(self, source: Source | None, scope: Scope, receive: Receive) -> Answer | _Waiting:
        if source is None:
            raise SenderError(404, "Not found", "there is no webhook at this path; check the URL in Soda Cloud")
        if scope["method"] not in source.methods:
            raise SenderError(405, "Method not allowed", f"a webhook is sent with {' or '.join(source.methods)}")
        headers = joined(scope["headers"])
        peer = scope["client"][0] if scope["client"] else None
        client = client_address(peer, headers.get("x-forwarded-for"), self._intake.trusted_proxies)
        verify_head(source.verifications, headers, client)  # first: a stranger's body is not even read
        for vetting in source.vettings:
            vetting.head(headers, client)
        with self._shares.request(source.name) as holding:
            wire = await self._body(headers, scope, receive, holding)
            verify(source.verifications, Request(headers, wire, client), self._now())
            request = None
            if source.vettings or source.translator:
                request = _request(scope, headers, wire, client)
                for vetting in source.vettings:
                    vetting.whole(request, self._now())
            return await self._keep(source, wire, headers.get("content-encoding", ""), holding, request)

    async def _keep(
        self, source: Source, wire: bytes, encoding: str, holding: Holding, request: WebhookRequest | None
    ) -> Answer | _Waiting:
        received = datetime.fromtimestamp(self._now(), UTC)
        raw = wire
        try:
            raw = decompressed(wire, encoding, self._intake.max_body)
            holding.reach(len(raw))
            if source.translator and request:
                made = await source.translator.event(replace(request, body=raw), received)
                if isinstance(made, Answer):
                    return made
                event = made
                holding.reach(len(raw) + len(event.raw))
            else:
                take = partial(_event, source.name, received, raw)
                event = take() if len(raw) <= LARGE else await trio.to_thread.run_sync(take, limiter=self._parsing)
        except (Malformed, PluginFailed) as error:
            await self._quarantine(source, received, raw, error)
            raise
        seconds = source.reply_with_link if event.type == "incidentCreated" else None
        admitted = await self._admission.admit(Arrival(event, source.duplicate_window, seconds is not None))
        if admitted.reply is not None and seconds is not None:
            return _Waiting(admitted.id, admitted.reply, seconds)
        return accepted(admitted.id, duplicate=admitted.duplicate)

    async def _reply(self, waiting: _Waiting, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with the link, if it is made in time and the sender still waits for it."""
        reply = waiting.reply
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                link = await reply.wait(waiting.seconds)
                if link is not None and scope.get(HAS_ENDED, bool)():
                    link = None  # it may have given up; then there is the callback URL
                await answer(send, accepted(waiting.event, link=link))
                # nothing that could be cancelled stands between the two
                reply.sent = link is not None
                nursery.cancel_scope.cancel()
        finally:
            reply.end()

    async def _body(self, headers: Mapping[str, str], scope: Scope, receive: Receive, holding: Holding) -> bytes:
        limit = self._intake.max_body
        told = int(headers.get("content-length", 0))
        if told > limit:
            raise too_large(limit)
        # before it is read: what there is no room for need not come
        holding.reach(told)
        whole: bytes | None = scope.get(WHOLE_BODY, _nothing)() if told else None
        if whole is not None:
            return whole
        body = bytearray()
        with trio.move_on_after(self._intake.body_timeout):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                body += message.get("body", b"")
                if len(body) > limit:
                    raise too_large(limit)
                holding.reach(len(body))
                if not message.get("more_body", False):
                    return bytes(body)
        raise SenderError(408, "Body too slow", f"the body was not whole after {self._intake.body_timeout:g} seconds")

    async def _quarantine(
        self, source: Source, received: datetime, raw: bytes, error: Malformed | PluginFailed
    ) -> None:
        said: tuple[int, str, str, tuple[str, ...]] = (500, "Plugin failed", str(error), ())
        if isinstance(error, Malformed):
            said = error.status, error.title, error.detail, tuple(map(str, error.faults))
        await self._admission.quarantine(Refused(new_id(), source.name, received, raw, *said))


UNAVAILABLE = problem(
    503,
    "Not stored",
    "the router cannot store events at the moment; send this one again later",
    headers={"Retry-After": str(RETRY_AFTER)},
)

OVERLOADED = problem(
    503,
    "Too many requests at once",
    "this source has as many requests under way as it may; send this one again later",
    headers={"Retry-After": str(RETRY_AFTER)},
)

FAILED = problem(500, "Internal error", "the router's log says more")

_REASONS = {
    401: "unverified",
    404: "not_found",
    405: "method",
    408: "timeout",
    413: "too_large",
    415: "encoding",
    422: "unusable",
    431: "too_large",
}
"""The words that observers are told for a status; any other is ``malformed``."""

REASONS = frozenset(
    {*_REASONS.values(), "malformed", "disconnected", "spool_full", "spool_failed", "overloaded", "plugin_failed"}
)
"""All the words that observers are told."""

_HEADERS: Mapping[int, Mapping[str, str]] = {
    # RFC 9110 asks for these: 15.5.2 and 15.5.16, and for Allow in 15.5.6
    401: {"WWW-Authenticate": 'Basic realm="webhook"'},
    415: {"Accept-Encoding": "gzip, deflate"},
}


def _reason(status: int) -> str:
    return _REASONS.get(status, "malformed")


def _nothing() -> None:
    """Stands in for what a server says of the body, where it says nothing of it."""


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    """Cancels when the sender hangs up: it would never see the link."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _event(source: str, received: datetime, raw: bytes) -> Event:
    """Parses a body.

    Raises:
        Malformed: It cannot be made an event.
    """
    return Event.taken_in(source, received, raw, parse(raw))


def _request(scope: Scope, headers: Mapping[str, str], body: bytes, client: Ip | None) -> WebhookRequest:
    """A request as plugins see it. They cannot change what others are judged by."""
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    return WebhookRequest(
        body, scope["method"], scope["path"], MappingProxyType(query), MappingProxyType(headers), client
    )


def _problem(error: SenderError, source: Source | None) -> Answer:
    faults = error.faults if isinstance(error, Malformed) else ()
    headers = _HEADERS.get(error.status)
    if error.status == 405 and source:
        headers = {"Allow": ", ".join(source.methods)}
    return problem(error.status, error.title, error.detail, faults=faults, headers=headers)
