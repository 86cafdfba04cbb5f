"""Templates: Jinja2 in a sandbox, compiled when the configuration is loaded, strict about names."""

import json
from typing import Annotated, Any

from jinja2 import StrictUndefined, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import PlainValidator, WithJsonSchema

from sodarouter.delivery import Delivery
from sodarouter.errors import Reject
from sodarouter.event import Event

MAX_OUTPUT = 1 << 20
"""Characters that one rendering may give."""


def _environment(*, html: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=html, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "default": str}
    return environment


_text = _environment(html=False)
_html = _environment(html=True)


class Template:
    """A compiled template.

    It sees ``event`` (`Event`), ``delivery`` (`Delivery`), ``payload`` (what Soda sent, as JSON types) and the parts of
    the normalised view: ``results``, ``incident``, ``contract``, ``agreement``.

    Raises:
        ValueError: The source is not a template; the message has the line.
    """

    def __init__(self, source: str, *, html: bool = False) -> None:
        self._written = (source, html)
        try:
            self._template = (_html if html else _text).from_string(source)
        except TemplateSyntaxError as error:
            raise ValueError(f"template, line {error.lineno}: {error.message}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self._written == other._written

    def __hash__(self) -> int:
        return hash(self._written)

    def render(self, event: Event, delivery: Delivery) -> str:
        """The text for one delivery.

        Raises:
            Reject: The template fails on this event: trying again would not help before the template is mended.
        """
        context = _context(event, delivery)
        parts, length = [], 0
        try:
            for part in self._template.generate(context):
                length += len(part)
                parts.append(part)
                if length > MAX_OUTPUT:
                    break
        except Exception as error:  # an expression can run into anything: AttributeError, RecursionError
            raise Reject(f"template: {type(error).__name__}: {error}") from error
        if length > MAX_OUTPUT:
            raise Reject(f"template: more than {MAX_OUTPUT:,} characters")
        return "".join(parts)


def _context(event: Event, delivery: Delivery) -> dict[str, Any]:
    view = event.view
    return {
        "event": event,
        "delivery": delivery,
        "payload": json.loads(event.raw),
        "results": view.results,
        "incident": view.incident,
        "contract": view.contract,
        "agreement": view.agreement,
    }


def _compile(value: object) -> Template:
    if isinstance(value, Template):
        return value
    if not isinstance(value, str):
        raise ValueError("a template is a string")  # noqa: TRY004 (pydantic turns only ValueError into a fault)
    return Template(value)


def _compile_html(value: object) -> Template:
    return Template(value, html=True) if isinstance(value, str) else _compile(value)


TextTemplate = Annotated[Template, PlainValidator(_compile), WithJsonSchema({"type": "string"})]
"""An option whose value is a template of plain text."""

HtmlTemplate = Annotated[Template, PlainValidator(_compile_html), WithJsonSchema({"type": "string"})]
"""An option whose value is a template of HTML: what it inserts is escaped."""
