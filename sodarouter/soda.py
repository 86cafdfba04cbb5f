"""The bodies that Soda Cloud sends, in the vocabularies of its v3 and v4 documentation.

Soda publishes no schema and its documents contradict one another, so the models are strict only where the router has to
walk: objects must be objects and arrays arrays. Every field and every element of an array may be null, every field may be
missing, every leaf may be of any type, and unknown fields are kept. `sodarouter.view` makes one vocabulary of it.

Sources: the webhook pages of Soda's v3 documentation (2022 to 2025) and of its v4 documentation (2025 and 2026).
"""

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from sodarouter.shape import shape

Leaf = object
"""A value the router only reads: whatever JSON type Soda gave it."""

ItemT = TypeVar("ItemT")
# without fail_fast, five megabytes of "1,1,1,..." where objects belong cost pydantic 2.4 GB of error reports
Array = Annotated[list[ItemT | None], Field(fail_fast=True)]
"""An array of objects, of which validation reports the first that is none."""


class Body(BaseModel):
    """What every JSON object of Soda's has in common: camel-case names, and fields nobody has heard of yet."""

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=to_camel)


class Owner(Body):
    """A person or, in v4, a group: ``{id, email}``, or ``{type: user, id, email}``, or ``{type: userGroup, id, name}``."""

    type: Leaf = None
    id: Leaf = None
    email: Leaf = None
    name: Leaf = None


class Datasource(Body):
    id: Leaf = None
    name: Leaf = None
    label: Leaf = None


class Attribute(Body):
    id: Leaf = None
    label: Leaf = None
    name: Leaf = None
    value: Leaf = None


class Dataset(Body):
    """A dataset of a check result: one ``owner`` in v3, a list of ``owners`` in v4."""

    id: Leaf = None
    soda_cloud_url: Leaf = None
    name: Leaf = None
    label: Leaf = None
    tags: list[Leaf] | None = None
    owner: Owner | None = None
    owners: Array[Owner] | None = None
    datasource: Datasource | str | None = None
    attributes: Array[Attribute] | dict[str, Leaf] | None = None


class CheckResult(Body):
    """One check's result. ``outcome`` and ``diagnostics`` are deprecated in v4 for ``evaluationStatus`` and ``value``."""

    id: Leaf = None
    name: Leaf = None
    soda_cloud_url: Leaf = None
    definition: Leaf = None
    datasets: Array[Dataset] | None = None
    column: Leaf = None
    outcome: Leaf = None
    evaluation_status: Leaf = None
    value: Leaf = None
    diagnostics: Leaf = None
    data_timestamp: Leaf = None
    attributes: Array[Attribute] | dict[str, Leaf] | None = None


class Link(Body):
    integration_type: Leaf = None
    name: Leaf = None
    url: Leaf = None


class Incident(Body):
    """An incident: ``createdTimestamp`` and ``lastUpdatedTimestamp`` in v3, ``created`` and ``lastUpdated`` in v4."""

    id: Leaf = None
    soda_cloud_url: Leaf = None
    number: Leaf = None
    title: Leaf = None
    description: Leaf = None
    severity: Leaf = None
    status: Leaf = None
    created: Leaf = None
    created_timestamp: Leaf = None
    last_updated: Leaf = None
    last_updated_timestamp: Leaf = None
    resolution_notes: Leaf = None
    resolution_timestamp: Leaf = None
    links: Array[Link] | None = None
    lead: Owner | None = None
    reporter: Owner | None = None
    check_results: Array[CheckResult] | None = None
    incident_link_callback_url: Leaf = None


class Contract(Body):
    dataset: Leaf = None
    prefixes: list[Leaf] | None = None
    datasource: Datasource | str | None = None
    author: Owner | None = None
    contents: Leaf = None


class TestsFile(Body):
    path: Leaf = None
    contents: Leaf = None


class Agreement(Body):
    id: Leaf = None
    soda_cloud_url: Leaf = None
    label: Leaf = None
    tests_file: TestsFile | None = None
    created_by: Owner | None = None
    updated_by: Owner | None = None
    deleted_by: Owner | None = None


class Validate(Body):
    """Sent when the webhook is set up; asks for nothing but a 200."""

    event: Literal["validate"]
    sent_at: Leaf = None


class CheckEvaluation(Body):
    event: Literal["checkEvaluation"]
    check_results: Array[CheckResult] | None = None


class IncidentEvent(Body):
    """``incidentLinkCallbackUrl`` stands beside the incident in v3 and inside it in v4."""

    event: Literal["incidentCreated", "incidentUpdated"]
    incident: Incident | None = None
    incident_link_callback_url: Leaf = None


class ContractPublished(Body):
    event: Literal["contractPublished"]
    contract: Contract | None = None


class AgreementEvent(Body):
    event: Literal["agreementCreated", "agreementContentsUpdated", "agreementDeleted"]
    agreement: Agreement | None = None


class Unknown(Body):
    """An event type that Soda has not documented: a normal case, kept whole."""

    event: str


Payload = Validate | CheckEvaluation | IncidentEvent | ContractPublished | AgreementEvent | Unknown

SCOPES = {
    "checkEvaluation": "alert_notification",
    "incidentCreated": "incidents",
    "incidentUpdated": "incidents",
    "contractPublished": "contracts",
    "agreementCreated": "agreements",
    "agreementContentsUpdated": "agreements",
    "agreementDeleted": "agreements",
}
"""The check box of Soda's webhook dialog that each event type belongs to; ``validate`` belongs to none."""

EVENT_TYPES = ("validate", *SCOPES)

FIELDS = frozenset(field.alias or name for model in Body.__subclasses__() for name, field in model.model_fields.items())
"""Every field name that the models know, as Soda spells it."""

_KNOWN = (Validate, CheckEvaluation, IncidentEvent, ContractPublished, AgreementEvent)

_known: TypeAdapter[Payload] = TypeAdapter(
    Annotated[
        Validate | CheckEvaluation | IncidentEvent | ContractPublished | AgreementEvent, Field(discriminator="event")
    ]
)
_is_known = shape(
    {event: kind for kind in _KNOWN for event in get_args(kind.model_fields["event"].annotation)}, "event"
)


def read(raw: bytes) -> dict[str, Any]:
    """A body as JSON types, of which `validate` accepts the shape. The models take four times as long.

    Raises:
        pydantic.ValidationError: As `validate`.
        ValueError: It has NaN or Infinity, which `validate` takes for numbers.
    """
    try:
        # its names come again, its values seldom: looking for them costs a quarter
        body: dict[str, Any] = from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        validate(raw)  # what it says of a fault is for people
        raise
    if not _is_known(body):
        validate(raw)  # this one takes events that nobody has documented
    return body


def validate(raw: bytes) -> Payload:
    """The payload of a body, straight from its bytes.

    Raises:
        pydantic.ValidationError: Not JSON, no ``event``, or a known event in a shape that cannot be walked.
    """
    try:
        return _known.validate_json(raw)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] != "union_tag_invalid":
            raise
    return Unknown.model_validate_json(raw)
