"""Says why a request got no answer, in words that cannot hold a secret.

The texts of httpcore2 and of what lies under it are not passed on: some quote the address, the host or what the peer sent.
"""

import os
import socket
import ssl
from collections.abc import Iterator

import httpcore2

FAILURES = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)
"""What httpcore2 raises when there is no answer."""

_MEANING: dict[type[Exception], str] = {
    httpcore2.ConnectTimeout: "no connection within connect_timeout",
    httpcore2.RemoteProtocolError: "the server closed the connection or did not answer in HTTP",
    httpcore2.LocalProtocolError: "the request cannot be sent as HTTP",
}


def explain(error: Exception) -> str:
    """The kind of failure and its cause, such as ``ConnectError: Connection refused``."""
    kind = type(error).__name__
    if isinstance(error, httpcore2.ProxyError):
        # the text begins with the proxy's status; what follows is the proxy's own
        status = str(error)[:3]
        return f"{kind}: the proxy answered {status}" if status.isdigit() else f"{kind}: the proxy refused"
    causes = (_words(cause) for cause in _causes(error) if isinstance(cause, OSError))
    meaning = next(filter(None, causes), None) or _MEANING.get(type(error), "the connection broke off")
    return f"{kind}: {meaning}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            # one for each address of the host
            for member in error.exceptions:
                yield from _causes(member)
        error = error.__cause__ or error.__context__


def _words(error: OSError) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            # what follows a comma is the host's name
            return f"certificate not accepted: {error.verify_message.partition(',')[0]}"
        case ssl.SSLError():
            return f"TLS: {error.reason.replace('_', ' ').lower()}" if error.reason else None
        case socket.gaierror():
            return error.strerror
        case OSError(errno=int(number)):
            return os.strerror(number)
    return None
