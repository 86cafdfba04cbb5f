"""Runs one command, and leaves nothing of it behind."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

GRACE = 2.0
"""Seconds between the request to end and the end."""
DRAIN = 1.0
"""How long the output is read for after the command has ended: what it has started may hold it open for ever."""
CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command has ended."""

    status: int
    """Its exit status; negative: the number of the signal that ended it."""
    output: str
    """The last whole lines of what it has printed."""


class Tail:
    """The last lines of a stream, in bounded memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = b""

    def add(self, data: bytes | bytearray) -> None:
        # one byte more than is shown: it tells whether a line begins where the rest does
        self._kept = (self._kept + data)[-self._limit - 1 :]

    def text(self) -> str:
        # only whole lines: a secret that is cut in half would no longer be known as one
        whole = self._kept if len(self._kept) <= self._limit else self._kept.partition(b"\n")[2]
        return whole.decode(errors="replace")


async def run(
    command: Sequence[str],
    given: bytes,
    environment: Mapping[str, str],
    cwd: Path | None,
    max_output: int,
) -> Ended:
    """Runs a command to its end, in a process group of its own, which ends with it.

    Args:
        command: The program's path and the arguments.
        given: For its standard input. That it does not read all of it is no fault.
        max_output: Bytes of its output that are kept.

    Raises:
        OSError: It cannot be started.

    Cancellation: the group is asked to end, and killed if it has not within `GRACE`. It is gone when this returns.
    """
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=cwd,
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101 (it was asked for)
    assert process.stdout is not None  # noqa: S101 (as above)
    tail = Tail(max_output)
    status = None
    try:
        async with trio.open_nursery() as pipes:
            pipes.start_soon(_feed, process.stdin, given)
            pipes.start_soon(_read, process.stdout, tail)
            status = await process.wait()
            # what it has left running would escape every limit; a daemon leaves the group by itself
            _signal(process.pid, signal.SIGKILL)
            pipes.cancel_scope.deadline = trio.current_time() + DRAIN
    finally:
        with trio.CancelScope(shield=True):
            if status is None:
                await _end(process)
            await trio.aclose_forcefully(process.stdin)
            await trio.aclose_forcefully(process.stdout)
    return Ended(status, tail.text())


async def _feed(stream: trio.abc.SendStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.send_all(data)
    await stream.aclose()


async def _read(stream: trio.abc.ReceiveStream, tail: Tail) -> None:
    # to the end, whatever is kept: a command must not wait for somebody to read
    while data := await stream.receive_some(CHUNK):
        tail.add(data)


async def _end(process: trio.Process) -> None:
    _signal(process.pid, signal.SIGTERM)
    with trio.move_on_after(GRACE):
        await process.wait()
    _signal(process.pid, signal.SIGKILL)
    await process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # there is nobody left; what is left has another user
        os.killpg(group, number)
