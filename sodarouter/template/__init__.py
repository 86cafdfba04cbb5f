"""Templates: Jinja2 in a sandbox, compiled when the configuration is loaded, strict about names, and with an end."""

from sodarouter.template.hidden import HiddenTemplate
from sodarouter.template.options import HtmlTemplate, SecretTemplate, TextTemplate, UrlTemplate, sees
from sodarouter.template.template import Template

__all__ = [
    "HiddenTemplate",
    "HtmlTemplate",
    "SecretTemplate",
    "Template",
    "TextTemplate",
    "UrlTemplate",
    "sees",
]
