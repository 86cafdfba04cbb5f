"""Goes through stored events, however many there are: page by page, each in a short read of its own.

As long as one reads, what a running router writes cannot be moved from its log into the file, which grows; so no page is
held open while its events are looked at.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from sodarouter.event import Event
from sodarouter.spool.sqlite.rows import enriched
from sodarouter.spool.sqlite.trouble import explained
from sodarouter.spool.values import StoredEvent

PAGE = 500
"""Events."""
PAGE_BYTES = 4 * 1024 * 1024
"""Bytes of their bodies, after which a page ends sooner."""

_COLUMNS = "received, event.seq, id, source, type, raw, late, repeats, planned, config, withheld, decision.state, value"
_FROM = "event LEFT JOIN decision ON decision.event = event.seq LEFT JOIN enrichment ON enrichment.event = event.seq"
_Row = tuple[int, int, str, str, str, bytes, int, int, int | None, str | None, int | None, str | None, str | None]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stream(connection: sqlite3.Connection, where: str, values: Sequence[object]) -> Iterator[StoredEvent]:
    """The events that a WHERE clause chooses, oldest first, without their traces."""
    after: tuple[object, ...] = ()
    while page := _page(connection, where, values, after):
        after = page[-1][:2]
        for received, _, event_id, source, kind, raw, late, repeats, planned, config, withheld, state, added in page:
            # faster than `moment`, which goes through a float
            event = Event(event_id, source, _EPOCH + timedelta(0, 0, received), kind, raw, late == 1)
            if added is not None:
                event = event.with_enriched(enriched(added))
            yield StoredEvent(event, repeats, planned, [], config or "", withheld == 1, state)


def _page(
    connection: sqlite3.Connection, where: str, values: Sequence[object], after: tuple[object, ...]
) -> list[_Row]:
    further = "(event.received, event.seq) > (?, ?)"
    condition = (f"{where} AND {further}" if where else f"WHERE {further}") if after else where
    cursor = connection.cursor()
    cursor.row_factory = None
    page: list[_Row] = []
    left = PAGE_BYTES
    try:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM {_FROM} {condition} ORDER BY event.received, event.seq LIMIT {PAGE}",
            (*values, *after),
        )
        for row in cursor:
            page.append(row)
            left -= len(row[5])
            if left < 0:
                break
    except sqlite3.DatabaseError as error:
        raise explained(error) from error
    finally:
        cursor.close()
    return page
