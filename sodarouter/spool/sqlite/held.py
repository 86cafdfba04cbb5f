"""How much there is of what has a limit, kept in step with every change."""

from sqlite3 import Connection
from typing import Literal

What = Literal["backlog", "events", "quarantine", "attempts", "dead_letters"]


def hold(connection: Connection, changes: dict[What, int]) -> None:
    """Adds to the amounts: bytes, and deliveries of the backlog."""
    connection.executemany(
        "UPDATE held SET amount = amount + ? WHERE what = ?",
        [(change, what) for what, change in changes.items() if change],
    )


def held(connection: Connection, what: What) -> int:
    (amount,) = connection.execute("SELECT amount FROM held WHERE what = ?", (what,)).fetchone()
    return int(amount)
