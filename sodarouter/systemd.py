"""What systemd and a daemon tell each other: how the daemon is, and the sockets that were opened for it.

Both are plain protocols, sd_notify(3) and sd_listen_fds(3). A process that systemd has not started finds none of their
variables, and then nothing here does anything.
"""

import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Self

import structlog
import trio

from sodarouter.address import Address
from sodarouter.errors import ConfigError, Fault

PATIENCE = 5.0
"""Seconds that systemd may take to accept a message; then the daemon goes on without having told it."""
FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""

log = structlog.get_logger()


class Notifier:
    """Tells systemd how the daemon is. What cannot be told is logged once, and stops nothing.

    Args:
        address: Where systemd listens: a path, or ``@name`` for an abstract socket. Without it nothing is told.
        watchdog: Seconds of silence after which systemd restarts the daemon; 0 if it does not watch.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self._address = address
        self._watchdog = watchdog if address else 0.0
        self._failed = False

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Self:
        """As systemd asks for in ``environ``. Its variables are taken out: no child must speak for the daemon."""
        address, microseconds, pid = (
            environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        )
        watched = microseconds.isdecimal() and pid in ("", str(os.getpid()))
        return cls(address, int(microseconds) / 1e6 if watched else 0.0)

    async def ready(self, status: str) -> None:
        """The daemon serves; or a reload has ended, well or not."""
        await self._tell("READY=1", _status(status))

    async def reloading(self) -> None:
        """A reload begins; `ready` must follow."""
        # the time tells systemd that this answers its latest request, and not one before
        await self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    async def stopping(self, status: str) -> None:
        await self._tell("STOPPING=1", _status(status))

    async def status(self, status: str) -> None:
        """One line for who asks ``systemctl status``."""
        await self._tell(_status(status))

    async def feed_watchdog(self, alive: Callable[[], Awaitable[bool]]) -> None:
        """Says at half of the watchdog's time that the daemon lives. Returns at once if systemd does not watch.

        Args:
            alive: Asked each time. While it is false, or does not answer, nothing is said.
        """
        while self._watchdog:
            if await alive():
                await self._tell("WATCHDOG=1")
            await trio.sleep(self._watchdog / 2)

    async def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        reason = f"it took no message in {PATIENCE:.0f} seconds"
        with trio.move_on_after(PATIENCE):
            try:
                with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                    # connected, because only then the kernel can be asked to wait for room
                    name = self._address
                    await channel.connect(f"\0{name[1:]}" if name.startswith("@") else name)
                    await channel.send("\n".join(lines).encode())
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
            else:
                return
        if not self._failed:
            self._failed = True
            log.warning("systemd cannot be told", told=lines[0], socket=self._address, reason=reason)


def inherited_sockets(
    environ: MutableMapping[str, str], wanted: Collection[Address], *, first: int = FIRST_DESCRIPTOR
) -> dict[Address, socket.socket]:
    """The listening sockets that systemd has opened for this process, by their addresses.

    Neither the variables, which are taken out of ``environ``, nor the descriptors are inherited by children.

    Args:
        wanted: The addresses that the router is to listen on.
        first: The descriptor of the first socket; the others follow.

    Raises:
        ConfigError: One listens where the router does not, or does not listen at all. Whoever connected there would
            wait for an answer that nobody gives.
    """
    pid, count, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    sockets: dict[Address, socket.socket] = {}
    faults: list[Fault] = []
    with ExitStack() as undo:
        for descriptor, unit in zip_longest(range(first, first + int(count)), names.split(":")[: int(count)]):
            place = unit or f"descriptor {descriptor}"
            try:
                os.set_inheritable(descriptor, False)
                opened = undo.enter_context(socket.socket(fileno=descriptor))
                address = _address(opened)
            except OSError:  # no socket, such as ListenFIFO= gives
                address = None
            if address is None:
                hint = "write ListenStream= and leave Accept= out"
                faults.append(Fault(place, f"descriptor {descriptor} does not listen for TCP or Unix streams", hint))
            elif address in sockets:
                faults.append(Fault(place, f"{address} is handed over twice"))
            elif address not in wanted:
                hint = "ListenStream= and router.toml must name the same addresses"
                faults.append(Fault(place, f"{address} is neither in server.listen nor in admin.listen", hint))
            else:
                sockets[address] = opened
        if faults:
            raise ConfigError(faults)
        undo.pop_all()
    return sockets


def _address(opened: socket.socket) -> Address | None:
    """Where a socket listens for streams; ``None`` if it does not."""
    if opened.type != socket.SOCK_STREAM or not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    name = opened.getsockname()
    if opened.family == socket.AF_UNIX:
        return Address(path=Path(f"@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else name))
    if opened.family in (socket.AF_INET, socket.AF_INET6):
        host, port, *_ = name
        return Address.parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return None


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
