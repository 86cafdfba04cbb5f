"""The shapes of ASGI, as far as the server cares."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Scope = Mapping[str, Any]
Message = Mapping[str, Any]
# scope, receive, send: every framework has types of its own for these
App = Callable[[Any, Any, Any], Awaitable[None]]
