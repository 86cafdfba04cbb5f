"""What a destination's process says to the router: JSON, of these kinds and no others."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sodarouter.isolation.frames import BadFrame

MAX_TEXT = 1 << 16
"""Characters of a text. What is stored is far less."""
LARGEST_SAID = 1 << 20
"""Bytes of a frame."""


@dataclass(frozen=True)
class _Said:
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True)
class Opened(_Said):
    """The destination is open."""

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


@dataclass(frozen=True)
class Taken(_Said):
    """``deliver`` has returned."""

    number: int
    said: Literal["taken"] = "taken"


@dataclass(frozen=True)
class Refused(_Said):
    """``deliver`` has raised `Retry`, or `Reject`."""

    number: int
    reason: str
    response: str
    after: float | None = None
    said: Literal["later", "never"] = "later"


@dataclass(frozen=True)
class Faulted(_Said):
    """``deliver`` has raised anything else."""

    number: int
    text: str
    trace: str
    said: Literal["faulted"] = "faulted"


Said = Opened | Closed | Failed | Taken | Refused | Faulted

_said: TypeAdapter[Said] = TypeAdapter(Annotated[Said, Field(discriminator="said")])


def packed(said: Said) -> bytes:
    return _said.dump_json(said)


def unpacked(data: bytes) -> Said:
    """
    Raises:
        BadFrame: It is none of them.
    """
    try:
        return _said.validate_json(data)
    except ValidationError:
        raise BadFrame("something that the router does not understand") from None


def sayable(text: str) -> str:
    """A text that others have written, as it can be said. Secrets are to be taken out before."""
    return text[:MAX_TEXT].encode(errors="backslashreplace").decode()
