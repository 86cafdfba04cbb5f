"""What a format is, and what it makes."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sodarouter import Delivery, Event, Options

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Made:
    """A body, and what goes with it."""

    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Format(Options):
    """A shape that bodies are given. A subclass is a table of options whose key ``type`` is its name."""

    @abstractmethod
    def make(self, event: Event, delivery: Delivery) -> Made:
        """The body for one delivery: the same at each attempt.

        Raises:
            Reject: A template fails on this event.
        """

    @property
    def header_names(self) -> tuple[str, ...]:
        """Headers that `make` may set, which no other option can."""
        return ()

    @property
    def computes(self) -> bool:
        """Whether making it may take a while, as it does to look into a large event, or to render a template."""
        return False


def to_json(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def enclosing(head: Mapping[str, object], raw: bytes) -> bytes:
    """A JSON object of ``head``, and last the key ``data`` with what Soda sent, byte for byte."""
    return b'%s,"data":%s}' % (to_json(head)[:-1], raw.strip())


def timestamp(moment: datetime) -> str:
    """As RFC 3339 in UTC: ``2026-05-04T12:00:00.000000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
