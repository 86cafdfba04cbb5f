"""The router as a process: one life after another on one configuration."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
TOLD = 30
"""Lines of the log that are quoted when a life goes wrong."""


class Broken(Exception):
    """The router did what it must not, or did not what it must."""


class Life:
    """One process, from its start to its end."""

    def __init__(self, process: trio.Process, log: Path) -> None:
        self.process = process
        self.url = ""
        """Where it listens, once it is ready."""
        self.told: list[str] = []
        """The messages of its log."""
        self._log = log
        self._changed = trio.Event()
        self._over = False

    async def read(self) -> None:
        """Reads its log until it ends."""
        assert self.process.stderr is not None
        rest = b""
        with self._log.open("ab") as log:
            async for piece in self.process.stderr:
                log.write(piece)
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._take(line.decode(errors="replace"))
        self._over = True
        self._tell()

    def _take(self, line: str) -> None:
        try:
            known = json.loads(line)
        except ValueError:  # a traceback of the interpreter itself
            known = {"message": line}
        self.told.append(known["message"])
        if known["message"] == "ready":
            self.url = f"http://{known['listen'][0]}"
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until_told(self, word: str, after: int = 0) -> str:
        """The first message from the given place on that has the word in it.

        Raises:
            Broken: The process ended without it.
        """
        while True:
            for message in self.told[after:]:
                if word in message:
                    return message
            if self._over:
                raise Broken(f"the router ended without {word!r}:\n{self._quoted()}")
            await self._changed.wait()

    async def until_ready(self) -> None:
        """
        Raises:
            Broken: It ended instead.
        """
        if not await self.gets_ready():
            raise Broken(f"the router did not get ready:\n{self._quoted()}")

    async def gets_ready(self) -> bool:
        """Waits for one of the two: true when it is ready, false when it has ended instead."""
        while not (self.url or self._over):
            await self._changed.wait()
        return bool(self.url)

    async def until_ended(self) -> int:
        """Its exit status; that of a signal is negative."""
        while not self._over:
            await self._changed.wait()
        return await self.process.wait()

    async def until_killed(self) -> None:
        """
        Raises:
            Broken: It ended in another way.
        """
        status = await self.until_ended()
        if status != -signal.SIGKILL:
            raise Broken(f"the router ended with status {status}:\n{self._quoted()}")

    def workers(self) -> list[int]:
        """Its intake processes, by their numbers."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        return [pid for pid in children if b"sodarouter.workers" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def kill(self) -> None:
        self.process.kill()

    async def stop(self) -> None:
        """Asks it to stop, and waits until it has.

        Raises:
            Broken: It did not end well.
        """
        self.process.terminate()
        if status := await self.until_ended():
            raise Broken(f"the router, asked to stop, ended with status {status}:\n{self._quoted()}")

    def catches(self, number: signal.Signals) -> bool:
        """Whether it has a handler for a signal."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (number - 1) & 1)

    def _quoted(self) -> str:
        with suppress(OSError):
            return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-TOLD:])
        return ""


@asynccontextmanager
async def life(
    config: Path, log: Path, *, module: str = "sodarouter", before: Sequence[str] = (), under: Sequence[str] = ()
) -> AsyncIterator[Life]:
    """Starts the router, and kills it at the end of the block if it still runs.

    Args:
        config: Its configuration.
        log: A file to which its log is appended.
        module: What is run in place of ``sodarouter``.
        before: Arguments that stand before its own.
        under: The command that runs it.
    """
    command = [*under, sys.executable, "-m", module, *before, "--config", str(config)]
    process = await trio.lowlevel.open_process(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    begun = Life(process, log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(begun.read)
        try:
            yield begun
        finally:
            begun.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
