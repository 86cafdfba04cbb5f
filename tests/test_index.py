"""The index finds every rule that matches, and the matcher agrees with what the words mean, said in the fewest words."""

import fnmatch
import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from routing import TEAMS, compiled, events, plain_conditions
from support import make_event

from sodarouter.decide import decide, explain
from sodarouter.decide.index import MAX_KINDS
from sodarouter.event import Event

OF_EVENT = {"event", "scope", "source", "severity", "status", "author"}
PEOPLE = {"owner", "author"}
SAME = {
    "severity": {"major": "high", "minor": "low"},
    "status": {"opened": "reported", "investigating": "in_progress", "fixing": "in_progress"},
    "outcome": {"failed": "fail", "notEvaluated": "not_evaluated"},
}
SCOPES = {"check": "alert_notification", "incid": "incidents", "contr": "contracts", "agree": "agreements"}

Facts = dict[str, set[str]]


def facts_of_event(event: Event) -> Facts:
    body = json.loads(event.raw)
    incident, author = body.get("incident", {}), body.get("contract", {}).get("author", {})
    status, severity = incident.get("status", ""), incident.get("severity", "")
    return {
        "event": {event.type},
        "scope": {SCOPES.get(event.type[:5], "")},
        "source": {event.source},
        "severity": {SAME["severity"].get(severity, severity)},
        "status": {status, SAME["status"].get(status, status)},
        "author": {author.get("email", "")},
        **{f"enriched.{path}": set(texts(value)) for path, value in flat(event.enriched)},
    }


def flat(value: Any, *above: str) -> Iterable[tuple[str, Any]]:
    for name, entry in value.items():
        yield from flat(entry, *above, name) if isinstance(entry, dict) else [(".".join([*above, name]), entry)]


def texts(value: Any) -> Iterable[str]:
    return [str(one).lower() if one is True else str(one) for one in (value if isinstance(value, list) else [value])]


def facts_of_dataset(dataset: dict[str, Any]) -> Facts:
    source = dataset.get("datasource", {}).get("name", "")
    facts = {
        "dataset": {dataset["name"], dataset.get("label", ""), dataset.get("id", "")},
        "datasource": {source},
        "owner": {owner["email"] for owner in dataset.get("owners", ())},
        "tag": set(dataset.get("tags", ())),
    }
    if source:
        facts["dataset"].add(f"{source}/{dataset['name']}")
    # of two attributes of one name the last counts
    for name, value in {a["name"]: a["value"] for a in dataset.get("attributes", ())}.items():
        facts[f"attribute.{name}"] = set(texts(value))
    facts["team"] = {team} if (team := team_of(facts)) else set()
    return facts


def team_of(facts: Facts) -> str | None:
    for table in TEAMS:
        match: Any = table["match"]
        if holds({k: v for k, v in match.items() if k != "not"}, match.get("not", {}), facts):
            return str(table["name"])
    return None


def facts_of_results(event: Event) -> list[Facts]:
    body = json.loads(event.raw)
    found = []
    for result in body.get("checkResults", body.get("incident", {}).get("checkResults", [])):
        outcome = result.get("outcome", "")
        facts: Facts = {
            "outcome": {SAME["outcome"].get(outcome, outcome)},
            "column": {result.get("column", "")},
            "check": {result.get("name", ""), result.get("id", "")},
        }
        for dataset in result["datasets"]:
            for key, those in facts_of_dataset(dataset).items():
                facts[key] = facts.get(key, set()) | those
        found.append(facts)
    if not found and (name := body.get("contract", {}).get("dataset")):
        facts = {"dataset": {name, name.split("/")[-1]}, "datasource": {name.split("/")[0]}}
        return [facts | {"team": {team} if (team := team_of(facts)) else set()}]
    return found or [{}]


def spelt(key: str, pattern: str) -> str:
    """A pattern as the facts are spelt."""
    if key in PEOPLE or key == "status" or (key in SAME and set(pattern) & set("*?[")):
        return pattern.lower()
    if key in SAME:
        return SAME[key].get(pattern) or SAME[key].get(pattern.lower(), pattern.lower())
    return pattern


def fits(key: str, patterns: list[str] | str, facts: Facts) -> bool:
    return any(
        fnmatch.fnmatchcase(text.lower() if key in PEOPLE else text, spelt(key, pattern))
        for pattern in ([patterns] if isinstance(patterns, str) else patterns)
        for text in facts.get(key, ())
        if text
    )


def holds(all_of: dict[str, Any], none_of: dict[str, Any], facts: Facts) -> bool:
    return all(fits(key, value, facts) for key, value in flat(all_of)) and not any(
        fits(key, value, facts) for key, value in flat(none_of)
    )


@settings(max_examples=200)
@given(events(), plain_conditions, plain_conditions)
def test_the_matcher_agrees_with_a_naive_oracle_on_every_key_that_asks_no_memory(
    event: Event, all_of: dict[str, Any], none_of: dict[str, Any]
) -> None:
    rules = compiled({"match": all_of | ({"not": none_of} if none_of else {})}, team=TEAMS)
    decision = decide(event, rules)
    shared, results = facts_of_event(event), facts_of_results(event)
    expected = {index for index, facts in enumerate(results) if holds(all_of, none_of, shared | facts)}
    if event.type == "validate" and "validate" not in all_of.get("event", ()):
        expected = set()
    travelling = {index for planned in decision.planned for index in (planned.results or range(len(results)))}
    assert travelling == expected


matches = st.one_of(
    st.just({}),
    st.integers(0, 99).map(lambda number: {"event": f"kind-{number}"}),
    st.integers(0, 9).map(lambda number: {"event": f"*-{number}*"}),
    st.sampled_from([{"event": "kind-*", "source": "soda"}, {"not": {"event": "kind-1*"}}, {"source": "s*a"}]),
)


@settings(max_examples=20)
@given(st.lists(matches, max_size=8))
def test_event_types_without_end_are_routed_as_the_first_ones_are(asked: list[dict[str, Any]]) -> None:
    rules = compiled(*({"match": match} for match in asked))
    for number in range(2 * MAX_KINDS):
        event = make_event({"event": f"kind-{number}"})
        assert decide(event, rules).planned == explain(event, rules).planned
    assert len(rules.index._kinds) == MAX_KINDS


def test_only_rules_that_may_match_are_asked() -> None:
    rules = compiled(*({"match": {"dataset": f"table_{number}"}} for number in range(1000)))
    event = make_event({"event": "checkEvaluation", "checkResults": [{"datasets": [{"name": "table_7"}]}]})
    asked = {"dataset": ["table_7"]}
    assert rules.index.candidates(lambda key: asked.get(key, []), event.type) == [7]


def test_a_rule_is_filed_under_what_is_rarest_in_it() -> None:
    rules = compiled(
        *({"match": {"outcome": "fail", "dataset": [f"a_{number}_*", f"*_{number}_b"]}} for number in range(100)),
        {"match": {"outcome": "fail"}},
        {"match": {"dataset": "*[0-9]"}},
        {"match": {"not": {"outcome": "fail"}}},
    )
    facts = {"outcome": ["fail"], "dataset": ["x_7_b"]}
    assert rules.index.candidates(lambda key: facts.get(key, []), "checkEvaluation") == [7, 100, 101, 102]
