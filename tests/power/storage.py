"""A disk in the moment the power fails: what was synced is on it, and of the rest whatever chance had put there."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import trace
from .trace import Answer, Create, Link, Operation, Remove, Sync, Truncate, Write

SECTORS = (512, 4096)
"""Bytes that a disk writes whole or not at all."""


@dataclass(eq=False)
class _File:
    synced: bytearray = field(default_factory=bytearray)
    waiting: list[Write | Truncate] = field(default_factory=list)
    """What was done to it since its last sync, oldest first."""


class Storage:
    """The folder of a spool, as operations make it.

    Names are as fragile as bytes: a file that was created or deleted is so only once the folder itself was synced.
    """

    def __init__(self) -> None:
        self.answered: set[str] = set()
        """Events whose senders have their 200."""
        self._open: dict[str, _File] = {}
        self._named: dict[str, _File] = {}
        self._renamed: list[tuple[str, _File | None]] = []
        """What was done to the names since the folder's last sync: ``None`` for a file that was deleted."""

    def apply(self, operation: Operation) -> None:
        match operation:
            case Answer(event):
                self.answered.add(event)
            case Create(trace.HERE) | Sync(trace.ABOVE):
                pass  # `test_power` asks after them by itself
            case Create(name):
                if name not in self._open:
                    self._open[name] = _File()
                    self._renamed.append((name, self._open[name]))
            case Link(name, second):
                self._open[second] = self._open[name]
                self._renamed.append((second, self._open[name]))
            case Remove(name):
                if self._open.pop(name, None):
                    self._renamed.append((name, None))
            case Sync(trace.HERE):
                self._named = _with(self._named, self._renamed)
                self._renamed = []
            case Sync(name):
                file = self._open[name]
                for change in file.waiting:
                    _change(file.synced, change)
                file.waiting = []
            case Write(name) | Truncate(name):
                self._open[name].waiting.append(operation)

    def synced(self) -> dict[str, bytes]:
        """The files when nothing but what was synced is there."""
        return {name: bytes(file.synced) for name, file in self._named.items()}

    def left(self, chance: random.Random) -> dict[str, bytes]:
        """The files when chance says what else there is."""
        names = _with(self._named, self._renamed[: chance.randint(0, len(self._renamed))])
        # all, nothing or anything between, in sectors of one of the sizes or as whole calls
        share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        sector = chance.choice((*SECTORS, None))
        return {name: _survived(file, chance, share, sector) for name, file in names.items()}


def _with(names: dict[str, _File], changes: list[tuple[str, _File | None]]) -> dict[str, _File]:
    changed: dict[str, _File | None] = {**names}
    changed.update(changes)
    return {name: file for name, file in changed.items() if file is not None}


def _change(content: bytearray, change: Write | Truncate) -> None:
    match change:
        case Truncate(_, size):
            del content[size:]
            content.extend(bytes(size - len(content)))
        case Write(_, offset, data):
            # what lies between the old end and the new piece reads as zeros
            content.extend(bytes(max(offset - len(content), 0)))
            content[offset : offset + len(data)] = data


def _survived(file: _File, chance: random.Random, share: float, sector: int | None) -> bytes:
    content = bytearray(file.synced)
    for change in file.waiting:
        for piece in _torn(change, sector):
            if chance.random() < share:
                _change(content, piece)
    return bytes(content)


def _torn(change: Write | Truncate, sector: int | None) -> Iterator[Write | Truncate]:
    if sector is None or isinstance(change, Truncate):
        yield change
        return
    start, end = change.offset, change.offset + len(change.data)
    while start < end:
        border = min((start // sector + 1) * sector, end)
        yield Write(change.name, start, change.data[start - change.offset : border - change.offset])
        start = border
