"""Templates: Jinja2 in a sandbox, compiled when the configuration is loaded, strict about names, and with an end."""

from sodarouter.template.compiled import MAX_OUTPUT, Template
from sodarouter.template.hidden import HiddenTemplate
from sodarouter.template.options import HtmlTemplate, SecretTemplate, TextTemplate, UrlTemplate, sees

__all__ = [
    "MAX_OUTPUT",
    "HiddenTemplate",
    "HtmlTemplate",
    "SecretTemplate",
    "Template",
    "TextTemplate",
    "UrlTemplate",
    "sees",
]
