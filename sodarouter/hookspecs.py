"""The hooks of the router: what a plugin can implement. Entry-point group ``sodarouter``.

An implementation declares only the arguments that it uses, by name; more may be added without breaking it.
"""

from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from sodarouter.delivery import Delivery, Settled
from sodarouter.destination import Destination
from sodarouter.event import Event
from sodarouter.http import HttpRoute

if TYPE_CHECKING:
    import typer

hookspec = pluggy.HookspecMarker("sodarouter")


@hookspec
def destination_types() -> list[type[Destination[Any]]]:  # type: ignore[empty-body]  # a specification has none
    """The kinds of destination that this plugin offers. Asked once, at start."""


@hookspec
def http_routes() -> list[HttpRoute]:  # type: ignore[empty-body]  # a specification has none
    """What this plugin serves on the admin listener. Asked once, at start."""


@hookspec
def deliver(event: Event, delivery: Delivery) -> Awaitable[None] | None:
    """Delivers one event to one destination. See `Destination` for what its ending means.

    Implemented by the instances of a `Destination`, or by a plugin that is a mere module: it then is a destination type
    itself, named after its entry point and without options.
    """


@hookspec
def event_accepted(event: Event, duplicate: bool) -> None:
    """An event is on disk, or the same bytes were there already (``duplicate``). Be quick: the sender still waits."""


@hookspec
def event_refused(source: str | None, status: int, reason: str) -> None:
    """A request was answered with an error.

    Args:
        source: The source's name, or ``None`` if the request reached none.
        status: The HTTP status it was answered with.
        reason: One of a small, fixed set of words, fit for a metric's label.
    """


@hookspec
def delivery_settled(settled: Settled) -> None:
    """An attempt of a delivery has ended and its outcome is on disk. Be quick: deliveries wait."""


@hookspec
def health() -> str | None:
    """What is wrong with this plugin, in one line; ``None`` or nothing: it is well.

    Asked whenever somebody looks at the router, in its own loop: say what is known already, and return.
    """


@hookspec
def commands(config: Path) -> "typer.Typer":  # type: ignore[empty-body]  # a specification has none
    """The commands that are typed behind ``sodarouter`` and this plugin's name.

    Asked when they are typed, in a process of their own: no router runs in it, and only this plugin is loaded there. An
    exception in a command is told in one line as this plugin's.

    Args:
        config: The configuration that they are about. The file need not exist unless it was named.
    """


OBSERVERS = ("event_accepted", "event_refused", "delivery_settled")
"""The hooks that only tell."""
