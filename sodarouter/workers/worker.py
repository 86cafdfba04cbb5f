"""One process that takes in, as the router holds it."""

import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

import structlog
import trio

from sodarouter import child
from sodarouter.admit import Here
from sodarouter.failures import storable
from sodarouter.workers import handed, said
from sodarouter.workers.handed import Setup, Start
from sodarouter.workers.hearing import Hearing, Known
from sodarouter.workers.wire import BadFrame, Frame, Wire

SILENCE = 30
"""Seconds without a sign of life after which a process is taken for dead."""
REAP = 1.0
"""Seconds in which the system ends a process that was killed, and in which one ends that has hung up."""

log = structlog.get_logger()


class Worker:
    """A process that takes in, to be `run` once.

    Args:
        known: Gives what is known now.
        serving: Called when it serves for the first time.
    """

    def __init__(self, admission: Here, known: Callable[[], Known], serving: Callable[[], None]) -> None:
        self._known = known
        self._tell_serving = serving
        ours, self._theirs = socket.socketpair()
        self._wire = Wire(ours, known().largest + said.HEAD)
        self.hearing = Hearing(self._wire, admission, known)
        self._process: trio.Process | None = None
        self._its_turn = False
        """Whether the router waits for it."""
        self._failure = ""
        """Why it can no longer be used."""
        self._over = False
        self._taken_up = -1
        """The number of the last configuration that it serves under."""
        self._changed = trio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def serves(self) -> bool:
        return self._taken_up >= 0 and not self._over

    async def run(self, start: Start, setup: Setup) -> str:
        """Runs it to its end. Gives how that came.

        Cancellation: it is killed.
        """
        self._wire.open()
        try:
            self._wire.put(handed.START, handed.packed(start))
            self.set_up(setup)
            return await self._run([descriptor for _, descriptor in start.listeners])
        finally:
            self._over = True
            self._change()
            self.hearing.end()
            self._wire.close()

    def set_up(self, setup: Setup) -> None:
        """Has it take up a configuration."""
        self._wire.limit = self._known().largest + said.HEAD
        self._wire.put(handed.SETUP, handed.packed(setup))

    async def until_taken_up(self, number: int) -> None:
        """Returns when it serves under this configuration, or will not any more."""
        while not self.has_taken_up(number) and not self._over:
            await self._changed.wait()

    def has_taken_up(self, number: int) -> bool:
        return self._taken_up >= number

    def stop(self) -> None:
        """Has it end, once the requests that are under way are answered."""
        self._wire.put(handed.STOP)

    def give_up(self, why: str) -> None:
        """Ends it at once."""
        self._failure = self._failure or why
        if self._process is not None:
            child.kill(self._process.pid)

    async def _run(self, descriptors: Sequence[int]) -> str:
        try:
            self._process = process = await trio.lowlevel.open_process(
                [sys.executable, "-P", "-m", "sodarouter.workers", str(self._theirs.fileno())],
                # its other end is closed when the router ends, however that may be
                stdin=subprocess.PIPE,
                pass_fds=[self._theirs.fileno(), *descriptors],
                start_new_session=True,
            )
        except OSError as error:
            return f"it cannot be started: {error.strerror}"
        finally:
            self._theirs.close()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wire.drain)
                nursery.start_soon(self._watch)
                nursery.start_soon(self._hang_up, process)
                async with trio.open_nursery() as beside:
                    await self._listen(beside)
                with trio.move_on_after(REAP):
                    await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self._bury(process)
        status = process.returncode
        return self._failure or (f"it {child.ended(status)}" if status is not None else "it hung up")

    async def _hang_up(self, process: trio.Process) -> None:
        """Lets what it said be taken in after its end, and waits no longer: what it has started may hold the socket."""
        await process.wait()
        await trio.sleep(REAP)
        self._wire.close()

    async def _bury(self, process: trio.Process) -> None:
        if process.returncode is None:  # else its number may be another's by now
            child.kill(process.pid)
        assert process.stdin is not None  # noqa: S101 (it was asked for)
        await process.stdin.aclose()
        with trio.move_on_after(REAP):
            await process.wait()

    async def _listen(self, beside: trio.Nursery) -> None:
        """Takes in what it says, to its end; what it said before that is taken in too."""
        try:
            while frames := await self._frames():
                await self.hearing.hear([frame for frame in frames if not self._is_about_itself(frame)], beside)
        except BadFrame as error:
            self.give_up(f"it said {error}")
        except Exception as error:  # what it faces the internet with must not be the end of the router
            log.exception("what an intake process said could not be taken in")
            self.give_up(f"it said something over which the router failed with {type(error).__name__}")

    async def _frames(self) -> list[Frame]:
        self._its_turn = True
        # who does not listen is not listened to: what it is answered must not pile up
        await self._wire.clear()
        frames = await self._wire.frames()
        self._its_turn = False
        return frames

    def _is_about_itself(self, frame: Frame) -> bool:
        kind, data = frame
        match kind:
            case said.SERVING:
                first = self._taken_up < 0
                self._taken_up = said.number_of(data)
                self._change()
                if first:
                    self._tell_serving()
            case said.FAILED:
                self._failure = storable(data.decode(errors="replace"))
            case _:
                return False
        return True

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _watch(self) -> None:
        """Ends it if it says nothing although it should."""
        seconds, before = 0, self._wire.count
        while seconds < SILENCE:
            # one by one: a loop that stands still counts as one, however long
            await trio.sleep(1)
            said_more, before = self._wire.count != before, self._wire.count
            seconds = 0 if said_more or not self._its_turn else seconds + 1
        self.give_up(f"it has said nothing for {SILENCE} seconds")
