"""The line for one delivery."""

import re
from dataclasses import replace

from pydantic_core import to_json

from sodarouter import Delivery, Event
from sodarouter_file.options import FileOptions


def compose(event: Event, delivery: Delivery, options: FileOptions) -> bytes:
    """The line, with its end.

    Raises:
        Reject: The template fails.
    """
    if options.line is not None:
        # whatever a template prints: who has the callback URL can write to the incident
        shown = replace(event, raw=event.raw_redacted)
        return b" ".join(options.line.render(shown, delivery).encode().splitlines()) + b"\n"
    return (_as_event(event, delivery) if options.format == "event" else _as_payload(event)) + b"\n"


def _as_event(event: Event, delivery: Delivery) -> bytes:
    record = event.as_dict()
    if delivery.replay:
        record["replay"] = delivery.replay
    if fallback := delivery.fallback:
        record["fallback"] = {"destination": fallback.destination, "reason": fallback.reason}
    return to_json(record)


_STRING_OR_SPACE = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")|[ \t\r\n]+')


def _as_payload(event: Event) -> bytes:
    # not parsed and written anew: that would change how numbers are spelt. A line break inside a string is always escaped
    return _STRING_OR_SPACE.sub(rb"\1", event.raw_redacted)
