import json
from datetime import UTC, datetime
from random import Random

import pytest
from support import SAMPLES, make_event, payload

from sodarouter import soda
from sodarouter.parse import parse
from sodarouter.simulate import VOCABULARIES, override, simulate

NOW = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
KINDS = [(vocabulary, event_type) for vocabulary, types in VOCABULARIES.items() for event_type in types]


def simulated(event_type: str, vocabulary: str | None = None, seed: int = 0) -> dict:
    return simulate(event_type, vocabulary=vocabulary, random=Random(seed), now=NOW)


def shape(value: object, place: str = "") -> set[tuple[str, type]]:
    """Every field that is not null, with its path and JSON type; the elements of an array share one path."""
    match value:
        case dict():
            return {found for key, inner in value.items() for found in shape(inner, f"{place}.{key}")}
        case list():
            return {(place, list)} | {found for inner in value for found in shape(inner, f"{place}[]")}
        case None:
            return set()
        case _:
            return {(place, type(value))}


def test_every_event_type_is_in_some_vocabulary():
    assert {event_type for _, event_type in KINDS} == set(soda.EVENT_TYPES)


@pytest.mark.parametrize(("vocabulary", "event_type"), KINDS)
def test_a_seed_repeats_a_payload_and_another_gives_another(vocabulary, event_type):
    assert simulated(event_type, vocabulary, 7) == simulated(event_type, vocabulary, 7)
    assert simulated(event_type, vocabulary, 7) != simulated(event_type, vocabulary, 8)


@pytest.mark.parametrize(("vocabulary", "event_type"), KINDS)
def test_every_payload_is_valid_and_wholly_understood(vocabulary, event_type):
    for seed in range(50):
        raw = json.dumps(simulated(event_type, vocabulary, seed)).encode()
        assert parse(raw)["event"] == event_type
        view = make_event(raw).view
        assert all(result.name and result.outcome and result.timestamp and result.datasets for result in view.results)
        assert all(dataset.owners and dataset.datasource for result in view.results for dataset in result.datasets)
        if view.incident:
            assert view.incident.severity
            assert view.incident.status
            assert view.incident.created <= view.incident.updated <= NOW
            assert (view.incident.callback_url is not None) == (event_type == "incidentCreated")


@pytest.mark.parametrize("sample", SAMPLES)
def test_all_that_a_sample_holds_is_simulated_with_the_same_types(sample):
    vocabulary, event_type = sample[:2], sample.rpartition("-")[2]
    found = set().union(*(shape(simulated(event_type, vocabulary, seed)) for seed in range(50)))
    # Soda's own sample of a new incident is resolved already
    missing = {place for place, _ in shape(json.loads(payload(sample))) - found}
    assert all(place.startswith(".incident.resolution") and event_type == "incidentCreated" for place in missing)


def test_outcomes_counts_and_the_precision_of_times_vary():
    results = [simulated("checkEvaluation", "v4", seed)["checkResults"] for seed in range(100)]
    assert {len(some) for some in results} == {1, 2, 3}
    assert {result["evaluationStatus"] for some in results for result in some} == {
        "pass",
        "warn",
        "fail",
        "notEvaluated",
    }
    times = {len(result["dataTimestamp"]) for some in results for result in some}
    assert times == {len("2026-05-04T12:00:00Z") + more for more in (0, 7, 10)}


def test_the_vocabularies_differ_as_sodas_do():
    v3, v4 = (simulated("incidentCreated", vocabulary) for vocabulary in ("v3", "v4"))
    assert "incidentLinkCallbackUrl" in v3
    assert "incidentLinkCallbackUrl" in v4["incident"]
    assert {"createdTimestamp", "lastUpdatedTimestamp"} <= v3["incident"].keys()
    assert {"created", "lastUpdated"} <= v4["incident"].keys()
    assert "owner" in v3["incident"]["checkResults"][0]["datasets"][0]
    assert "owners" in v4["incident"]["checkResults"][0]["datasets"][0]


def test_without_a_vocabulary_the_newest_that_has_the_type_is_taken():
    assert simulated("incidentCreated") == simulated("incidentCreated", "v4")
    assert simulated("agreementDeleted") == simulated("agreementDeleted", "v3")


@pytest.mark.parametrize(
    ("event_type", "vocabulary", "said"),
    [
        ("incidentCreate", None, r"no event type 'incidentCreate'; did you mean 'incidentCreated'\?"),
        ("x", None, "no event type 'x'; there is validate, checkEvaluation, "),
        ("contractPublished", "v3", "'contractPublished' is not in the vocabulary v3; it is in v4"),
        ("agreementCreated", "v4", "'agreementCreated' is not in the vocabulary v4; it is in v3"),
    ],
)
def test_what_cannot_be_simulated_is_told_what_can(event_type, vocabulary, said):
    with pytest.raises(ValueError, match=said):
        simulated(event_type, vocabulary)


INCIDENT = {
    "event": "incidentCreated",
    "incident": {"severity": "high", "owner": {}, "lead": None, "checkResults": [{"id": "a"}, {"id": "b"}]},
}


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("incident.severity", "critical", "critical"),
        ("incident.severity", '"3"', "3"),
        ("incident.number", "3", 3),
        ("incident.lead", '{"email": "a@example.com"}', {"email": "a@example.com"}),
        ("incident.severity", "null", None),
        ("incident.severity", "NaN", "NaN"),
        ("incident.number", "-1e999", "-1e999"),
        ("incident.severity", "", ""),
        ("incident.owners", "[]", []),
        ("incident.brandNew", "true", True),
        ("event", "neverHeardOf", "neverHeardOf"),
    ],
)
def test_a_value_is_set_as_json_or_else_as_text(path, text, value):
    changed = override(INCIDENT, [(path, text)])
    for name in path.split("."):
        changed = changed[name]
    assert changed == value


def test_a_path_leads_through_arrays_and_the_original_is_left_alone():
    before = json.dumps(INCIDENT)
    for path, text, results in (
        ("incident.checkResults[1].id", "c", [{"id": "a"}, {"id": "c"}]),
        ("incident.checkResults[0]", "null", [None, {"id": "b"}]),
    ):
        assert override(INCIDENT, [(path, text)])["incident"]["checkResults"] == results
    assert json.dumps(INCIDENT) == before


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("incident.severty", r"^incident: has no 'severty'; did you mean 'severity'\?$"),
        ("incidnt.severity", r"^the payload: has no 'incidnt'; did you mean 'incident'\?$"),
        ("contract.dataset", r"^the payload: has no 'contract'; there is event, incident$"),
        (
            "incident.checkResults[2].id",
            r"^incident.checkResults: has 2 elements, so no \[2\]; they are counted from 0$",
        ),
        ("incident.checkResults.id", r"^incident.checkResults: is no object, so it has no 'id'$"),
        ("incident.checkResults[1].id.x", r"^incident.checkResults\[1\].id: is no object, so it has no 'x'$"),
        ("incident[0]", r"^incident: is no array, so it has no \[0\]$"),
        ("incident.lead.email", r"^incident.lead: is no object, so it has no 'email'$"),
        ("", "^'': a path is written like"),
        ("a..b", "^'a..b': a path is written like"),
        ("a[x]", "a path is written like"),
        (".a", "a path is written like"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_where_it_ends(path, said):
    with pytest.raises(ValueError, match=said):
        override(INCIDENT, [(path, "1")])


@pytest.mark.parametrize(
    ("settings", "outcome", "status"),
    [
        ({"outcome": "fail"}, "fail", "fail"),
        ({"evaluationStatus": "fail"}, "fail", "fail"),
        ({"evaluationStatus": "notEvaluated"}, "error", "notEvaluated"),
        ({"outcome": "fail", "evaluationStatus": "warn"}, "fail", "warn"),
        ({"evaluationStatus": "warn", "outcome": "fail"}, "fail", "warn"),
        ({"outcome": "null"}, None, None),
        ({"outcome": "[1]"}, [1], [1]),
    ],
)
def test_an_outcome_and_its_other_name_stay_in_step_unless_both_are_set(settings, outcome, status):
    before = simulated("checkEvaluation", "v4")
    changed = override(before, [(f"checkResults[0].{name}", value) for name, value in settings.items()])
    first, *rest = changed["checkResults"]
    assert (first["outcome"], first["evaluationStatus"]) == (outcome, status)
    assert rest == before["checkResults"][1:]


def test_an_outcome_of_v3_gets_no_second_name():
    (first, *_) = override(simulated("checkEvaluation", "v3"), [("checkResults[0].outcome", "fail")])["checkResults"]
    assert first["outcome"] == "fail"
    assert "evaluationStatus" not in first


def test_an_array_with_a_null_has_no_twins():
    assert override({"a": [1, None]}, [("a[0]", "2")]) == {"a": [2, None]}
