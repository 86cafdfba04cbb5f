"""What a destination is handed of an event that routes divide, and when windows and silences keep something back."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing import NOON, compiled, evaluations, events, states
from support import make_event

from sodarouter.decide import Rules, Silence, State, decide, explain
from sodarouter.decide.groups import MAX_PARTS
from sodarouter.delivery import Planned
from sodarouter.event import Event

TEAMS = [{"name": "sales", "match": {"dataset": "sales_*"}}, {"name": "core", "match": {"dataset": "core_*"}}]


def result(*datasets: str, owners: Iterable[str] = (), **known: Any) -> dict[str, Any]:
    people = [{"type": "user", "email": email} for email in owners]
    return {"datasets": [{"name": name, "owners": people} for name in datasets], "outcome": "fail", **known}


def evaluation(*results: dict[str, Any]) -> Event:
    return make_event({"event": "checkEvaluation", "checkResults": list(results)}, received=NOON)


def parts(event: Event, *routes: dict[str, Any], **known: Any) -> list[tuple[int, str | None, tuple[int, ...] | None]]:
    planned = decide(event, compiled(*routes, team=TEAMS, **known)).planned
    return [(one.part, one.group, one.results) for one in planned]


def test_each_result_travels_by_itself() -> None:
    event = evaluation(result("a"), result("b", outcome="pass"), result("c"))
    assert parts(event, {"each": "result", "match": {"outcome": "fail"}}) == [(1, None, (0,)), (2, None, (2,))]


def test_the_results_of_each_dataset_travel_together_in_the_order_in_which_they_come() -> None:
    event = evaluation(result("b"), result("a"), result("b"), result("a", "c"), result())
    assert parts(event, {"each": "dataset"}) == [
        (1, "b", (0, 2)),
        (2, "a", (1, 3)),
        (3, "c", (3,)),
        (4, None, (4,)),
    ]


def test_a_result_with_two_owners_goes_to_each_of_them_and_those_without_any_share_a_part() -> None:
    both = result("a", owners=["ann@example.org", "bob@example.org"])
    event = evaluation(both, result("b", owners=["BOB@example.org"]), result("c"), result("d"))
    assert parts(event, {"each": "owner"}) == [
        (1, "ann@example.org", (0,)),
        (2, "bob@example.org", (0, 1)),
        (3, None, (2, 3)),
    ]


def test_the_results_of_each_team_travel_together() -> None:
    event = evaluation(result("sales_a"), result("core_a", "sales_b"), result("x"), result("sales_a", "sales_b"))
    assert parts(event, {"each": "team"}) == [(1, "sales", (0, 1, 3)), (2, "core", (1,)), (3, None, (2,))]


def test_one_part_with_all_results_is_the_whole_event_byte_for_byte() -> None:
    event = evaluation(result("a"), result("a"))
    assert parts(event, {"each": "dataset"}) == [(1, "a", None)]


@pytest.mark.parametrize("each", ["result", "dataset", "owner", "team"])
@pytest.mark.parametrize("sample", ["v4-2025-08-contractPublished", "v3-agreementCreated"])
def test_what_has_no_results_is_not_divided(sample: str, each: str) -> None:
    assert parts(make_event(sample), {"each": each}) == [(0, None, None)]
    (step,) = decide(make_event(sample), compiled({"each": each})).trace
    assert "each" not in step


def test_where_routes_divide_differently_the_first_that_sends_a_result_says_how() -> None:
    event = evaluation(result("a"), result("b", outcome="pass"), result("a"))
    fail, every = {"match": {"outcome": "fail"}, "each": "result"}, {"each": "event"}
    assert parts(event, fail, every) == [(1, None, (0,)), (2, None, (2,)), (0, None, (1,))]
    assert parts(event, every, fail) == [(0, None, None)]
    assert parts(event, fail, {"each": "dataset"}) == [(1, None, (0,)), (2, None, (2,)), (3, "b", (1,))]


def test_destinations_are_divided_each_by_itself() -> None:
    event = evaluation(result("a"), result("b"))
    planned = decide(event, compiled({"to": ["x"], "each": "result"}, {"to": ["x", "y"], "each": "dataset"})).planned
    assert [(one.destination, one.part) for one in planned] == [("x", 1), ("x", 2), ("y", 1), ("y", 2)]


def test_more_parts_than_there_may_be_travel_in_the_last() -> None:
    event = evaluation(*(result(str(number)) for number in range(MAX_PARTS + 5)))
    for each in ("result", "dataset"):
        found = parts(event, {"each": each})
        assert len(found) == MAX_PARTS
        assert found[-1] == (MAX_PARTS, None, tuple(range(MAX_PARTS - 1, MAX_PARTS + 5)))


def test_a_part_is_in_the_order_of_what_is_in_it() -> None:
    event = evaluation(result("a"), result("b"))
    planned = decide(event, compiled({"each": "dataset"}, order_by={"there": "dataset"})).planned
    assert [one.keys for one in planned] == [("dataset:a",), ("dataset:b",)]


routes = st.lists(
    st.fixed_dictionaries(
        {
            "to": st.lists(st.sampled_from("ab"), min_size=1, max_size=2),
            "each": st.sampled_from(["event", "result", "dataset", "team"]),
            "match": st.sampled_from([{}, {"outcome": "fail"}, {"dataset": "s*"}, {"not": {"column": "a"}}]),
        }
    ),
    max_size=5,
)


@settings(max_examples=80)
@given(events(evaluations), routes)
def test_no_result_is_sent_twice_unless_it_belongs_to_two(event: Event, asked: list[dict[str, Any]]) -> None:
    decision = decide(event, compiled(*asked, team=TEAMS))
    results = event.view.results
    for destination in "ab":
        planned = [one for one in decision.planned if one.destination == destination]
        assert len({one.part for one in planned}) == len(planned)
        handed = [index for one in planned for index in (one.results or range(len(results)))]
        several = {index for index, one in enumerate(results) if len(one.datasets) > 1}
        assert all(count == 1 or index in several for index, count in Counter(handed).items())
        matched = [step for step in decision.trace if "route" in step and destination in step["to"]]
        wanted = {index for step in matched for index in (step["results"] or range(len(results)))}
        assert set(handed) == wanted


# --- windows


SUNDAY = NOON - timedelta(days=1)


def at(moment: Any, **known: Any) -> Event:
    return make_event({"event": "checkEvaluation", "checkResults": [result("a")]}, received=moment, **known)


def to(event: Event, rules: Rules) -> list[str]:
    return [planned.destination for planned in decide(event, rules).planned]


def test_outside_of_its_windows_a_route_is_not_there_and_the_next_one_counts() -> None:
    rules = compiled(
        {"to": ["pager"], "active": ["work"], "stop": True, "name": "day"}, {"to": ["mail"]}, unrouted=["rest"]
    )
    assert to(at(NOON), rules) == ["pager"]
    assert to(at(SUNDAY), rules) == ["mail"]
    assert explain(at(SUNDAY), rules).trace[0] == {
        "route": "day",
        "matched": False,
        "to": ["pager"],
        "inactive": ["work"],
    }
    assert not decide(at(SUNDAY), rules).withheld
    alone = compiled({"active": ["work"]}, unrouted=["rest"])
    assert to(at(SUNDAY), alone) == ["rest"]


def test_of_several_windows_one_is_enough() -> None:
    rules = compiled({"active": ["work", "weekend"]})
    assert to(at(NOON), rules) == to(at(SUNDAY), rules) == ["there"]
    assert to(at(NOON + timedelta(hours=9)), rules) == []


def test_inside_a_window_that_mutes_it_a_route_matches_and_sends_nothing() -> None:
    rules = compiled(
        {"to": ["pager"], "mute": ["weekend"], "stop": True, "name": "quiet"}, {"to": ["mail"]}, unrouted=["rest"]
    )
    assert to(at(NOON), rules) == ["pager"]
    decision = decide(at(SUNDAY), rules)
    assert decision.planned == ()
    assert decision.withheld
    assert decision.trace == (
        {"route": "quiet", "matched": True, "to": ["pager"], "results": None, "muted": "weekend"},
    )


def test_what_one_route_mutes_another_may_still_send() -> None:
    rules = compiled({"to": ["a"], "mute": ["weekend"]}, {"to": ["a"], "match": {"outcome": "fail"}})
    assert to(at(SUNDAY), rules) == ["a"]
    assert decide(at(SUNDAY), rules).withheld


# --- silences


def silence(name: str = "s-1", **known: Any) -> Silence:
    fields = {"author": "ann", "reason": "works", "starts": NOON, "ends": NOON + timedelta(hours=1)}
    return Silence.model_validate({"id": name, **fields, **known})


def test_a_silence_keeps_the_results_that_it_is_about_from_its_destinations() -> None:
    event = evaluation(result("a"), result("b"))
    rules = compiled({"to": ["x", "y"]})
    decision = decide(event, rules, State(silences=[silence(match={"dataset": "a"}, to=["x"])]))
    assert decision.planned == (Planned("x", (1,)), Planned("y", None))
    assert decision.withheld
    assert decision.trace[-1] == {
        "silence": "s-1",
        "author": "ann",
        "reason": "works",
        "from": ["x"],
        "results": (0,),
    }


def test_a_silence_without_conditions_keeps_everything_from_everybody_and_nothing_is_unrouted() -> None:
    for rules in (compiled({"to": ["x"]}), compiled({"match": {"tag": "none"}}, unrouted=["x"])):
        decision = decide(at(NOON), rules, State(silences=[silence()]))
        assert decision.planned == ()
        assert decision.withheld


def test_a_silence_that_is_about_nothing_that_travels_leaves_no_trace() -> None:
    rules = compiled({"to": ["x"], "match": {"outcome": "pass"}}, unrouted=["y"])
    decision = decide(evaluation(result("a")), rules, State(silences=[silence(to=["x"])]))
    assert decision.planned == (Planned("y", None),)
    assert not decision.withheld
    assert decision.trace == ({"unrouted": True, "to": ["y"]},)


@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        (NOON - timedelta(seconds=1), False),
        (NOON, True),
        (NOON + timedelta(minutes=59), True),
        (NOON + timedelta(hours=1), False),
    ],
)
def test_a_silence_holds_for_what_was_received_in_its_time(moment: Any, kept: bool) -> None:
    assert decide(at(moment), compiled({}), State(silences=[silence()])).withheld == kept


def test_a_silence_that_recurs_holds_only_in_its_windows() -> None:
    quiet = silence(during=[{"days": "sun"}], starts=SUNDAY - timedelta(days=7), ends=NOON + timedelta(days=7))
    rules = compiled({})
    assert [decide(at(m), rules, State(silences=[quiet])).withheld for m in (NOON, SUNDAY)] == [False, True]


def test_of_two_silences_each_is_told_what_it_kept() -> None:
    event = evaluation(result("a"), result("b"), result("c"))
    kept = [silence(match={"dataset": ["a", "b"]}), silence("s-2", match={"dataset": ["b", "c"]}, to=["x"])]
    decision = decide(event, compiled({"to": ["x", "y"]}), State(silences=kept))
    assert decision.planned == (Planned("y", (2,)),)
    told = [(step["silence"], step["from"], step["results"]) for step in decision.trace if "silence" in step]
    assert told == [("s-1", ["x", "y"], (0, 1)), ("s-2", ["x"], (2,))]


# --- expressions


def test_a_result_that_an_expression_has_no_answer_for_keeps_the_others_not_back() -> None:
    event = evaluation(result("a", value=3), result("b", value="much"), result("c", value=1))
    decision = decide(event, compiled({"when": "result.value > 2.0"}))
    assert decision.planned == (Planned("there", (0,)),)
    assert decision.trace[0]["unanswered"]
    nothing = decide(evaluation(result("b", value="much")), compiled({"when": "result.value > 2.0"}))
    assert nothing.planned == ()
    assert nothing.trace[0]["failed"]["error"] == decision.trace[0]["unanswered"]


@settings(max_examples=50)
@given(events(evaluations), states())
def test_an_expression_sees_what_matchers_see(event: Event, state: State) -> None:
    known = {"team": TEAMS}
    for match, when in (
        ({"result": "first_failure"}, "result.became == 'first_failure'"),
        ({"previous": "fail"}, "result.previous == 'fail'"),
        ({"streak": ">=2"}, "result.streak >= 2"),
        ({"team": "sales"}, "'sales' in result.teams"),
        ({"outcome": "not_evaluated"}, "result.outcome == 'not_evaluated'"),
    ):
        asked = decide(event, compiled({"match": match}, **known), state).planned
        if event.view.results:
            assert decide(event, compiled({"when": when}, **known), state).planned == asked
