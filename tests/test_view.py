import json
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import SAMPLES, make_event

from sodarouter import Person, soda
from sodarouter.view import OUTCOMES, SEVERITIES, STATUSES, Link, normalise, plain_word, word

times = st.sampled_from(
    ["2022-05-18T06:08:22.620196441Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2022-13-01", "T", "Z"]
)
words = st.sampled_from(["major", "notEvaluated", "IN PROGRESS", " ", "-", "fixing"])
huge = st.sampled_from([10**4299, -(10**4299), 1e308])
leaves = st.recursive(
    st.none() | st.booleans() | st.integers() | huge | st.floats(allow_nan=False) | st.text(max_size=8) | times | words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("value"), inner, max_size=3)
    ),
    max_leaves=4,
)


def thing(*plain, **known):
    """An object of Soda's: any field may be missing or null, a plain one may be anything, and there may be others."""
    fields = dict.fromkeys(plain, leaves) | {name: st.none() | values for name, values in known.items()}
    return st.builds(
        lambda one, other: other | one,
        st.fixed_dictionaries({}, optional=fields),
        st.dictionaries(st.text(min_size=1, max_size=3), leaves, max_size=1),
    )


def array(items):
    return st.lists(st.none() | items, max_size=3)


people = thing("type", "id", "email", "name")
datasources = thing("id", "name", "label") | st.text(max_size=5)
attributes = array(thing("id", "label", "name", "value")) | st.dictionaries(st.text(max_size=5), leaves, max_size=3)
datasets = thing(
    *("id", "sodaCloudUrl", "name", "label"),
    tags=st.lists(leaves, max_size=3),
    owner=people,
    owners=array(people),
    datasource=datasources,
    attributes=attributes,
)
results = array(
    thing(
        *("id", "name", "sodaCloudUrl", "definition", "column", "outcome", "evaluationStatus", "value", "diagnostics"),
        dataTimestamp=leaves,
        datasets=array(datasets),
        attributes=attributes,
    )
)
incidents = thing(
    *("id", "sodaCloudUrl", "number", "title", "severity", "status", "created", "createdTimestamp", "lastUpdated"),
    *("lastUpdatedTimestamp", "resolutionNotes", "resolutionTimestamp", "incidentLinkCallbackUrl"),
    links=array(thing("integrationType", "name", "url")),
    lead=people,
    reporter=people,
    checkResults=results,
)
contracts = thing("dataset", "contents", prefixes=st.lists(leaves, max_size=2), datasource=datasources, author=people)
agreements = thing(
    *("id", "sodaCloudUrl", "label"),
    testsFile=thing("path", "contents"),
    createdBy=people,
    updatedBy=people,
    deletedBy=people,
)
payloads = st.builds(
    lambda event, body: body | {"event": event},
    st.sampled_from(soda.EVENT_TYPES) | st.text(min_size=1, max_size=5),
    thing(
        *("sentAt", "incidentLinkCallbackUrl"),
        checkResults=results,
        incident=incidents,
        contract=contracts,
        agreement=agreements,
    ),
)


@settings(max_examples=200)
@given(payloads)
@example({"event": "checkEvaluation", "checkResults": [{"value": 1e308 * 10, "attributes": {"a": [1e308 * 10]}}]})
def test_whatever_soda_leaves_out_or_puts_in_there_is_a_view_and_a_record_in_strict_json(body):
    # json.dumps spells infinity in a way that is not JSON; 1e999 is, and is read as infinity
    raw = json.dumps(body).replace("Infinity", "1e999").encode()
    event = make_event(raw)
    assert event.view.type == body["event"]
    assert json.loads(json.dumps(event.as_dict(), allow_nan=False))["type"] == body["event"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_speaks_the_one_vocabulary(name):
    view = make_event(name).view
    assert all(result.outcome in OUTCOMES for result in view.results)
    assert all(result.id and result.name and result.timestamp and result.datasets for result in view.results)
    if view.incident:
        assert view.incident.severity in SEVERITIES
        assert view.incident.status in STATUSES
        assert view.incident.created
        assert view.incident.updated
    assert view.type in name


def test_v3_and_v4_incidents_come_to_the_same():
    v3 = make_event("v3-incidentCreated").view.incident
    v4 = make_event("v4-2025-08-incidentCreated").view.incident
    assert (v3.severity, v3.status) == (v4.severity, v4.status) == ("high", "reported")
    assert v3.status_words == {"opened", "reported"}
    assert v3.created == datetime(2022, 5, 18, 6, 7, 34, tzinfo=UTC)
    assert v4.updated == datetime(2025, 5, 29, 18, 12, tzinfo=UTC)
    assert v3.resolved == datetime(2022, 5, 18, 6, 8, 22, 620196, tzinfo=UTC)
    assert v3.resolution_notes == "Stan is fixing the issue"
    assert v3.links == (
        Link("https://example.slack.com/channels/C03FU9GR7P7", "soda-inc-196-2022-05-18-invalid-customer-ids", "slack"),
    )
    assert v3.lead.email == "personn@soda.io"


def test_the_callback_url_is_found_beside_the_incident_and_inside_it():
    for name, end in (("v3-incidentCreated", "/uL******Kr6rvMcIrQ*"), ("v4-2025-08-incidentCreated", "/LINK-ID/TOKEN")):
        incident = make_event(name).view.incident
        assert incident.callback_url.get_secret_value().endswith(end)
        assert end not in repr(incident)
    assert make_event("v3-incidentUpdated").view.incident.callback_url is None


def test_no_record_for_people_holds_a_callback_url_wherever_and_however_it_is_written():
    raw = (
        b'{"event": "incidentCreated", "incident": {"incidentLinkCallbackUrl": "https://cloud.soda.io/inner-token"},'
        b' "incidentLinkCallbackUrl" : "https:\\/\\/cloud.soda.io\\/a\\u003douter-token",'
        b' "note": "https://cloud.soda.io/a=outer-token"}'
    )
    assert b"-token" not in make_event(raw).raw_redacted
    assert "-token" not in json.dumps(make_event(raw).as_dict())
    unknown = b'{"event": "incidentClosed", "x": [{"incidentLinkCallbackUrl": "https://cloud.soda.io/to\\"ken"}]}'
    assert json.loads(make_event(unknown).raw_redacted)["x"] == [{"incidentLinkCallbackUrl": "**********"}]


def test_owners_are_people_and_groups_and_a_v3_owner_is_one_of_them():
    dataset = make_event("v4-2026-checkEvaluation").view.results[0].datasets[0]
    assert dataset.owners == (
        Person("00000000-1111-4222-8333-444444444444", "owner@example.com", None, "user"),
        Person("12121212-3434-4565-8787-909090909090", None, "Data Stewards", "user_group"),
    )
    assert make_event("v3-checkEvaluation").view.results[0].datasets[0].owners == (
        Person("31781df5-93cf-***", "person@soda.io"),
    )
    both = {"owner": {"email": "a@example.com"}, "owners": [None, {"email": "a@example.com"}]}
    event = make_event({"event": "checkEvaluation", "checkResults": [{"datasets": [None, both]}]})
    assert event.view.results[0].datasets[0].owners == (Person(email="a@example.com"),)


def test_attributes_are_a_map_whether_soda_sends_a_list_or_a_map():
    results = [{"attributes": [{"name": "a", "value": 1}, None, {"label": "B"}, {}]}, {"attributes": {"a": 1}}]
    view = make_event({"event": "checkEvaluation", "checkResults": results}).view
    assert [result.attributes for result in view.results] == [{"a": 1, "B": None}, {"a": 1}]


def test_a_v3_check_without_a_name_is_named_after_its_definition():
    name = make_event("v3-checkEvaluation").view.results[0].name
    assert name == "count same as SODATEST_RAWCUSTOMERS_7275c02c in postgres2"


def test_the_newer_word_and_value_go_before_the_deprecated_ones():
    both = {"outcome": "error", "evaluationStatus": "notEvaluated", "value": 2, "diagnostics": {"value": 1}}
    older = {"outcome": "failed", "diagnostics": {"value": 1}}
    view = make_event({"event": "checkEvaluation", "checkResults": [both, older, None]}).view
    assert [(result.outcome, result.value) for result in view.results] == [
        ("not_evaluated", 2),
        ("fail", 1),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("sent", "plain", "normal"),
    [
        ("notEvaluated", "not_evaluated", "not_evaluated"),
        ("unevaluated", "unevaluated", "not_evaluated"),
        ("minor", "minor", "low"),
        (" In Progress ", "in_progress", "in_progress"),
        ("fixing", "fixing", "in_progress"),
        ("never-heard", "never_heard", "never_heard"),
        ("", None, None),
        (None, None, None),
        ({"a": 1}, None, None),
    ],
)
def test_words_are_made_one(sent, plain, normal):
    assert (plain_word(sent), word(sent)) == (plain, normal)


def test_contracts_agreements_and_set_up():
    contract = make_event("v4-2025-08-contractPublished").view.contract
    assert (contract.dataset, contract.datasource) == ("neondb/soda/public/ecommerce_orders", "neondb")
    assert contract.author.email == "author@example.com"
    agreement = make_event("v3-agreementCreated").view.agreement
    assert (agreement.path, agreement.author.email) == ("string", "julie@company.com")
    assert make_event("v3-validate").view.sent == datetime(2022, 10, 1, 9, 12, 10, 42323, tzinfo=UTC)


def test_a_view_has_the_url_of_its_one_subject():
    assert make_event("v3-incidentCreated").view.url.startswith("https://cloud.soda.io/incidents/")
    assert make_event("v3-checkEvaluation").view.url.startswith("https://cloud.soda.io/checks/")
    assert normalise({"event": "checkEvaluation", "checkResults": [{}, {}]}).url is None


def test_only_sodas_own_spelling_is_read():
    """Else the view would see results that cannot be cut, as `cut` looks for ``checkResults``."""
    assert make_event({"event": "checkEvaluation", "check_results": [{"id": "a"}]}).view.results == ()


def test_what_a_view_is_made_of_are_frozen_dataclasses_as_others_are():
    result = make_event().view.results[0]
    for one in (result, result.datasets[0], result.datasets[0].owners[0]):
        kind = type(one)
        known = {field.name: getattr(one, field.name) for field in fields(one)}
        assert one == kind(**known) == replace(one) == pickle.loads(pickle.dumps(one))
        assert repr(one) == repr(kind(**known))
        with pytest.raises(FrozenInstanceError):
            one.id = "another"
        with pytest.raises((AttributeError, TypeError)):
            one.unknown = 1
    assert hash(result.datasets[0].owners[0]) == hash(replace(result.datasets[0].owners[0]))
