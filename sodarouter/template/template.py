"""A template as others have it, without what compiles it: most destinations have none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

from sodarouter.delivery import Delivery
from sodarouter.event import Event

_more: ContextVar[tuple[str, ...]] = ContextVar("more", default=())


@contextmanager
def seeing(*names: str) -> Iterator[None]:
    """The templates that are compiled in the block see these names too; their values are handed to `Template.render`."""
    token = _more.set(names)
    try:
        yield
    finally:
        _more.reset(token)


class Template:
    """A compiled template.

    It sees ``event`` (`Event`), ``delivery`` (`Delivery`), ``payload`` (what Soda sent, as JSON types), the parts of the
    normalised view: ``results``, ``incident``, ``contract``, ``agreement``; and ``teams``, those of the event's datasets,
    with ``team``, the one that the delivery is for or else the first; and ``enriched``, what plugins have added. The
    filters are in docs/templates.md.

    Args:
        source: What the operator wrote.
        html: Whether what is inserted is escaped for HTML.
        url: Whether what is inserted is percent-encoded.

    Raises:
        ValueError: The source is not a template, or names what does not exist; the message has the line.
    """

    def __init__(self, source: str, *, html: bool = False, url: bool = False) -> None:
        # here, as it and Jinja2 take a while to load, and a router or a command may have no template at all
        from sodarouter.template.compiled import Compiled

        self._written = (source, html, url)
        self._compiled = Compiled(source, _more.get(), html=html, url=url)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self._written == other._written

    def __hash__(self) -> int:
        return hash(self._written)

    def __deepcopy__(self, memo: object) -> Self:
        return self  # nothing in it changes, and pydantic copies defaults

    def render(self, event: Event, delivery: Delivery, more: Mapping[str, object] = {}) -> str:
        """The text for one delivery: the same for the same event, at any time. It takes a second of computing at most.

        Args:
            event: What is delivered.
            delivery: For which delivery.
            more: What it was compiled to see beside them, inside `sees`.

        Raises:
            Reject: The template fails on this event: trying again would not help before the template is mended.
        """
        return self._compiled.render(event, delivery, more)
