"""Says why a request got no answer, in words that cannot hold a secret.

The texts of what lies below are not passed on: some quote the address, the host or what the peer sent. Nor are the errors
themselves, as the cause of what is raised.
"""

import os
import socket
import ssl

import trio

from sodarouter.errors import Retry

BROKEN = (OSError, trio.BrokenResourceError)
"""What a stream raises when the connection breaks off."""


def no_answer(kind: str, error: BaseException) -> Retry:
    """The kind of failure and its cause, such as ``ConnectError: Connection refused``."""
    # TLS is told of by what trio's error was raised from
    cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) else error
    return Retry(f"{kind}: {_words(cause) or 'the connection broke off'}")


def _words(error: BaseException | None) -> str | None:
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
