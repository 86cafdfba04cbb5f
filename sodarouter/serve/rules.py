"""What is no request here, although it may be HTTP, and in which words it is refused."""

import re
from http import HTTPStatus

import h11

from sodarouter.problem import Answer, problem

MAX_FIELDS = 100
"""Header fields of a request: as many as other servers take."""

_ECHO = re.compile(r":? *(?:bytearray\()?b['\"].*", re.DOTALL)
"""The bytes that h11 could not read, as Python would write them, in what it says of them."""

_TLS = b"\x16\x03"
"""How a handshake begins."""
_HTTP2 = b"PRI"
"""The method of its preface, which is made to look like a request."""


def check(request: h11.Request, max_header_bytes: int) -> None:
    """Refuses what h11 lets pass.

    Raises:
        h11.RemoteProtocolError: With the status of the refusal.
    """
    size, framings = len(request.target), set()
    for name, value in request.headers:
        size += len(name) + len(value) + 4
        if name in {b"content-length", b"transfer-encoding"}:
            framings.add(name)
    if size > max_header_bytes:
        raise h11.RemoteProtocolError("the header fields are too large", error_status_hint=431)
    if len(request.headers) > MAX_FIELDS:
        raise h11.RemoteProtocolError("there are too many header fields", error_status_hint=431)
    if request.http_version not in {b"1.1", b"1.0"}:
        raise h11.RemoteProtocolError("only HTTP/1.1 is spoken here", error_status_hint=505)
    # two ideas of where the body ends let a second request be smuggled past a proxy (RFC 9112, 6.1)
    if len(framings) > 1 or (b"transfer-encoding" in framings and request.http_version == b"1.0"):
        raise h11.RemoteProtocolError("it is not clear how long the body is")
    if not request.target.startswith(b"/"):
        raise h11.RemoteProtocolError("the target of the request is not a path")


def refusal(error: h11.RemoteProtocolError) -> Answer:
    """The answer to what is no request."""
    status = error.error_status_hint
    return problem(status, HTTPStatus(status).phrase, fault(error))


def fault(error: h11.RemoteProtocolError) -> str:
    """What is wrong, without what the client has sent."""
    return _ECHO.sub("", str(error))[:200]


def hint(method: bytes, unread: bytes, *, secure: bool) -> str:
    """What is to be changed so that a client is understood, if that can be told; else nothing.

    Args:
        method: Of its request, if one could be read.
        unread: What could not.
        secure: Whether the listener has TLS.
    """
    if unread.startswith(_TLS) and not secure:
        return "a client speaks TLS, but this listener has no tls"
    if method == _HTTP2:
        return "a client speaks HTTP/2; have the proxy speak HTTP/1.1 to the router"
    return ""


def handshake_hint(reason: str) -> str:
    """What is to be changed so that a client can make a TLS connection, if that can be told; else nothing.

    Args:
        reason: OpenSSL's, in lower case.
    """
    if reason == "http request":
        return "a client speaks plain HTTP, but this listener has tls"
    if reason == "peer did not return a certificate":
        return "a client has no certificate, and client_ca asks for one"
    if reason in ("tlsv1 alert unknown ca", "sslv3 alert certificate unknown", "sslv3 alert bad certificate"):
        return (
            "a client does not trust the certificate; have cert hold the whole chain, and the client trust its issuer"
        )
    return ""
