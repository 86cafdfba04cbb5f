"""The hooks of the router: what a plugin can implement. Entry-point group ``sodarouter``.

An implementation declares only the arguments that it uses, by name; more may be added without breaking it.
"""

from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from sodarouter.batch import BatchItem, ItemAnswer
from sodarouter.delivery import Delivery, Settled
from sodarouter.destination import Destination
from sodarouter.event import Event
from sodarouter.http import HttpRoute
from sodarouter.link import IncidentLink
from sodarouter.source import SourceType
from sodarouter.store import Store
from sodarouter.verification import VerificationType

if TYPE_CHECKING:
    import typer

hookspec = pluggy.HookspecMarker("sodarouter")


@hookspec
def destination_types() -> list[type[Destination[Any]]]:  # type: ignore[empty-body]  # a specification has none
    """The kinds of destination that this plugin offers. Asked once, at start."""


@hookspec
def verification_types() -> list[type[VerificationType]]:  # type: ignore[empty-body]  # a specification has none
    """The ways for senders to prove who they are that this plugin offers. Asked once, at start."""


@hookspec
def source_types() -> list[type[SourceType[Any]]]:  # type: ignore[empty-body]  # a specification has none
    """The kinds of sender that this plugin offers. Asked once, at start."""


@hookspec
def http_routes() -> list[HttpRoute]:  # type: ignore[empty-body]  # a specification has none
    """What this plugin serves on the admin listener. Asked once, at start."""


@hookspec
def deliver(event: Event, delivery: Delivery, store: Store) -> Awaitable[IncidentLink | None] | IncidentLink | None:
    """Delivers one event to one destination. See `Destination` for what its ending means.

    Args:
        event: What is delivered.
        delivery: Which delivery of it this is.
        store: What the destination keeps for itself.

    Returns:
        A link to what was made of an incident, to be put onto it in Soda; nothing for all else.

    Implemented by the instances of a `Destination`, or by a plugin that is a mere module: it then is a destination type
    itself, named after its entry point and without options.
    """


@hookspec
def deliver_batch(
    batch: Sequence[BatchItem],
) -> Awaitable[Sequence[ItemAnswer] | None] | Sequence[ItemAnswer] | None:
    """Delivers several events to one destination at once, in the place of ``deliver``. Only a `Destination` has it.

    Args:
        batch: What waits, up to the destination's ``batch_size``; often one alone.

    Returns:
        What became of each, in the same order; nothing if all were taken. What it raises counts for all of them.
    """


@hookspec
def enrich(event: Event) -> Awaitable[Mapping[str, Any] | None] | Mapping[str, Any] | None:
    """What this plugin adds to an event before it is decided: a JSON object, or ``None``.

    It is kept with the event, and routes, templates and destinations see it under the plugin's name. An event is asked
    about once, however often it is delivered or replayed, and more than once only if its decision fails.
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


DELIVERING = ("deliver", "deliver_batch")
"""The hooks that destinations have; of the two the second is called, if it is there."""
OBSERVERS = ("event_accepted", "event_refused", "delivery_settled")
"""The hooks that only tell."""
