import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json
from support import SAMPLES, payload

from sodarouter import soda
from sodarouter.errors import Malformed
from sodarouter.parse import MAX_FAULTS, parse


def refusal(raw: bytes | dict) -> Malformed:
    with pytest.raises(Malformed) as raised:
        parse(raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    return raised.value


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_an_event(name):
    assert parse(payload(name))["event"] in name


@pytest.mark.parametrize(
    ("raw", "title", "detail"),
    [
        (b"", "Empty body", "a webhook's body is a JSON object"),
        (b" \n", "Empty body", "a webhook's body is a JSON object"),
        (b'{"event": "x",\n "a": }', "Unreadable JSON", "expected value at line 2 column 7"),
        (b'{"event": "x"', "Unreadable JSON", "the body ends inside an object at line 1 column 13"),
        (b'{"event": "x"} {}', "Unreadable JSON", "trailing characters at line 1 column 16"),
        (b'{"event": "x", "a": NaN}', "Unreadable JSON", "NaN and Infinity are no JSON numbers: line 1 column 21"),
        (
            b'{"event": "x",\n"a": -Infinity}',
            "Unreadable JSON",
            "NaN and Infinity are no JSON numbers: line 2 column 7",
        ),
        (b'{"event": "\xff"}', "Not UTF-8", "the byte at offset 11 belongs to no UTF-8 character"),
        ('{"event": "x"}'.encode("utf-16"), "Not UTF-8", "the byte at offset 0 belongs to no UTF-8 character"),
        (b"[]", "Not an object", "a webhook's body is a JSON object"),
        (b"null", "Not an object", "a webhook's body is a JSON object"),
        (b"{}", "No event", 'the object needs an "event": a string that is not empty'),
        (b'{"event": null}', "No event", 'the object needs an "event": a string that is not empty'),
        (b'{"event": ["x"]}', "No event", 'the object needs an "event": a string that is not empty'),
        (b'{"event": " "}', "No event", 'the object needs an "event": a string that is not empty'),
        (b'{"event": "%s"}' % (b"x" * 201), "Event type too long", '"event" has more than 200 characters'),
    ],
)
def test_what_is_no_event_is_told_why(raw, title, detail):
    error = refusal(raw)
    assert (error.status, error.title, error.detail, error.faults) == (400, title, detail, ())


def test_a_number_beyond_what_python_reads_is_refused_and_the_longest_that_it_reads_is_taken():
    assert refusal(b'{"event": "x", "a": %s}' % (b"9" * 4301)).detail.startswith("number out of range at line 1")
    longest = b'{"event": "x", "a": %s}' % (b"9" * 4300)
    assert json.loads(longest)
    assert parse(longest)


@pytest.mark.parametrize("deep", [b'{"event": "x", "a": ' + b"[" * 300, b"[" * 150_000, b'{"a":' * 100_000])
def test_what_is_nested_too_deep_is_said_so(deep):
    assert (refusal(deep).status, refusal(deep).title) == (400, "Nested too deep")


def test_nan_inside_strings_is_text():
    assert parse(b'{"event": "NaN", "a": ["-Infinity", "\\"NaN, Infinity"]}')["event"] == "NaN"


def test_a_known_event_in_an_unusable_shape_is_told_every_fault():
    dataset = {"datasource": 5, "attributes": 7, "owner": "x", "owners": [{}, 1]}
    incident = {"lead": [], "links": {}, "checkResults": [1, {}, {"datasets": [dataset]}]}
    error = refusal({"event": "incidentUpdated", "incident": incident})
    assert (error.status, error.title) == (422, "Unexpected shape")
    assert error.detail == "in this incidentUpdated event, incident.checkResults[0]: must be an object (and 6 more)"
    assert list(map(str, error.faults)) == [
        "incident.checkResults[0]: must be an object",
        "incident.checkResults[2].datasets[0].attributes: must be an array or an object",
        "incident.checkResults[2].datasets[0].datasource: must be an object or a string",
        "incident.checkResults[2].datasets[0].owner: must be an object",
        "incident.checkResults[2].datasets[0].owners[1]: must be an object",
        "incident.lead: must be an object",
        "incident.links: must be an array",
    ]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"event": "checkEvaluation", "checkResults": {}}, "checkResults: must be an array"),
        (
            {"event": "checkEvaluation", "checkResults": [{"attributes": [1]}]},
            "checkResults[0].attributes[0]: must be an object",
        ),
        ({"event": "contractPublished", "contract": {"prefixes": "x"}}, "contract.prefixes: must be an array"),
        ({"event": "agreementDeleted", "agreement": {"testsFile": 1}}, "agreement.testsFile: must be an object"),
        ({"event": "agreementCreated", "agreement": []}, "agreement: must be an object"),
    ],
)
def test_a_fault_has_its_path_in_sodas_spelling(body, fault):
    error = refusal(body)
    assert list(map(str, error.faults)) == [fault]
    assert error.detail == f"in this {body['event']} event, {fault}"


@pytest.mark.parametrize(("count", "said"), [(20, "(and 19 more)"), (21, "(the first 20 of perhaps more)")])
def test_only_so_many_faults_are_listed(count, said):
    error = refusal({"event": "checkEvaluation", "checkResults": [1] * count})
    assert len(error.faults) == MAX_FAULTS
    assert error.detail.endswith(said)


def test_a_large_body_full_of_faults_costs_little():
    """A report for each of its faults would take a thousand times as much as the body."""
    raw = b'{"event":"checkEvaluation","checkResults":[' + b",".join([b"1"] * 190_000) + b"]}"
    began = time.process_time()
    assert refusal(raw).faults
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "raw",
    [
        b'{"event": "checkEvaluation"}',
        b'{"event": "checkEvaluation", "checkResults": null}',
        b'{"event": "checkEvaluation", "checkResults": [null, {}, {"datasets": [null], "attributes": [null]}]}',
        b'{"event": "checkEvaluation", "checkResults": [{"id": {"a": 1}, "outcome": 5, "brandNew": [1]}]}',
        b'{"event": "incidentCreated", "incident": null}',
        b'{"event": "incidentCreated", "incident": {"lead": null, "links": [null]}}',
        b'{"event": "contractPublished", "contract": {"datasource": {"name": "x"}}}',
        b'{"event": "neverHeardOf", "checkResults": 5, "model_config": 1, "__class__": 2}',
        b'{"event": "validate", "sentAt": 1e999}',
    ],
)
def test_what_is_missing_null_or_unknown_is_no_fault(raw):
    assert parse(raw)["event"]


marked = "SECRET-IN-THE-BODY"
wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(marked),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(sorted(soda.FIELDS)) | st.just(marked), inner, max_size=5)
    ),
    max_leaves=20,
)
events = st.sampled_from(soda.EVENT_TYPES) | wild
fields = st.dictionaries(st.sampled_from(sorted(soda.FIELDS)), wild)
shaped = st.builds(lambda rest, event: {**rest, "event": event}, fields, events)


@settings(max_examples=300)
@given(st.binary(max_size=50) | (wild | shaped).map(lambda body: json.dumps(body).encode()))
def test_every_body_is_an_event_or_a_refusal_that_repeats_nothing_of_it(raw):
    refused = None
    try:
        parse(raw)
    except Malformed as error:
        refused = error
    if refused is None:
        # what comes later reads the body with the standard library
        json.loads(raw, parse_constant=pytest.fail)
    else:
        told = f"{refused} {[str(fault) for fault in refused.faults]}"
        assert marked not in told
        assert "Input should" not in told
        assert len(refused.faults) <= MAX_FAULTS


@settings(max_examples=300)
@given(shaped.map(lambda body: json.dumps(body).encode()))
@example(b'{"event": "contractPublished", "contract": {"prefixes": 1}, "contract": {"datasource": {"name": 2}}}')
@example(b'{"event": "contractPublished", "contract": {"prefixes": []}, "contract": {"prefixes": 1}}')
def test_a_body_is_read_as_it_came_if_the_models_take_it_and_else_not(raw):
    try:
        taken = soda.validate(raw)
        plain = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        with pytest.raises(type(error)):
            soda.read(raw)
    else:
        assert repr(soda.read(raw)) == repr(plain)
        assert plain["event"] == taken.event
