"""What becomes of an incident on the other side: it is kept, later updates are sent there, and a link leads to it."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, PlainValidator, WithJsonSchema

from sodarouter import Event, HttpAnswer, Options, TextTemplate, UrlTemplate, sees
from sodarouter_forward.urls import target

if TYPE_CHECKING:
    from jsonpath import JSONPath

Kept = Mapping[str, JsonValue]
"""What is kept of an incident: texts, numbers and truth values by their names."""
NOTHING: Kept = {}


class AnswerPath:
    """A JSONPath (RFC 9535) into an answer. Its first match counts.

    Raises:
        ValueError: It is none.
    """

    def __init__(self, text: str) -> None:
        # most destinations keep nothing, and this takes some milliseconds to import
        import jsonpath

        if not text.startswith("$"):
            raise ValueError('a JSONPath begins with "$", as in $.issue.key')
        try:
            self._path: JSONPath = jsonpath.JSONPathEnvironment(strict=True).compile(text)  # type: ignore[assignment] # one path
        except jsonpath.JSONPathError as error:
            raise ValueError(f"is no JSONPath: {str(error).splitlines()[0].strip()}") from None
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnswerPath) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def first(self, document: JsonValue) -> JsonValue:
        """What it finds first, if that is a text, a number or a truth value."""
        match = None
        # an answer that is nested deep: it was taken all the same
        with suppress(RecursionError):
            match = next(iter(self._path.finditer(document)), None) if isinstance(document, dict | list) else None
        value = match.value if match else None
        return value if isinstance(value, str | int | float) else None


def _answer_path(value: object) -> AnswerPath:
    if isinstance(value, AnswerPath):
        return value
    if not isinstance(value, str):
        raise ValueError("a JSONPath is a text")  # noqa: TRY004 (pydantic turns only ValueError into a fault)
    return AnswerPath(value)


AnswerPathOption = Annotated[AnswerPath, PlainValidator(_answer_path), WithJsonSchema({"type": "string"})]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]

KeptText = Annotated[TextTemplate, sees("kept")]
"""A template that also sees what is kept of the incident."""
KeptUrl = Annotated[UrlTemplate, sees("kept"), AfterValidator(target)]


class UpdateTable(Options):
    """How an event is sent of whose incident something is kept."""

    url: KeptUrl
    """Where to, as `url`; templates also see `kept`."""
    method: Literal["POST", "PUT", "PATCH"] = "PUT"
    """The HTTP method."""
    body: KeptText | None = None
    """A template for the body. Without it, the body is that of the first time."""


class LinkTable(Options):
    """The link that is put onto the incident in Soda."""

    url: KeptText
    """A template for its URL, which also sees `kept`."""
    text: KeptText | None = None
    """A template for what it is called; without one it is called by the destination's name."""


def key_of(event: Event) -> str | None:
    """Under what is kept what an event's incident became; ``None``: it is of no incident."""
    incident = event.view.incident
    return None if incident is None or incident.id is None else f"{event.source}/{incident.id}"[:256]


def found(answer: HttpAnswer, paths: Mapping[str, AnswerPath]) -> Kept:
    """What an answer has of what is to be kept."""
    document = answer.json()
    values = {name: path.first(document) for name, path in paths.items()}
    return {name: value for name, value in values.items() if value is not None}
