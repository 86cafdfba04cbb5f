"""What the router hands to a destination's process, pickled: values of its own types and of what TOML can say."""

import pickle
from collections.abc import Sequence
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
    """A delivery to make, or a batch of them."""

    number: int
    """The answer has the same."""
    items: Sequence[tuple[Event, Delivery]]
    """The events without what adds to their views."""
    enrich: Enrich | None
    """What adds to the view, if it is another one than the last time."""
    enriched_as_before: bool

    @classmethod
    def of(cls, number: int, items: Sequence[tuple[Event, Delivery]], before: Enrich | None) -> "Handed":
        """Takes the events, whose views are all made in the same way, apart from what makes them.

        Args:
            before: What added to the view the last time: it may hold many teams, and they seldom change.
        """
        enrich = items[0][0].enrich
        same = enrich == before
        # a copy also leaves behind what the event has made of its body
        bare = [(replace(event, enrich=None), delivery) for event, delivery in items]
        return cls(number, bare, None if same else enrich, same)


@dataclass(frozen=True)
class Value:
    """What is stored under the key that was asked for."""

    text: str | None
    """JSON."""


@dataclass(frozen=True)
class Close:
    """The last: nothing more will come."""


def packed(handed: Start | Handed | Value | Close) -> bytes:
    return pickle.dumps(handed, pickle.HIGHEST_PROTOCOL)


def unpacked(data: bytes) -> Start | Handed | Value | Close:
    found: Start | Handed | Value | Close = pickle.loads(data)  # noqa: S301 (only the router can write to this socket's other end)
    return found
