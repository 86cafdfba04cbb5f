"""The destination type ``file``: JSON Lines, one event a line.

Deliveries that arrive while a write is under way wait for it and are then written together, with one write and one fsync:
the first of them to get its turn writes for all. There is no task in the background, and a delivery ends when its own
line is in the file.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

import trio

from sodarouter import Delivery, Destination, Event, Preview, Retry, hookimpl
from sodarouter_file.line import compose
from sodarouter_file.live import LiveFile
from sodarouter_file.options import FileOptions
from sodarouter_file.rotated import RotatedFiles


@dataclass(eq=False, slots=True)
class _Line:
    """One delivery that waits for its line to be written. Until that has happened, it has failed."""

    event: Event
    delivery: Delivery
    taken: bool = False
    failure: Exception | None = field(default_factory=lambda: Retry("the line was not written"))


class File(Destination[FileOptions]):
    """Appends events to a file.

    Cancellation: a delivery that still waits for its turn leaves no line. The one that writes for all the others finishes
    first, as they depend on it.
    """

    type = "file"
    default_concurrency = 64
    example: ClassVar[Mapping[str, Any]] = {"path": "{folder}/events.jsonl"}

    def __init__(self, name: str, options: FileOptions) -> None:
        super().__init__(name, options)
        self._waiting: list[_Line] = []
        self._turn = trio.Lock()
        # one of its own: a write cannot be cancelled, so it must not wait for other plugins to give trio's shared ones back
        self._thread = trio.CapacityLimiter(1)
        self._rotated = RotatedFiles(options)
        self._live = LiveFile(options, self._rotated)
        self._tidier = ThreadPoolExecutor(1, thread_name_prefix=f"tidy {name}")
        self._stopping = threading.Event()

    async def open(self) -> None:
        await trio.to_thread.run_sync(self._live.open)
        if self.options.rotates:
            self._tidier.submit(self._tidy)  # what a crash may have left

    async def close(self) -> None:
        """Waits for rotated files to be compressed; one that is not done when this is cancelled is done after a restart."""
        try:
            await trio.to_thread.run_sync(self._tidier.shutdown, abandon_on_cancel=True)
        finally:
            self._stopping.set()
            self._tidier.shutdown(wait=False)
            self._live.close()

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        line = _Line(event, delivery)
        self._waiting.append(line)
        try:
            async with self._turn:
                if not line.taken:
                    batch, self._waiting = self._waiting, []
                    for each in batch:
                        each.taken = True
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(self._write, batch, limiter=self._thread)
        finally:
            if not line.taken:
                self._waiting.remove(line)
        if line.failure is not None:
            raise line.failure

    def preview(self, event: Event, delivery: Delivery) -> Preview:
        return Preview(str(self.options.path), compose(event, delivery, self.options))

    def _write(self, batch: list[_Line]) -> None:
        texts = []
        made = []
        for line in batch:
            try:
                texts.append(compose(line.event, line.delivery, self.options))
                made.append(line)
            except Exception as error:  # whatever is wrong with one event must not fail its neighbours
                line.failure = error
        try:
            if self._live.append(b"".join(texts)):
                self._tidier.submit(self._tidy)
        except OSError as error:
            for line in made:
                line.failure = Retry(f"cannot write to {self.options.path}: {error.strerror or error}")
        else:
            for line in made:
                line.failure = None

    def _tidy(self) -> None:
        try:
            self._rotated.tidy(self._stopping)
        except Exception:  # nobody asks this thread how it ended
            self.log.exception("rotated files cannot be tidied up", path=str(self.options.path))


@hookimpl
def destination_types() -> list[type[File]]:
    return [File]
