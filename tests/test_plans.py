"""How the statements of the spool's file find their rows: nothing that a router or a list does reads what is long done.

All that the spool does is done once, with the parameters that it has in operation, and SQLite says of each statement how
it would go about it. Without statistics, which the spool does not gather, that is the same for ten rows and ten million.
"""

import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from engines import NOW, Engine, ended, keeping
from support import make_event

from sodarouter.delivery import Cause, Halt, Planned, State
from sodarouter.link import IncidentLink
from sodarouter.spool import (
    Decided,
    DeliveryFilter,
    EventFilter,
    Keep,
    Linking,
    Reader,
    Recollection,
    Refused,
    Routed,
    Spool,
    SqliteReader,
    SqliteSpool,
    StoredSilence,
)
from sodarouter.store import Kept

LONG = {"event", "decision", "enrichment", "delivery", "attempt", "recent", "incident", "callback", "link", "ordering"}
"""The tables of which most is history, or that grow with it."""
NARROW = {
    "delivery_due",
    "delivery_dead",
    "delivery_given_up",
    "delivery_discarded",
    "decision_unrouted",
    "decision_withheld",
    "link_unchosen",
}
"""Indexes that have only what is not done, or is looked at by people."""
FAR = {
    # of a type, a source or a time that are seldom, it takes as many as it takes to fill the page
    r"FROM event LEFT JOIN .* ORDER BY event.received \w+, event.seq \w+ LIMIT \?": "a page of events",
    r"^SELECT delivery\.\*, event\.id (?!.*[^.]destination = ).* LIMIT": "a page of deliveries to any destination",
    r"^SELECT received, event.seq, .* ORDER BY event.received, event.seq LIMIT 500": "a stream, of all events in the end",
    r"^SELECT count\(\*\) FROM event": "a replay or a backtest counts what it then goes through",
    r"^SELECT state, leased, count\(\*\) FROM delivery (?!.*destination = )": "an export counts what it then writes",
    r"^SELECT delivery, planned, max\(started\)": "attempts in their order; it is read no further than need be",
}
"""Statements that may go far, and why."""


PLANS: dict[str, list[str]] = {}
"""The steps of each statement."""


class Noting(sqlite3.Cursor):
    """Notes how each statement would be gone about, before it is."""

    def execute(self, statement: str, values: Any = ()) -> Any:
        self._note(statement, values)
        return super().execute(statement, values)

    def executemany(self, statement: str, many: Any) -> Any:
        rows = list(many)
        if rows:
            self._note(statement, rows[0])
        return super().executemany(statement, rows)

    def _note(self, statement: str, values: Any) -> None:
        if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)", statement):
            plan = sqlite3.Cursor(self.connection)
            plan.row_factory = None
            steps = [row[3] for row in plan.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            PLANS[" ".join(re.sub(r"\?(, \?)+", "?", statement).split())] = steps


class Connection(sqlite3.Connection):
    def cursor(self, factory: Any = Noting) -> Any:
        return super().cursor(factory)

    def execute(self, *statement: Any) -> Any:
        return self.cursor().execute(*statement)

    def executemany(self, *statement: Any) -> Any:
        return self.cursor().executemany(*statement)


class Called:
    """Something whose methods are called, and which of them were."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self._thing, name)


class Planning(NamedTuple):
    """Decides whatever comes in the same way."""

    planned: Sequence[Planned]
    keys: Sequence[bytes]

    def __call__(self, known: Recollection, *, late: bool) -> Decided:
        return Decided([], self.planned, NOW)


async def all_that_it_does(spool: Any, reader: Any) -> None:
    engine = Engine(spool, reader)
    incident = make_event("v3-incidentCreated")
    await spool.keep_routing("c-1", "{}", NOW)
    for event in (incident, incident, make_event(), make_event({"event": "validate"})):
        await spool.append(event, window=60.0)
    for source in ("soda", "other"):
        raw = b"{"
        await spool.quarantine(Refused(f"r-{source}", source, incident.received, raw, 422, "Malformed", "no", ()))
    await spool.readmit("r-soda", make_event())
    await spool.dismiss(["r-other"])
    keys = [bytes([number]) for number in range(3)]
    await spool.recall(keys, [incident.id], NOW)
    claims = await engine.claim()
    planned = [Planned("log", keys=("k",)), Planned("mail", (0,), keys=("k",)), Planned("log", part=1, group="g")]
    memory = dict.fromkeys(keys, "[]")
    routed = [Routed(one, Decided([], planned, NOW, "c-1", memory=memory, enriched="{}")) for one in claims]
    await spool.settle([*routed[:-1], Routed(claims[-1], Decided([], [], NOW, withheld=True))])
    await spool.append_all([(make_event({"event": "decided at once"}), 60.0, Planning(planned, keys))])
    kept = {"a": Kept("1", NOW + 60), "b": None}
    linking = Linking(incident.id, IncidentLink("https://example.org", "t"), ("mail",))
    ends = [ended(claim, kept=kept, linking=linking) for claim in await engine.claim("log")]
    await spool.exchange(ends, {"log": 1}, NOW, {"log": 0.0}, once=False)
    for claim in (await engine.claim("log"))[:1]:
        await spool.settle([ended(claim, State.DEAD, cause=Cause.REJECTED, fallback="other")])
    (dead, *_) = reader.deliveries(DeliveryFilter(state=State.DEAD), limit=9)
    await spool.retry([dead.id], NOW)
    await spool.discard([dead.id], NOW)
    await spool.kept("log", "a", NOW)
    await spool.forget("log", ["a"])
    await spool.link("soda", incident.id)
    await spool.choose_links(["mail"], NOW)
    await spool.add_silence(StoredSilence("s-1", incident.received, incident.received + timedelta(1), "{}"))
    await spool.end_silence("s-1", NOW)
    await spool.halt("mail", Halt.DRAINING, NOW + 1)
    await engine.claim("mail")
    await spool.halt("mail", None, NOW)
    number = await spool.begin_replay(NOW)
    await spool.replay(number, [incident.id], ["log"], NOW, first=NOW, every=1.0)
    await spool.replay(number, [incident.id], [], NOW, first=NOW, every=1.0)
    await engine.claim("log")
    await spool.recover(NOW, {"log": "mail"})
    await spool.stats()
    await spool.prune(keeping(), NOW, 9)
    await spool.prune(keeping(attempts=Keep(0.0, 0)), NOW + 1, 9)
    await spool.prune(keeping(quarantine=Keep(0.0), dead_letters=Keep(0.0), events=Keep(0.0)), NOW + 1, 9)
    await spool.is_alive()


def all_that_is_asked(reader: Any) -> None:
    event = make_event("v3-incidentCreated")
    times = {"since": event.received - timedelta(1), "until": event.received + timedelta(1)}
    for wanted in ({}, {"event_type": "x"}, {"source": "soda"}, times, {"unrouted": True}, {"withheld": True}):
        for before in (None, event.id):
            reader.events(EventFilter(**wanted), limit=9, before=before)
            reader.event_ids(EventFilter(**wanted), limit=9, after=before)
        reader.count_events(EventFilter(**wanted))
        list(reader.stream(EventFilter(**wanted)))
    which = (
        {},
        {"destination": "log"},
        {"event": event.id},
        {"replay": 1},
        {"event_type": "x"},
        {"source": "x"},
        times,
    )
    for state, wanted in product((None, *State), which):
        for before in (None, f"{event.id}/log"):
            reader.deliveries(DeliveryFilter(**wanted, state=state), limit=9, before=before)
        reader.count_deliveries(DeliveryFilter(**wanted, state=state))
    reader.deliveries(DeliveryFilter(state=State.DEAD, cause=Cause.REJECTED), limit=9)
    reader.event(event.id)
    reader.attempts(f"{event.id}/log")
    for before, source in product((None, event.id), (None, "soda")):
        reader.quarantined(limit=9, before=before, source=source)
    reader.refused("r-1")
    reader.halts()
    reader.replays()
    reader.silences()
    reader.routing("c-1")
    reader.recollection([b"k"])
    reader.entries("log", NOW, limit=9)
    reader.stats()


@pytest.fixture
async def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Called, Called]]:
    """The spool and its reader, after everything was done."""
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Connection))
    PLANS.clear()
    spool = Called(SqliteSpool(tmp_path / "spool.db", 1 << 30, 10_000))
    with closing(SqliteReader(tmp_path / "spool.db")) as read:
        reader = Called(read)
        await all_that_it_does(spool, reader)
        all_that_is_asked(reader)
        await spool.aclose()
        yield spool, reader


def goes_far(steps: list[str]) -> bool:
    """Whether a statement goes through a table of which most is history, or through all of it before some place."""
    scans = [found for step in steps if (found := re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step))]
    before = [
        found for step in steps if (found := re.match(r"SEARCH (\w+) USING INTEGER PRIMARY KEY \(rowid[<>]", step))
    ]
    return any(found[1] in LONG and found[2] not in NARROW for found in scans) or any(
        found[1] in LONG for found in before
    )


async def test_nothing_goes_through_what_is_long_done(noted):
    far = [statement for statement, steps in PLANS.items() if goes_far(steps)]
    assert [statement for statement in far if not any(re.search(known, statement) for known in FAR)] == []
    # and of those that may, each is still there
    assert [known for known in FAR if not any(re.search(known, statement) for statement in far)] == []


async def test_all_that_a_spool_does_was_done(noted):
    spool, reader = noted
    for interface, called in ((Spool, spool.called), (Reader, reader.called)):
        assert {name for name in vars(interface) if not name.startswith("_")} <= called
