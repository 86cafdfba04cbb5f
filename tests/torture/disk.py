"""The disk under the spool: it can be filled and emptied, and its writes made to fail."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import trio

SLACK = 65_536
"""Bytes that a disk grows meanwhile."""
TRIES = 100


class Disk(Protocol):
    kind: str
    """How it is filled, for the report."""
    folder: Path

    def fill(self, process: trio.Process) -> None:
        """Leaves no room for a router."""
        ...

    def make_room(self, process: trio.Process) -> None: ...


class OwnDisk:
    """A file system in memory, made as small as what is on it: ``ENOSPC``, as an operator knows it."""

    kind = "a tmpfs of its own"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, _: trio.Process) -> None:
        for _ in range(TRIES):
            stat = os.statvfs(self.folder)
            used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
            if self._resize(str(used + SLACK)):
                return
        raise OSError(f"{self.folder} grows faster than it can be made smaller")

    def make_room(self, _: trio.Process) -> None:
        self._resize("50%")

    def _resize(self, size: str) -> bool:
        return _run("mount", "-o", f"remount,size={size}", str(self.folder))


class LimitedFiles:
    """For who may not mount: files must not be written at all (``RLIMIT_FSIZE``), which fails with ``EFBIG``."""

    kind = "a limit on the size of files, as nothing can be mounted"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, process: trio.Process) -> None:
        self._limit(process, 0)

    def make_room(self, process: trio.Process) -> None:
        self._limit(process, resource.RLIM_INFINITY)

    def _limit(self, process: trio.Process, size: int) -> None:
        if process.returncode is None:
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """A disk at a folder, which is made."""
    folder.mkdir()
    if not _run("mount", "-t", "tmpfs", "none", str(folder)):
        yield LimitedFiles(folder)
        return
    try:
        yield OwnDisk(folder)
    finally:
        _run("umount", "--lazy", str(folder))  # whoever still looks into it keeps it until then


def _run(command: str, *arguments: str) -> bool:
    if shutil.which(command) is None:
        return False
    return subprocess.run([command, *arguments], capture_output=True).returncode == 0
