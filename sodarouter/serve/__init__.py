"""Serves ASGI applications over HTTP/1.1, on trio, to whoever connects.

`bind` opens the sockets, `serve` answers on them until it is told to stop. One bad connection ends that connection alone,
every wait has a limit, and HTTP/2 and WebSockets, which the router does not speak, are not negotiated.

There are two ways to read requests and to write answers, `lean` and `connection`, the first of its own and the second on
hypercorn, whose own server would not withstand all this. Both keep the same promises, and have the same tests.
"""

from sodarouter.serve.limits import Limits
from sodarouter.serve.listen import Listener, bind
from sodarouter.serve.server import serve
from sodarouter.serve.tls import Tls

__all__ = ["Limits", "Listener", "Tls", "bind", "serve"]
