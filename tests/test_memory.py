"""What is remembered of checks, incidents and contracts, and what follows from it for the next event."""

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing import events
from support import make_event

from sodarouter.decide.memory import (
    INCIDENT_WORDS,
    MAX_CONTENTS,
    MAX_RESULTS,
    RESULT_WORDS,
    Memory,
    dump_memory,
    dump_state,
    memory_keys,
    parse_memories,
    parse_state,
    recall,
)
from sodarouter.event import Event

PAGE = "https://cloud.soda.io/checks/c-1"


def check(outcome: str | None, minute: int | None = None, **known: Any) -> Event:
    """An event with one result, of data from so many minutes past eleven."""
    at = {} if minute is None else {"dataTimestamp": f"2026-05-04T11:{minute:02}:00Z"}
    return evaluation({"sodaCloudUrl": PAGE, "outcome": outcome, **at, **known})


def evaluation(*results: dict[str, Any], source: str = "soda") -> Event:
    return make_event({"event": "checkEvaluation", "checkResults": list(results)}, source=source)


def update(minute: int | None = None, kind: str = "incidentUpdated", **known: Any) -> Event:
    at = {} if minute is None else {"lastUpdatedTimestamp": f"2026-05-04T11:{minute:02}:00Z"}
    return make_event({"event": kind, "incident": {"id": "i-1", **at, **known}})


def contract(contents: str | None, dataset: str = "prod/a") -> Event:
    return make_event({"event": "contractPublished", "contract": {"dataset": dataset, "contents": contents}})


class Remembering:
    """Tells what the memory says of each event, one after another."""

    def __init__(self) -> None:
        self.memory: dict[bytes, Memory] = {}

    def results(self, event: Event) -> list[tuple[str | None, str | None, int | None]]:
        """Of each result: the outcome before, what became of the check, and the streak."""
        found = recall(event, self.memory)
        self.memory.update(found.after)
        return [(one.previous, one.became, one.streak) for one in found.results]

    def incident(self, event: Event) -> set[str]:
        found = recall(event, self.memory)
        self.memory.update(found.after)
        return set(found.incident)

    def contract(self, event: Event) -> set[str]:
        found = recall(event, self.memory)
        self.memory.update(found.after)
        return set(found.contract)


def told(*events: Event) -> list[tuple[str | None, str | None, int | None]]:
    remembering = Remembering()
    return [remembering.results(event)[0] for event in events]


def became(*events: Event) -> list[set[str]]:
    remembering = Remembering()
    return [remembering.incident(event) for event in events]


# --- checks


def test_a_check_fails_first_goes_on_failing_and_recovers() -> None:
    assert told(check("pass", 0), check("fail", 1), check("fail", 2), check("pass", 3), check("pass", 4)) == [
        (None, None, 1),
        ("pass", "first_failure", 1),
        ("fail", "still_failing", 2),
        ("fail", "recovery", 1),
        ("pass", None, 2),
    ]
    seen = {word for _, word, _ in told(check("fail", 1), check("fail", 2), check("pass", 3))}
    assert seen == set(RESULT_WORDS)


def test_an_error_is_a_failure() -> None:
    assert told(check("error", 0), check("fail", 1), check("error", 2))[1:] == [
        ("error", "still_failing", 2),
        ("fail", "still_failing", 3),
    ]


def test_a_warning_neither_fails_nor_recovers_and_begins_a_streak_of_its_own() -> None:
    assert told(check("fail", 0), check("warn", 1), check("fail", 2), check("warn", 3), check("pass", 4)) == [
        (None, "first_failure", 1),
        ("fail", None, 1),
        ("warn", "still_failing", 1),
        ("fail", None, 1),
        ("warn", "recovery", 1),
    ]


@pytest.mark.parametrize("nothing", ["notEvaluated", "excluded", "never heard of", None])
def test_an_outcome_that_says_nothing_of_the_data_is_passed_over(nothing: str | None) -> None:
    assert told(check("fail", 0), check(nothing, 1), check("fail", 2)) == [
        (None, "first_failure", 1),
        ("fail", None, None),
        ("fail", "still_failing", 2),
    ]


@pytest.mark.parametrize(
    ("failed", "passed"),
    [
        ({"outcome": "fail"}, {"outcome": "pass"}),
        ({"outcome": "failed"}, {"outcome": "passed"}),
        ({"evaluationStatus": "fail", "outcome": "pass"}, {"evaluationStatus": "pass"}),
    ],
)
def test_all_vocabularies_are_remembered_alike(failed: dict[str, str], passed: dict[str, str]) -> None:
    page = {"sodaCloudUrl": PAGE}
    assert told(evaluation(page | failed), evaluation(page | passed)) == [
        (None, "first_failure", 1),
        ("fail", "recovery", 1),
    ]


def test_a_result_that_comes_late_or_again_says_nothing_and_changes_nothing() -> None:
    late, again = check("pass", 3), check("fail", 5, value=1)
    assert told(check("fail", 5), late, again, check("fail", 6)) == [
        (None, "first_failure", 1),
        (None, None, None),
        (None, None, None),
        ("fail", "still_failing", 2),
    ]


def test_a_check_that_is_run_again_on_the_same_data_and_passes_has_recovered() -> None:
    assert told(check("fail", 5), check("pass", 5))[1] == ("fail", "recovery", 1)


def test_results_without_a_time_count_as_they_come() -> None:
    assert told(check("fail"), check("fail"), check("pass", 1), check("fail"))[1:] == [
        ("fail", "still_failing", 2),
        ("fail", "recovery", 1),
        ("pass", "first_failure", 1),
    ]


def test_two_results_of_one_check_in_one_event_follow_one_another() -> None:
    one, two = ({"sodaCloudUrl": PAGE, "outcome": word} for word in ("fail", "pass"))
    assert Remembering().results(evaluation(one, two)) == [(None, "first_failure", 1), ("fail", "recovery", 1)]


DATASETS = {"datasets": [{"name": "orders", "datasource": {"name": "prod"}}]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # by the page of the check, whatever the id of the result, which may be another in each run
        ({"id": "1", "sodaCloudUrl": PAGE, "name": "a"}, {"id": "2", "sodaCloudUrl": PAGE + "?x#y", "name": "b"}),
        # else by dataset, column and name
        ({"id": "1", "name": "a", **DATASETS}, {"id": "2", "name": "a", **DATASETS}),
        ({"id": "1", "definition": "a > 0", **DATASETS}, {"id": "2", "definition": "a > 0", **DATASETS}),
        # and where there is no more, by the id or the name
        ({"id": "1"}, {"id": "1", "name": "a"}),
        ({"name": "a"}, {"name": "a"}),
        ({"id": 7}, {"id": 7}),
    ],
)
def test_these_are_one_check(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert told(evaluation({"outcome": "fail", **one}), evaluation({"outcome": "fail", **other}))[1][2] == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"sodaCloudUrl": PAGE}, {"sodaCloudUrl": PAGE + "2"}),
        ({"name": "a", **DATASETS}, {"name": "b", **DATASETS}),
        ({"name": "a", **DATASETS}, {"name": "a", "column": "id", **DATASETS}),
        ({"name": "a", **DATASETS}, {"name": "a", "datasets": [{"name": "orders", "datasource": {"name": "stage"}}]}),
        ({"id": "1"}, {"id": "2"}),
        ({}, {}),
        ({**DATASETS}, {**DATASETS}),
        ({"id": ""}, {"id": ""}),
    ],
)
def test_these_are_two_checks_or_cannot_be_told_apart_and_are_not_remembered(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    remembering = Remembering()
    for known in (one, other):
        assert remembering.results(evaluation({"outcome": "fail", **known})) == [(None, "first_failure", 1)]


def test_sources_have_nothing_to_do_with_one_another() -> None:
    result = {"sodaCloudUrl": PAGE, "outcome": "fail"}
    assert told(evaluation(result), evaluation(result, source="staging"))[1] == (None, "first_failure", 1)


def test_the_results_of_an_incident_do_not_count_once_more() -> None:
    remembering = Remembering()
    remembering.results(check("fail"))
    of_incident = update(checkResults=[{"sodaCloudUrl": PAGE, "outcome": "fail"}])
    assert remembering.results(of_incident) == [(None, None, None)]
    assert remembering.results(check("fail")) == [("fail", "still_failing", 2)]


def test_no_more_results_of_one_event_are_remembered_than_there_is_room_for() -> None:
    results = [{"id": str(number), "outcome": "fail"} for number in range(MAX_RESULTS + 2)]
    event = evaluation(*results)
    found = recall(event, {})
    assert len(found.after) == len(memory_keys(event)) == MAX_RESULTS
    assert len(found.results) == MAX_RESULTS + 2
    assert [one.streak for one in found.results[-3:]] == [1, None, None]


# --- incidents


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([update(0, "incidentCreated", severity="major")], ["opened"]),
        ([update(0, severity="minor"), update(1, severity="critical")], ["raised"]),
        ([update(0, severity="low"), update(1, severity="high")], ["raised"]),
        ([update(0, severity="high"), update(1, severity="medium")], ["lowered"]),
        ([update(0, severity="major"), update(1, severity="high")], ["updated"]),
        ([update(0, severity="high"), update(1, severity="odd")], ["updated"]),
        ([update(0, status="resolved")], ["resolved"]),
        ([update(0, status="fixing"), update(1, status="resolved")], ["resolved"]),
        ([update(0, status="resolved"), update(1, status="resolved")], ["updated"]),
        ([update(0, status="resolved"), update(1, status="investigating")], ["reopened"]),
        ([update(0, status="resolved"), update(1, status="in_progress", severity="low")], ["reopened"]),
        ([update(0, status="reported"), update(1, status="fixing")], ["updated"]),
        ([update(0, lead={"id": "1"}), update(1, lead={"id": "2"})], ["assigned"]),
        ([update(0), update(1, lead={"email": "ann@example.org"})], ["assigned"]),
        ([update(0, lead={"id": "1"}), update(1)], ["updated"]),
        (
            [update(0, severity="low", status="resolved"), update(1, severity="high", status="fixing")],
            ["raised", "reopened"],
        ),
        ([update(0, severity="low")], ["updated"]),
        ([update(5, severity="low"), update(3, severity="high")], []),
        ([update(5, status="resolved"), update(None, severity="high")], ["updated"]),
        (
            [update(0, "incidentCreated", status="reported"), update(0, "incidentCreated", status="reported")],
            ["opened"],
        ),
    ],
)
def test_what_has_become_of_an_incident(events: Sequence[Event], words: list[str]) -> None:
    assert sorted(became(*events)[-1]) == words
    assert set(words) <= set(INCIDENT_WORDS)


def test_an_incident_that_an_update_has_overtaken_is_opened_all_the_same() -> None:
    assert became(
        update(5, status="fixing"), update(1, "incidentCreated", status="reported"), update(6, status="fixing")
    ) == [
        {"updated"},
        {"opened"},
        {"updated"},
    ]


def test_an_incident_without_an_id_is_told_of_and_not_remembered() -> None:
    for kind, word in (("incidentCreated", "opened"), ("incidentUpdated", "resolved")):
        event = make_event({"event": kind, "incident": {"status": "resolved"}})
        found = recall(event, {})
        assert (found.incident, found.after, memory_keys(event)) == ({word}, {}, [])


def test_what_an_update_leaves_out_has_not_changed() -> None:
    assert became(update(0, severity="high", status="resolved"), update(), update(1, severity="critical"))[1:] == [
        {"updated"},
        {"raised"},
    ]


# --- contracts


ONE, TWO = "dataset: prod/a\ncolumns:\n  - name: id\n", "dataset: prod/a\ncolumns:\n  - name: other\n"


def test_a_contract_is_compared_with_what_was_published_before() -> None:
    remembering = Remembering()
    assert remembering.contract(contract(ONE)) == {"first"}
    assert remembering.contract(contract(ONE)) == {"same"}
    assert "breaking" in remembering.contract(contract(TWO))
    assert remembering.contract(contract(TWO, dataset="prod/b")) == {"first"}
    assert remembering.contract(contract("a: [")) == {"unreadable"}


def test_a_contract_that_is_too_long_to_be_remembered_is_not_taken_for_the_one_before_it() -> None:
    remembering = Remembering()
    remembering.contract(contract(ONE))
    assert remembering.contract(contract("#" * (MAX_CONTENTS + 1))) == {"unreadable"}
    assert remembering.contract(contract(ONE)) == {"first"}
    assert all(len(dump_memory(one)) < 1000 for one in remembering.memory.values())


@pytest.mark.parametrize("event", [contract(None), contract(ONE, dataset=""), make_event("v3-agreementCreated")])
def test_what_says_nothing_that_can_be_compared_is_not_remembered(event: Event) -> None:
    assert memory_keys(event) == []
    assert recall(event, {}).contract == frozenset()


# --- on the disk


@settings(max_examples=100)
@given(st.lists(events(), max_size=8))
def test_what_is_remembered_comes_back_from_the_disk(coming: list[Event]) -> None:
    memory: dict[bytes, Memory] = {}
    for event in coming:
        before = dict(memory)
        keys = memory_keys(event)
        text = dump_state(keys, {key: dump_memory(one) for key, one in memory.items()})
        found = recall(event, parse_state(event, text))
        assert found == recall(event, memory)
        assert memory == before
        assert set(found.after) <= set(keys)
        assert parse_memories({key: dump_memory(one) for key, one in found.after.items()}) == found.after
        memory.update(found.after)


def test_what_is_on_the_disk_is_found_and_read_by_the_next_version() -> None:
    created = update(1, "incidentCreated", severity="high", status="reported", lead={"email": "ann\u00e9@example.org"})
    for event, name, text in (
        (check("fail", 1), b"check\0soda\0c-1", '["check","fail",1,true,"2026-05-04T11:01:00+00:00"]'),
        (
            created,
            b"incident\0soda\0i-1",
            '["incident","high","reported","ann\u00e9@example.org","2026-05-04T11:01:00+00:00"]',
        ),
        (contract("a: 1\n"), b"contract\0soda\0prod/a", r'["contract","a: 1\n"]'),
    ):
        (key,) = memory_keys(event)
        assert key == blake2b(name, digest_size=16).digest()
        ((_, now),) = recall(event, {}).after.items()
        assert dump_memory(now) == text
        assert parse_memories({key: json.dumps(json.loads(text))}) == {key: now}  # as versions before wrote it


@pytest.mark.parametrize(
    "text", ['["dream",1]', '["check","fail"]', '["check","fail",1,true,null,"more"]', "[]", "null"]
)
def test_what_another_version_remembered_is_not_known(text: str) -> None:
    event = check("fail")
    (key,) = memory_keys(event)
    assert parse_memories({key: text}) == {}
    assert parse_state(event, f"[{text}]") == {}
