"""The router's own account: what an operator finds in its spool when all is over."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sodarouter.delivery import State
from sodarouter.spool import ROUTE, SqliteReader

from .daemon import ROOT

PAGE = 1000
ALL = "10000000"


@dataclass(frozen=True)
class Account:
    events: dict[str, bytes]
    """What came in, by event."""
    unrouted: set[str]
    """Events for which no route asked for a delivery."""
    undecided: set[str]
    deciding: set[str]
    """Events that wait for their decision."""
    states: dict[tuple[str, str], str]
    """By event and destination."""
    causes: dict[tuple[str, str], str]
    """Of dead letters, by event and destination."""
    quarantined: set[bytes]

    @property
    def unsettled(self) -> int:
        """Deliveries and decisions that are still to come."""
        return len(self.undecided) + sum(state in {State.PENDING, State.LEASED} for state in self.states.values())


def read(spool: Path) -> Account:
    """Reads a spool, while its router runs or not."""
    reader = SqliteReader(spool)
    try:
        events, deliveries, quarantined = [], [], []
        while page := reader.events(limit=PAGE, before=events[-1].event.id if events else None):
            events.extend(page)
        while page := reader.deliveries(limit=PAGE, before=deliveries[-1].id if deliveries else None):
            deliveries.extend(page)
        while page := reader.quarantined(limit=PAGE, before=quarantined[-1].id if quarantined else None):
            quarantined.extend(page)
    finally:
        reader.close()
    return Account(
        events={stored.event.id: stored.event.raw for stored in events},
        unrouted={stored.event.id for stored in events if stored.planned == 0},
        undecided={stored.event.id for stored in events if stored.planned is None},
        deciding={
            delivery.event
            for delivery in deliveries
            if delivery.destination == ROUTE and delivery.state in {State.PENDING, State.LEASED}
        },
        states={
            (delivery.event, delivery.destination): delivery.state.value
            for delivery in deliveries
            if delivery.destination != ROUTE
        },
        causes={
            (delivery.event, delivery.destination): delivery.cause.value
            for delivery in deliveries
            if delivery.state is State.DEAD and delivery.cause
        },
        quarantined={refused.raw for refused in quarantined},
    )


def dead_letters(config: Path) -> set[str]:
    """The ids of the dead letters that ``sodarouter dead`` shows."""
    done = subprocess.run(
        [sys.executable, "-m", "sodarouter", "dead", "--config", str(config), "--json", "--limit", ALL],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return {delivery["id"] for delivery in json.loads(done.stdout)}
