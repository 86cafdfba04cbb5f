"""The formats ``raw`` and ``template``."""

from typing import Literal

from sodarouter import Delivery, Event, Options
from sodarouter_forward.formats.made import Format, Made


class RawFormat(Format):
    """What Soda sent, byte for byte."""

    type: Literal["raw"] = "raw"

    def make(self, event: Event, delivery: Delivery) -> Made:
        return Made(event.raw)


class TemplateFormat(Options):
    """What the option `body` makes of it."""

    type: Literal["template"] = "template"
