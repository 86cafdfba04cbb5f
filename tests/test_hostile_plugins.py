"""Whatever a destination's plugin does, it is that delivery and that destination only.

Time is trio's autojump clock but where threads run: a thread's work takes real time, over which the clock would jump.
"""

import asyncio
import json
import threading
from contextlib import suppress

import pytest
import trio
from house import FIRST_BACKOFF, START, TIMEOUT, Good, House, at, lane, now, raising
from structlog.testing import capture_logs
from support import make_event
from trio.testing import wait_all_tasks_blocked

from sodarouter import Delivery, Event, Reject, Retry, Settled, State


@pytest.fixture(autouse=True)
def logged():
    with capture_logs() as lines:
        yield lines


class Panic(BaseException):
    """As extensions written in Rust raise it: no ``Exception``."""


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class Unmade(Retry):
    def __init__(self) -> None:
        pass


async def in_a_nursery(event: Event, delivery: Delivery) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raising(Retry("busy")), event, delivery)
        nursery.start_soon(trio.sleep_forever)


async def for_asyncio(event: Event, delivery: Delivery) -> None:
    loop = asyncio.new_event_loop()
    try:
        await loop.create_future()
    finally:
        loop.close()


async def of_another_signature(event: Event) -> None: ...


async def too_slow_itself(event: Event, delivery: Delivery) -> None:
    with trio.fail_after(1.0):
        await trio.sleep_forever()


async def hanging(event: Event, delivery: Delivery) -> None:
    await trio.sleep_forever()


async def deaf(event: Event, delivery: Delivery) -> None:
    with suppress(BaseException):
        await trio.sleep_forever()


async def clumsy(event: Event, delivery: Delivery) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise RuntimeError("the clean-up failed")


async def clumsy_in_a_nursery(event: Event, delivery: Delivery) -> None:
    """Raises a group that holds Cancelled and an error of its own."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clumsy, event, delivery)
        await trio.sleep_forever()


HOSTILE = {
    "raises": (raising(ValueError("broken")), "ValueError: broken", 0.0),
    "raises over several lines": (raising(ValueError("one\n  two\n")), "ValueError: one two", 0.0),
    "raises a group": (raising(ExceptionGroup("all", [KeyError("a"), ValueError("b")])), "KeyError: 'a'", 0.0),
    "raises a nested group": (
        raising(BaseExceptionGroup("all", [ExceptionGroup("some", [Retry("busy"), OSError("x")]), Panic("y")])),
        "OSError: x",
        0.0,
    ),
    "raises SystemExit": (raising(SystemExit(3)), "SystemExit: 3", 0.0),
    "raises KeyboardInterrupt": (raising(KeyboardInterrupt()), "KeyboardInterrupt", 0.0),
    "raises asyncio's CancelledError": (raising(asyncio.CancelledError()), "CancelledError", 0.0),
    "panics": (raising(Panic("index out of range")), "Panic: index out of range", 0.0),
    "raises what cannot be printed": (raising(Mute()), "Mute", 0.0),
    "stops an iteration": (raising(StopIteration()), "RuntimeError: coroutine raised StopIteration", 0.0),
    "names a file that is no UTF-8": (raising(OSError("caf\udce9")), r"OSError: caf\udce9", 0.0),
    "has another signature": (of_another_signature, "TypeError: of_another_signature() takes 1 positional", 0.0),
    "awaits something of asyncio's": (for_asyncio, "TypeError: trio.run received unrecognized yield message", 0.0),
    "times out itself": (too_slow_itself, "TooSlowError", 1.0),
    "asks for a retry": (raising(Retry("busy")), "busy", 0.0),
    "asks for a retry inside a nursery": (in_a_nursery, "busy", 0.0),
    "asks for a retry beside a rejection": (raising(ExceptionGroup("", [Reject("no"), Retry("busy")])), "busy", 0.0),
    "asks for a retry without a text": (
        raising(Retry(OSError("x"))),
        "Retry was raised with a reason or a response that is no text",
        0.0,
    ),
    "asks for a retry with bytes": (
        raising(Retry("busy", response=b"no")),
        "Retry was raised with a reason or a response that is no text",
        0.0,
    ),
    "asks for a retry after a text": (
        raising(Retry("busy", after="30")),
        "Retry was raised with an after that is no number of seconds",
        0.0,
    ),
    "asks for a retry that was never made": (
        raising(Unmade()),
        "Unmade was raised with a reason or a response that is no text",
        0.0,
    ),
    "hangs": (hanging, "timed out after 10 s", TIMEOUT),
    "swallows its cancellation": (deaf, "timed out after 10 s", TIMEOUT),
    "fails while it is cancelled": (clumsy, "RuntimeError: the clean-up failed", TIMEOUT),
    "fails in a group while it is cancelled": (clumsy_in_a_nursery, "RuntimeError: the clean-up failed", TIMEOUT),
}


@pytest.mark.parametrize(("deliver", "reason", "took"), HOSTILE.values(), ids=HOSTILE)
async def test_a_failing_plugin_s_delivery_waits_and_the_others_arrive_at_once(autojump_clock, deliver, reason, took):
    good = Good()
    house = House(lane("bad", deliver), good.lane())
    await house.plan("bad", "good")
    async with house.running():
        await trio.sleep(took + 0.5)
        stored = house.stored("bad")
        await house.plan("good")
        await wait_all_tasks_blocked()
    assert (stored.state, stored.attempts, stored.next_at) == (State.PENDING, 1, at(took + FIRST_BACKOFF))
    assert stored.reason.startswith(reason)
    assert good.times == [0.0, took + 0.5]


@pytest.mark.parametrize("deliver", [hanging, deaf, clumsy, clumsy_in_a_nursery])
async def test_a_stop_goes_through_a_misbehaving_plugin_and_its_delivery_is_due_again(autojump_clock, deliver):
    house = House(lane("bad", deliver))
    await house.plan("bad")
    async with house.running():
        await wait_all_tasks_blocked()
        assert house.stored("bad").state is State.LEASED
    stored = house.stored("bad")
    assert (stored.state, stored.attempts) == (State.LEASED, 1)
    await house.spool.recover(now(), {})
    assert (house.stored("bad").state, house.stored("bad").next_at) == (State.PENDING, at(0))


async def test_what_a_plugin_raises_while_the_router_stops_goes_no_further_than_cancelled(autojump_clock):
    """Both come out of the plugin together; the router's own part must go on, or the daemon would not stop."""
    house = House(lane("bad", clumsy_in_a_nursery))
    await house.plan("bad")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.deliverer.run)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_stop_lets_attempts_finish_and_starts_no_more(autojump_clock):
    async def slow(event: Event, delivery: Delivery) -> None:
        await trio.sleep(5)

    house = House(lane("slow", slow, concurrency=1))
    await house.plan("slow")
    await house.plan("slow")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.deliverer.run)
        await wait_all_tasks_blocked()
        house.deliverer.stop()
    assert trio.current_time() == 5.0
    assert sorted(house.states("slow")) == [State.DELIVERED, State.PENDING]


async def test_a_plugin_that_shields_itself_keeps_only_its_own_place(autojump_clock):
    release = trio.Event()

    async def shielded(event: Event, delivery: Delivery) -> None:
        with trio.CancelScope(shield=True):
            await release.wait()

    good = Good()
    house = House(lane("bad", shielded, concurrency=1), good.lane())
    await house.plan("bad", "good")
    async with house.running():
        await trio.sleep(100)
        await house.plan("bad", "good")
        await wait_all_tasks_blocked()
        assert good.times == [0.0, 100.0]
        assert house.states("bad") == [State.PENDING, State.LEASED]
        release.set()
        await wait_all_tasks_blocked()
        # it returned, but after its time: nobody can say that it was in time
        assert house.all_stored("bad")[1].reason == "timed out after 10 s"


@pytest.mark.parametrize("error", [Reject("unknown user"), ExceptionGroup("", [Reject("unknown user")])])
async def test_a_rejected_delivery_is_a_dead_letter_after_one_attempt(autojump_clock, error):
    house = House(lane("bad", raising(error)))
    await house.plan("bad")
    async with house.running():
        await trio.sleep(1000)
    stored = house.stored("bad")
    assert (stored.state, stored.attempts, stored.reason) == (State.DEAD, 1, "rejected: unknown user")
    assert stored.next_at is None


@pytest.mark.parametrize(
    ("after", "waits"),
    [(100.0, 100.0), (100, 100.0), (0.5, FIRST_BACKOFF), (-1.0, FIRST_BACKOFF), (float("nan"), FIRST_BACKOFF)]
    + [(too_long, 86_400.0) for too_long in (float("inf"), 1e300, 10**400)],
)
async def test_a_retry_waits_for_as_long_as_the_other_side_asks_within_the_policy(autojump_clock, after, waits):
    house = House(lane("bad", raising(Retry("busy", after=after))))
    await house.plan("bad")
    async with house.running():
        await wait_all_tasks_blocked()
        assert house.stored("bad").next_at == at(waits)


async def test_a_delivery_is_retried_with_growing_waits_until_it_is_exhausted(autojump_clock):
    times = []

    async def deliver(event: Event, delivery: Delivery) -> None:
        times.append(trio.current_time())
        raise Retry("busy", response="try later")

    house = House(lane("bad", deliver, max_attempts=4, initial="4s", max_delay="10s"))
    await house.plan("bad")
    async with house.running():
        await trio.sleep(1000)
    assert times == [0.0, 2.0, 6.0, 11.0]
    stored = house.stored("bad")
    assert (stored.state, stored.reason) == (State.DEAD, "exhausted after 4 attempts: busy")
    attempts = house.spool.attempts(stored.id)
    assert [attempt.state for attempt in attempts] == [State.PENDING, State.PENDING, State.PENDING, State.DEAD]
    assert {attempt.response for attempt in attempts} == {"try later"}


async def test_attempts_that_time_out_are_counted(autojump_clock):
    house = House(lane("bad", hanging, max_attempts=2))
    await house.plan("bad")
    async with house.running():
        await trio.sleep(1000)
    stored = house.stored("bad")
    assert (stored.state, stored.reason) == (State.DEAD, "exhausted after 2 attempts: timed out after 10 s")
    assert [attempt.seconds for attempt in house.spool.attempts(stored.id)] == [TIMEOUT, TIMEOUT]


async def test_a_delivery_that_is_too_old_has_one_last_attempt_at_its_age(autojump_clock):
    times = []

    async def deliver(event: Event, delivery: Delivery) -> None:
        times.append(trio.current_time())
        raise Retry("busy")

    house = House(lane("bad", deliver, max_attempts=100, max_age="60s", initial="64s"))
    await house.plan("bad")
    async with house.running():
        await trio.sleep(1000)
    assert times == [0.0, 32.0, 60.0]
    assert house.stored("bad").reason == "expired, too old to be tried again: busy"


async def test_a_dead_letter_that_is_retried_by_hand_has_all_its_attempts_before_it_again(autojump_clock):
    seen = []

    async def deliver(event: Event, delivery: Delivery) -> None:
        seen.append(delivery.attempt)
        if delivery.attempt < 5:
            raise Retry("busy")

    house = House(lane("bad", deliver, max_attempts=3, max_age="1h"))
    event = await house.plan("bad")
    async with house.running():
        await trio.sleep(10_000)
        assert house.stored("bad").state is State.DEAD
        assert await house.spool.retry([f"{event}/bad"], now()) == [f"{event}/bad"]
        house.deliverer.wake.set()
        await trio.sleep(1000)
    assert seen == [1, 2, 3, 4, 5]
    assert house.stored("bad").state is State.DELIVERED


async def test_the_id_stays_the_same_over_retries_and_the_attempt_counts(autojump_clock):
    seen = []

    async def deliver(event: Event, delivery: Delivery) -> None:
        seen.append((event.id, delivery.id, delivery.attempt, delivery.planned))
        if len(seen) < 3:
            raise ConnectionError("reset")

    house = House(lane("there", deliver))
    event = await house.plan("there")
    async with house.running():
        await trio.sleep(1000)
    assert seen == [(event, f"{event}/there", attempt, START) for attempt in (1, 2, 3)]


async def test_no_more_attempts_run_at_once_than_the_lane_allows(autojump_clock):
    running, most = 0, 0

    async def deliver(event: Event, delivery: Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    house = House(lane("narrow", deliver, concurrency=3))
    for _ in range(20):
        await house.plan("narrow")
    async with house.running():
        await trio.sleep(6.5)
        assert house.states("narrow").count(State.DELIVERED) == 18
        await trio.sleep(1)
    assert most == 3
    assert set(house.states("narrow")) == {State.DELIVERED}


async def test_a_destination_gets_only_the_results_that_its_route_let_through(autojump_clock):
    seen = {}

    async def deliver(event: Event, delivery: Delivery) -> None:
        seen[delivery.results] = event

    results = [{"id": str(number), "outcome": "fail"} for number in range(3)]
    whole = make_event({"event": "checkEvaluation", "checkResults": results})
    house = House(lane("part", deliver), lane("whole", deliver))
    await house.plan("part", event=whole, results=(0, 2))
    await house.plan("whole", event=make_event(whole.raw))
    async with house.running():
        await wait_all_tasks_blocked()
    assert json.loads(seen[0, 2].raw)["checkResults"] == [results[0], results[2]]
    assert [result.id for result in seen[0, 2].view.results] == ["0", "2"]
    assert seen[None].raw == whole.raw


async def test_a_secret_in_a_plugin_s_failure_is_stored_nowhere(autojump_clock):
    house = House(lane("bad", raising(Retry("https://h/T0K3N: no", response="T0K3N?"))), secrets=("T0K3N",))
    event = await house.plan("bad")
    async with house.running():
        await wait_all_tasks_blocked()
        (attempt,) = house.spool.attempts(f"{event}/bad")
    assert (attempt.reason, attempt.response) == ("https://h/**********: no", "**********?")


async def test_observers_are_told_of_each_attempt_and_the_log_of_each_new_failure(autojump_clock, logged):
    told = []
    house = House(lane("bad", raising(ValueError("broken")), max_attempts=3), told=told.append)
    await house.plan("bad")
    async with house.running():
        await trio.sleep(1000)
    assert [settled.state for settled in told] == [State.PENDING, State.PENDING, State.DEAD]
    assert [line["event"] for line in logged].count("the destination's plugin failed") == 1
    assert [(line["log_level"], line["attempts"]) for line in logged if line["event"].startswith("delivery ")] == [
        ("warning", 1),
        ("error", 3),
    ]


async def test_a_cancelled_that_a_plugin_has_kept_does_not_end_the_deliveries(autojump_clock):
    kept: list[BaseException] = []
    with trio.move_on_after(0):
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise
    good = Good()
    house = House(lane("bad", raising(kept[0]), max_attempts=1), good.lane())
    async with house.running():
        for _ in range(3):
            await house.plan("bad", "good")
            await trio.sleep(1)
    assert house.states("good") == [State.DELIVERED] * 3
    assert house.states("bad") == [State.DEAD] * 3


async def test_an_observer_that_raises_keeps_no_delivery(autojump_clock):
    def told(settled: Settled) -> None:
        raise RuntimeError("of the observer")

    good = Good()
    house = House(good.lane(), told=told)
    await house.plan("good")
    await house.plan("good")
    async with house.running():
        await wait_all_tasks_blocked()
    assert house.states("good") == [State.DELIVERED, State.DELIVERED]


# in threads


async def test_threads_that_never_return_time_out_and_are_never_more_than_the_lane_allows(autojump_clock):
    release = threading.Event()
    entered, left = threading.Semaphore(0), threading.Semaphore(0)

    def blocking(event: Event, delivery: Delivery) -> None:
        entered.release()
        release.wait()
        left.release()

    good = Good()
    house = House(lane("bad", blocking, concurrency=2, max_attempts=1), good.lane())
    for _ in range(5):
        await house.plan("bad", "good")
    try:
        async with house.running():
            await trio.sleep(100)
            assert house.states("bad") == [State.DEAD] * 5
            assert house.reasons("bad") == {"exhausted after 1 attempt: timed out after 10 s"}
            assert good.times == [0.0] * 5
        assert entered.acquire(timeout=5)
        assert entered.acquire(timeout=5)
        assert not entered.acquire(blocking=False)
    finally:
        release.set()
    assert left.acquire(timeout=5)
    assert left.acquire(timeout=5)


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (None, State.DELIVERED, ""),
        (ValueError("broken"), State.PENDING, "ValueError: broken"),
        (SystemExit(3), State.PENDING, "SystemExit: 3"),
        (asyncio.CancelledError(), State.PENDING, "CancelledError"),
        (Reject("no"), State.DEAD, "rejected: no"),
    ],
)
async def test_an_ordinary_function_runs_in_a_thread_and_ends_like_an_async_one(error, state, reason):
    threads = []

    def deliver(event: Event, delivery: Delivery) -> bool:
        threads.append(threading.current_thread())
        if error:
            raise error
        return True  # what it returns means nothing

    settled = trio.Event()
    house = House(lane("there", deliver), told=lambda _: settled.set())
    await house.plan("there")
    async with house.running():
        with trio.fail_after(5):
            await settled.wait()
    assert (house.stored("there").state, house.stored("there").reason) == (state, reason)
    assert threads != [threading.current_thread()]


async def test_an_async_function_that_looks_like_an_ordinary_one_is_told_and_its_event_not_lost():
    settled = trio.Event()
    house = House(lane("there", lambda *given: hanging(*given)), told=lambda _: settled.set())
    await house.plan("there")
    async with house.running():
        with trio.fail_after(5):
            await settled.wait()
    stored = house.stored("there")
    assert stored.state is State.PENDING
    assert stored.reason.startswith("TypeError: Trio expected a sync function")
