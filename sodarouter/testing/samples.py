"""Sample events: every documented type in both of Soda's vocabularies, and what Soda sends beside them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

from sodarouter import soda
from sodarouter.delivery import Delivery
from sodarouter.event import Event
from sodarouter.faults import suggestion
from sodarouter.parse import parse
from sodarouter.simulate import VOCABULARIES, override, simulate
from sodarouter.spool import delivery_id

MOMENT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
"""When every sample was received, unless that is said."""
MANY = 60
"""Results of the sample ``many``."""

_SIMULATED = {
    f"{vocabulary}/{event_type}": event_type for vocabulary, types in VOCABULARIES.items() for event_type in types
}
_BARE = {f"bare/{event_type}": event_type for event_type in soda.EVENT_TYPES}
_ODD = ("unknown", "unicode", "many", "callback")

SAMPLES: tuple[str, ...] = (*_SIMULATED, *_BARE, *_ODD)
"""The names of all samples.

- ``v3/checkEvaluation``, ``v4/checkEvaluation`` and so on: each event type in each vocabulary that has it
- ``bare/checkEvaluation`` and so on: the same types with nothing in them, as every field may be missing
- ``unknown``: a type and fields that nobody has documented
- ``unicode``: names and titles with letters, signs and line breaks of all kinds
- ``many``: an evaluation of 60 checks
- ``callback``: a new incident whose callback URL, a secret, also stands in its description
"""


def sample(
    kind: str = "incidentCreated",
    settings: Mapping[str, object] | None = None,
    *,
    source: str = "soda",
    received: datetime = MOMENT,
) -> Event:
    """A sample event. Its payload is the same every time, and its id a new one.

    Args:
        kind: One of `SAMPLES`, or an event type alone, which means the newest vocabulary that has it.
        settings: Values to set in the payload, by their paths: ``{"incident.severity": "critical"}``.
        source: The name of the source that took it in.
        received: When.

    Raises:
        ValueError: There is no such sample, or a path leads nowhere.
    """
    payload = _payload(kind, received)
    if settings:
        payload = override(payload, [(path, json.dumps(value, default=str)) for path, value in settings.items()])
    raw = json.dumps(payload, ensure_ascii=False).encode()
    return Event.taken_in(source, received, raw, parse(raw))


def sample_events() -> dict[str, Event]:
    """An event of each of `SAMPLES`, by its name."""
    return {kind: sample(kind) for kind in SAMPLES}


def sample_delivery(event: Event, destination: str = "there", **known: Any) -> Delivery:
    """The first attempt to deliver an event to a destination, for a test that calls ``deliver`` or ``preview`` itself.

    Args:
        known: Fields of `Delivery` that are to be others: ``attempt=3``.
    """
    fields: dict[str, Any] = {
        "id": delivery_id(event.id, destination),
        "destination": destination,
        "attempt": 1,
        "planned": event.received,
    }
    return Delivery(**(fields | known))


def _payload(kind: str, received: datetime) -> dict[str, Any]:
    random = Random(kind)  # noqa: S311 (no secrets are drawn)
    if kind in _BARE:
        return {"event": _BARE[kind]}
    if kind in _SIMULATED or kind in soda.EVENT_TYPES:
        vocabulary = next((known for known in VOCABULARIES if kind.startswith(f"{known}/")), None)
        return simulate(kind.rpartition("/")[2], vocabulary=vocabulary, random=random, now=received)
    match kind:
        case "unknown":
            strange = {"nested": [{"deep": [None, True, 1e300, "text"]}]}
            return {"event": "somethingNew", "incident": "no object", "somethingNew": strange}
        case "unicode":
            made = simulate("incidentCreated", random=random, now=received)
            made["incident"] |= {"title": _STRANGE, "description": _STRANGE * 3}
            for result in made["incident"]["checkResults"]:
                result["name"] = _STRANGE
                result["datasets"][0] |= {"name": _STRANGE, "label": _STRANGE}
            return made
        case "many":
            results = [
                result
                for _ in range(MANY)
                for result in simulate("checkEvaluation", random=random, now=received)["checkResults"][:1]
            ]
            return {"event": "checkEvaluation", "checkResults": results}
        case "callback":
            made = simulate("incidentCreated", random=random, now=received)
            made["incident"]["description"] = f"put a link at {made['incident']['incidentLinkCallbackUrl']}"
            return made
    raise ValueError(f"there is no sample {kind!r}; {suggestion(kind, SAMPLES, otherwise='see SAMPLES')}")


_STRANGE = (
    "Größe \N{SNOWMAN} \N{GRINNING FACE} \u202eright to left\u202c <b>&amp;\"'`${x}{{ y }} %s \\ \t\r\n\x1b[31m\x00 end"
)
