"""Between the values of the spool and the columns of its tables."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from sqlite3 import Connection, Row
from typing import Any

from sodarouter.delivery import Fallback

MANY = 100
"""Rows that one statement inserts, or asks for. A statement costs as much as several rows: for each, SQLite's binding gives
up Python's lock and has to get it back."""
EVER = 1 << 62
"""Microseconds that no moment reaches."""


def micros(moment: datetime | float) -> int:
    """Unix microseconds, as the file has them."""
    return round((moment.timestamp() if isinstance(moment, datetime) else moment) * 1_000_000)


def moment(stored: int) -> datetime:
    return datetime.fromtimestamp(stored / 1_000_000, UTC)


def indices(stored: str | None) -> tuple[int, ...] | None:
    return None if stored is None else tuple(json.loads(stored))


def enriched(stored: str | None) -> dict[str, dict[str, Any]]:
    """What plugins have added to an event, which most have nothing of."""
    return {} if stored is None else json.loads(stored)


def fallback(row: Row) -> Fallback | None:
    """What a row of ``delivery`` stands in for."""
    return None if row["fallback_of"] is None else Fallback(row["fallback_of"], row["fallback_reason"])


@lru_cache(maxsize=4 * MANY)
def placeholders(rows: int, columns: int = 0) -> str:
    """``?, ?, ?`` for an ``IN``, or ``(?, ?), (?, ?)`` for ``VALUES``."""
    one = f"({', '.join('?' * columns)})" if columns else "?"
    return ", ".join([one] * rows)


def insert(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    verb: str = "INSERT",
    otherwise: str = "",
) -> int:
    """Inserts rows with as few statements as may be. Gives how many were inserted.

    Args:
        otherwise: What becomes of a row that is there already, as an ``ON CONFLICT`` says it.
    """
    left, inserted = list(rows), 0
    for start in range(0, len(left), MANY):
        batch = left[start : start + MANY]
        inserted += connection.execute(
            f"{verb} INTO {table} ({', '.join(columns)}) VALUES {placeholders(len(batch), len(columns))} {otherwise}",
            [value for row in batch for value in row],
        ).rowcount
    return inserted
