"""The breaker by itself: when it opens, whom it lets through, when it closes."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import TypeAdapter, ValidationError

from sodarouter.breaker import BreakerOption, BreakerPolicy, Circuit
from sodarouter.delivery import Breaker

POLICY = BreakerPolicy(failures=3, pause=30.0, max_pause=100.0)


def failing(circuit: Circuit, *times: float) -> list[bool]:
    """Attempts that each start and fail at one moment."""
    opened = []
    for now in times:
        circuit.started(now)
        opened.append(circuit.failed(now, now))
    return opened


def test_it_opens_at_the_last_of_so_many_failures_in_a_row() -> None:
    circuit = Circuit(POLICY)
    assert failing(circuit, 1.0, 2.0, 3.0) == [False, False, True]
    assert (circuit.failures, circuit.pause) == (3, 30.0)
    assert (circuit.state(3.0), circuit.ready_at(3.0)) == (Breaker.OPEN, 33.0)


def test_a_success_in_between_begins_the_count_anew() -> None:
    circuit = Circuit(POLICY)
    failing(circuit, 1.0, 2.0)
    assert circuit.succeeded(2.5) is False
    assert failing(circuit, 3.0, 4.0) == [False, False]
    assert circuit.state(4.0) is Breaker.CLOSED


def test_after_its_pause_it_is_half_open_for_one_attempt() -> None:
    circuit = Circuit(POLICY)
    failing(circuit, 0.0, 0.0, 0.0)
    assert circuit.state(30.0) is Breaker.HALF_OPEN
    assert circuit.ready_at(31.0) == 31.0
    circuit.started(31.0)
    assert (circuit.state(32.0), circuit.ready_at(32.0)) == (Breaker.HALF_OPEN, math.inf)


def test_a_probe_that_succeeds_closes_it() -> None:
    circuit = Circuit(POLICY)
    failing(circuit, 0.0, 0.0, 0.0)
    circuit.started(31.0)
    assert circuit.succeeded(32.0) is True
    assert (circuit.state(32.0), circuit.ready_at(32.0), circuit.failures) == (Breaker.CLOSED, 32.0, 0)
    assert failing(circuit, 33.0, 33.0, 33.0) == [False, False, True]
    assert circuit.pause == 30.0


def test_a_probe_that_fails_doubles_the_pause_up_to_its_limit_and_opens_nothing_that_was_closed() -> None:
    circuit = Circuit(POLICY)
    failing(circuit, 0.0, 0.0, 0.0)
    pauses, now = [], 0.0
    for _ in range(4):
        now = circuit.ready_at(now)
        assert failing(circuit, now) == [False]
        assert circuit.state(now) is Breaker.OPEN
        pauses.append(circuit.pause)
    assert pauses == [60.0, 100.0, 100.0, 100.0]


def test_an_attempt_that_was_under_way_when_it_opened_does_not_prolong_the_pause() -> None:
    circuit = Circuit(POLICY)
    failing(circuit, 0.0, 0.0, 0.0)
    assert circuit.failed(0.0, 10.0) is False
    assert circuit.ready_at(10.0) == 30.0
    circuit.started(30.0)
    assert circuit.failed(0.0, 31.0) is False
    assert circuit.ready_at(31.0) == math.inf


def test_one_that_succeeds_closes_it_and_those_that_fail_after_that_do_not_count() -> None:
    circuit = Circuit(POLICY)
    failing(circuit, 0.0, 0.0, 0.0)
    assert circuit.succeeded(10.0) is True
    assert [circuit.failed(0.0, 11.0) for _ in range(5)] == [False] * 5
    assert failing(circuit, 12.0, 12.0, 12.0) == [False, False, True]


def test_one_that_was_claimed_before_and_starts_while_it_is_open_is_no_probe() -> None:
    circuit = Circuit(POLICY)
    failing(circuit, 0.0, 0.0, 0.0)
    circuit.started(1.0)
    assert circuit.failed(1.0, 2.0) is False
    assert circuit.ready_at(30.0) == 30.0


def test_without_a_policy_it_never_opens() -> None:
    circuit = Circuit(None)
    assert not any(failing(circuit, *range(1000)))
    assert (circuit.state(1000.0), circuit.ready_at(1000.0)) == (Breaker.CLOSED, 1000.0)


def test_off_is_no_policy_and_a_table_is_one() -> None:
    option: TypeAdapter[Any] = TypeAdapter(BreakerOption)
    assert option.validate_python("off") is None
    assert option.validate_python({"failures": 3}) == BreakerPolicy(failures=3)


@pytest.mark.parametrize(
    "written",
    ["on", "", False, 3, None, {"failures": 0}, {"pause": "0s"}, {"pause": "1h"}, {"pause": "1m", "max_pause": "1s"}],
)
def test_what_is_no_breaker_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(BreakerOption).validate_python(written)


@given(st.lists(st.booleans(), max_size=50), st.integers(1, 5))
def test_it_opens_exactly_when_the_last_attempts_were_all_failures(ends: list[bool], failures: int) -> None:
    circuit = Circuit(BreakerPolicy(failures=failures))
    for now, succeeds in enumerate(ends):
        circuit.started(now)
        opened = circuit.succeeded(now) if succeeds else circuit.failed(now, now)
        last = ends[max(0, now + 1 - failures) : now + 1]
        assert opened == (len(last) == failures and not any(last))
        if opened:
            return


class Life(RuleBasedStateMachine):
    """Attempts start when it lets them, and end in any order, late ones too."""

    @initialize(failures=st.integers(1, 4))
    def begin(self, failures: int) -> None:
        self.policy = BreakerPolicy(failures=failures, pause=10.0, max_pause=35.0)
        self.circuit = Circuit(self.policy)
        self.now = 0.0
        self.running: list[tuple[float, Breaker]] = []

    @rule(seconds=st.sampled_from([0.0, 1.0, 9.0, 10.0, 50.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.circuit.ready_at(self.now) <= self.now)
    @rule()
    def start(self) -> None:
        self.running.append((self.now, self.circuit.state(self.now)))
        self.circuit.started(self.now)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), succeeds=st.booleans())
    def end(self, data: st.DataObject, succeeds: bool) -> None:
        started, _ = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        before = self.circuit.state(self.now)
        if succeeds:
            assert self.circuit.succeeded(self.now) == (before is not Breaker.CLOSED)
            assert self.circuit.state(self.now) is Breaker.CLOSED
            # what had been let through to probe is no probe any more
            self.running = [(when, Breaker.CLOSED) for when, _ in self.running]
        elif self.circuit.failed(started, self.now):
            assert before is Breaker.CLOSED
            assert self.circuit.state(self.now) is Breaker.OPEN

    @invariant()
    def no_more_than_one_probe_is_under_way(self) -> None:
        probes = [when for when, state in self.running if state is Breaker.HALF_OPEN]
        assert len(probes) <= 1
        if probes:
            assert self.circuit.ready_at(self.now) == math.inf

    @invariant()
    def it_always_comes_round(self) -> None:
        """Nobody waits longer than the longest pause, unless for a probe that is under way."""
        probing = any(state is Breaker.HALF_OPEN for _, state in self.running)
        assert probing or self.circuit.ready_at(self.now) <= self.now + self.policy.max_pause


TestLife = Life.TestCase
