"""What changed in a contract: every class, all of Soda's languages, and an answer to whatever text there is."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sodarouter.decide.contracts import CLASSES, Changes, classify
from sodarouter.decide.contracts.bounds import ANYTHING, Bounds, above, anything_but, below, exactly, from_, up_to
from sodarouter.decide.contracts.compare import MAX_CHANGES, MAX_TEXT
from sodarouter.decide.contracts.plain import MAX_SIZE, MAX_VALUES

PAGE = (Path(__file__).parent.parent / "docs/contracts.md").read_text(encoding="utf-8")


def classes(before: str | None, after: str | None) -> set[str]:
    return set(classify(before, after).classes)


def column(**keys: Any) -> str:
    """A contract with one column."""
    return json.dumps({"dataset": "a/b/c", "columns": [{"name": "id", **keys}]})


def check(kind: str, body: Any = None) -> str:
    """A contract with one check of a column."""
    return column(checks=[{kind: body}])


def of_dataset(*checks: Any, **keys: Any) -> str:
    return json.dumps({"dataset": "a/b/c", "checks": list(checks), **keys})


def threshold(**comparisons: Any) -> str:
    return check("missing", {"threshold": comparisons})


def sodacl(*checks: Any) -> str:
    return json.dumps({"checks for orders": list(checks)})


def examples() -> Iterator[Any]:
    """The examples of the page: before, after, and what is said of them."""
    for heading, text in re.findall(r"(?ms)^### (.*?)\n(.*?)(?=^###|\Z)", PAGE):
        before, after = re.findall(r"(?ms)^```yaml\n(.*?)^```$", text)
        (said,) = re.findall(r"(?ms)^```text\n(.*?)^```$", text)
        yield pytest.param(before, after, said.splitlines(), id=heading)


@pytest.mark.parametrize(("before", "after", "said"), list(examples()))
def test_the_examples_of_the_page_are_true(before: str, after: str, said: list[str]) -> None:
    found = classify(before, after)
    assert ", ".join(sorted(found.classes, key=CLASSES.index)) == said[0]
    assert list(found.changes) == said[1:]


def test_the_page_has_every_class_in_its_table_and_no_other() -> None:
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", PAGE)) == set(CLASSES)


@pytest.mark.parametrize(
    ("stricter", "looser"),
    [
        # checks
        (check("missing"), column()),
        (of_dataset({"schema": None}, {"row_count": None}), of_dataset({"schema": None})),
        (of_dataset("row_count", {"schema": {}}), of_dataset({"schema": {"allow_extra_columns": True}}, "row_count")),
        (
            of_dataset({"schema": {"allow_other_column_order": False}}),
            of_dataset({"schema": {"allow_other_column_order": True}}),
        ),
        (
            check("missing", {"qualifier": "a"}),
            check("missing", {"qualifier": "a", "threshold": {"must_be_less_than": 2}}),
        ),
        # columns
        (column(data_type="int"), column()),
        (column(data_type="varchar", character_maximum_length=5), column(data_type="varchar")),
        (column(), column(optional=True)),
        (column(valid_values=["a"]), column(valid_values=["a", "b"])),
        # thresholds
        (threshold(must_be=0), threshold(must_be_less_than=5)),
        (threshold(must_be_less_than=5), threshold(must_be_less_than_or_equal=5)),
        (threshold(must_be_less_than="5"), threshold(must_be_less_than=6)),
        (threshold(must_be_greater_than=5), threshold(must_be_greater_than_or_equal=5)),
        (threshold(must_be_between={"greater_than": 1, "less_than": 5}), threshold(must_be_less_than=5)),
        (threshold(must_be_not_between={"less_than": 1, "greater_than": 5}), threshold(must_not_be=3)),
        (threshold(must_be_between=[1, 5]), threshold(must_be_between=[0, 5.5])),
        (check("missing"), threshold(must_be_less_than=1.5)),
        (check("missing"), threshold(metric="percent", must_be_less_than=5)),
        (threshold(must_be=0), threshold(must_be=0, level="warn")),
        (threshold(must_be_less_than=9, additional={"must_be": 0, "level": "warn"}), threshold(must_be_less_than=9)),
        (of_dataset({"row_count": {"threshold": {"must_be_greater_than": 10}}}), of_dataset({"row_count": None})),
        (
            of_dataset({"freshness": {"column": "t", "threshold": {"must_be_less_than": 1}}}),
            of_dataset({"freshness": {"column": "t", "threshold": {"must_be_less_than": 90, "unit": "minute"}}}),
        ),
        # what is valid
        (check("invalid", {"valid_values": [1, 2]}), check("invalid", {"valid_values": [1, 2, 3]})),
        (check("invalid", {"invalid_values": ["x", "y"]}), check("invalid", {"invalid_values": ["x"]})),
        (check("invalid", {"valid_min": 5}), check("invalid", {"valid_min": 4})),
        (check("invalid", {"valid_max": 5}), check("invalid", {"valid_max": 6})),
        (check("invalid", {"valid_min_length": 2}), check("invalid", {"valid_min_length": 1})),
        (check("invalid", {"valid_max_length": 2}), check("invalid", {"valid_max_length": 3})),
        (check("invalid", {"valid_format": {"name": "n", "regex": "x"}}), check("invalid", {})),
        (check("invalid", {"valid_values": [1]}), check("invalid", {"valid_values": [1], "missing_values": ["-"]})),
        (check("missing", {"missing_values": ["-", "?"]}), check("missing", {"missing_values": ["-"]})),
        (check("missing", {"missing_format": {"name": "n", "regex": "x"}}), check("missing")),
        (of_dataset({"duplicate": {"columns": ["a"]}}), of_dataset({"duplicate": {"columns": ["b", "a"]}})),
        # filters
        (check("missing"), check("missing", {"filter": "x > 1"})),
        (of_dataset({"row_count": None}), of_dataset({"row_count": None}, filter="x > 1")),
        # the older contracts
        (
            column(checks=[{"type": "missing_count", "must_be": 0}]),
            column(checks=[{"type": "missing_count", "must_be_less_than": 3}]),
        ),
        (
            column(checks=[{"type": "no_missing_values"}, {"type": "no_duplicate_values"}]),
            column(checks=[{"type": "no_missing_values"}]),
        ),
        (
            column(checks=[{"type": "freshness_in_hours", "must_be_less_than": 3}]),
            column(checks=[{"type": "freshness_in_hours", "must_be_less_than": 4}]),
        ),
        # SodaCL
        (sodacl("row_count between 10 and 20"), sodacl("row_count between 5 and 20")),
        (sodacl("avg(x) not between 1 and 20"), sodacl("avg(x) not between 5 and 20")),
        (sodacl("freshness(t) < 1d"), sodacl("freshness(t) < 1d 6h")),
        (sodacl("missing_percent(x) < 5%"), sodacl("missing_percent(x) < 5.5 %")),
        (sodacl({"duplicate_count(x) = 0": None}), sodacl({"duplicate_count(x) <= 2": {"name": "few"}})),
        (sodacl({"row_count": {"fail": "when < 10"}}), sodacl({"row_count": {"warn": "when < 10"}})),
        (
            sodacl({"row_count": {"warn": "when < 10", "fail": "when < 5"}}),
            sodacl({"row_count": {"warn": "when < 10", "fail": "when < 4"}}),
        ),
        (
            sodacl({"invalid_count(x) = 0": {"valid max length": 3}}),
            sodacl({"invalid_count(x) = 0": {"valid max length": 4}}),
        ),
        (sodacl("missing_count(x) = 0"), sodacl({"missing_count(x) = 0": {"filter": "y = 1"}})),
    ],
)
def test_what_asks_for_less_is_looser_and_the_way_back_is_stricter(stricter: str, looser: str) -> None:
    told = classify(stricter, looser)
    assert "loosened" in told.classes
    assert not told.classes & {"tightened", "breaking", "added"}
    back = classify(looser, stricter)
    assert "tightened" in back.classes
    assert not back.classes & {"loosened", "breaking", "added"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (threshold(must_be_less_than=5), threshold(must_be_greater_than=5)),
        (threshold(must_be_less_than=5), threshold(must_be_less_than="${var.limit}")),
        (threshold(must_be_less_than=5), threshold(must_be_between="often")),
        (threshold(must_be_less_than=5), threshold(metric="percent", must_be_less_than=4)),
        (threshold(must_be=3), threshold(must_be=4)),
        (check("aggregate", {"function": "avg"}), check("aggregate", {"function": "sum"})),
        (check("aggregate", {"function": "avg"}), check("aggregate", {"function": "avg", "filter": "x > 1"})),
        (of_dataset({"row_count": None}), of_dataset({"row_count": {"filter": "x > 1"}})),
        (check("missing", {"filter": "x > 1"}), check("missing", {"filter": "x > 2"})),
        (check("failed_rows", {"expression": "a = 1"}), check("failed_rows", {"expression": "a = 2"})),
        (check("invalid", {"valid_values": [1, 2]}), check("invalid", {"valid_values": [2, 3]})),
        (check("invalid", {"valid_values": ["1"]}), check("invalid", {"valid_values": [1]})),
        (check("invalid", {"valid_length": 2}), check("invalid", {"valid_length": 3})),
        (
            check("invalid", {"valid_values": [1], "threshold": {"must_be_greater_than": 5}}),
            check("invalid", {"valid_values": [1, 2], "threshold": {"must_be_greater_than": 5}}),
        ),
        (check("missing"), check("missing", {"name": "no gaps"})),
        (check("missing"), check("missing", {"attributes": {"team": "sales"}})),
        (column(), column(description="The key")),
        (column(missing_values=["-"]), column(missing_values=["-", "?"])),
        (of_dataset(), of_dataset(owner="sales@example.org")),
        (of_dataset(variables={"x": {"default": 1}}), of_dataset(variables={"x": {"default": 2}})),
        (of_dataset(filter="x > 1"), of_dataset(filter="x > 2")),
        (
            json.dumps({"columns": [{"name": "a"}, {"name": "b"}]}),
            json.dumps({"columns": [{"name": "b"}, {"name": "a"}]}),
        ),
        (sodacl("row_count > ${LOW}"), sodacl("row_count > 5")),
        (sodacl("anomaly score for row_count < default"), sodacl("anomaly score for row_count < 3")),
        (json.dumps({"filter orders [daily]": {"where": "a"}}), json.dumps({"filter orders [daily]": {"where": "b"}})),
        (of_dataset(5), of_dataset(6)),
        (of_dataset({"a": 1, "b": 2}), of_dataset({"a": 1, "b": 3})),
    ],
)
def test_what_has_no_direction_is_changed(before: str, after: str) -> None:
    assert classes(before, after) == classes(after, before) == {"changed"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (column(), json.dumps({"dataset": "a/b/c", "columns": []})),
        (column(data_type="int"), column(data_type="bigint")),
        (column(data_type="text", character_maximum_length=9), column(data_type="text", character_maximum_length=5)),
        (of_dataset(), json.dumps({"dataset": "a/b/d", "checks": []})),
        (json.dumps({"dataset": "a", "schema": "x"}), json.dumps({"dataset": "a", "schema": "y"})),
        (check("missing"), json.dumps({"dataset": "a/b/c"})),
    ],
)
def test_a_column_that_is_gone_or_of_another_type_and_another_dataset_break(before: str, after: str) -> None:
    assert classes(before, after) == {"breaking"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("dataset: a # the old\nowner: x\n", "owner: 'x'\n\n\ndataset: a\n"),
        (column(data_type="VARCHAR (5)"), column(data_type="varchar  (5)")),
        (column(data_type=None), column()),
        (check("missing"), check("missing", {"threshold": {"must_be": 0.0}})),
        (check("missing"), check("missing", {})),
        (check("missing"), column(checks=["missing"])),
        (threshold(must_be_less_than=5), threshold(must_be_less_than="5", level="fail")),
        (of_dataset({"row_count": None}), of_dataset({"row_count": {"threshold": {"must_be_greater_than": 0}}})),
        (check("invalid", {"valid_values": [1, 2]}), check("invalid", {"valid_values": [2, 1, 1]})),
        (of_dataset("a", "b", {"c": 1}, {"c": 2}), of_dataset({"c": 2}, "b", {"c": 1}, "a")),
        ("filter: |\n  a > 1\n   and b\n", "filter: |\n    a > 1\n    and b\n"),
        ("checks for x:\n- row_count  >   5\n", "checks for x: ['row_count > 5']"),
        ("valid_from: 2026-01-01\n", 'valid_from: "2026-01-01"\n'),
        (threshold(metric="percent", must_be=0), threshold(must_be=0)),
    ],
)
def test_what_means_the_same_is_the_same(before: str, after: str) -> None:
    assert classify(before, after) == Changes(frozenset({"same"}))


def test_checks_of_one_type_are_told_apart_by_what_names_them() -> None:
    def named(key: str, **limits: int) -> str:
        return of_dataset(
            *({"metric": {key: name, "threshold": {"must_be_less_than": limit}}} for name, limit in limits.items())
        )

    for key in ("qualifier", "name", "id"):
        assert classes(named(key, a=1, b=5), named(key, b=5, a=1)) == {"same"}
        told = classify(named(key, a=1, b=5, c=9), named(key, d=4, b=6, a=1, c=9))
        assert told.classes == {"loosened", "tightened"}
        assert len(told.changes) == 2
    assert classify(named("name", a=1, b=5), named("name", x=1, b=5)).changes == ("check metric (x): name a -> x",)


def test_without_a_version_before_it_is_the_first() -> None:
    assert classify(None, column()) == Changes(frozenset({"first"}))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "the contract is missing"),
        ("", "the contract is no table"),
        ("just text", "the contract is no table"),
        ("- a\n- b\n", "the contract is no table"),
        ("a: [1\n", "the contract is no YAML, line 2"),
        ("a: 1\n b: 2\n", "the contract is no YAML, line 2"),
        ("a: \0", "the contract is no YAML"),
        ("a: \ud800", "the contract is no YAML"),
        ("a: &x 1\nb: *x\n", "the contract has an anchor or an alias"),
        ("a: *x\n", "the contract has an anchor or an alias"),
        ("&x a: 1\n", "the contract has a key that is no text"),
        ("{[1]: 2}", "the contract has a key that is no text"),
        ("a: 1\na: 2\n", "the contract has the key 'a' twice in one table"),
        ("a: 1\n---\nb: 2\n", "the contract has more than one document"),
        ("a: " + "[" * 40, "the contract is nested deeper than 32 levels"),
        ("a: " + "é" * (MAX_SIZE // 2), "the contract has more than 256 KiB"),
        ("a: [" + "1," * MAX_VALUES + "]", "the contract has more than 20,000 values"),
    ],
)
def test_what_cannot_be_read_is_told_why(text: str | None, why: str) -> None:
    for before in (None, column()):
        assert classify(before, text) == Changes(frozenset({"unreadable"}), (why,))
    if text is not None:
        (told,) = classify(text, column()).changes
        assert told == why.replace("the contract", "the contract before")


def test_a_bomb_of_aliases_does_not_go_off() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert classes(column(), bomb) == {"unreadable"}


def test_tags_and_numbers_beyond_measure_are_only_text() -> None:
    before = "a: !!python/object/apply:os.system [x]\nb: !!binary x\nn: 1e999999999\nm: " + "9" * 5000
    assert classes(before, before + "\nc: .nan") == {"changed"}
    assert classes(threshold(must_be_less_than=1), '{"dataset": "a/b/c", "columns": [{"name": "id", "checks": '
                   '[{"missing": {"threshold": {"must_be_less_than": 1e999}}}]}]}') == {"loosened"}  # fmt: skip


def test_sentences_are_few_short_and_the_gravest_first() -> None:
    before = json.dumps({"columns": [{"name": f"c{number}\n" + "x" * 500} for number in range(60)], "owner": "a" * 900})
    told = classify(before, json.dumps({"columns": [], "owner": "b"}))
    assert told.classes == {"breaking", "changed"}
    assert len(told.changes) == MAX_CHANGES
    assert told.changes[-1] == "and 12 more"
    assert told.changes[0].startswith("column c0 xxx")
    assert all(len(text) <= MAX_TEXT and "\n" not in text for text in told.changes)


def test_yaml_is_loaded_only_when_a_contract_is_looked_at() -> None:
    code = (
        "import sys; from sodarouter.decide.contracts import classify; before = 'yaml' in sys.modules; "
        "classify(None, 'a: 1'); print(before, 'yaml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def dumped(value: Any, **layout: Any) -> str:
    return str(yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True, **layout))


def big(limit: int) -> str:
    columns = [
        {
            "name": f"a_column_with_a_long_name_{number}",
            "data_type": "character varying",
            "description": "What it holds. " * 5,
            "checks": [
                {"missing": {"threshold": {"must_be_less_than": limit + number}}},
                {"invalid": {"valid_values": ["a", "b", limit]}},
            ],
        }
        for number in range(800)
    ]
    return dumped({"dataset": "a/b/c", "columns": columns})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (big(1), big(2)),
        ("checks: [" + "1," * 19_000 + "]", "checks: [" + "2," * 19_000 + "]"),
        ("checks for x:\n" + f"- {'<' * 1000} 1\n" * 250, "checks for x:\n" + f"- {'<' * 1000} 2\n" * 250),
        ("checks for x:\n- " + " when between and" * 14_000, "checks for x:\n- " + "a between and" * 14_000),
    ],
    ids=["columns", "checks", "operators", "words"],
)
def test_the_largest_contract_takes_no_longer_than_a_moment(before: str, after: str) -> None:
    assert len(before) < MAX_SIZE
    start = perf_counter()
    assert classes(before, after) - {"unreadable"}
    # a fifth of this on a machine that has nothing else to do
    assert perf_counter() - start < 5


numbers = st.integers(-2, 6).map(Decimal)
bounds = st.recursive(
    st.tuples(st.sampled_from([above, below, from_, up_to, exactly, anything_but]), numbers).map(lambda m: m[0](m[1])),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
        inner.map(lambda one: ~one),
    ),
    max_leaves=6,
)
POINTS = [Decimal(point) / 2 for point in range(-8, 18)]


def points(allowed: Bounds) -> set[Decimal]:
    return {point for point in POINTS if exactly(point) <= allowed}


@given(bounds, bounds)
def test_bounds_are_sets_of_numbers(one: Bounds, two: Bounds) -> None:
    """On whole and half numbers, as all cuts are at whole ones."""
    assert points(one & two) == points(one) & points(two)
    assert points(one | two) == points(one) | points(two)
    assert points(~one) == set(POINTS) - points(one)
    assert (one <= two) == (points(one) <= points(two))
    assert (one == two) == (points(one) == points(two))
    assert one <= ANYTHING


limits = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("must_be_less_than", "must_be", "must_be_greater_than_or_equal"), st.integers(0, 9)),
        "level": st.sampled_from(["warn", "fail"]),
        "metric": st.sampled_from(["count", "percent"]),
    },
)
bodies = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "threshold": limits,
        "filter": st.sampled_from(["a", "b"]),
        "name": st.sampled_from(["n", "m"]),
        "qualifier": st.integers(1, 2),
        **dict.fromkeys(("valid_values", "missing_values", "columns"), st.lists(st.integers(0, 3), max_size=3)),
        "valid_min": st.integers(0, 3),
        "expression": st.just("a = 1"),
    },
)
kinds = st.sampled_from(["missing", "invalid", "duplicate", "row_count", "freshness", "schema", "aggregate"])
checks = st.lists(st.dictionaries(kinds, bodies, min_size=1, max_size=1), max_size=4)
prose = st.text("ab1 :#-'{}[]&*!é\n\t")
columns = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abc")}, optional={"checks": checks, "description": prose}),
    max_size=3,
    unique_by=lambda one: str(one["name"]),
)
contracts = st.fixed_dictionaries(
    {"dataset": st.just("a/b/c")},
    optional={
        "columns": columns,
        "checks": checks,
        "owner": prose,
        "filter": st.sampled_from(["a", "b"]),
        "checks for x": st.lists(st.sampled_from(["row_count > 5", "row_count > 6", "missing_count(a) = 0"])),
    },
)


def turned(value: Any) -> Any:
    """The same with the keys of all tables in another order."""
    if isinstance(value, dict):
        return {key: turned(inner) for key, inner in reversed(value.items())}
    return [turned(inner) for inner in value] if isinstance(value, list) else value


@given(contracts, st.booleans())
def test_another_layout_is_the_same(contract: dict[str, Any], flow: bool) -> None:
    text = dumped(turned(contract), sort_keys=False, default_flow_style=flow)
    assert classes(dumped(contract), f"# a comment\n{text}") == {"same"}


@given(contracts, contracts)
@settings(max_examples=120)
def test_the_way_back_is_the_opposite(one: dict[str, Any], two: dict[str, Any]) -> None:
    opposite = {"loosened": "tightened", "tightened": "loosened", "breaking": "added", "added": "breaking"}
    there, back = classify(json.dumps(one), json.dumps(two)), classify(json.dumps(two), json.dumps(one))
    assert {opposite.get(word, word) for word in there.classes} == back.classes
    assert len(there.changes) == len(back.changes)
    assert there == classify(json.dumps(one), json.dumps(two))


words = ["dataset", "columns", "checks", "checks for x", "name", "type", "threshold", "must_be", "must_be_between",
         "level", "additional", "filter", "valid_values", "warn", "fail", "missing", "row_count > 5", "schema",
         "when < 5", "between 1 and", "metric", "unit", "optional", "data_type"]  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.datetimes(), st.text(), st.sampled_from(words)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(words) | scalars, inner, max_size=4),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(words), anything), st.dictionaries(st.sampled_from(words), anything))
@settings(max_examples=120)
def test_every_shape_has_an_answer(one: dict[str, Any], two: dict[str, Any]) -> None:
    before, after = dumped(one), dumped(two)
    told = classify(before, after)
    assert told.classes
    assert told.classes <= set(CLASSES)
    assert len(told.classes) == 1 or not told.classes & {"same", "first", "unreadable"}
    assert classes(before, before) == {"same"}
    assert classes(before + "\n", before) <= {"same", "unreadable"}


@given(st.text(), st.text())
@example("a: 1", "!")
@example("%YAML 9.9\n---\na: 1", "%TAG ! !\n---\n")
@settings(max_examples=120)
def test_every_text_has_an_answer(one: str, two: str) -> None:
    for before in (None, one, f"a: {one}", f"dataset: x\nchecks:\n- {one}"):
        for after in (two, f"a: {two}", f"dataset: x\nchecks:\n- {two}"):
            assert classify(before, after).classes <= set(CLASSES)
