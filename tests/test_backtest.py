"""The backtest: what other rules would have made of the events that came, and whether it says what the router did."""

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import astuple
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from engines import ENGINES, open_engine
from hypothesis import given
from hypothesis import strategies as st
from running import running_router
from support import make_event

from sodarouter.backtest import Change, Kind, Report, Side, compare, without_and_with
from sodarouter.backtest.past import Past
from sodarouter.backtest.spread import Spread
from sodarouter.cli.backtest import try_silence
from sodarouter.cli.report import every_day, show_report, together
from sodarouter.cli.report_markdown import code
from sodarouter.config import load, load_routing
from sodarouter.decide import Routing, Silence, State, compile_rules, decide
from sodarouter.decide.memory import recall
from sodarouter.event import Event
from sodarouter.hindsight import effective
from sodarouter.spool import EventFilter, SqliteReader, StoredEvent
from sodarouter.spool.sqlite.stream import PAGE

MOMENT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
"""A Monday."""


def checks(*outcomes: str, dataset: str = "orders", tags: tuple[str, ...] = (), **known: Any) -> Event:
    """A check evaluation with a result of each outcome."""
    results = [
        {"name": f"check {number}", "outcome": outcome, "datasets": [{"name": dataset, "tags": list(tags)}]}
        for number, outcome in enumerate(outcomes)
    ]
    return make_event({"event": "checkEvaluation", "checkResults": results}, **known)


def stored(*events: Event) -> list[StoredEvent]:
    return [StoredEvent(event, 0, None) for event in events]


def side(*routes: dict[str, Any], silences: tuple[Silence, ...] = (), **known: Any) -> Side:
    return Side(compile_rules(Routing.model_validate({"route": list(routes)} | known)), silences)


def silence(**known: Any) -> Silence:
    table = {"id": "s1", "author": "ada", "reason": "planned", "starts": MOMENT, "ends": MOMENT + timedelta(hours=1)}
    return Silence.model_validate(table | known)


FAILS: dict[str, Any] = {"name": "fails", "match": {"outcome": "fail"}, "to": ["log"]}


# what differs


patterns = st.sampled_from(["fail", "pass", "orders", "ord*", "pii", "*"])
matches = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("outcome", "dataset", "tag", "team", "check", "result", "previous"), patterns)
)
routes = st.fixed_dictionaries(
    {"to": st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=2)},
    optional={"match": matches, "each": st.sampled_from(["event", "result", "owner"]), "stop": st.booleans()},
)
histories = st.lists(
    st.builds(
        lambda outcomes, dataset, tags, hours: checks(
            *outcomes, dataset=dataset, tags=tuple(tags), received=MOMENT + timedelta(hours=hours)
        ),
        st.lists(st.sampled_from(["pass", "fail", "warn"]), max_size=3),
        st.sampled_from(["orders", "customers"]),
        st.lists(st.sampled_from(["pii", "gold"]), max_size=2),
        st.integers(0, 100),
    ),
    max_size=8,
)


@given(histories, st.lists(routes, max_size=4), st.booleans(), st.lists(matches, max_size=2))
def test_the_same_rules_give_an_empty_difference(history, written, unrouted, silenced):
    known = {"unrouted": ["a"] if unrouted else [], "team": [{"name": "pii", "match": {"tag": "pii"}}]}
    silences = tuple(
        silence(id=str(number), match={key: value for key, value in match.items() if key != "check"})
        for number, match in enumerate(silenced)
    )
    # compiled twice: they are not the same for being one object
    one, other = (side(*written, silences=silences, **known) for _ in range(2))
    report = compare(stored(*history), one, other)
    assert not report.differs
    assert report.differing == report.unrouted.newly == report.unrouted.no_longer == 0
    assert report.unrouted.events.before == report.unrouted.events.after
    assert report.withheld.before == report.withheld.after
    for volume in report.destinations.values():
        assert volume.deliveries == Change(volume.same, volume.same)
        assert (volume.added, volume.removed, volume.changed, volume.samples) == (0, 0, 0, [])
    planned = [decide(event, one.rules, State({}, silences)).planned for event in history]
    if not one.rules.remember:
        assert sum(map(len, planned)) == sum(volume.same for volume in report.destinations.values())


@given(histories, st.lists(routes, max_size=4), st.lists(routes, max_size=4))
def test_the_numbers_of_a_difference_add_up(history, written, other):
    report = compare(stored(*history), side(*written), side(*other), samples=2)
    for volume in report.destinations.values():
        assert volume.deliveries.before == volume.same + volume.changed + volume.removed
        assert volume.deliveries.after == volume.same + volume.changed + volume.added
        for parts in (volume.days.values(), volume.hours):
            assert sum(change.before for change in parts) == volume.deliveries.before
            assert sum(change.after for change in parts) == volume.deliveries.after
        assert len(volume.samples) <= 6
        assert bool(volume.samples) == volume.differs
    unrouted = report.unrouted
    assert unrouted.events.after - unrouted.events.before == unrouted.newly - unrouted.no_longer


@given(histories, st.lists(routes, max_size=5), st.lists(routes, max_size=1), st.integers(0, 4), st.booleans())
def test_what_is_shared_by_the_sides_decides_as_each_would_alone(history, written, added, place, other_team):
    silences = (silence(match={"tag": "gold"}, to=["a"]),)
    teams = [{"name": "pii", "match": {"tag": "pii"}}]
    # routes moved down by another one have other names and numbers, and do the same
    changed = [*written[:place], *added, *written[place + 1 :]]
    before = side(*written, silences=silences, team=teams, unrouted=["c"])
    after = side(*changed, silences=silences, team=teams * (not other_team), unrouted=["c"])
    report = compare(stored(*history), before, after)
    planned: dict[str, list[int]] = {}
    past, differing = Past(), 0
    for one in stored(*history):
        memory = past.of(one)
        past.learn(recall(one.event, memory).after)
        decisions = [decide(one.event, each.rules, State(memory, silences)) for each in (before, after)]
        for number, decision in enumerate(decisions):
            for delivery in decision.planned:
                planned.setdefault(delivery.destination, [0, 0])[number] += 1
        carried = [sorted((d.destination, str(d.results), str(d.group)) for d in one.planned) for one in decisions]
        unrouted = ["unrouted" in str(one.trace) for one in decisions]
        differing += carried[0] != carried[1] or unrouted[0] != unrouted[1]
    assert {name: [*astuple(volume.deliveries)] for name, volume in report.destinations.items()} == planned
    assert report.differing == differing


def test_a_difference_says_what_is_added_removed_and_changed_with_samples_and_the_routes_of_it():
    night = MOMENT.replace(hour=23)
    saturday = MOMENT + timedelta(days=5)
    events = [
        checks("fail", "pass", id="two"),
        checks("pass", id="none", received=night),
        checks("warn", id="warn", received=saturday),
    ]
    before = side(FAILS, {"name": "warnings", "match": {"outcome": "warn"}, "to": ["chat"]})
    after = side({"name": "all", "match": {"outcome": ["fail", "pass"]}, "to": ["log"]})
    report = compare(stored(*events), before, after, describe=lambda event: f"about {event.id}")
    assert (report.events, report.differing) == (3, 3)
    assert (report.first, report.last) == (MOMENT, saturday)
    assert list(report.destinations) == ["chat", "log"]
    chat, log = report.destinations["chat"], report.destinations["log"]
    assert (chat.deliveries, chat.removed, chat.added, chat.changed, chat.same) == (Change(1, 0), 1, 0, 0, 0)
    assert (chat.weekend, chat.night) == (Change(1, 0), Change())
    assert (log.deliveries, log.removed, log.added, log.changed, log.same) == (Change(1, 2), 0, 1, 1, 0)
    assert log.events == Change(1, 2)
    assert (log.night, log.weekend) == (Change(0, 1), Change())
    assert log.days == {"2026-05-04": Change(1, 2)}
    assert [hour for hour, change in enumerate(log.hours) if change != Change()] == [12, 23]
    assert [(one.kind, one.event, one.subject) for one in log.samples] == [
        (Kind.ADDED, "none", "about none"),
        (Kind.CHANGED, "two", "about two"),
    ]
    changed = log.samples[1]
    assert changed.before == [{"route": "fails", "matched": True, "to": ["log"], "results": (0,)}]
    assert changed.after == [{"route": "all", "matched": True, "to": ["log"], "results": None}]
    assert report.unrouted.events == Change(1, 1)
    assert [(one.kind, one.event) for one in report.unrouted.samples] == [
        (Kind.UNROUTED, "warn"),
        (Kind.ROUTED, "none"),
    ]


def test_an_event_that_goes_nowhere_and_one_that_goes_where_unrouted_says_are_told_apart():
    report = compare(stored(checks("pass")), side(FAILS), side(FAILS, unrouted=["log"]))
    assert report.unrouted.events == Change(1, 1)
    (sample,) = report.destinations["log"].samples
    assert (sample.kind, sample.before) == (Kind.ADDED, [])
    assert sample.after == [{"unrouted": True, "to": ["log"]}]


def test_the_set_up_of_a_webhook_is_never_unrouted():
    report = compare(stored(make_event({"event": "validate"})), side(FAILS), side())
    assert not report.differs
    assert report.unrouted.events == Change()


def test_parts_are_deliveries_and_what_they_carry_is_compared_not_their_number():
    events = stored(checks("fail", "fail", "pass"))
    report = compare(events, side(FAILS), side(FAILS | {"each": "result"}))
    log = report.destinations["log"]
    assert (log.deliveries, log.events) == (Change(1, 2), Change(1, 1))
    assert (log.changed, log.added) == (1, 1)
    # one result that travels by itself is the same delivery, whatever it is divided by
    assert not compare(stored(checks("fail", "pass")), side(FAILS), side(FAILS | {"each": "result"})).differs


def test_a_muted_route_removes_its_deliveries_and_withholds_them():
    window = {"window": {"noon": {"hours": "12:00-13:00"}}}
    report = compare(stored(checks("fail")), side(FAILS, **window), side(FAILS | {"mute": ["noon"]}, **window))
    assert report.withheld == Change(0, 1)
    assert report.unrouted.events == Change()
    (sample,) = report.destinations["log"].samples
    assert (sample.kind, sample.after[0]["muted"]) == (Kind.REMOVED, "noon")


def test_silences_that_were_in_force_then_hold_on_both_sides():
    silences = (silence(match={"dataset": "orders"}),)
    events = stored(checks("fail"), checks("fail", received=MOMENT + timedelta(hours=2)))
    report = compare(events, side(FAILS, silences=silences), side(silences=silences))
    assert report.destinations["log"].removed == 1
    assert report.withheld == Change(1, 0)


def test_days_and_hours_are_those_of_the_zone_where_clocks_are_put_forward_and_back():
    zone = ZoneInfo("Europe/Berlin")
    forward = [datetime(2026, 3, 29, 0, 30, tzinfo=UTC) + timedelta(hours=hours) for hours in range(3)]
    back = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC) + timedelta(hours=hours) for hours in range(3)]
    late = datetime(2026, 10, 25, 23, 30, tzinfo=UTC)
    events = stored(*(checks("fail", received=moment) for moment in (*forward, *back, late)))
    log = compare(events, side(), side(FAILS), zone=zone).destinations["log"]
    by_hour = {hour: change.after for hour, change in enumerate(log.hours) if change.after}
    # 1:30, 3:30, 4:30 in March; 2:30 twice and 3:30 in October; 0:30 of the next day
    assert by_hour == {0: 1, 1: 1, 2: 2, 3: 2, 4: 1}
    assert {day: change.after for day, change in log.days.items()} == {
        "2026-03-29": 3,
        "2026-10-25": 3,
        "2026-10-26": 1,
    }
    assert log.night == Change(0, 7)
    assert log.weekend == Change(0, 6)


@given(st.integers(0, 200), st.integers(0, 9))
def test_samples_begin_with_the_first_are_spread_and_never_too_many(count, most):
    spread = Spread[int](most)
    for number in range(count):
        spread.offer(lambda number=number: number)
    assert spread.seen == count
    assert len(spread.kept) == min(count, most) or most // 2 <= len(spread.kept) <= most
    if count and most:
        assert spread.kept[0] == 0
        steps = {after - before for before, after in zip(spread.kept, spread.kept[1:], strict=False)}
        assert len(steps) <= 1


# a silence before it is saved


def test_a_silence_is_tried_as_if_it_had_always_been_there():
    events = stored(checks("fail"), checks("fail", dataset="customers", received=MOMENT - timedelta(days=3)))
    rules = side(FAILS).rules
    planned = silence(match={"dataset": "orders"}, starts=MOMENT + timedelta(days=9), ends=MOMENT + timedelta(days=10))
    report = compare(events, *without_and_with(rules, [], planned))
    assert (report.differing, report.withheld, report.destinations["log"].removed) == (1, Change(0, 1), 1)
    (sample,) = report.destinations["log"].samples
    assert sample.after[-1]["silence"] == "s1"
    # one that is saved is taken from the side without it
    assert compare(events, *without_and_with(rules, [planned], planned)) == report


def test_a_silence_of_what_fails_again_is_tried_with_what_was_remembered_whatever_the_routes_ask():
    page = {"sodaCloudUrl": "https://cloud.soda.io/checks/c-1", "outcome": "fail"}
    bodies = [{"event": "checkEvaluation", "n": number, "checkResults": [page]} for number in range(3)]
    rules = side(FAILS).rules
    assert not rules.remember
    sides = without_and_with(rules, [], silence(match={"result": "still_failing"}))
    report = compare(stored(*map(make_event, bodies)), *sides)
    assert report.destinations["log"].removed == 2


def test_a_recurring_silence_is_tried_in_its_windows_alone():
    events = stored(checks("fail"), checks("fail", received=MOMENT + timedelta(hours=8)))
    nightly = silence(during=[{"hours": "19:00-21:00"}])
    assert compare(events, *without_and_with(side(FAILS).rules, [], nightly)).destinations["log"].removed == 1


# what the memory said


STATEFUL: list[dict[str, Any]] = [
    {"name": "first", "match": {"result": "first_failure"}, "to": ["log"]},
    {"name": "third", "match": {"streak": ">=3", "outcome": "fail"}, "to": ["other"]},
    {"name": "raised", "match": {"incident": ["raised", "resolved"]}, "to": ["other"]},
]


def incident(severity: str, status: str, number: int) -> Event:
    updated = (MOMENT + timedelta(minutes=number)).isoformat()
    body = {"id": "i", "severity": severity, "status": status, "lastUpdated": updated}
    return make_event({"event": "incidentUpdated", "incident": body})


HISTORY = [
    checks("fail", "pass"),
    checks("fail", "fail"),
    incident("minor", "reported", 1),
    checks("fail", "fail"),
    incident("major", "reported", 2),
    checks("pass", "fail"),
    checks("fail", "fail"),
    incident("major", "resolved", 3),
]


async def test_it_says_what_the_router_decided_by_the_same_rules_event_by_event(tmp_path):
    # each with a body of its own, so that none is taken for a repeat
    bodies = [json.dumps(json.loads(event.raw) | {"n": number}) for number, event in enumerate(HISTORY)]
    toml = "".join(f'[destination.{name}]\ntype = "file"\npath = "{name}.jsonl"\n' for name in ("log", "other"))
    for route in STATEFUL:
        match = ", ".join(f"{key} = {value!r}" for key, value in route["match"].items())
        toml += f"[[route]]\nname = {route['name']!r}\nto = {route['to']}\nmatch = {{ {match} }}\n"
    async with running_router(tmp_path, toml) as router:
        for body in bodies:
            await router.post(body.encode())
            await router.until_settled()  # one after the other, so that the order is certain
        listed = list(router.reader.stream(EventFilter()))
        traces = {one.event.id: one.trace for one in router.reader.events(limit=100)}
    rules = load(tmp_path / "router.toml").rules
    assert rules.remember
    assert any(one.planned == 0 for one in listed)
    assert sum(one.planned or 0 for one in listed) > 3
    forgotten = [StoredEvent(one.event, 0, one.planned) for one in listed]
    for history in (listed, forgotten):
        past = Past()
        for one in history:
            memory = past.of(one)
            decision = decide(one.event, rules, State(memory))
            past.learn(recall(one.event, memory).after)
            assert effective(decision) == traces[one.event.id]
            assert len(decision.planned) == one.planned


@pytest.mark.parametrize("begin", range(len(HISTORY)))
def test_what_is_not_stored_is_gathered_from_the_events_before(begin):
    rules = side(*STATEFUL)
    whole = compare(stored(*HISTORY), side(), rules)
    warm = compare(stored(*HISTORY[begin:]), side(), rules, earlier=lambda: stored(*HISTORY[:begin]))
    before = compare(stored(*HISTORY[:begin]), side(), rules)
    for name, volume in whole.destinations.items():
        parts = (report.destinations.get(name) for report in (before, warm))
        assert volume.added == sum(part.added for part in parts if part)


def test_the_events_before_are_not_gone_through_when_what_the_memory_said_is_stored():
    def earlier() -> list[StoredEvent]:
        raise AssertionError("nobody needs them")

    known = [StoredEvent(event, 0, 0, state="[null, null]") for event in HISTORY[:2]]
    report = compare(known, side(), side(*STATEFUL), earlier=earlier)
    # each was the first for all that the memory said
    assert report.destinations["log"].deliveries.after == 2
    # and rules that ask no memory do not ask for it
    assert compare(stored(*HISTORY), side(), side(FAILS), earlier=earlier).differs


def test_events_of_other_types_are_there_for_the_memory_and_are_not_counted():
    report = compare(stored(*HISTORY), side(), side(*STATEFUL), event_type="incidentUpdated")
    assert (report.events, report.destinations["other"].added) == (3, 2)
    assert "log" not in report.destinations


def test_what_is_remembered_has_a_bound_and_the_longest_unheard_of_is_forgotten():
    past = Past(most=10)
    for number in range(20):
        event = checks("fail", dataset=f"d{number}")
        past.learn(recall(event, {}).after)
    assert not past.of(*stored(checks("fail", dataset="d9")))
    assert past.of(*stored(checks("fail", dataset="d10")))
    contract = {"event": "contractPublished", "contract": {"dataset": "a/b", "contents": "x" * 256 * 9}}
    past.learn(recall(make_event(contract), {}).after)
    assert not past.of(*stored(checks("fail", dataset="d18")))


# reading


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_stream_has_every_event_that_is_wanted_once_and_oldest_first(engine, tmp_path):
    async with open_engine(engine, tmp_path) as spool:
        moments = [MOMENT + timedelta(seconds=number % 7) for number in range(20)]
        for number, moment in enumerate(moments):
            source = "soda" if number % 3 else "other"
            await spool.append(make_event({"event": "checkEvaluation", "n": number}, received=moment, source=source))
        wanted = EventFilter(source="soda", since=MOMENT + timedelta(seconds=1), until=MOMENT + timedelta(seconds=6))
        found = list(spool.reader.stream(wanted))
        assert [one.event.id for one in found] == spool.reader.event_ids(wanted, limit=100)
        assert all(one.planned is None and one.state is None for one in found)
        (one,) = islice(spool.reader.stream(EventFilter()), 1)
        assert one.event == spool.reader.event(one.event.id).event


async def test_a_stream_is_read_in_pages_and_holds_back_no_checkpoint(tmp_path):
    async with open_engine("sqlite", tmp_path) as spool:
        await spool.append()
    path = tmp_path / "spool.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # more than a page by number, and more than one by their bytes
        connection.executemany(
            "INSERT INTO event (id, source, received, type, raw) VALUES (?, 'soda', ?, 'new', ?)",
            [(f"e{n}", 1_000_000 + n // 3, b'{"event": "new"}') for n in range(2 * PAGE + 1)]
            + [(f"large{n}", 2_000_000 + n, b'{"event": "new"}'.ljust(1 << 20)) for n in range(9)],
        )
        with closing(SqliteReader(path)) as reader:
            found = reader.stream(EventFilter())
            assert next(found).event.id == "e0"
            connection.execute("UPDATE event SET repeats = 1 WHERE id = 'e1'")
            assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            rest = [one.event.id for one in found]
    assert rest[:-1] == [f"e{n}" for n in range(1, 2 * PAGE + 1)] + [f"large{n}" for n in range(9)]


# the command


CONFIG = """
[source.soda]
path = "/webhooks/soda"
verify = [{ type = "header", name = "Authorization", value = { env = "NOT_SET_HERE" } }]
[admin]
token = { env = "NOT_SET_HERE" }
[destination.log]
type = "file"
path = "events.jsonl"
[destination.oncall]
type = "a-plugin-that-is-not-here"
url = { env = "NOT_SET_HERE" }
[[route]]
name = "failures"
match = { event = "checkEvaluation", outcome = "fail" }
to = ["log"]
"""
CANDIDATE = (
    CONFIG
    + """
[[route]]
name = "incidents"
match = { severity = "critical" }
to = ["oncall"]
"""
)


@pytest.fixture
def history(spool: Path) -> Path:
    """A spool with six events of one moment, and a configuration whose secrets and plugins are not at hand."""
    with closing(sqlite3.connect(spool / "var/sodarouter.db", isolation_level=None)) as connection:
        first = int(MOMENT.timestamp() * 1e6)
        connection.execute("UPDATE event SET received = ? + seq * 1000000", (first,))
    (spool / "router.toml").write_text(CONFIG)
    (spool / "new.toml").write_text(CANDIDATE)
    return spool


ALL = ("--since", "2026-01-01", "--timezone", "UTC")


def test_backtest_tells_people_what_would_change_with_neither_secret_nor_plugin_at_hand(sodarouter, history):
    ran = sodarouter("backtest", "new.toml", *ALL, "--samples", "1")
    assert (ran.status, ran.err) == (3, "")
    lines = ran.out.splitlines()
    assert re.fullmatch("6 events from .* to .*: 1 would go elsewhere", lines[0])
    assert lines[1] == "nights are 22:00 to 06:00, UTC"
    assert [line.split() for line in lines[3:6]] == [
        ["destination", "deliveries", "added", "removed", "changed", "nights", "weekends"],
        ["log", "1", "0", "0"],
        ["oncall", "0", "→", "1", "+1", "0", "0"],
    ]
    assert "unrouted: 4 → 3 (0 newly, 1 no longer)" in lines
    at = lines.index("oncall")
    assert lines[at + 1 : at + 7] == [
        "  by day, 2026-05-04 to 2026-05-04; a full bar is 1",
        "    before | |",
        "    after  |█|",
        "  by hour, 0 to 23; a full bar is 1",
        "    before |" + " " * 24 + "|",
        "    after  |" + " " * 12 + "█" + " " * 11 + "|",
    ]
    assert lines[at + 7].endswith(": INC-7 Orders are late (critical, reported)")
    assert lines[at + 9 : at + 11] == [
        "    before: nothing",
        "    after: incidents: matched: the whole event to oncall",
    ]


def test_backtest_of_the_same_configuration_says_so_in_a_line(sodarouter, history):
    for arguments in ((), ("--markdown",)):
        ran = sodarouter("backtest", "router.toml", *ALL, *arguments)
        assert (ran.status, ran.err, len(ran.out.splitlines())) == (0, "", 1)
        assert "no difference" in ran.out
    ran = sodarouter("backtest", "router.toml", *ALL, "--json")
    assert (ran.status, ran.json["differs"], ran.json["events"]) == (0, False, 6)


def test_backtest_gives_programs_the_whole_report(sodarouter, history):
    found = sodarouter("backtest", "new.toml", *ALL, "--json").json
    assert (found["differs"], found["events"], found["differing"], found["timezone"]) == (True, 6, 1, "UTC")
    oncall = found["destinations"]["oncall"]
    assert oncall["deliveries"] == {"before": 0, "after": 1}
    assert (oncall["added"], oncall["days"]) == (1, {"2026-05-04": {"before": 0, "after": 1}})
    assert len(oncall["hours"]) == 24
    (sample,) = oncall["samples"]
    assert (sample["kind"], sample["after"][0]["route"]) == ("added", "incidents")


def test_backtest_writes_markdown_that_a_pull_request_can_show(sodarouter, history):
    ran = sodarouter("backtest", "new.toml", *ALL, "--markdown", "--samples", "0")
    assert ran.status == 3
    assert ran.out == (
        "**Backtest: 1 of 6 events would go elsewhere** (2026-05-04 to 2026-05-04)\n"
        "\n"
        "| destination | before | after | added | removed | changed | at night | at weekends |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|\n"
        "| `log` | 1 | 1 |  |  |  | 0 | 0 |\n"
        "| `oncall` | 0 | 1 | +1 |  |  | 0 | 0 |\n"
        "\n"
        "Unrouted: 4 → 3 (0 newly, 1 no longer). Withheld by a silence or a window: 0. Nights are 22:00 to 06:00, UTC.\n"
    )
    with_samples = sodarouter("backtest", "new.toml", *ALL, "--markdown").out
    assert "| `oncall` | added | `incidentCreated`<br>`INC-7 Orders are late (critical, reported)`<br>`" in with_samples
    assert "| nothing | `incidents: matched: the whole event to oncall` |\n" in with_samples


def test_text_from_elsewhere_is_code_in_a_cell_whatever_is_in_it():
    assert code("a|b `c`\n@all <b>") == "`a\\|b 'c' @all <b>`"
    assert code("") == ""


def test_backtest_chooses_events_and_says_when_there_is_none(sodarouter, history):
    ran = sodarouter("backtest", "new.toml", *ALL, "--type", "incidentCreated", "--json")
    assert ran.json["events"] == 1
    ran = sodarouter("backtest", "new.toml", *ALL, "--type", "incidentCraeted")
    assert (ran.status, ran.out) == (1, "")
    assert "there is no event to try it on; Soda documents no event type 'incidentCraeted'" in ran.err
    assert sodarouter("backtest", "new.toml", "--since", "2026-05-05").status == 1


def test_backtest_takes_the_events_of_a_backup(sodarouter, history):
    (history / "var/sodarouter.db").rename(history / "backup.db")
    assert sodarouter("backtest", "new.toml", *ALL).status == 1
    assert sodarouter("backtest", "new.toml", *ALL, "--spool", "backup.db").status == 3


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            '[[route]]\nto = ["oncal"]\n',
            "new.toml: route[1].to: there is no destination 'oncal'; did you mean 'oncall'?",
        ),
        ('[[rout]]\nto = ["log"]\n', "new.toml: rout: unknown key; did you mean 'route'?"),
        ('[[route]]\nto = ["log"]\nactive = ["nihgt"]\n', "new.toml: route[1].active: there is no window 'nihgt'"),
        ('[teams]\nfiles = ["gone.csv"]\n', "new.toml: teams.files[0]: gone.csv cannot be read: no such file"),
        ("include = 1 2", "new.toml:17:13: is not TOML"),
    ],
)
def test_backtest_tells_the_faults_of_a_candidate_with_their_places(sodarouter, history, written, told):
    (history / "new.toml").write_text(CONFIG + written)
    ran = sodarouter("backtest", "new.toml", *ALL)
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.err


@pytest.mark.parametrize("since", [None, MOMENT + timedelta(seconds=2)])
def test_a_silence_can_be_tried_on_the_events_of_a_spool(history, capsys, since):
    routing = load_routing(history / "new.toml")
    stateful = Routing.model_validate({"route": [{"match": {"incident": "opened"}, "to": ["oncall"]}]})
    with closing(SqliteReader(history / "var/sodarouter.db")) as reader:
        for known in (routing, stateful):
            report = try_silence(reader, known, silence(to=["oncall"]), EventFilter(since=since), ZoneInfo("UTC"))
            assert report.destinations["oncall"].removed == 1
            assert report.withheld == Change(0, 1)
    show_report(report)
    out = capsys.readouterr().out
    assert "withheld by a silence or a window: 0 → 1\n" in out
    assert "after: kept from oncall: the whole event: silence s1 by ada: planned\n" in out


def test_backtest_tells_a_mistake_in_the_command_line(sodarouter, history):
    assert sodarouter("backtest", "new.toml", "--json", "--markdown").status == 2
    ran = sodarouter("backtest", "new.toml", "--timezone", "Europe/Berln")
    assert ran.status == 2
    assert "Europe/Berlin" in ran.err
    gone = sodarouter("backtest", "gone.toml")
    assert (gone.status, gone.err) == (2, "sodarouter: there is no file 'gone.toml'\n")


def test_a_candidate_is_read_with_what_it_includes_inherits_and_knows_of_teams(tmp_path):
    (tmp_path / "router.toml").write_text(
        CONFIG
        + '[defaults.route]\nto = ["oncall"]\n[teams]\nfiles = ["teams.csv"]\n'
        + '[[team]]\nname = "a"\nmatch = { tag = "x" }\n'
    )
    text = (tmp_path / "router.toml").read_text()
    (tmp_path / "router.toml").write_text('include = ["more.toml"]\n' + text)
    (tmp_path / "more.toml").write_text(
        '[destination.chat]\ntype = "x"\norder_by = "incident"\n[[route]]\nmatch = { team = "b" }\n'
    )
    (tmp_path / "teams.csv").write_text("team,dataset\nb,orders\n")
    routing = load_routing(tmp_path / "router.toml")
    assert [route.to for route in routing.route] == [["log"], ["oncall"]]
    assert [team.name for team in routing.team] == ["a", "b"]
    assert routing.order_by == {"chat": "incident"}


def test_what_decides_is_the_same_whether_all_is_loaded_or_only_that(filled):
    path = filled / "router.toml"
    assert load_routing(path) == load(path).routing


async def test_backtest_runs_beside_a_router_that_runs(tmp_path):
    toml = '[destination.log]\ntype = "file"\npath = "events.jsonl"\n[[route]]\nto = ["log"]\n'
    async with running_router(tmp_path, toml) as router:
        await router.post(HISTORY[0].raw)
        stream = router.reader.stream(EventFilter())
        first = next(stream)
        await router.post(HISTORY[1].raw)
        await router.until_settled()
        report = compare([first, *stream], side(FAILS), side(FAILS))
    assert isinstance(report, Report)
    assert not report.differs


@given(
    st.dictionaries(st.dates(date(2026, 1, 1), date(2026, 12, 31)), st.integers(1, 9), min_size=1), st.integers(1, 80)
)
def test_days_that_are_drawn_together_lose_nothing(counts, most):
    days = every_day({day.isoformat(): Change(count, 1) for day, count in counts.items()})
    drawn = together(list(days.values()), most)
    assert len(drawn) <= most
    assert sum(change.before for change in drawn) == sum(counts.values())
    assert len(days) == (max(counts) - min(counts)).days + 1
