"""The rows of the spool in memory."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from sodarouter.delivery import Cause, Delivery, Fallback, Planned, State
from sodarouter.link import IncidentLink
from sodarouter.spool.values import Attempt, StoredDelivery, delivery_id


@dataclass
class Row:
    key: int
    event: str
    plan: Planned
    planned: float
    since: float
    next_at: float
    replay: int = 0
    config: str = ""
    fallback: Fallback | None = None
    state: State = State.PENDING
    leased: bool = False
    attempt: int = 0
    forgiven: int = 0
    settled: float | None = None
    reason: str = ""
    cause: Cause | None = None
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def id(self) -> str:
        return delivery_id(self.event, self.plan.destination, self.replay, self.plan.part)

    @property
    def said(self) -> int:
        return sum(len(attempt.reason) + len(attempt.response) for attempt in self.attempts)


@dataclass
class Made:
    """A link, and when it was made."""

    link: IncidentLink
    made: float
    chosen: bool = False


def stored(row: Row) -> StoredDelivery:
    pending = row.state is State.PENDING
    return StoredDelivery(
        id=row.id,
        event=row.event,
        destination=row.plan.destination,
        state=State.LEASED if pending and row.leased else row.state,
        attempts=row.attempt,
        planned=moment(row.planned),
        next_at=moment(row.next_at) if pending else None,
        settled=None if row.settled is None else moment(row.settled),
        results=row.plan.results,
        reason=row.reason,
        cause=row.cause,
        replay=row.replay,
        fallback=row.fallback,
        config=row.config,
        part=row.plan.part,
        group=row.plan.group,
    )


def delivery_of(row: Row) -> Delivery:
    return Delivery(
        row.id,
        row.plan.destination,
        row.attempt,
        moment(row.planned),
        row.plan.results,
        row.replay,
        row.fallback,
        row.plan.part,
        row.plan.group,
    )


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
