"""The durable store of events, decisions, deliveries, attempts and the quarantine: the only thing that touches state."""

from sodarouter.spool.base import Reader, Spool
from sodarouter.spool.memory import MemorySpool
from sodarouter.spool.patience import patiently
from sodarouter.spool.sqlite import Contents, Copy, Lock, Progress, SqliteReader, SqliteSpool, back_up, copied, put_back
from sodarouter.spool.values import (
    ROUTE,
    Appended,
    Attempt,
    Claim,
    Claims,
    DeliveryFilter,
    EventFilter,
    Keep,
    Outcome,
    Refused,
    Retention,
    Routed,
    StoredDelivery,
    StoredEvent,
    delivery_id,
    delivery_key,
)

__all__ = [
    "ROUTE",
    "Appended",
    "Attempt",
    "Claim",
    "Claims",
    "Contents",
    "Copy",
    "DeliveryFilter",
    "EventFilter",
    "Keep",
    "Lock",
    "MemorySpool",
    "Outcome",
    "Progress",
    "Reader",
    "Refused",
    "Retention",
    "Routed",
    "Spool",
    "SqliteReader",
    "SqliteSpool",
    "StoredDelivery",
    "StoredEvent",
    "back_up",
    "copied",
    "delivery_id",
    "delivery_key",
    "patiently",
    "put_back",
]
