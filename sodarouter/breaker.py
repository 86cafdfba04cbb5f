"""Leaves a destination alone that fails again and again. It has no clock of its own: time is an argument."""

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from sodarouter.delivery import Breaker
from sodarouter.options import Duration, Options


class BreakerPolicy(Options):
    """When a destination is left alone, and for how long."""

    failures: int = Field(default=10, ge=1)
    """Attempts in a row that fail, after which nothing is tried for a while."""
    pause: Duration = Field(default=30.0, gt=0)
    """For how long; then one delivery is tried. If that fails too, the next pause is twice as long."""
    max_pause: Duration = Field(default=600.0, gt=0)
    """The longest pause."""

    @model_validator(mode="after")
    def _ordered(self) -> "BreakerPolicy":
        if self.max_pause < self.pause:
            raise ValueError("max_pause must not be shorter than pause")
        return self


def _unless_off(value: object) -> object:
    if isinstance(value, dict | BreakerPolicy):
        return value
    if value != "off":
        raise ValueError('a breaker is "off", or a table such as { failures = 10, pause = "30s" }')
    return None


BreakerOption = Annotated[
    BreakerPolicy | None, BeforeValidator(_unless_off, json_schema_input_type=Literal["off"] | BreakerPolicy)
]
"""A table, or ``"off"``: ``None``."""


class Circuit:
    """One destination's breaker. Times are seconds on a clock that never goes back.

    Closed, it counts failures in a row, and opens when there are as many as the policy says. Open, no attempt may start
    until the pause is over. It is then half-open: one attempt may start, and closes it or opens it again. An attempt that
    was under way when it last opened or closed can no longer open it; if such a one succeeds, the destination works, and it
    closes.

    Args:
        policy: ``None``: it never opens.
    """

    def __init__(self, policy: BreakerPolicy | None) -> None:
        self.failures = 0
        """In a row."""
        self.pause = 0.0
        """The seconds of the last pause."""
        self._policy = policy
        self._open = False
        self._since = -math.inf
        """Attempts that were started earlier do not count: when it closed, or when the pause is over."""
        self._probing = False

    def state(self, now: float) -> Breaker:
        if not self._open:
            return Breaker.CLOSED
        return Breaker.OPEN if now < self._since else Breaker.HALF_OPEN

    def ready_at(self, now: float) -> float:
        """When an attempt may start: ``now`` if one may, infinity if the probe must end first."""
        if not self._open:
            return now
        return math.inf if self._probing else max(now, self._since)

    def started(self, now: float) -> None:
        """An attempt starts."""
        self._probing = self._probing or self.state(now) is Breaker.HALF_OPEN

    def succeeded(self, now: float) -> bool:
        """The destination has answered. Gives whether that closes it."""
        closes = self._open
        if closes:
            self._since = now
        self.failures, self._open, self._probing = 0, False, False
        return closes

    def failed(self, started: float, now: float) -> bool:
        """An attempt that was started then has failed. Gives whether that opens it."""
        if self._policy is None or started < self._since:
            return False
        self.failures += 1
        if self._open:
            self._wait(now, min(2 * self.pause, self._policy.max_pause))
            return False
        if self.failures >= self._policy.failures:
            self._wait(now, self._policy.pause)
            self._open = True
        return self._open

    def _wait(self, now: float, pause: float) -> None:
        self.pause, self._since, self._probing = pause, now + pause, False
