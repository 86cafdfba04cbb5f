"""Opens the sockets that a server listens on."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sodarouter.address import Address
from sodarouter.errors import ConfigError, Fault

_HINTS = {
    errno.EADDRINUSE: "is another sodarouter running?",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "ports below 1024 need a capability, and a Unix socket a folder that can be written",
    errno.ENOENT: "the folder of the socket must exist",
}


@dataclass(frozen=True)
class Listener:
    """A socket that is bound and listens. Closing it removes the file of a Unix socket, if it is still its own."""

    address: Address
    """With the port that was taken, where port 0 was asked for."""
    socket: socket.socket
    file: tuple[int, int] | None = None
    """Device and inode of a Unix socket's file; ``None`` for one that was inherited, whose file stays."""

    def close(self) -> None:
        self.socket.close()
        path = self.address.path
        if path is not None:
            with contextlib.suppress(OSError):
                if _identity(path) == self.file:
                    path.unlink()


def bind(
    addresses: Iterable[Address],
    *,
    inherited: Mapping[Address, socket.socket] = {},
    unix_mode: int = 0o660,
    backlog: int = 2048,
) -> list[Listener]:
    """Opens a listener for every address, or none at all.

    Args:
        inherited: Sockets that listen already. One at a wanted address is taken over instead of opening another.
        unix_mode: The permissions of Unix sockets: who may connect.
        backlog: How many connections the kernel holds until they are accepted.

    Raises:
        ConfigError: With a fault for each address that cannot be listened on.
    """
    listeners: list[Listener] = []
    faults: list[Fault] = []
    for address in addresses:
        try:
            if address in inherited:
                listeners.append(Listener(address, inherited[address]))
            elif address.path is None:
                listeners.append(_tcp(address, backlog))
            else:
                listeners.append(_unix(address, address.path, unix_mode, backlog))
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            faults.append(Fault(str(address), reason, _HINTS.get(error.errno or 0, "")))
    if faults:
        for listener in listeners:
            listener.close()
        raise ConfigError(faults)
    return listeners


def _tcp(address: Address, backlog: int) -> Listener:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    family, kind, protocol, _, sockaddr = found[0]
    with contextlib.ExitStack() as undo:
        opened = undo.enter_context(socket.socket(family, kind, protocol))
        # a restart must not wait for the old connections to fade
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(sockaddr)
        opened.listen(backlog)
        undo.pop_all()
    return Listener(replace(address, port=opened.getsockname()[1]), opened)


def _unix(address: Address, path: Path, mode: int, backlog: int) -> Listener:
    _remove_stale(path)
    with contextlib.ExitStack() as undo:
        opened = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        opened.bind(str(path))
        undo.callback(path.unlink)
        # until it listens nobody can connect, so the mode is never too wide
        path.chmod(mode)
        opened.listen(backlog)
        undo.pop_all()
    return Listener(address, opened, _identity(path))


def _remove_stale(path: Path) -> None:
    """Removes the socket that a process which was killed has left.

    Raises:
        OSError: Somebody listens there, or it is no socket.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "in use")


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
