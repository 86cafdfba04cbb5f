"""What a client is sent: one answer, out of the messages of an application. No input or output here."""

import re
import time
from functools import lru_cache
from wsgiref.handlers import format_date_time

from sodarouter.problem import Answer
from sodarouter.serve.asgi import Message

_FIELD = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+: (?:[^\0\s]+(?:[ \t]+[^\0\s]+)*)?\r\n")
_FRAMING = frozenset({b"connection", b"transfer-encoding", b"content-length", b"date"})
"""Header fields that are the server's to set, but for the length."""
_BODILESS = frozenset({204, 304})


class Answering:
    """Makes the bytes of one answer.

    Args:
        method: Of the request.
        version: ``1.1`` or ``1.0``, the client's.
        keep_alive: Whether the client may ask again. It is told so.
    """

    def __init__(self, method: bytes, version: bytes, *, keep_alive: bool) -> None:
        self._method = method
        self._version = version
        self.keep_alive = keep_alive
        self._status = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._bodiless = False
        self._chunked = False
        self._left: int | None = None
        """Bytes of the body that are still to come; ``None``: as many as may be."""
        self.begun = False
        """Whether the client is sent something of it."""
        self.whole = False
        """Whether all of it was given."""

    def bytes_of(self, message: Message) -> bytes:
        """What the client is sent for a message; nothing for the head, which leaves with the first of the body.

        Raises:
            ValueError: It is no message that may come now, or cannot be said in HTTP.
        """
        kind = message["type"]
        if kind == "http.response.start" and not self._status and not self.begun:
            fields = [(bytes(name).strip(), bytes(value).strip()) for name, value in message.get("headers", ())]
            _written(tuple(fields))  # before anything is sent that could not be said
            self._fields, self._status = fields, int(message["status"])
            return b""
        if kind != "http.response.body" or not self._status or self.whole:
            raise ValueError(f"the application sends {kind} where it cannot be")
        body, more = bytes(message.get("body", b"")), bool(message.get("more_body", False))
        data = (b"" if self.begun else self._head(body, more=more)) + self._framed(body, more=more)
        self.begun = True
        self.whole = not more
        return data

    def bytes_instead(self, given: Answer) -> bytes:
        """What the client is sent if the application has not begun an answer."""
        self._status, self._fields = given.status, list(given.headers)
        return self.bytes_of({"type": "http.response.body", "body": given.body})

    def _head(self, body: bytes, *, more: bool) -> bytes:
        length, own = None, []
        self._chunked = False
        for name, value in self._fields:
            match name.lower():
                case b"content-length":
                    length = int(value)
                case b"connection":
                    self.keep_alive = self.keep_alive and b"close" not in value.lower()
                case known if known not in _FRAMING:
                    own.append((name, value))
        self._bodiless = self._method == b"HEAD" or self._status in _BODILESS
        if length is None and not more and not self._bodiless:
            length = len(body)
        framing = b""
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif not self._bodiless and self._version == b"1.1":
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        elif not self._bodiless:
            self.keep_alive = False  # its end is that of the connection
        self._left = length
        return b"HTTP/1.1 %d \r\n%b%bdate: %b\r\n%b\r\n" % (
            self._status,
            _written(tuple(own)),
            framing,
            _date(int(time.time())),
            b"" if self.keep_alive else b"connection: close\r\n",
        )

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        if self._bodiless:
            return b""
        if self._chunked:
            return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise ValueError("the body of the answer has another length than was told")
        return body


@lru_cache(maxsize=64)
def _written(fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Header fields as they go over the wire.

    Raises:
        ValueError: One of them cannot.
    """
    lines = [b"%b: %b\r\n" % field for field in fields]
    for line in lines:
        if not _FIELD.fullmatch(line):
            raise ValueError("the answer has a header field that cannot be sent")
    return b"".join(lines)


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return format_date_time(second).encode("ascii")
