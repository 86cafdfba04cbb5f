"""HTTP/1.1 and nothing else, with refusals that say what is wrong."""

from collections.abc import Callable
from typing import Any

import h11
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import H11SendableEvent

from sodarouter.problem import Answer
from sodarouter.serve.rules import check, refusal

_READ = frozenset({h11.DONE, h11.MUST_CLOSE, h11.CLOSED})
"""The states of a client whose request has been read to its end."""


class Http1(H11Protocol):
    """The protocol on one connection.

    hypercorn's own would also follow ``Upgrade`` headers and the HTTP/2 preface, which end in code that one client can
    crash. Here a wish to upgrade is ignored, as RFC 9110 (7.8) allows, and other versions of HTTP are refused.

    Args:
        tell: Told of each refusal: the answer, why, the method of the request and what could not be read of it.
    """

    connection: h11.Connection
    stream: HTTPStream | None

    def __init__(
        self, *args: Any, tell: Callable[[Answer, h11.RemoteProtocolError, bytes, bytes], None], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._tell = tell
        self.refusal: Answer | None = None
        """What a request is answered with that the connection's end cuts off; without one it is a 400."""
        self._closed = False
        self._method = b""
        self._head = b""

    @property
    def unread(self) -> bool:
        """Whether the client may still be sending something, which nobody will read."""
        return self.connection.their_state not in _READ or bool(self.connection.trailing_data[0])

    async def invite(self) -> None:
        """Sends the ``100 Continue`` that the client may be waiting for: only now does the application want the body."""
        if self.connection.they_are_waiting_for_100_continue:
            await self._send_h11_event(
                h11.InformationalResponse(status_code=100, headers=self.config.response_headers("h11"))
            )

    async def handle(self, event: Event) -> None:
        if isinstance(event, Closed):
            self._closed = True
            # whoever waits to read the next request learns that there is none
            await self.can_read.set()
        await super().handle(event)

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response) and self.context.terminated.is_set():
            event = Response(event.stream_id, [*event.headers, (b"connection", b"close")], event.status_code)
        await super().stream_send(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            # after a request that could not be read to its end, what the application still answers is of no use
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            # leaves with the first of the body, or the end, in one packet; a 100 Continue, which cannot wait, does not
            self._head = data
            return
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            await self.send(RawData(data))

    async def _handle_events(self) -> None:
        while not self._closed:
            try:
                event = self.connection.next_event()
                if isinstance(event, h11.Request):
                    self._check(event)
            except h11.RemoteProtocolError as error:
                await self._refuse(error)
                return
            if isinstance(event, h11.Request):
                await self.send(Updated(idle=False))
                await self._create_stream(event)
            elif event is h11.PAUSED:
                await self.can_read.clear()
                await self.can_read.wait()
            elif isinstance(event, h11.Data) and self.stream is not None:
                await self.stream.handle(Body(stream_id=STREAM_ID, data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage) and self.stream is not None:
                await self.stream.handle(EndBody(stream_id=STREAM_ID))
            else:
                return

    def _check(self, request: h11.Request) -> None:
        """Refuses what h11 lets pass.

        Raises:
            h11.RemoteProtocolError: With the status of the refusal.
        """
        self._method = request.method
        check(request, self.config.h11_max_incomplete_size)

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            # in the state IDLE it is no request that is answered
            head_only = self.connection.our_state is h11.SEND_RESPONSE and self._method == b"HEAD"
            given = self.refusal or refusal(error)
            unread, ended = self.connection.trailing_data
            if self.refusal or not ended:  # else the client has gone, which is no news
                self._tell(given, error, self._method, unread)
            headers = [*given.headers, (b"connection", b"close"), *self.config.response_headers("h11")]
            await self._send_h11_event(h11.Response(status_code=given.status, headers=headers))
            if not head_only:
                await self._send_h11_event(h11.Data(data=given.body))
            await self._send_h11_event(h11.EndOfMessage())
        await self.send(Closed())

    async def _create_stream(self, request: h11.Request) -> None:
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode().upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
