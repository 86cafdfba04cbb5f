"""Templates: Jinja2 in a sandbox, compiled when the configuration is loaded, strict about names, and with an end."""

from sodarouter.template.compiled import MAX_OUTPUT, Template
from sodarouter.template.options import HtmlTemplate, TextTemplate

__all__ = ["MAX_OUTPUT", "HtmlTemplate", "Template", "TextTemplate"]
