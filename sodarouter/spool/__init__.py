"""The durable store of events, decisions, deliveries, attempts and the quarantine: the only thing that touches state."""

from sodarouter.spool.base import (
    ROUTE,
    Appended,
    Attempt,
    Claim,
    Claims,
    Outcome,
    Reader,
    Refused,
    Routed,
    Spool,
    StoredDelivery,
    StoredEvent,
    delivery_id,
)
from sodarouter.spool.memory import MemorySpool
from sodarouter.spool.patience import patiently
from sodarouter.spool.sqlite import Lock, SqliteReader, SqliteSpool

__all__ = [
    "ROUTE",
    "Appended",
    "Attempt",
    "Claim",
    "Claims",
    "Lock",
    "MemorySpool",
    "Outcome",
    "Reader",
    "Refused",
    "Routed",
    "Spool",
    "SqliteReader",
    "SqliteSpool",
    "StoredDelivery",
    "StoredEvent",
    "delivery_id",
    "patiently",
]
