"""What a process that takes in says to the router. None of it is believed before it was looked at."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sodarouter.admit import Arrival
from sodarouter.errors import ConfigError
from sodarouter.failures import leaves
from sodarouter.ids import new_id
from sodarouter.parse import MAX_TYPE
from sodarouter.spool import Refused
from sodarouter.workers.wire import BadFrame

EVENT, QUARANTINE, REFUSED, REPLIED, SERVING, FAILED, PULSE = range(1, 8)
"""The kinds of frames."""

HEAD = 64 * 1024
"""Bytes that a frame may have beside a body."""

_NUMBER = struct.Struct(">I")
_EVENT = struct.Struct(">I?BH")
_HEADED = struct.Struct(">II")
_REPLIED = struct.Struct(">I?")

Status = Annotated[int, Field(ge=400, le=599)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]

T = TypeVar("T")


class Heard(NamedTuple):
    """An event that a process has verified and parsed."""

    number: int
    """The answer has the same."""
    awaits_link: bool
    source: bytes
    type: str
    raw: bytes


def event(number: int, arrival: Arrival) -> tuple[bytes, ...]:
    one = arrival.event
    source, kind = one.source.encode(), one.type.encode()
    return _EVENT.pack(number, arrival.awaits_link, len(source), len(kind)), source, kind, one.raw


def event_of(data: bytes) -> Heard:
    """The event of a frame that `event` made.

    Raises:
        BadFrame: It is none.
    """
    try:
        number, awaits_link, source, kind = _EVENT.unpack_from(data)
        named = _EVENT.size + source
        body = named + kind
        type_ = data[named:body].decode()
    except (struct.error, UnicodeDecodeError):
        raise BadFrame("an event that is none") from None
    if body >= len(data) or not type_.strip() or len(type_) > MAX_TYPE:
        raise BadFrame("an event without a type or a body")
    return Heard(number, awaits_link, data[_EVENT.size : named], type_, data[body:])


@dataclass(frozen=True)
class _Said:
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True)
class Kept(_Said):
    """A body for the quarantine."""

    source: str
    status: Status
    title: str
    detail: str
    faults: tuple[str, ...]

    def refused(self, received: datetime, raw: bytes) -> Refused:
        """As the router keeps it, which gives it its id."""
        return Refused(new_id(), self.source, received, raw, self.status, self.title, self.detail, self.faults)


@dataclass(frozen=True)
class Turned(_Said):
    """A request that was answered with an error."""

    source: str | None
    status: Status
    reason: str


@dataclass(frozen=True)
class Pulse(_Said):
    """It lives, and how late its loop was."""

    longest: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
    """As in `sodarouter.delivery.Lag`."""
    blocked: Mapping[str, Count]
    """The same."""


_kept = TypeAdapter(Kept)
_turned = TypeAdapter(Turned)
_pulse = TypeAdapter(Pulse)


def quarantine(number: int, refused: Refused) -> tuple[bytes, ...]:
    about = _kept.dump_json(Kept(refused.source, refused.status, refused.title, refused.detail, tuple(refused.faults)))
    return _HEADED.pack(number, len(about)), about, refused.raw


def quarantine_of(data: bytes) -> tuple[int, Kept, bytes]:
    """The number of a body for the quarantine, what is known of it, and the body.

    Raises:
        BadFrame: It is no body for the quarantine.
    """
    number, size = _unpacked(_HEADED, data)
    end = _HEADED.size + size
    return number, _checked(_kept, data[_HEADED.size : end]), data[end:]


def turned(source: str | None, status: int, reason: str) -> bytes:
    return _turned.dump_json(Turned(source, status, reason))


def turned_of(data: bytes) -> Turned:
    """The refusal of a frame that `turned` made.

    Raises:
        BadFrame: It is none.
    """
    return _checked(_turned, data)


def pulse(longest: float, blocked: Mapping[str, int]) -> bytes:
    return _pulse.dump_json(Pulse(longest, blocked))


def pulse_of(data: bytes) -> Pulse:
    """The pulse of a frame that `pulse` made.

    Raises:
        BadFrame: It is none.
    """
    return _checked(_pulse, data)


def replied(number: int, sent: bool) -> bytes:
    return _REPLIED.pack(number, sent)


def replied_of(data: bytes) -> tuple[int, bool]:
    """The number of an answer, and whether it could be sent.

    Raises:
        BadFrame: It is none.
    """
    number, sent = _unpacked(_REPLIED, data)
    return number, sent


def failed(group: BaseExceptionGroup[ConfigError]) -> bytes:
    """All faults of the errors in a group, in one line."""
    faults = [fault for error in leaves(group) if isinstance(error, ConfigError) for fault in error.faults]
    return "; ".join(map(str, faults)).encode(errors="backslashreplace")


def number(value: int) -> bytes:
    return _NUMBER.pack(value)


def number_of(data: bytes) -> int:
    """The number that is all a frame says.

    Raises:
        BadFrame: It is none.
    """
    (value,) = _unpacked(_NUMBER, data)
    return int(value)


def _unpacked(form: struct.Struct, data: bytes) -> tuple[Any, ...]:
    try:
        return form.unpack_from(data)
    except struct.error:
        raise BadFrame("too little") from None


def _checked(form: TypeAdapter[T], data: bytes) -> T:
    try:
        return form.validate_json(data)
    except ValidationError:
        raise BadFrame("something that the router does not understand") from None
