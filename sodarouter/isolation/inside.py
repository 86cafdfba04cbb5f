"""What runs in a destination's process: it opens the destination, makes the deliveries that it is handed, and closes it."""

import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import trio

from sodarouter import child, logs
from sodarouter.batch import BatchItem
from sodarouter.errors import PluginError, Reject, Retry
from sodarouter.event import Enrich
from sodarouter.failures import contained, describe, plainly
from sodarouter.isolation.frames import GONE, Frames
from sodarouter.isolation.handed import Close, Handed, Start, Value, unpacked
from sodarouter.isolation.measured import Measuring
from sodarouter.isolation.said import (
    LARGEST_SAID,
    Answer,
    Answered,
    Asked,
    Change,
    Closed,
    Failed,
    Failure,
    Fault,
    Odd,
    Opened,
    Raised,
    Said,
    answer_of,
    packed,
    refused,
    sayable,
)
from sodarouter.outgoing import HttpClient, HttpOptions
from sodarouter.plugins import AnyDestination, DeliverHook, made_again
from sodarouter.redact import Redactor
from sodarouter.store import Store

MOST_FAILURES = 100
"""How many failures of one attempt are told."""


def main(descriptor: int) -> None:
    """
    Args:
        descriptor: The socket to the router.
    """
    trio.run(_serve, child.set_up(descriptor))


async def _serve(connection: socket.socket) -> None:
    frames = Frames(trio.SocketStream(trio.socket.from_stdlib_socket(connection)))

    async def say(said: Said) -> None:
        await frames.send(packed(said))

    with suppress(*GONE):  # the router has gone
        start = unpacked(await frames.receive() or b"")
        assert isinstance(start, Start)  # noqa: S101 (the router begins with it)
        sys.path[:] = start.path
        redact = Redactor()
        _set_up_output(redact)
        inside = _Inside(frames, redact)
        failures: list[BaseException] = []
        with contained(failures):
            await inside.open(start)
        if failures:
            await say(Failed(*inside.told(failures[0], plainly)))
            return
        await say(Opened(inside.metrics.taken()))
        while data := await frames.receive():
            handed = unpacked(data)
            if isinstance(handed, Close):
                break
            assert isinstance(handed, Handed)  # noqa: S101 (there is nothing else)
            said = packed(await inside.deliver(handed))
            if len(said) > LARGEST_SAID:
                said = packed(Raised(handed.number, [Fault(f"it has {len(said):,} bytes to say", "")], [], []))
            await frames.send(said)
        with contained(failures):
            await inside.close()
        await say(Failed(*inside.told(failures[0])) if failures else Closed())


def _set_up_output(redact: Redactor) -> None:
    # a pipe is written to in blocks otherwise, of which the last is lost when the process is killed
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a TextIOWrapper
    # every line, as the router knows which of them are wanted
    logs.set_up("debug", "json", redact)


class _Inside:
    """The destination of this process."""

    def __init__(self, frames: Frames, redact: Redactor) -> None:
        self._frames = frames
        self._redact = redact
        self._number = 0
        """Of what is under way; 0: nothing is."""
        self._one_at_a_time = trio.Lock()
        self.metrics = Measuring()
        self._enrich: Enrich | None = None
        self._destination: AnyDestination
        self._deliver: DeliverHook

    async def open(self, start: Start) -> None:
        secrets: set[str] = set()
        try:
            plugin = made_again({start.plugin: start.plugin_given}, self._redact)
            kind = plugin.types.get(start.kind)
            if kind is None:
                raise PluginError(str(next(iter(plugin.faults()), f"no plugin offers {start.kind!r} any more")))
            options = start.given.validated(kind.options_type, secrets)
        finally:
            self._redact.learn(secrets)
        if proxy := start.outgoing.proxy:
            self._redact.learn([proxy.get_secret_value()])
        http = HttpClient(options, start.outgoing)
        self._destination = kind(start.name, options)
        self._destination.http = http
        self._destination.metrics = self.metrics
        if isinstance(options, HttpOptions):
            http.open()
        self._deliver = DeliverHook(self._destination)
        await self._destination.open()

    async def deliver(self, handed: Handed) -> Said:
        if not handed.enriched_as_before:
            self._enrich = handed.enrich
        self._number = handed.number
        items = [
            BatchItem(replace(event, enrich=self._enrich), delivery, self._store(handed.number, index))
            for index, (event, delivery) in enumerate(handed.items)
        ]
        failures: list[BaseException] = []
        answers: list[Answer] | Odd | None = None
        with contained(failures):
            answers = self._answers(await self._call(items), len(items))
        self._number = 0
        changes = [
            Change(index, key, kept.value if kept else None, kept.expires if kept else 0.0)
            for index, item in enumerate(items)
            for key, kept in item.store.seal().items()
        ]
        measured = self.metrics.taken()
        if failures:
            told = [self._failure(failure) for failure in failures[:MOST_FAILURES]]
            return Raised(handed.number, told, changes, measured)
        return Answered(handed.number, answers, changes, measured)

    async def _call(self, items: Sequence[BatchItem]) -> object:
        (first, *_) = items
        call, arguments = (
            (self._deliver.batch, (items,))
            if self._deliver.batched
            else (self._deliver, (first.event, first.delivery, first.store))
        )
        if self._deliver.threaded:
            return await trio.to_thread.run_sync(call, *arguments)
        work = call(*arguments)
        return None if work is None else await work

    def _answers(self, answer: object, count: int) -> list[Answer] | Odd | None:
        if not self._deliver.batched:
            return [answer_of(answer, self._redact)]
        if isinstance(answer, Sequence):
            # one more than there should be says as well that they are too many
            return [answer_of(one, self._redact) for one in answer[: count + 1]]
        return None if answer is None else Odd(type(answer).__name__[:100])

    def _failure(self, failure: BaseException) -> Failure:
        return refused(failure, self._redact) if isinstance(failure, Retry | Reject) else Fault(*self.told(failure))

    def _store(self, number: int, item: int) -> Store:
        async def read(key: str) -> str | None:
            # whole, as half a question would be taken for the beginning of the next
            with trio.CancelScope(shield=True):
                async with self._one_at_a_time:
                    if number != self._number:
                        raise RuntimeError("store: the attempt has ended")
                    text = await self._ask(Asked(number, item, key))
            return text

        return Store(read, 0.0, lambda text: self._redact(text) != text)

    async def _ask(self, asked: Asked) -> str | None:
        await self._frames.send(packed(asked))
        data = await self._frames.receive()
        value = unpacked(data) if data else Close()
        assert isinstance(value, Value)  # noqa: S101 (or the router has gone)
        return value.text

    async def close(self) -> None:
        try:
            await self._destination.close()
        finally:
            await self._destination.http.close()

    def told(self, failure: BaseException, line: Callable[[BaseException], str] = describe) -> tuple[str, str]:
        """What it is in a line, and where it comes from."""
        return self._safe(line(failure)), self._trace(failure)

    def _trace(self, failure: BaseException) -> str:
        try:
            return self._safe("".join(traceback.format_exception(failure)))
        except Exception:  # it is the plugin's own class
            return ""

    def _safe(self, text: str) -> str:
        return sayable(self._redact(text))
