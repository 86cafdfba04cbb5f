"""How often a destination is called at most: a token bucket. It has no clock of its own: time is an argument."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic_core import CoreSchema

from sodarouter.options import Options

_LIMIT = re.compile(r"(\d{1,9})\s*/\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_WRITTEN = 'a rate is written like "10/s", "100/m" or "5/h"'
_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Limit:
    """``"100/m"``: 100 in 60 seconds."""

    count: int
    seconds: int


def parse_limit(value: object) -> Limit:
    """Reads a limit such as ``100/m``.

    Raises:
        ValueError: It is not written so.
    """
    if isinstance(value, Limit):
        return value
    found = _LIMIT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{_WRITTEN}, not {value!r}")
    limit = Limit(int(found[1]), _SECONDS[found[2]])
    if not limit.count:
        raise ValueError("a rate is at least 1")
    return limit


_LIMIT_SCHEMA = {"type": "string", "pattern": r"^\s*[0-9]{1,9}\s*/\s*[smhd]\s*$", "examples": ["10/s", "100/m"]}


class Rate(Options):
    """How many attempts may be started in a time: `"10/s"`, or `{ limit = "100/m", burst = 20 }`."""

    limit: Annotated[Limit, BeforeValidator(parse_limit), WithJsonSchema(_LIMIT_SCHEMA)]
    """How many in a second (`s`), minute (`m`), hour (`h`) or day (`d`)."""
    burst: int | None = Field(default=None, ge=1)
    """How many at once after a rest; by default what the limit gives in a second, at least one."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        found = handler.resolve_ref_schema(schema)
        table = dict(found)
        found.clear()
        found["anyOf"] = [_LIMIT_SCHEMA, table]  # or the limit alone
        return schema

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return value if isinstance(value, dict | Rate) else {"limit": parse_limit(value)}


class Bucket:
    """One token for each attempt: they come at the pace of the rate, and as many are kept as its burst. It begins full.

    It counts in whole microseconds and whole parts of a token: nothing is lost by rounding, and when `next_at` comes there
    is a token. Times are seconds on a clock that never goes back.
    """

    def __init__(self, rate: Rate) -> None:
        self._gain = rate.limit.count
        """Parts of a token that come in a microsecond."""
        self._token = rate.limit.seconds * _MICROSECONDS
        """Parts that are a token."""
        burst = rate.burst or max(1, rate.limit.count // rate.limit.seconds)
        self._parts = burst * self._token
        # and the parts that came in the rest of a microsecond, or with a burst of one they would be lost at each token
        self._full = self._parts + self._gain - 1
        self._filled = 0

    def tokens(self, now: float) -> int:
        """How many attempts may start."""
        self._fill(now)
        return self._parts // self._token

    def take(self, now: float) -> None:
        """An attempt starts."""
        self._fill(now)
        self._parts -= self._token

    def next_at(self, now: float) -> float:
        """When there is a token: ``now``, if there is one."""
        self._fill(now)
        missing = self._token - self._parts
        return now if missing <= 0 else (self._filled + -(-missing // self._gain)) / _MICROSECONDS

    def _fill(self, now: float) -> None:
        at = max(self._filled, round(now * _MICROSECONDS))
        self._parts = min(self._full, self._parts + (at - self._filled) * self._gain)
        self._filled = at
