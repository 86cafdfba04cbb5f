"""Says why a request got no answer, in words that cannot hold a secret.

The texts of what lies below are not passed on: some quote the address, the host or what the peer sent. Nor are the errors
themselves, as the cause of what is raised.
"""

import os
import socket
import ssl

from sodarouter.errors import Retry


def no_answer(kind: str, error: Exception) -> Retry:
    """The kind of failure and its cause, such as ``ConnectError: Connection refused``."""
    return Retry(f"{kind}: {_words(error) or 'the connection broke off'}")


def _words(error: Exception) -> str | None:
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
