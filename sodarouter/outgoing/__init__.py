"""The requests that the router makes: the client that makes them, and the guard that says where they may go."""

from sodarouter.outgoing.answer import HttpAnswer
from sodarouter.outgoing.client import HttpClient
from sodarouter.outgoing.guard import Guard
from sodarouter.outgoing.options import ClientTls, HttpOptions, HttpUrl, Outgoing

__all__ = ["ClientTls", "Guard", "HttpAnswer", "HttpClient", "HttpOptions", "HttpUrl", "Outgoing"]
