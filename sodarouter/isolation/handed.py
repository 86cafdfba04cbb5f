"""What the router hands to a destination's process, pickled: values of its own types and of what TOML can say."""

import pickle
from dataclasses import dataclass, replace

from sodarouter.delivery import Delivery
from sodarouter.event import Enrich, Event
from sodarouter.options import Given
from sodarouter.outgoing import Outgoing


@dataclass(frozen=True)
class Start:
    """The first: what the process is to be."""

    name: str
    """Of the destination."""
    plugin: str
    """Which plugin offers its type, by its entry point."""
    kind: str
    """The type."""
    given: Given
    """Its options."""
    plugin_given: Given | None
    """Those of the plugin, if it has some."""
    outgoing: Outgoing
    path: tuple[str, ...]
    """Where modules are found."""


@dataclass(frozen=True)
class Handed:
    """A delivery to make."""

    number: int
    """The answer has the same."""
    event: Event
    """Without what adds to its view."""
    delivery: Delivery
    enrich: Enrich | None
    """What adds to the view, if it is another one than the last time."""
    enriched_as_before: bool

    @classmethod
    def of(cls, number: int, event: Event, delivery: Delivery, before: Enrich | None) -> "Handed":
        """
        Args:
            before: What added to the view the last time: it may hold many teams, and they seldom change.
        """
        same = event.enrich == before
        # a copy also leaves behind what the event has made of its body
        return cls(number, replace(event, enrich=None), delivery, None if same else event.enrich, same)


@dataclass(frozen=True)
class Close:
    """The last: nothing more will come."""


def packed(handed: Start | Handed | Close) -> bytes:
    return pickle.dumps(handed, pickle.HIGHEST_PROTOCOL)


def unpacked(data: bytes) -> Start | Handed | Close:
    found: Start | Handed | Close = pickle.loads(data)  # noqa: S301 (only the router can write to this socket's other end)
    return found
