"""The format ``standard-webhooks``: the payload that the Standard Webhooks specification recommends."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from sodarouter import Delivery, Event
from sodarouter_forward.formats.made import Format, Made, enclosing, timestamp

_OTHER = re.compile(r"[^A-Za-z0-9_.]+")


def _prefix(text: str) -> str:
    if not re.fullmatch(r"([A-Za-z0-9_]+\.)*", text):
        raise ValueError("a prefix is empty, or words of letters, digits and _ that each end with a full stop")
    return text


class StandardWebhooksFormat(Format):
    """``{"type", "timestamp", "data"}``."""

    type: Literal["standard-webhooks"] = "standard-webhooks"
    prefix: Annotated[str, AfterValidator(_prefix)] = "soda."
    """What stands before Soda's own word in `type`."""

    def make(self, event: Event, delivery: Delivery) -> Made:
        # what separates the parts of a type is a full stop, so there is one between any two of them
        word = ".".join(part for part in _OTHER.sub("_", event.type).split(".") if part)
        head = {"type": self.prefix + (word or "_"), "timestamp": timestamp(event.received)}
        return Made(enclosing(head, event.raw))
