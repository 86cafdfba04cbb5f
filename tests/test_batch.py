"""Destinations that take many deliveries at once."""

import pytest
import trio
from house import House, lane
from structlog.testing import capture_logs

from sodarouter import BatchItem, Reject, Retry, State
from sodarouter.breaker import BreakerPolicy
from sodarouter.delivery import Breaker
from sodarouter.lane import Lane
from sodarouter.rate import Rate
from sodarouter.settle import RetryPolicy


def batched(deliver_batch, *, size=10, concurrency=1, threaded=False, **known) -> Lane:
    return Lane(
        "there",
        deliver_batch,
        threaded=threaded,
        timeout=10.0,
        concurrency=concurrency,
        policy=RetryPolicy(**known.pop("policy", {})),
        batch=size,
        **known,
    )


async def test_what_waits_goes_together_up_to_the_size(autojump_clock):
    sizes = []

    async def taking(batch: list[BatchItem]):
        sizes.append(len(batch))
        assert all(item.delivery.id == f"{item.event.id}/there" for item in batch)
        await trio.sleep(1)

    house = House(batched(taking))
    for _ in range(23):
        await house.plan("there")
    async with house.running():
        await trio.sleep(5)
        await house.plan("there")
        await trio.sleep(5)
    assert sizes == [10, 10, 3, 1]
    assert set(house.states("there")) == {State.DELIVERED}


async def test_as_many_batches_run_at_once_as_the_concurrency_says(autojump_clock):
    times = []

    async def taking(batch):
        times.append((trio.current_time(), len(batch)))
        await trio.sleep(1)

    house = House(batched(taking, concurrency=2))
    for _ in range(40):
        await house.plan("there")
    async with house.running():
        await trio.sleep(5)
    assert times == [(0.0, 10), (0.0, 10), (1.0, 10), (1.0, 10)]


async def test_each_delivery_of_a_batch_has_its_own_ending_and_store(autojump_clock):
    endings = iter([[None, Reject("never"), Retry("later", after=60.0)], [None]])

    async def answering(batch):
        for item in batch:
            item.store.set("of", item.delivery.id)
        return next(endings)

    house = House(batched(answering, size=3))
    for _ in range(3):
        await house.plan("there")
    async with house.running():
        await trio.sleep(1)
        assert house.states("there") == [State.PENDING, State.DEAD, State.DELIVERED]
        assert house.reasons("there") == {"", "rejected: never", "later"}
        await trio.sleep(100)
    assert house.states("there") == [State.DELIVERED, State.DEAD, State.DELIVERED]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([None], "deliver_batch returned something of type list, not an answer for each of 2 deliveries"),
        ("no", "deliver_batch answered something of type str for a delivery"),
        (7, "deliver_batch returned something of type int"),
        ([None, "yes"], "deliver_batch answered something of type str for a delivery"),
        ([None, Retry(7)], "Retry was raised with a reason or a response that is no text"),
    ],
)
async def test_a_wrong_answer_is_the_plugin_s_fault_and_tried_again(autojump_clock, answer, reason):
    async def answering(batch):
        return answer

    house = House(batched(answering, size=2))
    for _ in range(2):
        await house.plan("there")
    with capture_logs() as logged:
        async with house.running():
            await trio.sleep(1)
    assert State.PENDING in house.states("there")
    assert any(why.startswith(reason) for why in house.reasons("there"))
    assert [line["log_level"] for line in logged].count("error") == 1


@pytest.mark.parametrize("failure", [Retry("busy"), KeyError("x"), None])
async def test_what_a_batch_raises_counts_for_all_of_it(autojump_clock, failure):
    async def failing(batch):
        if failure:
            raise failure
        await trio.sleep_forever()

    house = House(batched(failing, breaker=BreakerPolicy(failures=2, pause=1e6, max_pause=1e6)))
    for _ in range(3):
        await house.plan("there")
    with capture_logs():
        async with house.running():
            await trio.sleep(1 if failure else 11)
            assert house.states("there") == [State.PENDING] * 3
            assert len(house.reasons("there")) == 1
            # one attempt, however many deliveries were in it
            assert house.deliverer.breakers()["there"] is Breaker.CLOSED


async def test_one_delivery_that_was_taken_is_enough_for_the_breaker(autojump_clock):
    async def answering(batch):
        return [None, *[Retry("busy")] * (len(batch) - 1)]

    house = House(batched(answering, breaker=BreakerPolicy(failures=1, pause=1e6, max_pause=1e6)))
    for _ in range(5):
        await house.plan("there")
    async with house.running():
        await trio.sleep(1)
        assert house.deliverer.breakers()["there"] is Breaker.CLOSED


async def test_a_rate_counts_batches(autojump_clock):
    times = []

    async def taking(batch):
        times.append((trio.current_time(), len(batch)))

    house = House(batched(taking, rate=Rate.model_validate("1/m")))
    for _ in range(25):
        await house.plan("there")
    async with house.running():
        await trio.sleep(200)
    assert times == [(0.0, 10), (60.0, 10), (120.0, 5)]


async def test_an_ordinary_function_takes_batches_in_a_thread():
    settled = trio.Event()
    seen = []

    def taking(batch):
        seen.append((len(batch), batch[0].store.get_from_thread("key")))

    house = House(batched(taking, threaded=True), told=lambda _: settled.set())
    await house.plan("there")
    async with house.running():
        with trio.fail_after(5):
            await settled.wait()
    assert seen == [(1, None)]


async def test_a_batch_and_single_deliveries_run_side_by_side(autojump_clock):
    async def hanging(batch):
        await trio.sleep_forever()

    times = []

    async def good(event, delivery):
        times.append(trio.current_time())

    house = House(batched(hanging), lane("good", good))
    for _ in range(5):
        await house.plan("there", "good")
    async with house.running():
        await trio.sleep(1)
    assert times == [0.0] * 5
