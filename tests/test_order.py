"""What deliveries are ordered by: the keys that a decision gives them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import SAMPLES, make_event

from sodarouter.decide import OrderBy, Route, Routing, compile_rules, decide
from sodarouter.decide.decision import MAX_KEY
from sodarouter.event import Event


def keys(event: Event, by: OrderBy | None, match: dict[str, Any] | None = None) -> tuple[str, ...]:
    """Those of the one delivery that is planned for the event."""
    route = Route.model_validate({"to": ["there"], "match": match or {}})
    rules = compile_rules(Routing(route=[route], order_by={"there": by} if by else {}))
    (planned,) = decide(event, rules).planned
    return planned.keys


def evaluation(*datasets: list[dict[str, Any]]) -> Event:
    """A result for each list of datasets; the first fails, the others pass."""
    results = [{"outcome": "fail" if n == 0 else "pass", "datasets": sets} for n, sets in enumerate(datasets)]
    return make_event({"event": "checkEvaluation", "checkResults": results})


@pytest.mark.parametrize(
    ("sample", "by", "expected"),
    [
        ("v3-incidentCreated", "incident", ("incident:e1f399a3-09ea-***",)),
        ("v3-incidentUpdated", "incident", ("incident:e1f399a3-09ea-***",)),
        ("v4-2025-08-incidentUpdated", "incident", ("incident:bbbbbbbb-cccc-4ddd-8eee-ffffffffffff",)),
        ("v4-2026-checkEvaluation", "incident", ()),
        ("v3-checkEvaluation", "dataset", ("dataset:bnm_orders",)),
        ("v4-2025-08-checkEvaluation", "dataset", ("dataset:ecommerce_orders",)),
        ("v4-2026-checkEvaluation", "dataset", ("dataset:ecommerce_orders",)),
        ("v4-2025-08-incidentCreated", "dataset", ("dataset:ecommerce_orders",)),
        ("v4-2025-08-contractPublished", "dataset", ("dataset:ecommerce_orders",)),
        ("v3-agreementCreated", "dataset", ()),
    ],
)
def test_an_incident_is_told_by_its_id_and_a_dataset_by_the_name_that_all_versions_have(
    sample: str, by: OrderBy, expected: tuple[str, ...]
) -> None:
    assert keys(make_event(sample), by) == expected


@pytest.mark.parametrize("sample", [sample for sample in SAMPLES if sample != "v3-validate"])
def test_who_asks_for_no_order_gets_no_keys(sample: str) -> None:
    assert keys(make_event(sample), None) == ()


def test_each_dataset_of_what_travels_counts_once() -> None:
    a, b, c = ({"name": name} for name in "abc")
    event = evaluation([a, b], [b, c, a])
    assert keys(event, "dataset") == ("dataset:a", "dataset:b", "dataset:c")
    assert keys(event, "dataset", {"outcome": "fail"}) == ("dataset:a", "dataset:b")


def test_a_dataset_without_a_name_is_told_by_its_label_or_id_and_one_without_anything_not_at_all() -> None:
    event = evaluation([{"label": "Orders", "id": "7"}, {"id": "8"}, {}])
    assert keys(event, "dataset") == ("dataset:Orders", "dataset:8")


def test_unrouted_events_keep_their_order_too() -> None:
    rules = compile_rules(Routing(unrouted=["log"], order_by={"log": "incident", "other": "dataset"}))
    (planned,) = decide(make_event("v3-incidentCreated"), rules).planned
    assert planned.keys == ("incident:e1f399a3-09ea-***",)


@given(names=st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=2 * MAX_KEY), max_size=8))
def test_two_deliveries_about_one_dataset_always_share_a_key_and_no_key_is_long(names: list[str]) -> None:
    together = keys(evaluation([{"name": name} for name in names]), "dataset")
    assert len(together) <= len(names)
    assert all(len(key) <= len("dataset:") + MAX_KEY for key in together)
    for name in filter(None, names):
        (alone,) = keys(evaluation([{"name": name}]), "dataset")
        assert alone in together
