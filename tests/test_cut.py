import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SAMPLES, make_event, payload

from sodarouter.cut import cut_results

white = st.text(" \t\r\n", max_size=3)
strings = st.builds(json.dumps, st.text(st.characters(codec="utf-8"), max_size=8), ensure_ascii=st.booleans())
numbers = st.sampled_from(["0", "-0.0", "1e5", "1E+400", "-12.50", "9" * 5000, "0." + "1" * 5000])
names = strings | st.sampled_from(['"event"', '"incident"', '"check\\u0052esults"', '"checkResults"'])


@st.composite
def arrays(draw, items):
    return "[" + ",".join(draw(white) + item + draw(white) for item in draw(st.lists(items, max_size=4))) + "]"


@st.composite
def members(draw, keys, values):
    pairs = draw(st.lists(st.tuples(keys, values), max_size=4))
    return ",".join(draw(white) + key + draw(white) + ":" + draw(white) + value + draw(white) for key, value in pairs)


values = st.recursive(
    strings | numbers | st.sampled_from(["true", "false", "null"]),
    lambda inner: arrays(inner) | members(names, inner).map("{{{}}}".format),
    max_leaves=5,
)


def exactly(text: str | bytes) -> object:
    """JSON with the order and the repetitions of its members and the spelling of its numbers."""
    return json.loads(text, object_pairs_hook=tuple, parse_int=str, parse_float=str)


@st.composite
def bodies(draw):
    """What stands before the results, the results, and what stands after them."""
    others = strings.filter(lambda key: json.loads(key) not in ("event", "checkResults", "incident"))
    around = [draw(members(others, values)) for _ in range(4)]
    head, inner_head, inner_tail, tail = (text + "," if i in (0, 1) and text else text for i, text in enumerate(around))
    inner_tail, tail = ("," + text if text else "" for text in (inner_tail, tail))
    before, after = f'{inner_head}"checkResults":{draw(white)}', inner_tail
    if draw(st.booleans()):
        # an array that the view does not read must be left alone
        stray = draw(st.sampled_from(["", '"checkResults":[1,2],']))
        before, after = f'{stray}{head}"event":"incidentUpdated","incident":{{{before}', f"{after}}}{tail}"
    else:
        before, after = f'{head}"event":"checkEvaluation",{before}', after + tail
    return f"{draw(white)}{{{before}", draw(arrays(values)), f"{after}}}{draw(white)}"


@settings(max_examples=50)
@given(bodies(), st.sets(st.integers(0, 5)))
def test_the_kept_results_remain_and_every_byte_around_them(body, keep):
    before, results, after = body
    cut = cut_results((before + results + after).encode(), keep).decode()
    assert cut.startswith(before)
    assert cut.endswith(after)
    kept = [result for index, result in enumerate(exactly(results)) if index in keep]
    assert exactly(cut[len(before) : len(cut) - len(after)]) == kept


@pytest.mark.parametrize("name", [name for name in SAMPLES if "heck" in name or "ncident" in name])
def test_with_every_result_kept_a_sample_is_the_same_json(name):
    assert exactly(cut_results(payload(name), range(9))) == exactly(payload(name))


def test_indices_mean_what_they_mean_in_the_view():
    body = {"event": "checkEvaluation", "checkResults": [{"id": "a"}, None, {"id": "b"}]}
    event = make_event(body)
    assert [result.id for result in event.view.results] == ["a", None, "b"]
    assert [result.id for result in event.cut([1, 2]).view.results] == [None, "b"]


def test_of_repeated_members_the_last_is_cut_as_it_is_the_one_that_is_read():
    raw = b'{"event":"checkEvaluation","checkResults":[1,2],"checkResults":[{"id":"a"},{"id":"b"}]}'
    assert cut_results(raw, [1]) == b'{"event":"checkEvaluation","checkResults":[1,2],"checkResults":[{"id":"b"}]}'


def test_strings_that_look_like_structure_are_only_strings():
    raw = rb'{"a":"\"checkResults\":[1,2]}","event":"checkEvaluation","check\u0052esults":[{"a":"],["},{"a":"\\\""}]}'
    assert cut_results(raw, [1]) == raw.replace(rb'{"a":"],["},', b"")


def test_of_an_empty_array_nothing_is_cut():
    raw = b'{"event": "checkEvaluation", "checkResults": [ ]}'
    assert cut_results(raw, [0]) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"event":"checkEvaluation"}',
        b'{"event":"checkEvaluation","checkResults":null}',
        b'{"event":"checkEvaluation","incident":{"checkResults":[1]}}',
        b'{"event":"incidentCreated","checkResults":[1]}',
        b'{"event":"incidentCreated","incident":null,"checkResults":[1]}',
        b"{}",
    ],
)
def test_a_body_without_results_cannot_be_cut(raw):
    with pytest.raises(ValueError, match="no checkResults"):
        cut_results(raw, [0])
