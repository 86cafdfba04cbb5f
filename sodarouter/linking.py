"""What an attempt has to do with the link of an incident, by what the destination says. Nothing is stored here."""

from collections.abc import Callable, Sequence

import structlog

from sodarouter.callback import is_mentioned
from sodarouter.delivery import State
from sodarouter.event import Event
from sodarouter.lane import Lane
from sodarouter.link import IncidentLink, usable
from sodarouter.settle import Verdict
from sodarouter.spool import LINK, Linking

log = structlog.get_logger()


def linking_of(
    lane: Lane,
    event: Event,
    made: IncidentLink | None,
    verdict: Verdict,
    prefer: Sequence[str],
    answering: Callable[[str], bool],
    hide: Callable[[str], str],
) -> Linking | None:
    """What the spool is to be told with the outcome; ``None`` if it is nothing.

    Args:
        lane: Of the destination.
        event: What was delivered.
        made: The link that the destination says it made.
        verdict: Where the delivery stands now.
        prefer: The destinations whose links are preferred, as in `sodarouter.link.choose`.
        answering: Whether the sender of an event, by its id, waits for a link.
        hide: Takes secrets out of a text.
    """
    # a preferred destination that will make none lets the others go first
    passes = lane.name in prefer and verdict.state is not State.PENDING
    if (made is None and not passes) or lane.name == LINK:
        return None
    if made is None and event.scope != "incidents" and not is_mentioned(event.raw):
        return None  # whatever a preferred destination is sent would be parsed once more, in the loop
    incident = event.view.incident
    if incident is None or incident.id is None:
        return None
    link = None if made is None else _looked_at(lane, event, made, hide)
    return Linking(incident.id, link, prefer, answering(event.id))


def _looked_at(lane: Lane, event: Event, made: IncidentLink, hide: Callable[[str], str]) -> IncidentLink | None:
    fault = "it holds a secret"
    try:
        link = usable(made, lane.name)
        # as it came too: of what is cut off, half a secret may be left, which is not known as one
        if all(hide(text) == text for text in (link.url, link.text, made.text)):
            return link
    except ValueError as error:
        fault = str(error)
    log.error("a link cannot be put onto an incident", destination=lane.name, event_id=event.id, fault=fault)
    return None
