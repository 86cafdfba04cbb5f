"""Waits for what the router does, by looking at the spool."""

import time

from sodarouter.cli.progress import progress
from sodarouter.delivery import Halt, State
from sodarouter.spool import DeliveryFilter, SqliteReader

LOOK = 0.2
"""Seconds between two looks. Each is a query: a command has nothing else to do meanwhile, and the router has."""


def follow_replay(reader: SqliteReader, number: int) -> dict[State, int]:
    """Returns when no delivery of a replay is pending: how many ended in which state."""
    with progress(f"replay {number}") as tell:
        while True:
            counts = reader.count_deliveries(DeliveryFilter(replay=number))
            total, waiting = sum(counts.values()), counts.get(State.PENDING, 0) + counts.get(State.LEASED, 0)
            if not waiting:
                return counts
            tell(total - waiting, total)
            time.sleep(LOOK)


def follow_drain(reader: SqliteReader, destination: str) -> bool:
    """Returns when a destination is not draining any more: whether it is drained, and not resumed meanwhile."""
    with progress(f"draining {destination}"):
        while (halt := reader.halts().get(destination)) is Halt.DRAINING:
            time.sleep(LOOK)
    return halt is Halt.PAUSED
