"""The kinds of option that are templates."""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema, WrapValidator

from sodarouter.options import SECRET_SCHEMA, place_of, read_secret
from sodarouter.redact import LEAST_PART
from sodarouter.template.hidden import HiddenTemplate
from sodarouter.template.template import Template, seeing


def _compile(value: object) -> Template:
    if isinstance(value, Template):
        return value
    if not isinstance(value, str):
        raise ValueError("a template is a string")  # noqa: TRY004 (pydantic turns only ValueError into a fault)
    return Template(value)


def _compile_html(value: object) -> Template:
    return Template(value, html=True) if isinstance(value, str) else _compile(value)


def sees(*names: str) -> WrapValidator:
    """Lets a template option see more than others do: ``Annotated[TextTemplate, sees("ticket")]``.

    The values are handed to its ``render``, as the third argument.
    """

    def validate(value: object, compile_it: Callable[[object], object]) -> object:
        with seeing(*names):
            return compile_it(value)

    return WrapValidator(validate)


TextTemplate = Annotated[Template, PlainValidator(_compile), WithJsonSchema({"type": "string"})]
"""An option whose value is a template of plain text."""

HtmlTemplate = Annotated[Template, PlainValidator(_compile_html), WithJsonSchema({"type": "string"})]
"""An option whose value is a template of HTML: what it inserts is escaped."""


def _compile_secret(value: object, info: ValidationInfo) -> HiddenTemplate:
    return _hidden(value, info, url=False)


_HOST = re.compile(r"https?://[^/?#]+[/?#]")


def _compile_url(value: object, info: ValidationInfo) -> HiddenTemplate:
    hidden = _hidden(value, info, url=True)
    if hidden.is_template and not _HOST.match(hidden.head):
        raise ValueError(
            "a template in a URL stands behind the host, as in https://example.org/{{ … }}: "
            "who sends an event must not choose where it is posted"
        )
    return hidden


def _hidden(value: object, info: ValidationInfo, *, url: bool) -> HiddenTemplate:
    if not isinstance(hidden := value, HiddenTemplate):
        hidden = HiddenTemplate(read_secret(value, info).get_secret_value(), url=url)
    parts = (part for literal in hidden.literals for part in re.split(r"[/?&=#\s]", literal))
    for secret in (hidden.get_secret_value(), *(part for part in parts if len(part) >= LEAST_PART)):
        place_of(info).secret(secret)
    return hidden


_SHOWN = PlainSerializer(str, when_used="json")

SecretTemplate = Annotated[HiddenTemplate, PlainValidator(_compile_secret), _SHOWN, SECRET_SCHEMA]
"""An option that is a secret, and may be a template: see `HiddenTemplate`."""

UrlTemplate = Annotated[HiddenTemplate, PlainValidator(_compile_url), _SHOWN, SECRET_SCHEMA]
"""An option that is a URL, and with it a secret, and may be a template: what it inserts is percent-encoded."""
