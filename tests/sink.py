"""The server that the tests post to is the one that plugin authors have."""

from sodarouter.testing.sink import Answer, Request, Sink, open_sink

__all__ = ["Answer", "Request", "Sink", "open_sink"]
