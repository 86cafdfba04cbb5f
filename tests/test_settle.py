import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sodarouter.delivery import Cause, State
from sodarouter.errors import Reject, Retry
from sodarouter.settle import Ending, Faulted, RetryPolicy, TimedOut, Verdict, settle

POLICY = RetryPolicy(max_attempts=5, max_age=1000.0, initial=10.0, max_delay=60.0)


def verdict(ending: Ending, *, tries: int = 1, since: float = 0.0, now: float = 0.0, chance: float = 1.0) -> Verdict:
    return settle(ending, POLICY, tries=tries, since=since, now=now, chance=chance)


def test_a_taken_event_is_delivered() -> None:
    assert verdict(None) == Verdict(State.DELIVERED, 0.0, "")


def test_a_rejected_one_is_dead_at_once() -> None:
    assert verdict(Reject("gone", response="410")) == Verdict(State.DEAD, 0.0, "rejected: gone", "410", Cause.REJECTED)


@pytest.mark.parametrize(
    ("ending", "reason"),
    [(Retry("busy"), "busy"), (TimedOut(30.0), "timed out after 30 s"), (Faulted("KeyError: 'x'"), "KeyError: 'x'")],
)
def test_all_other_endings_are_tried_again(ending: Ending, reason: str) -> None:
    assert verdict(ending) == Verdict(State.PENDING, 10.0, reason)


def test_the_longest_wait_doubles_up_to_its_limit() -> None:
    assert [verdict(Retry("x"), tries=tries).next_at for tries in (1, 2, 3, 4)] == [10, 20, 40, 60]


def test_jitter_is_full() -> None:
    assert verdict(Retry("x"), tries=2, chance=0.0).next_at == 0
    assert verdict(Retry("x"), tries=2, chance=0.25).next_at == 5


def test_the_last_attempt_ends_it() -> None:
    assert verdict(Retry("busy"), tries=5).reason == "exhausted after 5 attempts: busy"
    assert verdict(Retry("busy"), tries=5).state is State.DEAD
    assert verdict(Retry("busy"), tries=5).cause is Cause.EXHAUSTED


def test_retry_after_is_honoured_when_it_is_longer() -> None:
    assert verdict(Retry("x", after=300.0)).next_at == 300
    assert verdict(Retry("x", after=3.0)).next_at == 10


def test_the_age_leaves_one_last_chance_and_then_ends_it() -> None:
    assert verdict(Retry("x", after=9e9), now=500.0).next_at == 1000
    assert verdict(Retry("x"), now=1000.0).state is State.DEAD
    assert verdict(Retry("busy"), now=1000.0).reason == "expired, too old to be tried again: busy"
    assert verdict(Retry("busy"), now=1000.0).cause is Cause.EXPIRED


@pytest.mark.parametrize(
    ("ending", "reason", "cause"),
    [
        (Retry("busy", after=5.0), "unconfirmed: busy", Cause.UNCONFIRMED),
        (TimedOut(30.0), "unconfirmed: timed out after 30 s", Cause.UNCONFIRMED),
        (Faulted("KeyError: 'x'"), "unconfirmed: KeyError: 'x'", Cause.UNCONFIRMED),
        (Reject("gone"), "rejected: gone", Cause.REJECTED),
    ],
)
def test_without_a_policy_all_but_success_is_dead_after_the_first_attempt(
    ending: Ending, reason: str, cause: Cause
) -> None:
    found = settle(ending, None, tries=1, since=0.0, now=0.0, chance=0.5)
    assert (found.state, found.reason, found.cause) == (State.DEAD, reason, cause)
    assert settle(None, None, tries=1, since=0.0, now=0.0, chance=0.5).state is State.DELIVERED


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ({"delays": []}, "at least 1 item"),
        ({"delays": ["1s"], "max_attempts": 2}, "max_attempts has no meaning beside delays"),
        ({"delays": ["1s"], "initial": "1s"}, "initial has no meaning beside delays"),
        ({"delays": ["1s"], "max_delay": "1h"}, "max_delay has no meaning beside delays"),
        ({"delays": ["1d", "1d"]}, "its delays add up to 2d, and max_age ends it after 1d"),
    ],
)
def test_delays_that_contradict_other_keys_are_a_fault(policy: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        RetryPolicy.model_validate(policy)


ATTEMPTS = {
    "tries": st.integers(1, 10_000),
    "chance": st.floats(0, 1, exclude_max=True),
    "after": st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**400), 10**400),
}


@given(
    initial=st.floats(0.001, 1e6),
    longest=st.floats(0.001, 1e6),
    tries=ATTEMPTS["tries"],
    chance=ATTEMPTS["chance"],
)
def test_backoff_is_between_nothing_and_a_longest_wait_that_doubles(
    initial: float, longest: float, tries: int, chance: float
) -> None:
    policy = RetryPolicy(max_attempts=10_001, max_age=1e9, initial=initial, max_delay=longest)
    wait = settle(Retry("x"), policy, tries=tries, since=0.0, now=0.0, chance=chance).next_at
    most = min(initial * 2.0 ** min(tries - 1, 100), longest)
    assert 0 <= wait <= most
    assert wait == pytest.approx(chance * most)


@given(delays=st.lists(st.floats(0, 1000), min_size=1, max_size=10), chance=ATTEMPTS["chance"])
def test_a_list_of_delays_is_kept_exactly_and_then_it_is_exhausted(delays: list[float], chance: float) -> None:
    policy = RetryPolicy(delays=delays)
    now = 0.0
    for tries, delay in enumerate(delays, 1):
        found = settle(Retry("x"), policy, tries=tries, since=0.0, now=now, chance=chance)
        assert (found.state, found.next_at) == (State.PENDING, now + delay)
        now = found.next_at
    last = settle(Retry("x"), policy, tries=len(delays) + 1, since=0.0, now=now, chance=chance)
    assert (last.state, last.cause) == (State.DEAD, Cause.EXHAUSTED)


@given(
    tries=ATTEMPTS["tries"],
    now=st.floats(0, 1e10),
    age=st.floats(0, 1e7),
    chance=ATTEMPTS["chance"],
    after=ATTEMPTS["after"],
    policy=st.sampled_from([POLICY, RetryPolicy(max_age=1000.0, delays=[1.0, 10.0, 100.0])]),
)
def test_a_delivery_never_waits_beyond_its_age_nor_backwards(
    tries: int, now: float, age: float, chance: float, after: float | None, policy: RetryPolicy
) -> None:
    """Whatever the other side asks for with Retry-After."""
    since = now - age
    found = settle(Retry("x", after=after), policy, tries=tries, since=since, now=now, chance=chance)
    if found.state is State.PENDING:
        assert tries < policy.attempts
        assert now <= found.next_at <= since + policy.max_age
        assert found.cause is None
    else:
        assert tries >= policy.attempts or now >= since + policy.max_age
        assert found.cause is (Cause.EXHAUSTED if tries >= policy.attempts else Cause.EXPIRED)
