"""The token bucket: never more than it says, and never nothing for ever."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sodarouter.rate import Bucket, Limit, Rate

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
ROUNDING = 2e-6
"""Seconds: the bucket counts in microseconds, and keeps the rest of one."""

limits = st.tuples(st.integers(1, 100_000), st.sampled_from("smhd"))
starts = st.floats(0, 1e9)
"""Clocks may show anything when the router starts."""


@pytest.mark.parametrize(
    ("written", "limit", "burst"),
    [
        ("10/s", Limit(10, 1), None),
        (" 100 / m ", Limit(100, 60), None),
        ({"limit": "5/h"}, Limit(5, 3_600), None),
        ({"limit": "500/d", "burst": 20}, Limit(500, 86_400), 20),
    ],
)
def test_a_rate_is_a_text_or_a_table(written: Any, limit: Limit, burst: int | None) -> None:
    rate = Rate.model_validate(written)
    assert (rate.limit, rate.burst) == (limit, burst)


@pytest.mark.parametrize("written", ["10", "10/w", "0/s", "-1/s", "1.5/s", "/s", 10, 1.0, True, ["10/s"], {}, ""])
def test_what_is_no_rate_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        Rate.model_validate(written)


@pytest.mark.parametrize(
    ("written", "burst"),
    [("10/s", 10), ("100/m", 1), ("120/m", 2), ("5/h", 1), ({"limit": "5/h", "burst": 7}, 7)],
)
def test_it_begins_full_of_what_comes_in_a_second_or_of_its_burst(written: Any, burst: int) -> None:
    bucket = Bucket(Rate.model_validate(written))
    assert bucket.tokens(12_345.678) == burst
    assert bucket.tokens(99_999.0) == burst


def test_tokens_come_at_the_pace_of_the_rate() -> None:
    bucket = Bucket(Rate.model_validate({"limit": "4/s", "burst": 1}))
    times = []
    now = 0.0
    for _ in range(5):
        now = bucket.next_at(now)
        times.append(now)
        bucket.take(now)
    assert times == [0.0, 0.25, 0.5, 0.75, 1.0]


@given(limit=limits, burst=st.none() | st.integers(1, 1000), start=starts, data=st.data())
def test_over_any_stretch_of_time_there_are_never_more_than_its_burst_and_what_the_rate_gives(
    limit: tuple[int, str], burst: int | None, start: float, data: st.DataObject
) -> None:
    count, unit = limit
    bucket = Bucket(Rate.model_validate({"limit": f"{count}/{unit}", "burst": burst}))
    pace, most = count / SECONDS[unit], burst or max(1, count // SECONDS[unit])
    now, taken = start, []
    for gap in data.draw(st.lists(st.floats(0, 3 * most / pace), max_size=30)):
        now += gap
        wanted = data.draw(st.integers(0, min(most, 50)))
        for _ in range(min(wanted, bucket.tokens(now))):
            bucket.take(now)
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            allowed = most + pace * (taken[last] - taken[first] + ROUNDING)
            assert last - first + 1 <= allowed + 1e-9


@given(limit=limits, burst=st.none() | st.integers(1, 100), start=starts, rounds=st.integers(1, 200))
def test_who_takes_what_there_is_and_waits_until_it_says_never_starves_nor_waits_in_vain(
    limit: tuple[int, str], burst: int | None, start: float, rounds: int
) -> None:
    count, unit = limit
    bucket = Bucket(Rate.model_validate({"limit": f"{count}/{unit}", "burst": burst}))
    for _ in range(bucket.tokens(start)):
        bucket.take(start)
    times = [start]
    for _ in range(rounds):
        now = bucket.next_at(times[-1])
        assert bucket.tokens(now) == 1
        bucket.take(now)
        times.append(now)
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[-1] - start <= rounds * SECONDS[unit] / count + 2 * ROUNDING
