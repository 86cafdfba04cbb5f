"""The files that a file has been rotated to."""

import gzip
import os
import re
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

from sodarouter_file.options import FileOptions

_tidying = threading.Lock()
"""Destinations that share a path must not compress the same file at the same time."""

_CHUNK = 1 << 20


class RotatedFiles:
    """What a file has been rotated to: ``NAME.20261123T201500Z``, or ``…Z-1`` if that is taken, and ``.gz``."""

    def __init__(self, options: FileOptions) -> None:
        self._path = options.path
        self._options = options
        self._name = re.compile(re.escape(self._path.name) + r"\.(\d{8}T\d{6}Z)(?:-(\d+))?(?:\.gz)?")

    def free_name(self) -> Path:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        taken = [number for (when, number), _ in self._found() if when == stamp]
        return self._path.with_name(f"{self._path.name}.{stamp}" + (f"-{max(taken) + 1}" if taken else ""))

    def tidy(self, stopping: threading.Event) -> None:
        """Deletes all but the newest and compresses the rest; does nothing where that is done already."""
        with _tidying:
            found = self._found()
            kept = sorted({key for key, _ in found})[-self._options.keep :]
            for key, path in found:
                if key not in kept:
                    path.unlink(missing_ok=True)
                elif self._options.gzip and path.suffix != ".gz" and not stopping.is_set():
                    _compress(path, stopping)

    def _found(self) -> list[tuple[tuple[str, int], Path]]:
        """Oldest first."""
        named = ((self._name.fullmatch(path.name), path) for path in self._path.parent.iterdir())
        return sorted(((match[1], int(match[2] or 0)), path) for match, path in named if match and path.is_file())


def _compress(path: Path, stopping: threading.Event) -> None:
    partial = path.with_name(f".{path.name}.gz.partial")
    try:
        with path.open("rb") as source, partial.open("wb") as file:
            shutil.copymode(path, partial)
            with gzip.GzipFile(path.name, "wb", fileobj=file) as target:
                while chunk := source.read(_CHUNK):
                    if stopping.is_set():
                        return
                    target.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path.with_name(f"{path.name}.gz"))
        sync_folder(path.parent)
        path.unlink()
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
