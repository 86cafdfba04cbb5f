"""Reads what strace has recorded of a router: the calls that change the spool's files, and the answers to senders.

Files go by their names in the spool's folder; `HERE` is the folder itself, and `ABOVE` the one that it is in.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "pwrite64,pwritev,pwritev2,write,writev,ftruncate,fallocate,fdatasync,fsync,sync_file_range,openat,mkdir,unlink,"
    "unlinkat,link,linkat,rename,renameat,renameat2,sendto"
)
ARGUMENTS = ("-D", "-f", "-y", "-xx", "-s", "8388608", "--seccomp-bpf", "-e", f"trace={CALLS}")
"""For strace: its child is the router itself (``-D``), and no byte is left out."""
HERE, ABOVE = ".", ".."
ANSWERING = ("sendto", "write")
"""Calls by which a sender gets its answer."""
AT_ONCE = ("pwrite64", "write", "ftruncate", "sendto")
"""Calls that may have done their work before they return."""
UNFINISHED = " <unfinished ...>"
PASSED_OVER = ("-shm", ".lock")
"""Ends of files that a loss of power may take away: SQLite builds the index anew, and the lock is the process's."""


@dataclass(frozen=True)
class Write:
    name: str
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Truncate:
    name: str
    size: int


@dataclass(frozen=True)
class Sync:
    """All that was written to the file before is on the disk. What was written to a folder is the names in it."""

    name: str


@dataclass(frozen=True)
class Create:
    name: str


@dataclass(frozen=True)
class Link:
    """A second name for a file."""

    name: str
    second: str


@dataclass(frozen=True)
class Remove:
    name: str


@dataclass(frozen=True)
class Answer:
    """A sender is told that this event is stored."""

    event: str


Operation = Write | Truncate | Sync | Create | Link | Remove | Answer

_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*))")
_FILE = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_ANSWERED = re.compile(rb'HTTP/1\.1 200 .*\{"id": "([0-9a-f-]{36})"', re.DOTALL)


def parse(lines: Iterable[str], folder: Path) -> Iterator[Operation]:
    """The operations in a record, in their order.

    What is written or answered counts from the beginning of its call, all else from its end, if it succeeds.

    Raises:
        ValueError: There is a call of which this module does not know what it does to a file.
    """
    reader = _Reader(folder)
    begun: dict[str, str] = {}
    for line in lines:
        found = _LINE.match(line)
        if not found:
            continue
        process, resumed, rest, call, arguments = found.groups()
        if resumed:
            call, arguments = resumed, begun.pop(process, "") + rest
        elif arguments.endswith(UNFINISHED):
            begun[process] = arguments = arguments.removesuffix(UNFINISHED)
        whole = process not in begun
        if (not resumed) if call in AT_ONCE else (whole and " = -1 " not in arguments):
            yield from reader.operations(call, arguments)


class _Reader:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ours = _hex(str(folder.parent))
        self._positions: dict[str, int] = {}
        """Where each file is written on that is written from its beginning to its end."""

    def operations(self, call: str, arguments: str) -> Iterator[Operation]:
        texts = [_bytes(text) for text in _TEXT.findall(arguments)]
        if call in ANSWERING and texts and (answer := _ANSWERED.match(texts[0])):
            yield Answer(answer[1].decode())
            return
        if self._ours not in arguments:
            return
        file = _FILE.match(arguments)
        name = self._name(_bytes(file[1]) if file else texts[0])
        if name is None:
            return
        numbers = [int(number) for number in re.findall(r", (\d+)\b", arguments[arguments.rfind('"') + 1 :])]
        match call:
            case "pwrite64":
                yield Write(name, numbers[1], texts[0])
            case "write":
                yield Write(name, self._positions[name], texts[0])
                self._positions[name] += len(texts[0])
            case "ftruncate":
                yield Truncate(name, numbers[0])
            case "fdatasync" | "fsync":
                yield Sync(name)
            case "mkdir":
                yield Create(name)
            case "openat":
                self._positions[name] = 0
                if "O_CREAT" in arguments:
                    yield Create(name)
            case "link" | "linkat" if second := self._name(texts[1]):
                yield Link(name, second)
            case "unlink":
                yield Remove(name)
            case _:
                raise ValueError(f"{call} on {name} is not understood")

    def _name(self, path: bytes) -> str | None:
        found = Path(path.decode())
        if found == self._folder:
            return HERE
        if found == self._folder.parent:
            return ABOVE
        return found.name if found.parent == self._folder and not found.name.endswith(PASSED_OVER) else None


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
