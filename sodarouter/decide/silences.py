"""Silences: what is kept from destinations for a while, because somebody said so and gave a reason."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from sodarouter.decide.facts import Subject
from sodarouter.decide.match import Condition, Conditions, Match, asks_memory, compile_match
from sodarouter.decide.windows import Times, Window
from sodarouter.options import Options


def _moment(value: object) -> object:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f'a time is written like "2026-11-23T22:00:00Z", not {value!r}') from None
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError("needs a time zone")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is too far away") from None


Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A time, UTC."""


class Standing(StrEnum):
    """How a silence stands at a moment."""

    ACTIVE = "active"
    PENDING = "pending"
    """It has not begun."""
    WAITING = "waiting for its window"
    EXPIRED = "expired"


class NewSilence(Options):
    """A silence as somebody asks for it: what is kept back, from whom, when, and why."""

    match: Match = Match()
    """Which events, or which of their results; without any condition all."""
    to: list[str] = Field(default=[])
    """From which destinations; without any from all."""
    during: list[Window] = Field(default=[])
    """Recurring windows: it holds only within one of them."""
    author: str = Field(min_length=1, max_length=200)
    reason: str = Field(min_length=1, max_length=1000)
    starts: Moment | None = None
    """``None``: at once."""
    ends: Moment
    """Not included."""

    def dump(self) -> str:
        """As a JSON object."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True)

    def describe(self) -> str:
        """What it is about, for people: its conditions as the options of a command would say them, and its windows."""
        conditions = " ".join(_conditions(self.match)) or "everything"
        windows = " or ".join(window.describe() for window in self.during)
        return f"{conditions} during {windows}" if windows else conditions


class Silence(NewSilence):
    """It holds for what was received in its time, whenever that is decided."""

    id: str
    starts: Moment

    @model_validator(mode="after")
    def _has_a_time(self) -> "Silence":
        if self.ends < self.starts:
            raise ValueError("it ends before it starts")
        return self

    @classmethod
    def made(cls, asked: NewSilence, *, id: str, starts: datetime, ends: datetime) -> "Silence":  # noqa: A002 (its name)
        """What was asked for, as it came to be."""
        known = {name: getattr(asked, name) for name in NewSilence.model_fields}
        return cls(**known | {"id": id, "starts": starts, "ends": ends})

    @classmethod
    def restored(cls, text: str, ends: datetime) -> "Silence | None":
        """From what `dump` gave, with the end that it has now; ``None`` if another version of the router gave what cannot be
        read. That keeps nothing back: what comes is delivered rather than lost."""
        try:
            return cls.model_validate_json(text).model_copy(update={"ends": ends})
        except ValidationError:
            return None

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        return compile_match(self.match, self.match.not_)

    @cached_property
    def remember(self) -> bool:
        """Whether it asks the memory."""
        return asks_memory(self.conditions)

    @cached_property
    def _times(self) -> tuple[Times, ...]:
        return tuple(map(Times, self.during))

    def is_in_force(self, moment: datetime) -> bool:
        return self.starts <= moment < self.ends and self.is_open(moment)

    def is_open(self, moment: datetime) -> bool:
        """Whether it would be in force if that were between its start and its end."""
        return not self.during or any(times.contains(moment) for times in self._times)

    def standing(self, moment: datetime) -> Standing:
        if moment >= self.ends:
            return Standing.EXPIRED
        if moment < self.starts:
            return Standing.PENDING
        return Standing.ACTIVE if self.is_open(moment) else Standing.WAITING

    def mask(self, subject: Subject) -> int:
        """The results that it is about, as bits."""
        left = subject.all
        for condition in self.conditions:
            fitting = condition.mask(subject.texts(condition.key))
            left &= ~fitting if condition.negated else fitting
            if not left:
                break
        return left


def in_force(silences: Sequence[Silence], moment: datetime) -> list[Silence]:
    return [silence for silence in silences if silence.is_in_force(moment)]


def _conditions(asked: Conditions, prefix: str = "") -> Iterator[str]:
    for key in Conditions.model_fields:
        value = getattr(asked, key)
        for name, patterns in value.items() if isinstance(value, dict) else [("", value)]:
            if patterns:
                said = f"{key}{'.' if name else ''}{name}={','.join(patterns)}"
                yield prefix + (f'"{said}"' if " " in said else said)
    if isinstance(asked, Match) and asked.not_:
        yield from _conditions(asked.not_, "not ")
