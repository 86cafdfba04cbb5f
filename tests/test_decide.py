import fnmatch
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SAMPLES, make_event

from sodarouter.decide import Decision, Route, Routing, compile_rules, explain
from sodarouter.delivery import Planned
from sodarouter.event import Event


def decided(event: Event, *routes: dict[str, Any], unrouted: tuple[str, ...] = ()) -> Decision:
    wanted = [Route.model_validate({"to": ["there"], **route}) for route in routes]
    return explain(event, compile_rules(Routing(route=wanted, unrouted=list(unrouted))))


def matches(event: Event, match: dict[str, Any]) -> bool:
    return bool(decided(event, {"match": match}).planned)


def result(name: str, outcome: str = "fail", **known: Any) -> dict[str, Any]:
    return {"name": name, "outcome": outcome, "datasets": [{"name": name}], **known}


THREE = make_event(
    {"event": "checkEvaluation", "checkResults": [result("a"), result("b", "pass"), result("c", "warn")]}
)


def test_a_route_without_conditions_takes_every_event_whole() -> None:
    for name in SAMPLES:
        if name != "v3-validate":
            assert decided(make_event(name), {}).planned == (Planned("there", None),)


V3, V4, CONTRACT = (
    make_event("v3-incidentCreated"),
    make_event("v4-2025-08-incidentCreated"),
    "v4-2025-08-contractPublished",
)


@pytest.mark.parametrize(
    ("sample", "match"),
    [
        ("v3-incidentCreated", {"event": "incidentCreated"}),
        ("v3-incidentCreated", {"event": "incident*", "scope": "incidents", "source": "soda"}),
        ("v3-incidentCreated", {"severity": "high"}),
        ("v3-incidentCreated", {"severity": "major"}),
        ("v4-2025-08-incidentCreated", {"severity": "major"}),
        ("v3-incidentCreated", {"status": "reported"}),
        ("v3-incidentCreated", {"status": "opened"}),
        ("v4-2025-08-incidentUpdated", {"status": ["resolved", "in_progress"]}),
        ("v3-incidentCreated", {"owner": "PERSON@soda.io", "attribute": {"data_domain": "Product", "origin": "P*"}}),
        ("v3-checkEvaluation", {"outcome": "pass", "dataset": "sodaspark/bnm_*", "datasource": "sodaspark"}),
        ("v3-checkEvaluation", {"column": "columnName", "check": "count same as*"}),
        ("v4-2026-checkEvaluation", {"owner": "Data Stewards", "attribute": {"criticality": "high"}}),
        ("v4-2026-checkEvaluation", {"outcome": ["error", "fail"], "dataset": "ecommerce_orders"}),
        (CONTRACT, {"author": "author@example.com", "dataset": "neondb/soda/*", "datasource": "neondb"}),
        (CONTRACT, {"dataset": "ecommerce_orders", "scope": "contracts"}),
        ("v3-agreementCreated", {"scope": "agreements", "not": {"dataset": "*"}}),
    ],
)
def test_both_vocabularies_are_matched(sample: str, match: dict[str, Any]) -> None:
    assert matches(make_event(sample), match)


@pytest.mark.parametrize(
    ("sample", "match"),
    [
        ("v3-incidentCreated", {"event": "incidentUpdated"}),
        ("v3-incidentCreated", {"event": "incident"}),
        ("v3-incidentCreated", {"severity": "low"}),
        ("v3-incidentCreated", {"severity": "high", "status": "resolved"}),
        ("v3-incidentCreated", {"severity": "high", "not": {"status": "reported"}}),
        ("v3-incidentCreated", {"attribute": {"data_domain": "Product", "origin": "Manual"}}),
        ("v3-incidentCreated", {"attribute": {"nothing": "*"}}),
        ("v3-checkEvaluation", {"severity": "*"}),
        ("v3-agreementCreated", {"dataset": "*"}),
        (CONTRACT, {"outcome": "*"}),
    ],
)
def test_a_condition_that_does_not_hold_keeps_the_event_away(sample: str, match: dict[str, Any]) -> None:
    assert not matches(make_event(sample), match)


def test_conditions_on_results_choose_which_travel() -> None:
    assert decided(THREE, {"match": {"outcome": ["fail", "warn"]}}).planned == (Planned("there", (0, 2)),)
    assert decided(THREE, {"match": {"not": {"outcome": "pass"}}}).planned == (Planned("there", (0, 2)),)


def test_all_conditions_must_hold_on_the_same_result() -> None:
    assert not matches(THREE, {"outcome": "fail", "dataset": "b"})
    assert decided(THREE, {"match": {"outcome": "fail", "dataset": "a"}}).planned == (Planned("there", (0,)),)


def test_an_event_travels_whole_when_all_its_results_match() -> None:
    assert decided(THREE, {"match": {"dataset": "*"}}).planned == (Planned("there", None),)


def test_results_that_several_routes_send_to_one_destination_travel_together() -> None:
    fail, warn, ok = ({"match": {"outcome": outcome}} for outcome in ("fail", "warn", "pass"))
    assert decided(THREE, fail, warn).planned == (Planned("there", (0, 2)),)
    assert decided(THREE, fail, warn, ok).planned == (Planned("there", None),)
    assert decided(THREE, fail, {}).planned == (Planned("there", None),)


def test_all_routes_that_match_apply_until_one_stops() -> None:
    routes = [{"to": ["one"]}, {"to": ["two"], "stop": True, "name": "last"}, {"to": ["three"], "name": "never"}]
    decision = decided(V3, *routes)
    assert [planned.destination for planned in decision.planned] == ["one", "two"]
    assert decision.trace[2] == {"route": "never", "matched": False, "to": ["three"], "stopped_by": "last"}


def test_a_route_that_does_not_match_does_not_stop() -> None:
    assert decided(V3, {"match": {"severity": "low"}, "stop": True}, {"to": ["two"]}).planned == (Planned("two"),)


def test_events_that_match_nothing_go_where_unrouted_says() -> None:
    no = {"match": {"severity": "low"}}
    decision = decided(V3, no, unrouted=("catch-all",))
    assert decision.planned == (Planned("catch-all", None),)
    assert decision.trace[-1] == {"unrouted": True, "to": ["catch-all"]}
    assert decided(V3, no).planned == ()


def test_validate_goes_only_where_a_route_names_it() -> None:
    validate = make_event("v3-validate")
    assert decided(validate, {}, {"match": {"event": "*"}}, unrouted=("x",)).planned == ()
    assert decided(validate, {"match": {"event": ["validate", "incident*"]}}).planned == (Planned("there", None),)
    assert not matches(validate, {"not": {"event": "validate"}})


def test_the_trace_names_the_first_condition_that_failed() -> None:
    (step, _) = decided(V3, {"name": "calm", "match": {"event": "incident*", "severity": ["low", "medium"]}}).trace
    failed = {"key": "severity", "not": False, "wanted": ["low", "medium"], "found": ["high"]}
    assert step == {"route": "calm", "matched": False, "to": ["there"], "failed": failed}


def test_unknown_events_are_routed_like_any_other() -> None:
    assert matches(make_event({"event": "monitorAnomaly", "monitor": {}}), {"event": "monitor*"})


words = st.sampled_from(["a", "b", "ab", "pass", "fail"])
patterns = st.lists(st.one_of(words, st.sampled_from(["*", "a*", "?", "[ab]*"])), min_size=1, max_size=2)
keys = ("outcome", "dataset", "column")
conditions = st.fixed_dictionaries({}, optional=dict.fromkeys(keys, patterns))
results = st.lists(st.fixed_dictionaries({"outcome": words, "dataset": words, "column": words}), max_size=4)
routes = st.lists(st.tuples(conditions, conditions, st.booleans()), max_size=4)


def naive(found: list[dict[str, str]], asked: list[tuple[dict[str, Any], dict[str, Any], bool]]) -> set[int] | None:
    """What the rules mean, in the fewest words: the indices that travel, ``None`` if nothing matches."""
    travelling: set[int] | None = None
    for yes, no, stop in asked:
        rows = found or [{}]

        def fits(row: dict[str, str], key: str, wanted: list[str]) -> bool:
            return key in row and any(fnmatch.fnmatchcase(row[key], pattern) for pattern in wanted)

        kept = {
            index
            for index, row in enumerate(rows)
            if all(fits(row, key, wanted) for key, wanted in yes.items())
            and not any(fits(row, key, wanted) for key, wanted in no.items())
        }
        if kept:
            travelling = (travelling or set()) | kept
            if stop:
                break
    return travelling


@given(found=results, asked=routes)
@settings(max_examples=150)
def test_the_matcher_agrees_with_a_naive_oracle(
    found: list[dict[str, str]], asked: list[tuple[dict[str, Any], dict[str, Any], bool]]
) -> None:
    event = make_event(
        {
            "event": "checkEvaluation",
            "checkResults": [
                {"outcome": r["outcome"], "datasets": [{"name": r["dataset"]}], "column": r["column"]} for r in found
            ],
        }
    )
    decision = decided(event, *({"match": {**yes, "not": no}, "stop": stop} for yes, no, stop in asked))
    expected = naive(found, asked)
    if expected is None:
        assert decision.planned == ()
    else:
        (planned,) = decision.planned
        whole = set(range(len(found) or 1))
        assert (set(planned.results) if planned.results is not None else whole) == expected


@given(found=results, asked=routes)
@settings(max_examples=100)
def test_a_decision_can_be_repeated_and_its_trace_be_stored(
    found: list[dict[str, str]], asked: list[tuple[dict[str, Any], dict[str, Any], bool]]
) -> None:
    event = make_event({"event": "checkEvaluation", "checkResults": found})
    rules = [{"match": {**yes, "not": no}, "stop": stop} for yes, no, stop in asked]
    first, second = decided(event, *rules), decided(make_event(event.raw, id=event.id), *rules)
    assert first == second
    assert json.loads(json.dumps(first.trace)) == json.loads(json.dumps(second.trace))
