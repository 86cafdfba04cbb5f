"""The format ``cloudevents``: CloudEvents 1.0 over HTTP, in one JSON object or with the attributes as headers."""

import re
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field

from sodarouter import Delivery, Event, TextTemplate
from sodarouter_forward.formats.made import JSON, Format, Made, enclosing, timestamp

MAX_TEXT = 256
"""Characters of an attribute that an event chooses: in ``binary`` mode it becomes a header, and servers limit these."""

_CORE = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data")
_IN_HEADERS = ("specversion", "id", "source", "type", "subject", "time")

_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
    + "]"
)
"""What the specification does not allow in a text; surrogates cannot come from what was parsed as JSON."""

_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What the HTTP binding leaves as it is in a header; all else is percent-encoded."""


_URI = re.compile(r"([!$&-;=?-Z_a-z~#\[\]]|%[0-9A-Fa-f]{2})+")


def _uri(text: str) -> str:
    if not _URI.fullmatch(text):
        raise ValueError("a source is a URI, or the path of one, such as https://example.org/soda or /soda/prod")
    return text


def _prefix(text: str) -> str:
    if not re.fullmatch("[!-~]+", text):
        raise ValueError("a prefix is printable ASCII without spaces, such as io.soda., and not empty")
    return text


def _extension_name(name: str) -> str:
    if not re.fullmatch("[a-z0-9]{1,20}", name):
        raise ValueError("an extension's name is 1 to 20 of a-z and 0-9")
    if name in _CORE:
        raise ValueError(f"{name} is no extension: CloudEvents defines it itself")
    return name


class CloudEventsFormat(Format):
    """An event in the envelope of CloudEvents 1.0."""

    type: Literal["cloudevents"] = "cloudevents"
    mode: Literal["structured", "binary"] = "structured"
    """`structured`: one JSON object with the payload as `data`. `binary`: the body is the payload, and the attributes are
    headers."""
    source: Annotated[str, AfterValidator(_uri)] | None = None
    """The attribute `source`, a URI or the path of one. Without: `/sodarouter/` and the name of the source."""
    prefix: Annotated[str, AfterValidator(_prefix)] = "io.soda."
    """What stands before Soda's own word in `type`."""
    extensions: dict[Annotated[str, AfterValidator(_extension_name)], TextTemplate] = Field(default_factory=dict)
    """More attributes, each a template. One that comes out empty is left out."""

    @property
    def header_names(self) -> tuple[str, ...]:
        if self.mode == "structured":
            return ()
        return tuple(f"ce-{name}" for name in (*_IN_HEADERS, *self.extensions))

    @property
    def computes(self) -> bool:
        return True

    def make(self, event: Event, delivery: Delivery) -> Made:
        attributes = self._attributes(event, delivery)
        if self.mode == "binary":
            return Made(event.raw, JSON, {f"ce-{name}": quote(text, safe=_SAFE) for name, text in attributes.items()})
        return Made(enclosing({**attributes, "datacontenttype": JSON}, event.raw), "application/cloudevents+json")

    def _attributes(self, event: Event, delivery: Delivery) -> dict[str, str]:
        attributes = {
            "specversion": "1.0",
            "id": _id(event, delivery),
            "source": self.source or f"/sodarouter/{quote(event.source)}",
            "type": self.prefix + _text(event.type),
            "subject": _text(_subject(event)),
            "time": timestamp(event.received),
            **{name: _text(template.render(event, delivery)) for name, template in self.extensions.items()},
        }
        return {name: text for name, text in attributes.items() if text}


def _id(event: Event, delivery: Delivery) -> str:
    """The event's; what is one part of it, or is sent once more because somebody asked, is no repeat of another."""
    part = f"~{delivery.part}" if delivery.part else ""
    return f"{event.id}{part}/{delivery.replay}" if delivery.replay else f"{event.id}{part}"


def _subject(event: Event) -> str | None:
    view = event.view
    if view.incident:
        return view.incident.id
    if view.agreement:
        return view.agreement.id
    if view.contract:
        return view.contract.dataset
    datasets = {dataset.name for result in view.results for dataset in result.datasets}
    return datasets.pop() if len(datasets) == 1 else None


def _text(text: str | None) -> str:
    return _FORBIDDEN.sub(" ", text or "").strip()[:MAX_TEXT].rstrip()
