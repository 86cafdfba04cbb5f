"""A distribution of hostile plugins: what each does, and what is to become of its deliveries."""

SOURCE = '''
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import trio

from sodarouter import Destination, IncidentLink, Options, Reject, Retry, hookimpl


class HostileOptions(Options):
    way: str


class Nasty:
    """Whatever is asked of it raises."""

    __hash__ = None

    def __getattribute__(self, name):
        raise SystemExit("not even this")


class NastyText(str):
    """Text each of whose methods raises."""


class NastyNumber(float):
    """A number each of whose methods raises."""


def nasty(self, *arguments, **known):
    raise SystemExit("not even this")


for name in ("__contains__ __eq__ __format__ __getitem__ __iter__ __len__ __lt__ __str__ __add__ __radd__ __hash__ __repr__ "
             "encode isprintable join replace split splitlines strip lower partition").split():
    setattr(NastyText, name, nasty)
for name in "__bool__ __eq__ __lt__ __gt__ __le__ __ge__ __add__ __radd__ __mul__ __rmul__ __float__ __str__".split():
    setattr(NastyNumber, name, nasty)


class Unspeakable(Exception):
    __str__ = __repr__ = nasty


class Untraceable(Exception):
    @property
    def __cause__(self):
        raise SystemExit("not even this")


class Faceless(Exception):
    @property
    def __class__(self):
        raise SystemExit("not even this")


class Unreadable(Retry):
    @property
    def reason(self):
        raise SystemExit("not even this")

    def __init__(self):
        pass


class LyingText(str):
    """Text that cannot be written as UTF-8, and says that it can."""

    def encode(self, *arguments):
        return b"fine"


class LyingAnswers(Sequence):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        raise SystemExit("not even this")


def deep(error, levels):
    for _ in range(levels):
        error = BaseExceptionGroup("deeper", [error])
    return error


class Hostile(Destination[HostileOptions]):
    type = "hostile"

    async def deliver(self, event, delivery, store):
        return await getattr(self, self.options.way)(event, store)

    async def raises(self, event, store):
        raise ValueError("broken")

    async def raises_system_exit(self, event, store):
        raise SystemExit(3)

    async def raises_keyboard_interrupt(self, event, store):
        raise KeyboardInterrupt

    async def raises_a_group(self, event, store):
        raise BaseExceptionGroup("all", [Retry("busy"), ExceptionGroup("some", [OSError("of the group")])])

    async def raises_a_deep_group(self, event, store):
        raise deep(OSError("at the bottom"), 10_000)

    async def raises_the_unspeakable(self, event, store):
        raise Unspeakable

    async def raises_the_untraceable(self, event, store):
        raise Untraceable("of nothing")

    async def raises_the_faceless(self, event, store):
        raise Faceless("who")

    async def raises_what_has_no_name(self, event, store):
        raise type("X" * 10_000_000, (Exception,), {})

    async def raises_ten_million_characters(self, event, store):
        raise ValueError("ten million " * 1_000_000)

    async def retries_with_nasty_texts(self, event, store):
        raise Retry(NastyText("nasty reason"), response=NastyText("nasty response"))

    async def retries_after_a_nasty_number(self, event, store):
        raise Retry("busy", after=NastyNumber(1))

    async def retries_unreadably(self, event, store):
        raise Unreadable

    async def retries_with_ten_million_characters(self, event, store):
        raise Retry("r" * 10_000_000, response="q" * 10_000_000)

    async def rejects_with_a_nasty_text(self, event, store):
        raise Reject(NastyText("nasty reason"))

    async def hangs(self, event, store):
        await trio.sleep_forever()

    async def swallows_its_cancellation(self, event, store):
        try:
            await trio.sleep_forever()
        except BaseException:
            pass

    async def fails_while_it_is_cancelled(self, event, store):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fails_at_the_end)
            await trio.sleep_forever()

    async def fails_at_the_end(self):
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("at the end")

    async def takes_all_threads_of_the_pool(self, event, store):
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(
                    lambda: trio.to_thread.run_sync(threading.Event().wait, 5, abandon_on_cancel=True)
                )

    async def leaves_a_task_behind(self, event, store):
        trio.lowlevel.spawn_system_task(trio.sleep_forever)

    async def returns_what_is_nasty(self, event, store):
        return Nasty()

    async def returns_a_coroutine(self, event, store):
        return "a text", {"key": "value"}

    async def links_half(self, event, store):
        return IncidentLink.__new__(IncidentLink)

    async def links_nasty_texts(self, event, store):
        return IncidentLink(NastyText("https://tracker.example/1"), NastyText("one"))

    async def links_no_texts(self, event, store):
        return IncidentLink(b"https://tracker.example/1", 7)

    async def links_with_control_characters(self, event, store):
        return IncidentLink("https://tracker.example/\\r\\nX: y", "two")

    async def links_with_ten_million_characters(self, event, store):
        return IncidentLink("https://tracker.example/" + "x" * 10_000_000, "y" * 10_000_000)

    async def links_with_half_of_another_s_secret(self, event, store):
        return IncidentLink("https://tracker.example/3", "z" * 190 + "T0K3N-of-another")

    async def keeps_under_a_key_that_lies(self, event, store):
        store.set(LyingText("caf\\udce9"), 1)

    async def keeps_under_a_nasty_key(self, event, store):
        store.set(NastyText("nasty key"), {NastyText("k"): NastyText("v")})

    async def keeps_for_a_nasty_time(self, event, store):
        store.set("k", 1, expires=NastyNumber(60))

    async def keeps_for_ever(self, event, store):
        store.set("k", 1, expires=10 ** 400)

    async def keeps_a_thousand_keys(self, event, store):
        for number in range(1000):
            store.set(f"key {number}", number)

    async def keeps_a_megabyte(self, event, store):
        store.set("k", "x" * 1_000_000)

    async def keeps_what_nests(self, event, store):
        nested = []
        for _ in range(100_000):
            nested = [nested]
        store.set("k", nested)

    async def counts_nasty_numbers(self, event, store):
        self.metrics.count("nasty", NastyNumber(1))

    async def counts_under_nasty_labels(self, event, store):
        self.metrics.count("nasty", 1, label=NastyText("x"))

    async def counts_a_thousand_labels(self, event, store):
        for number in range(1000):
            self.metrics.gauge("many", number, label=str(number))

    async def tampers_with_the_event(self, event, store):
        event.__dict__.update(view=None, payload=None, id=None, source=None, type=None, raw=None)

    def health(self):
        return NastyText("nasty health")


class HostileBatch(Destination[HostileOptions]):
    type = "hostile-batch"
    batch_size = 10

    async def deliver_batch(self, batch):
        return await getattr(self, self.options.way)(batch)

    async def batch_raises_a_group(self, batch):
        raise ExceptionGroup("all", [Reject("no"), OSError("of the batch")])

    async def batch_hangs(self, batch):
        await trio.sleep_forever()

    async def batch_swallows_its_cancellation(self, batch):
        try:
            await trio.sleep_forever()
        except BaseException:
            return [None for _ in batch]

    async def batch_lies_about_its_length(self, batch):
        return LyingAnswers(len(batch))

    async def batch_answers_too_many(self, batch):
        return [None] * (len(batch) + 1)

    async def batch_answers_what_is_nasty(self, batch):
        return [Nasty() for _ in batch]

    async def batch_answers_unreadably(self, batch):
        return [Unreadable() for _ in batch]

    async def batch_returns_what_is_nasty(self, batch):
        return Nasty()

    async def batch_is_emptied(self, batch):
        for item in batch:
            item.event.__dict__.clear()
        batch.clear()


class InThreads(Destination[HostileOptions]):
    type = "hostile-threads"
    latch = threading.Event()

    def deliver(self, event, delivery, store):
        return getattr(self, self.options.way)(event, store)

    def thread_hangs(self, event, store):
        self.latch.wait(5)

    def thread_keeps_after_its_time(self, event, store):
        with suppress(RuntimeError):
            while True:  # until its time is over
                store.delete("late")
                self.latch.wait(0.05)
        store.set("late", 1)

    def thread_raises_the_unspeakable(self, event, store):
        raise Unspeakable

    def thread_exits(self, event, store):
        raise SystemExit("of the thread")


class Observer:
    def __init__(self):
        self.told = 0

    @hookimpl
    def event_accepted(self, event):
        event.payload.model_extra.clear()
        event.__dict__["view"] = None
        raise SystemExit("of the observer")

    @hookimpl
    def event_refused(self, source, status, reason):
        raise Unspeakable

    @hookimpl
    def delivery_settled(self, settled):
        self.told += 1
        raise KeyError(self.told)

    @hookimpl
    def health(self):
        raise Faceless("health")


observer = Observer()


@hookimpl
def destination_types():
    return [Hostile, HostileBatch, InThreads]


@hookimpl
def health():
    return NastyText("nasty health")


@hookimpl
async def enrich(event):
    event.payload.model_extra.clear()
    event.__dict__["view"] = None
    return {"tier": Nasty()}
'''
