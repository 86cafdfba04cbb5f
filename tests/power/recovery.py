"""What a router finds in the files that a loss of power has left."""

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torture import account

from sodarouter.delivery import State
from sodarouter.seal import key_file
from sodarouter.spool import SqliteSpool

ROOM = 1 << 40
"""More bytes and deliveries than there are."""


@dataclass(frozen=True)
class Recovered:
    events: list[str]
    """In the order in which they were stored."""
    settled: set[tuple[str, str]]
    """Event and destination of what was delivered; the event alone, and ``""``, for a decision."""
    key: bytes
    """What callback URLs are sealed with."""


async def recover(folder: Path, files: Mapping[str, bytes], name: str) -> Recovered:
    """Opens a spool on these files, in a folder that is made, as the router does when it starts.

    Raises:
        SpoolError: It cannot be opened.
        AssertionError: It is damaged, or an event has not all the deliveries that were planned for it.
    """
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    spool = SqliteSpool(folder / name, ROOM, ROOM)
    try:
        await spool.recover(time.time(), {})
    finally:
        await spool.aclose()
    with sqlite3.connect(folder / name) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    found = account.read(folder / name)
    return Recovered(list(reversed(found.events)), _settled(found), key_file(folder / name).read_bytes())


def _settled(found: account.Account) -> set[tuple[str, str]]:
    assert State.LEASED not in found.states.values(), "what a dead process had leased is not due"
    # a router that had lost what is still to be done for an event would never do it
    assert found.deciding == found.undecided
    decided = set(found.events) - found.undecided
    assert {event for event, _ in found.states} == decided - found.unrouted
    return {(event, "") for event in decided} | {key for key, state in found.states.items() if state == State.DELIVERED}
