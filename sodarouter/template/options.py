"""The kinds of option that are templates."""

from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from sodarouter.template.compiled import Template


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
