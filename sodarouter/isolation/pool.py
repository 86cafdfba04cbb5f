"""A destination in processes of its own, as its lane sees it."""

import sys
from collections.abc import Sequence

import trio

from sodarouter.batch import BatchItem
from sodarouter.config import Config, ConfiguredDestination
from sodarouter.delivery import Delivery
from sodarouter.event import Event
from sodarouter.isolation.handed import Start
from sodarouter.isolation.worker import Worker
from sodarouter.metrics import Metrics
from sodarouter.store import Store


class Isolated:
    """Opens, delivers and closes as a `Destination` does, each attempt in a process that is killed when it is cancelled.

    The first process is there from `open` on. Others are started when more attempts are made at once, or in the place of
    one that was killed, and are kept for the next delivery.
    """

    threaded = False
    """It is awaited, whatever the destination's own code is."""

    def __init__(self, config: Config, configured: ConfiguredDestination, metrics: Metrics) -> None:
        self._metrics = metrics
        self.batched = configured.batch_size > 0
        plugin = config.plugins.owner(configured.kind)
        self._start = Start(
            configured.name,
            plugin.name,
            configured.kind.type,
            configured.given,
            plugin.given,
            configured.outgoing,
            tuple(sys.path),
        )
        self._redact = config.redact
        self._free: list[Worker] = []
        self._taken: set[Worker] = set()

    async def open(self) -> None:
        """Starts the first process, and waits until the destination is open in it.

        Raises:
            FaultElsewhere: The destination cannot be opened.
        """
        worker = self._take()
        try:
            await worker.until_open()
        except BaseException:
            worker.kill()
            raise
        finally:
            self._give_back(worker)

    async def __call__(self, event: Event, delivery: Delivery, store: Store) -> object:
        """As `Worker.deliver`, for one."""
        answers = await self.batch([BatchItem(event, delivery, store)])
        return answers[0] if isinstance(answers, list) and answers else None

    async def batch(self, batch: Sequence[BatchItem]) -> list[object] | object:
        """As `Worker.deliver`."""
        worker = self._take()
        try:
            await worker.until_open()
            return await worker.deliver(batch)
        finally:
            self._give_back(worker)

    async def close(self) -> None:
        """Closes the destination in every process, and ends them.

        Cancellation: the processes are killed.
        """
        workers = [*self._free, *self._taken]
        try:
            async with trio.open_nursery() as nursery:
                for worker in workers:
                    nursery.start_soon(worker.close)
        finally:
            for worker in workers:
                worker.kill()

    def _take(self) -> Worker:
        # the one that was used last: the others may be asleep on disk
        while self._free and not self._free[-1].usable:
            self._free.pop()
        worker = self._free.pop() if self._free else Worker(self._start, self._redact, self._metrics)
        self._taken.add(worker)
        return worker

    def _give_back(self, worker: Worker) -> None:
        self._taken.discard(worker)
        if worker.usable:
            self._free.append(worker)
