"""The event: one accepted webhook."""

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from pydantic import TypeAdapter
from pydantic_core import from_json

from sodarouter import soda
from sodarouter.callback import is_mentioned
from sodarouter.cut import cut_results
from sodarouter.ids import new_id
from sodarouter.seal import cut_out
from sodarouter.view import View, normalise

Enrich = Callable[[View], View]
T = TypeVar("T")

_view: TypeAdapter[View] = TypeAdapter(View)


@dataclass(frozen=True)
class Event:
    """One accepted webhook: what Soda sent, byte for byte, and what the router knows about it.

    `payload` and `view` are made when they are first asked for: a destination that passes on ``raw`` pays for neither.
    """

    id: str
    """Time-ordered and unique; stays with the event for ever."""
    source: str
    """The name of the ``[source.NAME]`` that took it in."""
    received: datetime
    """When it was taken in, UTC."""
    type: str
    """Soda's own word: ``checkEvaluation``, ``incidentCreated`` …; may be one that nobody has documented."""
    raw: bytes
    """The body: UTF-8 JSON, exactly as it came, or with ``checkResults`` cut to those that a route let through."""
    late: bool = False
    """Whether a newer update of the same incident was taken in before this one."""
    enrich: Enrich | None = field(default=None, compare=False, repr=False)
    """What the configuration adds to the view: the teams."""
    enriched: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    """What plugins have added, by the name of the plugin: JSON objects."""

    @classmethod
    def taken_in(cls, source: str, received: datetime, raw: bytes, body: dict[str, Any]) -> "Event":
        """A new event from what has just been read of ``raw``, which is then not read again."""
        event = cls(new_id(), source, received, body["event"], raw)
        event.__dict__[_BODY] = body
        return event

    @property
    def scope(self) -> str | None:
        """``alert_notification``, ``incidents``, ``contracts`` or ``agreements``; none for `validate` and the unknown."""
        return soda.SCOPES.get(self.type)

    @cached_property
    def payload(self) -> soda.Payload:
        """The validated body in Soda's own vocabulary."""
        return soda.validate(self.raw)

    @cached_property
    def view(self) -> View:
        """The normalised view: one vocabulary over Soda's v3 and v4."""
        # the body is not kept: nobody asks for it again, and it is larger than the view
        view = normalise(self.__dict__.pop(_BODY, None) or from_json(self.raw, cache_strings="keys"))
        return self.enrich(view) if self.enrich else view

    @property
    def raw_redacted(self) -> bytes:
        """``raw`` without Soda's incident callback URL, wherever it stands, as its path is a token: for people and logs."""
        callback = self.view.incident.callback_url if is_mentioned(self.raw) and self.view.incident else None
        return cut_out(self.raw, callback.get_secret_value() if callback else None)[0]

    def cut(self, keep: Collection[int]) -> "Event":
        """The same event with only the results at the indices ``keep``."""
        return self._again(raw=cut_results(self.raw, keep))

    def apart(self) -> "Event":
        """The same event for a plugin: whatever that does to its payload, nobody else sees it."""
        return self._again("view")  # nothing in it can be changed

    def as_late(self) -> "Event":
        """The same event, which came after a newer update of its incident, with what was made of it already."""
        return self._again(*_MADE, late=True)

    def with_enriched(self, enriched: Mapping[str, Mapping[str, Any]]) -> "Event":
        """The same event with what plugins have added, and with what was made of it already."""
        return self._again(*_MADE, enriched=enriched)

    def _again(self, *made: str, **changed: Any) -> "Event":
        """The same event, changed, and of what was made of it only this. `replace` takes three times as long."""
        event = object.__new__(Event)
        known = event.__dict__
        known.update(self.__dict__, **changed)
        for name in _MADE:
            if name not in made:
                known.pop(name, None)
        return event

    def once(self, make: Callable[["Event"], T]) -> T:
        """What ``make`` makes of the view and the source: made when it is first asked for, and kept with the event."""
        kept: dict[Callable[[Event], Any], Any] = self.__dict__.setdefault(_KEPT, {})
        if make not in kept:
            kept[make] = make(self)
        made: T = kept[make]
        return made

    def handed_over(self, results: Collection[int] | None, enrich: Enrich | None) -> "Event":
        """The event as a destination is handed it.

        Args:
            results: Indices of those that travel; ``None``: the whole event.
            enrich: What the configuration adds to the view.
        """
        event = self.apart() if results is None else self.cut(results)
        return event._again(enrich=enrich) if enrich else event

    def as_dict(self) -> dict[str, Any]:
        """The whole event as JSON types: what the router knows, the view, and the payload with its secrets taken out."""
        raw = self.raw_redacted
        # a callback URL may also stand in a text of the view
        shown = self if raw == self.raw else self._again(raw=raw)
        view = _view.dump_python(shown.view, mode="json", exclude=_ELSEWHERE)
        return {
            "id": self.id,
            "source": self.source,
            "received": self.received.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "type": self.type,
            "scope": self.scope,
            "late": self.late,
            "view": {key: value for key, value in view.items() if value},
            **({"enriched": dict(self.enriched)} if self.enriched else {}),
            "payload": json.loads(raw, parse_float=_finite),
        }


_BODY = "body"
"""Where an event keeps what was read of ``raw`` until its view is made."""
_KEPT = "kept"
"""Where it keeps what `Event.once` was asked for."""
_MADE = (_BODY, _KEPT, "payload", "view")
"""All that an event has beside its fields."""

_ELSEWHERE: dict[str, Any] = {"type": True, "incident": {"status_words"}}
"""What of the view would only say again what the record has already."""


def _finite(number: str) -> float | None:
    """A number too large for Python, such as ``1e999``, becomes null, as in the view: JSON has no word for infinity."""
    value = float(number)
    return value if math.isfinite(value) else None
