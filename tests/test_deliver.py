"""What each destination is granted: its rate, its breaker, its one attempt, and other lanes while it runs."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import fields

import pytest
import trio
from house import Good, House, lane, raising
from structlog.testing import capture_logs
from support import make_event
from trio.testing import wait_all_tasks_blocked

from sodarouter import Delivery, Event, Reject, Retry, Settled, State
from sodarouter.attempt import LARGE
from sodarouter.breaker import BreakerPolicy
from sodarouter.delivery import Breaker, Cause
from sodarouter.errors import SpoolError
from sodarouter.redact import Redactor
from sodarouter.spool import Claims, MemorySpool, Outcome, Routed

BREAKER = BreakerPolicy(failures=3, pause=30.0, max_pause=100.0)


@pytest.fixture(autouse=True)
def logged():
    with capture_logs() as lines:
        yield lines


class Moody:
    """A destination that fails until it is mended, and remembers when it was called."""

    def __init__(self, ending: BaseException | None = None) -> None:
        self.times: list[float] = []
        self.ending = ending

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        self.times.append(trio.current_time())
        if self.ending:
            raise self.ending


# rates


async def test_a_rate_is_kept_and_its_burst_is_there_after_a_rest(autojump_clock):
    good = Good()
    house = House(good.lane(rate={"limit": "2/s", "burst": 3}, concurrency=50))
    for _ in range(6):
        await house.plan("good")
    async with house.running():
        await trio.sleep(100)
        assert good.times == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5]
        for _ in range(4):
            await house.plan("good")
        await trio.sleep(10)
    assert good.times[6:] == [100.0, 100.0, 100.0, 100.5]


async def test_retries_take_of_the_rate_too(autojump_clock):
    moody = Moody(Retry("busy"))
    house = House(lane("slow", moody.deliver, rate="1/m", delays=["1s", "1s"]))
    await house.plan("slow")
    async with house.running():
        await trio.sleep(1000)
    assert moody.times == [0.0, 60.0, 120.0]


async def test_a_destination_that_is_limited_or_left_alone_or_hangs_slows_no_other(autojump_clock):
    async def hanging(event: Event, delivery: Delivery) -> None:
        await trio.sleep_forever()

    good = Good()
    others = {
        "limited": lane("limited", Moody().deliver, rate="1/d"),
        "alone": lane("alone", raising(Retry("down")), breaker=BreakerPolicy(failures=1, pause=1e6, max_pause=1e6)),
        "hangs": lane("hangs", hanging, concurrency=1, timeout=1e6),
    }
    house = House(*others.values(), good.lane())
    async with house.running():
        for _ in range(20):
            await house.plan(*others, "good")
            await trio.sleep(1)
    assert good.times == list(range(20))
    assert [house.states(name).count(State.PENDING) for name in others] == [19, 20, 19]


# breakers


async def test_an_open_breaker_uses_up_no_attempts_and_one_probe_at_a_time_closes_it(autojump_clock, logged):
    moody = Moody(Retry("down"))
    house = House(lane("there", moody.deliver, concurrency=1, breaker=BREAKER, delays=["1s"] * 5))
    for _ in range(5):
        await house.plan("there")
    async with house.running():
        await trio.sleep(29)
        assert moody.times == [0.0, 0.0, 0.0]
        assert house.deliverer.breakers() == {"there": Breaker.OPEN}
        assert sorted(stored.attempts for stored in house.all_stored("there")) == [0, 0, 1, 1, 1]
        await trio.sleep(100)
        assert moody.times[3:] == [30.0, 90.0]
        moody.ending = None
        await trio.sleep(62)
        assert house.deliverer.breakers() == {"there": Breaker.CLOSED}
    assert moody.times[5:] == [190.0] * 5
    assert set(house.states("there")) == {State.DELIVERED}
    told = [line for line in logged if "breaker" in line["event"]]
    assert told == [
        {
            "event": "the destination fails again and again, its breaker is open",
            "log_level": "warning",
            "destination": "there",
            "failures": 3,
            "pause": 30.0,
            "reason": "down",
        },
        {
            "event": "the destination answers again, its breaker is closed",
            "log_level": "info",
            "destination": "there",
        },
    ]


async def test_while_the_probe_is_under_way_nothing_else_starts(autojump_clock):
    times = []

    async def deliver(event: Event, delivery: Delivery) -> None:
        times.append(trio.current_time())
        if len(times) <= 3:
            raise Retry("down")
        await trio.sleep(5)

    house = House(lane("there", deliver, concurrency=10, breaker=BREAKER, delays=["1s"] * 9))
    for _ in range(3):
        await house.plan("there")
    async with house.running():
        await trio.sleep(31)
        assert house.deliverer.breakers() == {"there": Breaker.HALF_OPEN}
        await trio.sleep(100)
    assert times == [0.0, 0.0, 0.0, 30.0, 35.0, 35.0]


@pytest.mark.parametrize("ending", [Retry("down"), ValueError("broken"), None])
async def test_retries_faults_and_timeouts_open_it(autojump_clock, ending):
    async def deliver(event: Event, delivery: Delivery) -> None:
        if ending:
            raise ending
        await trio.sleep_forever()

    house = House(lane("there", deliver, breaker=BREAKER))
    for _ in range(3):
        await house.plan("there")
    async with house.running():
        await trio.sleep(11)
        assert house.deliverer.breakers() == {"there": Breaker.OPEN}


async def test_a_destination_that_rejects_has_answered(autojump_clock):
    house = House(lane("there", raising(Reject("never")), breaker=BREAKER))
    for _ in range(10):
        await house.plan("there")
    async with house.running():
        await wait_all_tasks_blocked()
        assert house.deliverer.breakers() == {"there": Breaker.CLOSED}
    assert house.states("there") == [State.DEAD] * 10


async def test_attempts_that_are_under_way_when_it_opens_end_as_they_end(autojump_clock):
    async def deliver(event: Event, delivery: Delivery) -> None:
        if delivery.id == slow:
            await trio.sleep(5)
        else:
            raise Retry("down")

    house = House(lane("there", deliver, breaker=BREAKER, delays=["1h"]))
    slow = f"{await house.plan('there')}/there"
    for _ in range(3):
        await house.plan("there")
    async with house.running():
        await trio.sleep(4)
        assert house.deliverer.breakers() == {"there": Breaker.OPEN}
        await trio.sleep(2)
        assert house.deliverer.breakers() == {"there": Breaker.CLOSED}
    assert house.states("there").count(State.DELIVERED) == 1


async def test_the_age_ends_a_delivery_at_its_next_attempt_after_the_pause(autojump_clock):
    moody = Moody(Retry("down"))
    house = House(lane("there", moody.deliver, breaker=BreakerPolicy(failures=1, pause=60.0), max_age="30s"))
    await house.plan("there")
    async with house.running():
        await trio.sleep(59)
        assert house.stored("there").state is State.PENDING
        await trio.sleep(2)
    assert moody.times == [0.0, 60.0]
    assert house.stored("there").reason == "expired, too old to be tried again: down"


# one attempt


@pytest.mark.parametrize(
    ("ending", "state", "cause"),
    [
        (None, State.DELIVERED, None),
        (Retry("busy", after=5.0), State.DEAD, Cause.UNCONFIRMED),
        (ValueError("broken"), State.DEAD, Cause.UNCONFIRMED),
        (Reject("never"), State.DEAD, Cause.REJECTED),
    ],
)
async def test_at_most_once_is_one_attempt_and_observers_hear_how_it_ended(autojump_clock, ending, state, cause):
    told: list[Settled] = []
    moody = Moody(ending)
    house = House(lane("there", moody.deliver, once=True), told=told.append)
    await house.plan("there")
    async with house.running():
        await trio.sleep(10_000)
    assert moody.times == [0.0]
    assert [(settled.state, settled.cause) for settled in told] == [(state, cause)]


async def test_at_most_once_a_lease_outlasts_any_attempt(autojump_clock):
    """A plugin that nothing stops, or a spool that is full for days, must not make due what may have arrived."""
    started = []

    async def endless(event: Event, delivery: Delivery) -> None:
        started.append(trio.current_time())
        with trio.CancelScope(shield=True):
            await trio.sleep(2 * 86_400)

    house = House(lane("there", endless, once=True))
    await house.plan("there")
    async with house.running():
        await trio.sleep(3 * 86_400)
    assert started == [0.0]
    assert house.stored("there").state is State.DEAD


async def test_the_log_of_a_dead_letter_has_its_cause_and_who_is_handed_it(autojump_clock, logged):
    house = House(
        lane("once", raising(Retry("busy")), once=True, fallback="mailbox"), lane("never", raising(Reject("gone")))
    )
    await house.plan("once", "never")
    async with house.running():
        await wait_all_tasks_blocked()
    told = {line["destination"]: line for line in logged if line["event"].startswith("delivery given up")}
    assert (told["once"]["cause"], told["once"]["fallback"]) == ("unconfirmed", "mailbox")
    assert told["never"]["cause"] == "rejected"
    assert "fallback" not in told["never"]


# the attempt


async def test_the_task_of_an_attempt_has_the_destination_s_name(autojump_clock):
    names = []

    async def deliver(event: Event, delivery: Delivery) -> None:
        names.append(trio.lowlevel.current_task().name)

    house = House(lane("there", deliver))
    await house.plan("there")
    async with house.running():
        await wait_all_tasks_blocked()
    assert names == ["destination there"]


class Watched(Event):
    """Remembers in which thread it was cut."""

    def cut(self, keep):
        cut_in.append(threading.current_thread())
        return super().cut(keep)


cut_in: list[threading.Thread] = []


@pytest.mark.parametrize(("size", "in_loop"), [(100, True), (2 * LARGE, False)])
async def test_a_large_event_is_cut_in_a_thread(size, in_loop):
    cut_in.clear()
    arrived = trio.Event()
    seen = []

    async def deliver(event: Event, delivery: Delivery) -> None:
        seen.append([result.name for result in event.view.results])
        arrived.set()

    results = [{"name": "one"}, {"name": "two", "definition": "x" * size}, {"name": "three"}]
    made = make_event({"event": "checkEvaluation", "checkResults": results})
    watched = Watched(**{field.name: getattr(made, field.name) for field in fields(Event)})
    house = House(lane("there", deliver))
    await house.plan("there", event=watched, results=(0, 2))
    async with house.running():
        with trio.fail_after(5):
            await arrived.wait()
    assert seen == [["one", "three"]]
    assert (cut_in == [threading.current_thread()]) is in_loop


# other lanes


async def test_a_lane_that_is_among_the_new_ones_goes_on_as_it_was(autojump_clock):
    good, moody = Good(), Moody(Retry("down"))
    same = lane("same", moody.deliver, breaker=BREAKER, delays=["1s"] * 9)
    house = House(same, good.lane("old"))
    for _ in range(3):
        await house.plan("same")
    async with house.running():
        await trio.sleep(10)
        house.deliverer.replace([same, good.lane("new")], Redactor(()))
        assert house.deliverer.breakers() == {"same": Breaker.OPEN, "new": Breaker.CLOSED}
        await house.plan("old", "new")
        await trio.sleep(10)
        assert moody.times == [0.0, 0.0, 0.0]
    assert good.times == [10.0]
    assert house.states("old") == [State.PENDING]


async def test_an_attempt_under_way_ends_under_the_rules_it_began_with_and_then_its_lane_is_retired(autojump_clock):
    release = trio.Event()

    async def slow(event: Event, delivery: Delivery) -> None:
        await release.wait()
        raise Retry("T0K3N is wrong")

    old, good = lane("there", slow, max_attempts=1, timeout=100.0), Good()
    house = House(old, secrets=("T0K3N",))
    await house.plan("there")
    async with house.running(), trio.open_nursery() as waiting:
        await wait_all_tasks_blocked()
        house.deliverer.replace([good.lane("there")], Redactor(()))
        retired = trio.Event()

        async def until_retired() -> None:
            await old.retired()
            retired.set()

        waiting.start_soon(until_retired)
        await house.plan("there")
        await trio.sleep(50)
        assert good.times == [0.0]
        assert not retired.is_set()
        release.set()
        await retired.wait()
        assert trio.current_time() == 50.0
    newer, older = house.all_stored("there")
    assert newer.state is State.DELIVERED
    assert (older.state, older.reason) == (State.DEAD, "exhausted after 1 attempt: ********** is wrong")


async def test_a_lane_that_has_nothing_under_way_is_retired_at_once(autojump_clock):
    old = Good().lane("there")
    house = House(old)
    await house.plan("there")
    async with house.running():
        await wait_all_tasks_blocked()
        house.deliverer.replace([], Redactor(()))
        with trio.fail_after(1):
            await old.retired()


class Held(MemorySpool):
    """A spool whose answers to claims are held back, or that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.held: trio.Event | None = None
        self.failing = False

    async def claim(self, wanted: Mapping[str, int], now: float, leases: Mapping[str, float]) -> Claims:
        if self.failing:
            raise SpoolError("the disk is gone")
        found = await super().claim(wanted, now, leases)
        if self.held is not None:
            await self.held.wait()
        return found


async def test_what_is_being_claimed_while_the_lanes_change_is_attempted_once_and_by_the_old_one(autojump_clock):
    spool, old, new = Held(), Good(), Good()
    before = old.lane("there")
    house = House(before, spool=spool)
    await house.plan("there")
    spool.held = trio.Event()
    async with house.running(), trio.open_nursery() as waiting:
        await wait_all_tasks_blocked()
        house.deliverer.replace([new.lane("there")], Redactor(()))
        retired = trio.Event()

        async def until_retired() -> None:
            await before.retired()
            retired.set()

        waiting.start_soon(until_retired)
        await wait_all_tasks_blocked()
        assert not retired.is_set()
        held, spool.held = spool.held, None
        held.set()
        await retired.wait()
        await house.plan("there")
        await wait_all_tasks_blocked()
    assert (len(old.times), len(new.times)) == (1, 1)
    assert house.states("there") == [State.DELIVERED, State.DELIVERED]


async def test_a_spool_that_fails_keeps_no_lane_from_being_replaced(autojump_clock):
    spool, old, new = Held(), Good(), Good()
    before = old.lane("there")
    house = House(before, spool=spool)
    await house.plan("there")
    spool.failing = True
    async with house.running():
        await trio.sleep(5)
        house.deliverer.replace([new.lane("there")], Redactor(()))
        await before.retired()
        assert trio.current_time() == 5.0
        spool.failing = False
        await trio.sleep(5)
    assert (old.times, len(new.times)) == ([], 1)


async def test_many_changes_of_lanes_lose_nothing_and_double_nothing(autojump_clock):
    seen: dict[str, int] = {}

    async def deliver(event: Event, delivery: Delivery) -> None:
        seen[delivery.id] = seen.get(delivery.id, 0) + 1
        await trio.sleep(0.03)

    def lanes() -> list:
        return [lane(name, deliver, concurrency=2) for name in ("one", "two")]

    house = House(*lanes())
    async with house.running():
        for _ in range(100):
            await house.plan("one", "two")
            house.deliverer.replace(lanes(), Redactor(()))
            await trio.sleep(0.01)
        await trio.sleep(10)
    assert set(house.states("one") + house.states("two")) == {State.DELIVERED}
    assert len(seen) == 200
    assert set(seen.values()) == {1}


async def test_a_delivery_s_due_time_and_the_lane_s_own_are_both_waited_for(autojump_clock):
    moody = Moody(Retry("busy"))
    house = House(lane("there", moody.deliver, delays=["10s"]), Good().lane(rate="1/h"))
    await house.plan("there", "good")
    await house.plan("good")
    async with house.running():
        await trio.sleep(20)
        assert moody.times == [0.0, 10.0]


# turns


class Counting(MemorySpool):
    """A spool that remembers how many attempts it settled in each transaction, or takes its time, or fails."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.settled: list[int] = []
        self.failing = False

    async def exchange(
        self,
        outcomes: Sequence[Outcome],
        wanted: Mapping[str, int],
        now: float,
        leases: Mapping[str, float],
        *,
        once: bool,
    ) -> tuple[list[bool], Claims]:
        if self.failing:
            raise SpoolError("the disk is gone")
        self.settled += [len(outcomes)] if outcomes else []
        await trio.sleep(self.seconds)
        return await super().exchange(outcomes, wanted, now, leases, once=once)

    async def settle(self, outcomes: Sequence[Outcome | Routed]) -> list[bool]:
        if self.failing:
            raise SpoolError("the disk is gone")
        return await super().settle(outcomes)


@pytest.mark.parametrize(("seconds", "settled"), [(0.0, [2, 1, 1, 1]), (0.005, [3, 1, 1]), (1.0, [4, 1])])
async def test_attempts_that_end_nearly_together_are_settled_together(autojump_clock, seconds, settled):
    """The more so where the spool takes long; but the last of a destination waits for none."""
    waits = iter([0.001, 0.002, 0.005, 0.02, 5.0])

    async def deliver(event: Event, delivery: Delivery) -> None:
        await trio.sleep(next(waits))

    spool = Counting(seconds)
    house = House(lane("there", deliver, concurrency=5), spool=spool)
    for _ in range(5):
        await house.plan("there")
    async with house.running():
        await trio.sleep(10)
    assert spool.settled == settled
    assert house.states("there") == [State.DELIVERED] * 5


async def test_what_ends_while_the_spool_fails_is_settled_once_it_works_again(autojump_clock):
    told: list[Settled] = []
    release = trio.Event()

    async def deliver(event: Event, delivery: Delivery) -> None:
        await release.wait()

    spool, there = Counting(), lane("there", deliver, concurrency=2)
    house = House(there, spool=spool, told=told.append)
    for _ in range(4):
        await house.plan("there")
    async with house.running():
        await wait_all_tasks_blocked()
        spool.failing = True
        release.set()
        await trio.sleep(30)
        assert (told, there.busy) == ([], 2)
        spool.failing = False
        await trio.sleep(2)
    assert [settled.state for settled in told] == [State.DELIVERED] * 4
    assert [len(spool.attempts(stored.id)) for stored in house.all_stored("there")] == [1] * 4


async def test_an_attempt_that_does_not_let_itself_be_cancelled_is_told_of_while_it_goes_on(autojump_clock, logged):
    async def deaf(event: Event, delivery: Delivery) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(150)

    house = House(lane("deaf", deaf, timeout=3.0, max_attempts=1), Good().lane())
    await house.plan("deaf", "good")
    async with house.running():
        await trio.sleep(140)
        assert house.states("deaf") == [State.LEASED]
        told = [line for line in logged if "do not end" in line["event"]]
        assert {(line["destination"], line["count"], line["timeout"]) for line in told} == {("deaf", 1, 3.0)}
        assert "isolation" in told[0]["hint"]
        await trio.sleep(20)
    assert house.reasons("deaf") == {"exhausted after 1 attempt: timed out after 3 s"}


async def test_stopping_settles_what_was_under_way(autojump_clock):
    async def deliver(event: Event, delivery: Delivery) -> None:
        await trio.sleep(5)

    house = House(lane("there", deliver, concurrency=1))
    for _ in range(2):
        await house.plan("there")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.deliverer.run)
        await trio.sleep(1)
        house.deliverer.stop()
    assert trio.current_time() == 5.0
    assert house.states("there") == [State.PENDING, State.DELIVERED]
