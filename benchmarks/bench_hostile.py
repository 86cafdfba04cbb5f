"""The ten hostile plugins, and a good one. They are installed where a router runs that is to withstand them."""

import time
from contextlib import suppress
from itertools import count

import trio

from sodarouter import Destination, IncidentLink, Options, Retry, hookimpl


class Ways(Options):
    way: str


class Hostile(Destination[Ways]):
    type = "hostile"

    async def deliver(self, event, delivery):
        await getattr(self, self.options.way)(event)

    async def raises(self, event):
        raise ValueError(f"no room for {event.id}")

    async def raises_groups(self, event):
        raise BaseExceptionGroup("all", [ExceptionGroup("some", [OSError(event.id), Retry("busy")]), SystemExit(3)])

    async def hangs(self, event):
        await trio.sleep_forever()

    async def swallows(self, event):
        with suppress(BaseException):
            await trio.sleep_forever()

    async def huge(self, event):
        raise Retry("r" * 1_000_000, response="q" * 1_000_000)

    async def floods(self, event):
        for number in range(100):
            self.metrics.count("labels", 1, label=f"{event.id} {number}")
        for number in range(10):
            self.log.warning("flood", number=number, event_id=event.id)

    async def rubbish(self, event):
        return IncidentLink(f"javascript:{event.id}", "x" * 1_000_000)

    async def meddler(self, event):
        pass

    def health(self):
        raise SystemExit("not well")


class Sleeping(Destination[Ways]):
    type = "sleeping"

    def deliver(self, event):
        time.sleep(60)  # the fault: its thread is gone for a minute


class Batched(Destination[Ways]):
    type = "batched"
    batch_size = 100

    async def deliver_batch(self, batch):
        await trio.sleep_forever()


class Good(Destination[Options]):
    type = "good"

    async def deliver(self, event):
        pass


told = count()


class Meddler:
    """Told and asked of everything."""

    @hookimpl
    def event_accepted(self, event):
        raise SystemExit(f"observer {next(told)}")

    @hookimpl
    def delivery_settled(self, settled):
        raise ValueError(f"observer {next(told)}")

    @hookimpl
    async def enrich(self, event):
        await trio.sleep_forever()

    @hookimpl
    def health(self):
        raise ValueError("not well")


meddler = Meddler()


@hookimpl
def destination_types():
    return [Hostile, Sleeping, Batched, Good]
