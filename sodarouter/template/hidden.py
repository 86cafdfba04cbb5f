"""A secret that may be a template."""

import re
from collections.abc import Mapping

from pydantic import SecretStr

from sodarouter.delivery import Delivery
from sodarouter.errors import Reject
from sodarouter.event import Event
from sodarouter.template.template import Template

_SIGN = re.compile(r"\{[{%#]")


class HiddenTemplate(SecretStr):
    """A secret, never printed, whose text may be a template. Without ``{{``, ``{%`` and ``{#`` in it, it is just that text.

    Args:
        text: The secret.
        url: Whether what is inserted is percent-encoded.

    Raises:
        ValueError: It looks like a template and is none. The message has the line and does not quote it.
    """

    def __init__(self, text: str, *, url: bool = False) -> None:
        super().__init__(text)
        sign = _SIGN.search(text)
        self.head = text[: sign.start()] if sign else text
        """What is the same for every event, up to where a template begins."""
        self._template: Template | None = None
        self.literals: tuple[str, ...] = (text,)
        """What of the text is the secret's own."""
        if sign:
            from sodarouter.template.syntax import TemplateFault  # as in `Template`

            try:
                self._template = Template(text, url=url)
            except TemplateFault as fault:
                why = f"a name in it is unknown; {fault.hint}" if fault.hint else "is no template that can be compiled"
                raise ValueError(f"template, line {fault.line}: {why}") from None
            self.literals = _literals(text)

    @property
    def is_template(self) -> bool:
        return self._template is not None

    def render(self, event: Event, delivery: Delivery, more: Mapping[str, object] = {}) -> str:
        """The text for one delivery, as `Template.render`; without a template in it the secret as it is, byte for byte.

        Raises:
            Reject: The template fails on this event. The reason does not quote it.
        """
        if self._template is None:
            return self.get_secret_value()
        try:
            return self._template.render(event, delivery, more)
        except Reject as error:
            # an expression's own texts may be secret, and many failures quote them
            place, _, _ = error.reason.partition(": ")
            raise Reject(f"{place}, of a secret: it fails on this event") from None


def _literals(text: str) -> tuple[str, ...]:
    from jinja2 import nodes

    from sodarouter.template.compiled import parse

    tree = parse(text)
    written = [data.data for data in tree.find_all(nodes.TemplateData)]
    return (*written, *(const.value for const in tree.find_all(nodes.Const) if isinstance(const.value, str)))
