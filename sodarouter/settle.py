"""What becomes of a delivery after an attempt: a pure function of how the attempt ended and of the retry policy."""

from dataclasses import dataclass
from typing import NamedTuple

from pydantic import Field

from sodarouter.delivery import State
from sodarouter.errors import Reject, Retry
from sodarouter.options import Duration, Options


class RetryPolicy(Options):
    """When a delivery is tried again: exponential backoff with full jitter, up to a number of attempts and an age."""

    max_attempts: int = Field(default=100, ge=1)
    """Attempts in all, the first included; the delivery is then a dead letter. By default `max_age` comes first."""
    max_age: Duration = Field(default=86_400.0, gt=0)
    """How long after it was planned a delivery may be tried again; a longer Retry-After is cut to it."""
    initial: Duration = Field(default=5.0, gt=0)
    """The longest wait after the first attempt; the longest doubles with each further one."""
    max_delay: Duration = Field(default=3_600.0, gt=0)
    """The longest wait between two attempts, unless the other side asks for a longer one with Retry-After."""


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
    """``next_at`` counts only while the state is pending."""

    state: State
    next_at: float
    reason: str
    response: str = ""


def settle(ending: Ending, policy: RetryPolicy, *, tries: int, since: float, now: float, chance: float) -> Verdict:
    """Where a delivery stands after an attempt.

    Args:
        ending: How the attempt ended.
        policy: The destination's.
        tries: Attempts so far, this one included.
        since: Unix time from which the policy counts the delivery's age.
        now: Unix time.
        chance: A random number in [0, 1). Full jitter spreads the retries of deliveries that failed together.
    """
    match ending:
        case None:
            return Verdict(State.DELIVERED, now, "")
        case Reject(reason=reason, response=response):
            return Verdict(State.DEAD, now, f"rejected: {reason}", response)
        case Retry(reason=reason, after=after, response=response):
            pass
        case TimedOut(timeout=timeout):
            reason, after, response = f"timed out after {timeout:g} s", None, ""
        case Faulted(reason=reason):
            after, response = None, ""
    if tries >= policy.max_attempts:
        return Verdict(State.DEAD, now, f"exhausted after {tries} attempt{'s' * (tries > 1)}: {reason}", response)
    last_chance = since + policy.max_age
    if now >= last_chance:
        return Verdict(State.DEAD, now, f"expired, too old to be tried again: {reason}", response)
    # a number that a server sent can be too large for a float
    next_at = now + max(_backoff(policy, tries) * chance, min(after or 0.0, policy.max_age))
    return Verdict(State.PENDING, min(next_at, last_chance), reason, response)


def _backoff(policy: RetryPolicy, tries: int) -> float:
    # the exponent is bounded because a float is not
    return min(policy.initial * 2.0 ** min(tries - 1, 60), policy.max_delay)
