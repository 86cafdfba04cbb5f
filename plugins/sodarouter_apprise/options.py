"""The options of a ``[destination.NAME]`` table with ``type = "apprise"``."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, SecretStr, model_validator

from sodarouter import HtmlTemplate, Options, Secret, TextTemplate
from sodarouter_apprise.service import NotifyType, load


def _usable(secret: SecretStr) -> SecretStr:
    load(secret.get_secret_value())
    return secret


class AppriseOptions(Options):
    """A ``[destination.NAME]`` table with ``type = "apprise"``."""

    url: Annotated[Secret, AfterValidator(_usable)]
    """Where to, as Apprise writes it: the service is the scheme, and the rest says how to reach it. All of it counts as a
    secret."""
    title: TextTemplate | None = None
    """A template for the title instead of the built-in one. White space is collapsed; it is cut at 200 characters."""
    body: TextTemplate | None = None
    """A template for the body instead of the built-in one."""
    body_format: Literal["text", "markdown"] = "text"
    """What `body` is written in. Apprise makes of it what the service takes."""
    html: HtmlTemplate | None = None
    """A template for a body in HTML, instead of `body`."""
    notify_type: NotifyType | None = None
    """What every message is, instead of what severity, status and outcomes say: services choose colours and icons by it."""

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.html is not None and self.body is not None:
            raise ValueError("html takes the place of body: give one of them")
        if self.body is None and "body_format" in self.model_fields_set:
            raise ValueError("body_format is about body: set it too")
        return self
