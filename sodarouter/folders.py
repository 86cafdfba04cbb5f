"""Folders that are still there after a loss of power."""

import os
from pathlib import Path


def make(folder: Path) -> None:
    """Makes a folder and those above it, as far as they are missing.

    Durability: when this returns they would survive a loss of power. A file's own sync does not see to the folder that
    names its folder.

    Raises:
        OSError: One cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        sync(one.parent)


def sync(path: Path) -> None:
    """Has a file, or the names in a folder, survive a loss of power.

    Raises:
        OSError: It cannot be opened, or not be synced.
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
