"""What becomes of a delivery after an attempt: a pure function of how the attempt ended and of the retry policy."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from sodarouter.delivery import Cause, State
from sodarouter.errors import Reject, Retry
from sodarouter.options import Duration, Options, format_duration


class RetryPolicy(Options):
    """When a delivery is tried again: after each of a list of delays, or with exponential backoff and full jitter.

    The age ends it in either case.
    """

    delays: Annotated[list[Duration], Field(min_length=1)] | None = None
    """The wait after each attempt but the last, instead of `max_attempts`, `initial` and `max_delay`."""
    max_attempts: int = Field(default=100, ge=1)
    """Attempts in all, the first included; the delivery is then a dead letter. By default `max_age` comes first."""
    max_age: Duration = Field(default=86_400.0, gt=0)
    """How long after it was planned a delivery may be tried again; a longer Retry-After is cut to it."""
    initial: Duration = Field(default=5.0, gt=0)
    """The longest wait after the first attempt; the longest doubles with each further one."""
    max_delay: Duration = Field(default=3_600.0, gt=0)
    """The longest wait between two attempts, unless the other side asks for a longer one with Retry-After."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> "RetryPolicy":
        if self.delays is not None:
            for key in ("max_attempts", "initial", "max_delay"):
                if key in self.model_fields_set:
                    raise ValueError(f"{key} has no meaning beside delays, which says how often and when")
            if sum(self.delays) > self.max_age:
                total, age = format_duration(sum(self.delays)), format_duration(self.max_age)
                raise ValueError(f"its delays add up to {total}, and max_age ends it after {age}")
        return self

    @property
    def attempts(self) -> int:
        """How many in all."""
        return self.max_attempts if self.delays is None else len(self.delays) + 1

    def wait(self, tries: int, chance: float) -> float:
        """Seconds between an attempt that was not the last and the next."""
        if self.delays is not None:
            return self.delays[tries - 1]
        # the exponent is bounded because a float is not
        return min(self.initial * 2.0 ** min(tries - 1, 60), self.max_delay) * chance


@dataclass(frozen=True)
class TimedOut:
    """The attempt took longer than the destination's ``timeout``, in seconds."""

    timeout: float


@dataclass(frozen=True)
class Faulted:
    """``deliver`` raised what is neither `Retry` nor `Reject`: the plugin's own fault. ``reason`` names it."""

    reason: str


Ending = Retry | Reject | TimedOut | Faulted | None
"""How an attempt ended; ``None``: the destination took the event."""


class Verdict(NamedTuple):
    """``next_at`` counts only while the state is pending, and ``cause`` is set when it is dead."""

    state: State
    next_at: float
    reason: str
    response: str = ""
    cause: Cause | None = None


def settle(
    ending: Ending, policy: RetryPolicy | None, *, tries: int, since: float, now: float, chance: float
) -> Verdict:
    """Where a delivery stands after an attempt.

    Args:
        ending: How the attempt ended.
        policy: The destination's; ``None``: whatever happens, there is no second attempt.
        tries: Attempts so far, this one included.
        since: Unix time from which the policy counts the delivery's age.
        now: Unix time.
        chance: A random number in [0, 1). Full jitter spreads the retries of deliveries that failed together.
    """
    match ending:
        case None:
            return Verdict(State.DELIVERED, now, "")
        case Reject(reason=reason, response=response):
            return Verdict(State.DEAD, now, f"rejected: {reason}", response, Cause.REJECTED)
        case Retry(reason=reason, after=after, response=response):
            pass
        case TimedOut(timeout=timeout):
            reason, after, response = f"timed out after {timeout:g} s", None, ""
        case Faulted(reason=reason):
            after, response = None, ""
    if policy is None:
        return Verdict(State.DEAD, now, f"unconfirmed: {reason}", response, Cause.UNCONFIRMED)
    if tries >= policy.attempts:
        reason = f"exhausted after {tries} attempt{'s' * (tries > 1)}: {reason}"
        return Verdict(State.DEAD, now, reason, response, Cause.EXHAUSTED)
    last_chance = since + policy.max_age
    if now >= last_chance:
        return Verdict(State.DEAD, now, f"expired, too old to be tried again: {reason}", response, Cause.EXPIRED)
    # a number that a server sent can be too large for a float
    next_at = now + max(policy.wait(tries, chance), min(after or 0.0, policy.max_age))
    return Verdict(State.PENDING, min(next_at, last_chance), reason, response)
