"""A connection on which one request is sent after another. What is HTTP in it is h11's."""

import h11
import trio

from sodarouter.errors import Retry
from sodarouter.outgoing.failure import no_answer
from sodarouter.outgoing.stream import Stream

MAX_READ = 1 << 16
"""Bytes of an answer's body that are read: a connection serves again only when an answer was read to its end."""
READ_SECONDS = 2.0
"""How long an answer's body is waited for after its status."""
MAX_HEAD = 100 * 1024
"""Bytes that the head of an answer may have."""

Head = h11.Response | h11.InformationalResponse


class Connection:
    """Is asked, gives the body, and can then be asked again if it `serves_again`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)

    async def ask(self, method: str, target: str, headers: list[tuple[str, str]], content: bytes) -> Head:
        """Sends a request, and gives the head of the answer.

        Raises:
            Retry: There is none.
        """
        try:
            request = self._http.send(h11.Request(method=method, target=target, headers=headers))
            if content:
                request += self._http.send(h11.Data(content))
            request += self._http.send(h11.EndOfMessage())
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise Retry("LocalProtocolError: the request cannot be sent as HTTP") from None
        try:
            await self._stream.send(request)
        except OSError:
            # a server that has seen enough may answer and close before it has all
            self._http.send_failed()
        try:
            return await self._head()
        except h11.RemoteProtocolError:
            raise Retry("RemoteProtocolError: the server closed the connection or did not answer in HTTP") from None
        except OSError as error:
            raise no_answer("ReadError", error) from None

    async def _head(self) -> Head:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                await self._receive()
            elif isinstance(event, Head) and (event.status_code >= 200 or event.status_code == 101):
                return event

    async def body(self) -> tuple[bytes, bool]:
        """The body of the answer, and whether it is all of it."""
        body = b""
        until = trio.current_time() + READ_SECONDS
        try:
            while True:
                event = self._http.next_event()
                if type(event) is h11.Data:
                    body += event.data
                elif event is not h11.NEED_DATA:
                    return body, True
                elif len(body) >= MAX_READ:
                    return body, False
                else:
                    # only here: a scope for an answer that came in one piece would cost a tenth of a request
                    with trio.fail_at(until):
                        await self._receive()
        except (OSError, h11.RemoteProtocolError, trio.TooSlowError):
            return body, False

    async def _receive(self) -> None:
        self._http.receive_data(await self._stream.receive())

    def serves_again(self) -> bool:
        """Whether another request can be sent: the answer was read to its end, and nothing came behind it."""
        http = self._http
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE or http.trailing_data[0]:
            return False
        http.start_next_cycle()
        return True

    def is_open(self) -> bool:
        """Whether the other side has said nothing since its last answer, nor closed the connection."""
        return self._stream.is_silent()

    def close(self) -> None:
        self._stream.close()
