"""What a destination's process says to the router: JSON, of these kinds and no others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sodarouter.errors import Reject, Retry
from sodarouter.failures import FaultElsewhere
from sodarouter.isolation.frames import BadFrame
from sodarouter.isolation.measured import Measured
from sodarouter.link import IncidentLink
from sodarouter.options import LONGEST

MAX_TEXT = 1 << 16
"""Characters of a text. What is stored is far less."""
LARGEST_SAID = 4 << 20
"""Bytes of a frame."""


@dataclass(frozen=True)
class _Said:
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True)
class Opened(_Said):
    """The destination is open."""

    measured: list[Measured]
    said: Literal["opened"] = "opened"


@dataclass(frozen=True)
class Closed(_Said):
    """It is closed, and the process ends."""

    said: Literal["closed"] = "closed"


@dataclass(frozen=True)
class Failed(_Said):
    """It could not be opened or closed."""

    text: str
    trace: str
    said: Literal["failed"] = "failed"


# how a delivery has ended


@dataclass(frozen=True)
class Taken(_Said):
    """``deliver`` has returned, a link perhaps. What of it is no text is ``None``."""

    linked: bool = False
    url: str | None = None
    text: str | None = None
    kind: Literal["taken"] = "taken"


@dataclass(frozen=True)
class Refused(_Said):
    """`Retry`, or `Reject`. What of them is no text is ``None``, and a time that is no number is a text."""

    reason: str | None
    response: str | None
    after: float | str | None
    kind: Literal["later", "never"]


@dataclass(frozen=True)
class Fault(_Said):
    """Anything else was raised."""

    text: str
    trace: str
    kind: Literal["fault"] = "fault"


@dataclass(frozen=True)
class Odd(_Said):
    """Something was returned that may not be: only the name of its type is told."""

    of: str
    kind: Literal["odd"] = "odd"


Answer = Annotated[Taken | Refused | Odd, Field(discriminator="kind")]
Failure = Annotated[Refused | Fault, Field(discriminator="kind")]


@dataclass(frozen=True)
class Change(_Said):
    """An entry of the store that a delivery has changed."""

    item: int
    """Which delivery, in a batch."""
    key: str
    value: str | None
    """JSON; ``None``: it is deleted."""
    expires: float = 0.0
    """In so many seconds."""


@dataclass(frozen=True)
class Asked(_Said):
    """``deliver`` asks for an entry of the store."""

    number: int
    item: int
    key: str
    said: Literal["asked"] = "asked"


@dataclass(frozen=True)
class Answered(_Said):
    """``deliver`` has returned: an answer for each delivery; those of a batch may be nothing, or something odd."""

    number: int
    answers: list[Answer] | Odd | None
    changes: list[Change]
    measured: list[Measured]
    said: Literal["answered"] = "answered"


@dataclass(frozen=True)
class Raised(_Said):
    """``deliver`` has raised."""

    number: int
    failures: Annotated[list[Failure], Field(min_length=1)]
    changes: list[Change]
    measured: list[Measured]
    said: Literal["raised"] = "raised"


Said = Opened | Closed | Failed | Asked | Answered | Raised

_said: TypeAdapter[Said] = TypeAdapter(Annotated[Said, Field(discriminator="said")])


def packed(said: Said) -> bytes:
    return _said.dump_json(said)


def unpacked(data: bytes) -> Said:
    """What a frame of the process says.

    Raises:
        BadFrame: It is nothing that a process may say.
    """
    try:
        return _said.validate_json(data)
    except ValidationError:
        raise BadFrame("something that the router does not understand") from None


def sayable(text: str) -> str:
    """A text that others have written, as it can be said. Secrets are to be taken out before."""
    return text[:MAX_TEXT].encode(errors="backslashreplace").decode()


# the values of the contract, as they can be said, and back


Hide = Callable[[str], str]
"""Takes secrets out of a text."""


def answer_of(value: object, hide: Hide) -> Taken | Refused | Odd:
    match value:
        case None:
            return Taken()
        case IncidentLink():
            # as it is: a link with a secret in it is refused, and not put onto an incident without it
            return Taken(True, _text(value.url, str), _text(value.text, str))
        case Retry() | Reject():
            return refused(value, hide)
        case _:
            return Odd(type(value).__name__[:100])


def refused(error: Retry | Reject, hide: Hide) -> Refused:
    """Whatever its author has put into it, or not."""
    after = getattr(error, "after", None)
    if isinstance(after, int | float):
        after = float(min(max(after, 0), LONGEST))
    elif after is not None:
        after = "no number"
    kind: Literal["later", "never"] = "later" if isinstance(error, Retry) else "never"
    reason, response = (_text(getattr(error, name, None), hide) for name in ("reason", "response"))
    return Refused(reason, response, after, kind)


def _text(value: object, hide: Hide) -> str | None:
    return sayable(hide(value)) if isinstance(value, str) else None


def value_of(answer: Taken | Refused | Odd) -> object:
    """What ``deliver`` has returned, or an answer of a batch."""
    match answer:
        case Taken():
            # what is no text is found fault with by who looks at links and refusals
            return IncidentLink(answer.url, answer.text) if answer.linked else None  # type: ignore[arg-type]
        case Refused():
            return error_of(answer)
        case Odd():
            return type(answer.of.replace("\0", ""), (), {})()


def error_of(failure: Refused | Fault) -> Retry | Reject | FaultElsewhere:
    """What ``deliver`` has raised."""
    match failure:
        case Fault():
            return fault_of(failure)
        case Refused(reason=reason, response=response, after=after, kind="later"):
            return Retry(reason, after=after, response=response)  # type: ignore[arg-type]  # as above
        case Refused(reason=reason, response=response):
            return Reject(reason, response=response)  # type: ignore[arg-type]  # as above


def fault_of(fault: Fault | Failed) -> FaultElsewhere:
    error = FaultElsewhere(fault.text)
    if fault.trace:
        error.add_note(f"in the destination's process:\n{fault.trace}")
    return error
