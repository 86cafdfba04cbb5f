"""The shapes that a body can be given, each a table with options of its own."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from sodarouter_forward.formats.alertmanager import AlertmanagerApiFormat, AlertmanagerFormat
from sodarouter_forward.formats.cloudevents import CloudEventsFormat
from sodarouter_forward.formats.made import Made
from sodarouter_forward.formats.plain import RawFormat, TemplateFormat
from sodarouter_forward.formats.standard_webhooks import StandardWebhooksFormat

__all__ = ["AnyFormat", "CloudEventsFormat", "Made", "RawFormat", "StandardWebhooksFormat", "TemplateFormat"]


def _table(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


_Table = Annotated[
    RawFormat
    | TemplateFormat
    | StandardWebhooksFormat
    | CloudEventsFormat
    | AlertmanagerFormat
    | AlertmanagerApiFormat,
    Field(discriminator="type"),
]

AnyFormat = Annotated[_Table, BeforeValidator(_table, json_schema_input_type=str | _Table)]
"""``"cloudevents"``, or ``{ type = "cloudevents", … }``."""
