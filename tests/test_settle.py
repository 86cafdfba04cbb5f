import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodarouter.delivery import State
from sodarouter.errors import Reject, Retry
from sodarouter.settle import Ending, Faulted, RetryPolicy, TimedOut, Verdict, settle

POLICY = RetryPolicy(max_attempts=5, max_age=1000.0, initial=10.0, max_delay=60.0)


def verdict(ending: Ending, *, tries: int = 1, since: float = 0.0, now: float = 0.0, chance: float = 1.0) -> Verdict:
    return settle(ending, POLICY, tries=tries, since=since, now=now, chance=chance)


def test_a_taken_event_is_delivered() -> None:
    assert verdict(None) == Verdict(State.DELIVERED, 0.0, "")


def test_a_rejected_one_is_dead_at_once() -> None:
    assert verdict(Reject("gone", response="410")) == Verdict(State.DEAD, 0.0, "rejected: gone", "410")


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


def test_retry_after_is_honoured_when_it_is_longer() -> None:
    assert verdict(Retry("x", after=300.0)).next_at == 300
    assert verdict(Retry("x", after=3.0)).next_at == 10


def test_the_age_leaves_one_last_chance_and_then_ends_it() -> None:
    assert verdict(Retry("x", after=9e9), now=500.0).next_at == 1000
    assert verdict(Retry("x"), now=1000.0).state is State.DEAD
    assert verdict(Retry("busy"), now=1000.0).reason == "expired, too old to be tried again: busy"


@given(
    tries=st.integers(1, 10_000),
    now=st.floats(0, 1e10),
    age=st.floats(0, 1e7),
    chance=st.floats(0, 1, exclude_max=True),
    after=st.none() | st.floats(0, 1e12),
)
def test_a_delivery_never_waits_beyond_its_age_nor_backwards(
    tries: int, now: float, age: float, chance: float, after: float | None
) -> None:
    since = now - age
    found = settle(Retry("x", after=after), POLICY, tries=tries, since=since, now=now, chance=chance)
    if found.state is State.PENDING:
        assert tries < POLICY.max_attempts
        assert now <= found.next_at <= since + POLICY.max_age
    else:
        assert tries >= POLICY.max_attempts or now >= since + POLICY.max_age
