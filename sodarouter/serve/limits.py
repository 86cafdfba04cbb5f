"""What a server bears from its clients."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one server. Times are in seconds, and are kept to within a second, or a quarter of the shortest."""

    max_connections: int = 1024
    """One more is answered with a 503 at once, or, with TLS, closed."""
    max_header_bytes: int = 16 * 1024
    """The request line and the header fields together."""
    handshake_timeout: float = 10.0
    """For TLS."""
    header_timeout: float = 10.0
    """From the first byte of a request, or from the opening of the connection, to the end of its header fields."""
    keep_alive_timeout: float = 75.0
    """How long a connection may wait for its next request: longer than a proxy in front keeps it, usually 60."""
    send_timeout: float = 30.0
    """How long a client may take to accept 64 KiB of an answer."""
    linger_timeout: float = 2.0
    """How long a client that is answered before its body was read may go on sending, and so read the answer."""
    graceful_timeout: float = 15.0
    """How long the requests in flight have to end when the server stops. Longer than the longest intake."""
