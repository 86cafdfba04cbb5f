"""One process of a destination, as the router holds it."""

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import structlog
import trio
from pydantic_core import from_json

from sodarouter import child
from sodarouter.batch import BatchItem
from sodarouter.event import Enrich
from sodarouter.failures import FaultElsewhere, contained
from sodarouter.isolation.frames import GONE, BadFrame, Frames
from sodarouter.isolation.handed import Close, Handed, Start, Value, packed
from sodarouter.isolation.measured import tell
from sodarouter.isolation.output import Output
from sodarouter.isolation.said import (
    LARGEST_SAID,
    Answered,
    Asked,
    Closed,
    Failed,
    Odd,
    Opened,
    Raised,
    Said,
    error_of,
    fault_of,
    unpacked,
    value_of,
)
from sodarouter.metrics import Metrics
from sodarouter.redact import Redactor

OPEN_TIMEOUT = 30.0
"""Seconds that a process may take to start and to open its destination."""
DRAIN = 1.0
"""Seconds that its output is read for after its end: what it has started may hold it open for ever."""
REAP = 1.0
"""Seconds in which the system ends a process that was killed, if it is not asleep in a driver."""

log = structlog.get_logger()


class Worker:
    """A process that opens a destination and makes one delivery, or one batch of them, at a time.

    It runs beside all attempts, in a task of the system's: an attempt that is over before the process has started does
    not keep it from being there for the next one.
    """

    def __init__(self, start: Start, redact: Redactor, metrics: Metrics) -> None:
        self._start = start
        self._metrics = metrics
        self._output = Output(start.name, redact)
        ours, self._theirs = socket.socketpair()
        self._frames = Frames(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), LARGEST_SAID)
        self._process: trio.Process | None = None
        self._number = 0
        self._enrich: Enrich | None = None
        self._settled = trio.Event()
        """Set when it is open, or will never be."""
        self._opened = False
        self._killed = False
        self._ended = trio.Event()
        self._failure = ""
        """Why it can no longer be used."""
        trio.lowlevel.spawn_system_task(self._run, name=f"process of {start.name}")

    @property
    def usable(self) -> bool:
        return not (self._killed or self._failure or self._ended.is_set())

    async def until_open(self) -> None:
        """Waits until the destination is open in it.

        Raises:
            FaultElsewhere: It could not be opened.

        Cancellation: it goes on without the caller.
        """
        await self._settled.wait()
        if not self._opened:
            raise FaultElsewhere(self._failure)

    async def deliver(self, items: Sequence[BatchItem]) -> list[object] | object:
        """Has it make a delivery, or a batch of them, and ends as ``deliver`` did there.

        Returns:
            What was returned there for each; for a batch also what was returned instead of that.

        Raises:
            Retry: As it was raised there.
            Reject: As it was raised there.
            FaultElsewhere: It has raised anything else, or the process has ended or does not keep to what is agreed.
            BaseExceptionGroup: Of these, when it has raised several at once.
            ValueError: The store does not take what was put into it.

        Cancellation: the process is killed, and the store is not changed.
        """
        self._number += 1
        try:
            handed = Handed.of(self._number, [(item.event, item.delivery) for item in items], self._enrich)
            self._enrich = items[0].event.enrich
            with suppress(*GONE):  # how it has ended is found out next
                await self._frames.send(packed(handed))
            while isinstance(said := await self._answer(), Asked):
                await self._look_up(said, items)
            if not isinstance(said, Answered | Raised) or said.number != self._number:
                self._distrust("something that was not asked")
            if any(not 0 <= change.item < len(items) for change in said.changes):
                self._distrust("something about another delivery")
        except BaseException:
            self.kill()
            raise
        tell(said.measured, self._metrics)
        for change in said.changes:
            store = items[change.item].store
            if change.value is None:
                store.delete(change.key)
            else:
                store.set(change.key, from_json(change.value), expires=change.expires)
        if isinstance(said, Raised):
            failures = [error_of(failure) for failure in said.failures]
            raise failures[0] if len(failures) == 1 else BaseExceptionGroup("", failures)
        match said.answers:
            case list(answers):
                return [value_of(answer) for answer in answers]
            case Odd():
                return value_of(said.answers)
        return None

    async def _look_up(self, asked: Asked, items: Sequence[BatchItem]) -> None:
        if asked.number != self._number or not 0 <= asked.item < len(items):
            self._distrust("something about another delivery")
        try:
            value = await items[asked.item].store.get(asked.key)
        except ValueError:
            self._distrust("a key that no store has")
        with suppress(*GONE):
            await self._frames.send(packed(Value(None if value is None else json.dumps(value))))

    async def close(self) -> None:
        """Has it close its destination, and waits for its end.

        Raises:
            FaultElsewhere: That failed.

        Cancellation: the process is killed.
        """
        try:
            if self._opened and self.usable:
                with suppress(*GONE):
                    await self._frames.send(packed(Close()))
                said = await self._answer()
                if isinstance(said, Failed):
                    raise fault_of(said)
                if isinstance(said, Closed):
                    await self._ended.wait()
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends it, and whatever it has started in its session."""
        self._killed = True
        if self._process is not None and not self._ended.is_set():
            child.kill(self._process.pid)

    async def _answer(self) -> Said:
        try:
            data = await self._frames.receive()
            if data is not None:
                return unpacked(data)
        except BadFrame as error:
            self._distrust(str(error))
        # it has ended, or will not speak any more
        with trio.move_on_after(REAP):
            await self._ended.wait()
        raise FaultElsewhere(self._failure or "its process hung up")

    def _distrust(self, what: str) -> NoReturn:
        self._failure = f"its process said {what}"
        raise FaultElsewhere(self._failure)

    async def _run(self) -> None:
        failures: list[BaseException] = []
        with contained(failures):
            try:
                await self._live()
            finally:
                with trio.move_on_after(REAP, shield=True):
                    await self._bury()
                self._ended.set()
                self._settled.set()
                self._frames.stream.socket.close()
        if failures:
            log.error("the process of a destination is lost", destination=self._start.name, exc_info=failures[0])

    async def _live(self) -> None:
        try:
            self._process = process = await trio.lowlevel.open_process(
                # its name tells people whose it is; the rest goes over the socket, where nobody else can read it
                [sys.executable, "-P", "-m", "sodarouter.isolation", self._start.name, str(self._theirs.fileno())],
                # its other end is closed when the router ends, however that may be
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[self._theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            self._failure = f"its process cannot be started: {error.strerror}"
            return
        finally:
            self._theirs.close()
        if self._killed:
            return
        assert process.stdout is not None  # noqa: S101 (it was asked for)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._output.relay, process.stdout)
            nursery.start_soon(self._open)
            status = await process.wait()
            self._died(status)
            # what it has said is still there to be read; what it has started may hold the other end
            with suppress(OSError):
                self._frames.stream.socket.shutdown(socket.SHUT_RD)
            child.kill(process.pid)
            nursery.cancel_scope.deadline = trio.current_time() + DRAIN
        self._output.end()

    async def _bury(self) -> None:
        if self._process is not None:
            if self._process.returncode is None:  # else its number may be another's by now
                child.kill(self._process.pid)
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None  # noqa: S101 (both were asked for)
                await stream.aclose()
            await self._process.wait()

    def _died(self, status: int) -> None:
        expected, self._failure = bool(self._failure), self._failure or f"its process {child.ended(status)}"
        self._ended.set()
        self._settled.set()
        if not self._killed and not expected and status:
            log.warning(self._failure.replace("its", "the destination's", 1), destination=self._start.name)

    async def _open(self) -> None:
        with suppress(*GONE):
            await self._frames.send(packed(self._start))
        with trio.move_on_after(OPEN_TIMEOUT) as scope:
            try:
                said = await self._answer()
                if isinstance(said, Failed):
                    self._failure = said.text
                elif isinstance(said, Opened):
                    self._opened = True
                    tell(said.measured, self._metrics)
            except FaultElsewhere as fault:
                self._failure = str(fault)
        if scope.cancelled_caught:
            self._failure = f"was not open after {OPEN_TIMEOUT:g} seconds"
        if not self._opened:
            self.kill()
        self._settled.set()
