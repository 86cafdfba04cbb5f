"""What a command is handed: its standard input and its environment. Never an argument.

A text from an event that begins with a hyphen would be an option to the command, and who sends events must not give
orders to it. Standard input and the value of a variable can only be data.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace

from sodarouter import Delivery, Event
from sodarouter_exec.options import ExecOptions

INHERITED = ("PATH", "HOME", "LANG")
"""The variables that are the router's own. The others may hold its secrets."""

MAX_VALUE = 1000
"""Characters of a value that comes from an event; the system takes no more than 128 KiB."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def compose(event: Event, delivery: Delivery, options: ExecOptions) -> bytes:
    """Standard input for one delivery. Soda's callback URL is not in it: the command may print what it reads.

    Raises:
        Reject: The template fails.
    """
    if options.input is not None:
        return options.input.render(replace(event, raw=event.raw_redacted), delivery).encode()
    if options.format == "payload":
        return event.raw_redacted
    record = event.as_dict()
    if delivery.replay:
        record["replay"] = delivery.replay
    if fallback := delivery.fallback:
        record["fallback"] = {"destination": fallback.destination, "reason": fallback.reason}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def about(event: Event, delivery: Delivery) -> dict[str, str]:
    """The variables that tell of the delivery."""
    told = {
        "SODAROUTER_EVENT_ID": event.id,
        "SODAROUTER_TYPE": event.type,
        "SODAROUTER_SOURCE": event.source,
        "SODAROUTER_DELIVERY": delivery.id,
        "SODAROUTER_ATTEMPT": str(delivery.attempt),
        "SODAROUTER_DESTINATION": delivery.destination,
    }
    return {name: _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value[:MAX_VALUE]) for name, value in told.items()}


def environment(options: ExecOptions) -> dict[str, str]:
    """The variables that are the same for all deliveries of a destination."""
    return _inherited(os.environ) | {name: value.get_secret_value() for name, value in options.env.items()}


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in INHERITED if name in environ}
