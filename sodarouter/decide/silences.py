"""Silences: what is kept from destinations for a while, because somebody said so and gave a reason."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

from pydantic import Field, model_validator

from sodarouter.decide.facts import Subject
from sodarouter.decide.match import Condition, Match, compile_match
from sodarouter.decide.windows import Times, Window
from sodarouter.options import Options


class Silence(Options):
    """What is kept back, from whom, when, and why. It holds for what was received in its time, whenever that is decided."""

    id: str
    match: Match = Match()
    """Which events, or which of their results; without any condition all."""
    to: list[str] = Field(default=[])
    """From which destinations; without any from all."""
    during: list[Window] = Field(default=[])
    """Recurring windows: it holds only within one of them."""
    author: str = Field(min_length=1, max_length=200)
    reason: str = Field(min_length=1, max_length=1000)
    starts: datetime
    """UTC."""
    ends: datetime
    """UTC; not included."""

    @model_validator(mode="after")
    def _has_a_time(self) -> "Silence":
        if self.starts.tzinfo is None or self.ends.tzinfo is None:
            raise ValueError("starts and ends need a time zone")
        if self.ends < self.starts:
            raise ValueError("it ends before it starts")
        return self

    def dump(self) -> str:
        """As text, for the spool."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True)

    @classmethod
    def restored(cls, text: str, ends: datetime) -> "Silence":
        """From what `dump` gave, with the end that it has now."""
        return cls.model_validate_json(text).model_copy(update={"ends": ends})

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        return compile_match(self.match, self.match.not_)

    @cached_property
    def _times(self) -> tuple[Times, ...]:
        return tuple(map(Times, self.during))

    def is_in_force(self, moment: datetime) -> bool:
        if not self.starts <= moment < self.ends:
            return False
        return not self.during or any(times.contains(moment) for times in self._times)

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
