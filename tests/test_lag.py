"""The event loop's lag: what counts, whose it was, and how long it is remembered."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from sodarouter.lag import BLOCKING, SLOT, SLOTS, Recent, monitored

MINUTE = SLOT * SLOTS


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


class Clock:
    """Time that passes only when a step says so: then it has taken that long."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def step(self, seconds: float) -> None:
        self.now += seconds
        await trio.lowlevel.checkpoint()


async def run_as(name: str, *steps: Any) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(*steps, name=name)


async def test_a_destination_that_blocks_is_counted_and_named_in_the_log(logged: list[Any]) -> None:
    async def deliver() -> None:
        time.sleep(1.5 * BLOCKING)  # noqa: ASYNC251 (what a plugin must not do)

    with monitored() as monitor:
        await run_as("destination slow", deliver)
        lag = monitor.lag()
    # on a machine that is busy, the test's own steps may take long too
    assert lag.blocked["destination slow"] == 1
    assert lag.longest >= BLOCKING
    (line,) = [line for line in logged if line["by"] == "destination slow"]
    assert (line["event"], line["log_level"]) == ("the event loop was blocked", "warning")
    assert line["seconds"] >= BLOCKING


async def test_waiting_is_no_step(autojump_clock: trio.testing.MockClock, logged: list[Any]) -> None:
    clock = Clock()

    async def deliver() -> None:
        await clock.step(0.0)
        with trio.move_on_after(30):
            clock.now += BLOCKING / 2
            await trio.sleep_forever()
        clock.now += BLOCKING / 2

    with monitored(now=clock) as monitor:
        await run_as("destination patient", deliver)
        # whatever passes while the loop waits for the outside is nobody's
        await trio.to_thread.run_sync(setattr, clock, "now", clock.now + MINUTE / 2)
        await trio.lowlevel.checkpoint()
        lag = monitor.lag()
    assert lag.longest == pytest.approx(BLOCKING / 2)
    assert not lag.blocked
    assert not logged


@pytest.mark.parametrize(
    ("seconds", "longest", "blocked"),
    [(0.0005, 0.0, 0), (BLOCKING / 2, BLOCKING / 2, 0), (2 * BLOCKING, 2 * BLOCKING, 1), (7.0, 7.0, 1)],
)
async def test_a_step_is_no_lag_a_lag_or_blocking_by_its_length(seconds: float, longest: float, blocked: int) -> None:
    clock = Clock()
    with monitored(now=clock) as monitor:
        await run_as("destination there", clock.step, seconds)
        lag = monitor.lag()
    assert lag.longest == pytest.approx(longest)
    assert sum(lag.blocked.values()) == blocked


async def test_each_step_is_that_of_its_own_task() -> None:
    clock = Clock()
    with monitored(now=clock) as monitor:
        async with trio.open_nursery() as nursery:
            for name, seconds in (("one", 2 * BLOCKING), ("two", 0.0), ("three", 3 * BLOCKING)):
                nursery.start_soon(clock.step, seconds, name=f"destination {name}")
        lag = monitor.lag()
    assert lag.blocked == {"destination one": 1, "destination three": 1}
    assert lag.longest == pytest.approx(3 * BLOCKING)


async def test_what_a_plugin_starts_is_the_plugins_whatever_it_calls_it() -> None:
    clock = Clock()

    async def deliver() -> None:
        async with trio.open_nursery() as own:
            own.start_soon(clock.step, 2 * BLOCKING)
            own.start_soon(clock.step, 2 * BLOCKING, name="destination of its own invention")

    with monitored(now=clock) as monitor:
        await run_as("destination there", deliver)
        await run_as("plugin health", deliver)
        await run_as("sodarouter.route", clock.step, 2 * BLOCKING)
        assert monitor.lag().blocked == {"destination there": 2, "plugin health": 2, "router": 1}


async def test_one_that_blocks_again_and_again_is_counted_each_time_and_logged_once_a_minute(logged: list[Any]) -> None:
    clock = Clock()

    async def deliver() -> None:
        for _ in range(100):
            await clock.step(2 * BLOCKING)

    with monitored(now=clock) as monitor:
        await run_as("destination slow", deliver)
        await run_as("destination other", clock.step, 2 * BLOCKING)
        assert monitor.lag().blocked == {"destination slow": 100, "destination other": 1}
    assert [line["by"] for line in logged] == ["destination slow", "destination other"]


async def test_a_step_that_does_not_end_is_told_of_while_it_lasts_with_the_line_of_code(logged: list[Any]) -> None:
    def told() -> list[Any]:
        return [line for line in logged if line["event"] == "the event loop is blocked" and "stuck" in line["by"]]

    async def deliver() -> None:
        while not told():
            time.sleep(0.01)  # noqa: ASYNC251 (what a plugin must not do)
        time.sleep(0.1)  # noqa: ASYNC251 (the thread looks again meanwhile)

    with monitored(stuck=0.05, every=0.01):
        await run_as("destination stuck", deliver)
    (line,) = told()  # once for each step
    assert (line["log_level"], line["by"]) == ("error", "destination stuck")
    assert "in deliver" in line["where"]


async def test_nothing_is_left_when_it_is_left(logged: list[Any]) -> None:
    clock, before = Clock(), threading.active_count()
    with monitored(now=clock) as monitor:
        pass
    assert threading.active_count() == before
    await run_as("destination late", clock.step, 5.0)
    assert not monitor.lag().blocked
    assert not logged
    with pytest.raises(KeyError):
        trio.lowlevel.remove_instrument(monitor)


async def test_a_monitor_that_fails_is_taken_out_by_trio_and_does_not_keep_the_router_from_stopping(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> float:
        raise OSError("no clock")

    with monitored(now=broken):
        await trio.lowlevel.checkpoint()
    assert "no clock" in caplog.text


async def test_the_first_step_is_not_taken_for_one_that_has_lasted_since_the_beginning_of_time() -> None:
    clock = Clock()
    clock.now = 1e9
    with monitored(now=clock) as monitor:
        await trio.lowlevel.checkpoint()
        assert monitor.lag().longest == 0.0


def test_peaks_do_not_pile_up() -> None:
    recent = Recent()
    for now in range(10_000):
        recent.add(float(now), 1.0)
    assert len(recent._slots) == SLOTS + 1


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 10)), max_size=50),
    st.floats(0, 200),
)
def test_a_peak_is_shown_for_a_minute_and_at_most_a_slot_longer(steps: list[tuple[float, float]], later: float) -> None:
    recent, now = Recent(), 0.0
    seen = []
    for pause, value in steps:
        now += pause
        recent.add(now, value)
        seen.append((now, value))
    now += later
    least = max((value for at, value in seen if at >= now - MINUTE), default=0.0)
    most = max((value for at, value in seen if at >= now - MINUTE - SLOT), default=0.0)
    assert least <= recent.largest(now) <= most
