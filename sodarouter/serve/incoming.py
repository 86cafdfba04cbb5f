"""What a client sends: requests, one after another, out of bytes as they come.

The plain request, which nearly every webhook is, has its head read by one regular expression. It accepts nothing that
h11 would not read in the same way; whatever else there is, h11 reads. No input or output here.
"""

import re
from typing import NamedTuple

import h11

from sodarouter.serve.rules import MAX_FIELDS, check

_PLAIN = re.compile(
    rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.1\r\n"  # a method that is written as it is meant, and a path
    rb"((?:[A-Za-z0-9!#$%&'*+.^_`|~-]+:[ \t]*+(?:[!-~]++(?:[ \t]++[!-~]++)*+)?+[ \t]*+\r\n)*+)\r\n"
)
_FIELD = re.compile(rb"([^:]+):[ \t]*+((?:[!-~]++(?:[ \t]++[!-~]++)*+)?+)[ \t]*+\r\n")
_UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_LENGTH = re.compile(rb"[0-9]{1,15}")


class Head(NamedTuple):
    """What comes before the body."""

    method: bytes
    target: bytes
    version: bytes
    """``1.1`` or ``1.0``."""
    fields: list[tuple[bytes, bytes]]
    """Names in lower case."""
    keep_alive: bool
    """Whether the client may ask again on this connection."""


class Incoming:
    """Reads requests.

    Args:
        max_header_bytes: Of a request line and header fields.

    Raises:
        h11.RemoteProtocolError: From `head` and `body`: it is no request, and what comes after it cannot be read either.
    """

    def __init__(self, max_header_bytes: int) -> None:
        self._limit = max_header_bytes
        self._buffer = bytearray()
        self._left = 0
        """Bytes of a plain request's body that were not given yet."""
        self._h11: h11.Connection | None = None
        """What reads the request that is not plain."""
        self.closed = False
        """Whether no more will come."""
        self.whole = True
        """Whether the request was given to its end."""
        self.method = b""
        """Of the last request, also of one that is refused."""

    def feed(self, data: bytes | bytearray) -> None:
        """Takes what came; nothing: the client has closed its half."""
        if not data:
            self.closed = True
        if self._h11 is None:
            self._buffer += data
        else:
            self._h11.receive_data(bytes(data))

    @property
    def pending(self) -> bool:
        """Whether something came that was not given yet."""
        return bool(self._buffer if self._h11 is None else self._h11.trailing_data[0])

    @property
    def has_come(self) -> bool:
        """Whether the request has come to its end, given or not. Of one that is not plain this shows when it is given."""
        return self.whole or (self._h11 is None and len(self._buffer) >= self._left)

    @property
    def unread(self) -> bytes:
        """What could not be read."""
        return b"" if self._h11 is None else self._h11.trailing_data[0]

    def invitation(self) -> bytes:
        """What a client that waits to be told so is told, to have it send the body. Nothing for any other."""
        if self._h11 is None or not self._h11.they_are_waiting_for_100_continue:
            return b""
        return self._h11.send(h11.InformationalResponse(status_code=100, headers=[])) or b""

    def head(self) -> Head | None:
        """The head of the next request, once it has come and the request before was given. ``None``: not yet."""
        if self._h11 is None:
            if not self._buffer:
                return None
            if (plain := self._plain()) is not None:
                return plain
            self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limit)
            self._h11.receive_data(bytes(self._buffer))
            self._buffer.clear()
            if self.closed:
                self._h11.receive_data(b"")
        self.method = b""
        self.whole = False
        event = self._h11.next_event()
        if not isinstance(event, h11.Request):
            self.whole = True
            return None
        self.method = event.method
        check(event, self._limit)
        return Head(event.method, event.target, event.http_version, list(event.headers), _keeps_alive(event))

    def body(self) -> bytes | None:
        """The next piece of the body; ``None``: it has not come yet, or there is no more, see `whole`."""
        if self._h11 is not None:
            return self._h11_body(self._h11)
        if self._left == 0:
            self.whole = True
            return None
        piece = bytes(self._buffer[: self._left])
        if not piece:
            if self.closed:
                raise h11.RemoteProtocolError("the body ends too early")
            return None
        del self._buffer[: self._left]
        self._left -= len(piece)
        self.whole = self._left == 0
        return piece

    def rest(self) -> bytes | None:
        """All of a plain request's body, if it has come and nothing of it was given."""
        if self._h11 is not None or self.whole or len(self._buffer) < self._left:
            return None
        return self.body()

    def _plain(self) -> Head | None:
        found = _PLAIN.match(self._buffer)
        if found is None or found.end() + MAX_FIELDS > self._limit:
            return None
        method, target, lines = found.groups()
        fields = [(name.lower(), value) for name, value in _FIELD.findall(lines)]
        known = dict(fields)
        if len(known) < len(fields) or not _UNUSUAL.isdisjoint(known) or b"host" not in known:
            return None  # a name that comes twice may matter, or not: h11 knows
        length, connection = known.get(b"content-length", b"0"), known.get(b"connection", b"keep-alive").lower()
        if len(fields) > MAX_FIELDS or not _LENGTH.fullmatch(length) or connection not in {b"keep-alive", b"close"}:
            return None
        del self._buffer[: found.end()]
        self._left = int(length)
        self.whole = self._left == 0
        self.method = method
        return Head(method, target, b"1.1", fields, connection != b"close")

    def _h11_body(self, reader: h11.Connection) -> bytes | None:
        event = reader.next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            self.whole = True
            # the next request may be plain again
            self._buffer += reader.trailing_data[0]
            self._h11 = None
            self._left = 0
        return None


def _keeps_alive(request: h11.Request) -> bool:
    words = {word.strip() for name, value in request.headers if name == b"connection" for word in value.split(b",")}
    return request.http_version == b"1.1" and b"close" not in {word.lower() for word in words}
