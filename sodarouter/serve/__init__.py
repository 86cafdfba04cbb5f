"""Serves ASGI applications over HTTP/1.1, on hypercorn and trio, to whoever connects.

`bind` opens the sockets, `serve` answers on them until it is told to stop. What hypercorn's own server does not
withstand is kept away from it here: one bad connection ends that connection alone, every wait has a limit, and HTTP/2
and WebSockets, which the router does not speak, are not negotiated.
"""

from sodarouter.serve.limits import Limits
from sodarouter.serve.listen import Listener, bind
from sodarouter.serve.server import serve
from sodarouter.serve.tls import Tls

__all__ = ["Limits", "Listener", "Tls", "bind", "serve"]
