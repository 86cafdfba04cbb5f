"""The formats of the destination type `forward`, held against the libraries of those who read them."""

import base64
import json
import re
import shutil
import subprocess

import pytest
import standardwebhooks
import trio
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, from_http_event, from_structured_event
from formatting import FORMATS, RECEIVED, SECRET, SIGN, arrived, body, composed, events, incident, options, result
from hypothesis import given
from pydantic import ValidationError
from sodarouter_forward.options import ForwardOptions
from support import SAMPLES, make_event, payload

from sodarouter import Reject


@given(event=events())
@pytest.mark.parametrize("shape", FORMATS.values(), ids=FORMATS)
def test_any_event_makes_json_and_headers_that_can_be_sent(shape, event):
    first = composed(shape, event)
    json.loads(first.body)
    assert first.body == composed(shape, event).body
    assert all(re.fullmatch(r"[!-~]([ -~]*[!-~])?", value) for value in first.headers.values())
    assert all(len(value) < 4000 for value in first.headers.values())


# how the options go together


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, b'{"event": "validate"}'),
        ({"format": "raw"}, b'{"event": "validate"}'),
        ({"body": "{{ event.type }}"}, b"validate"),
        ({"body": "{{ event.type }}", "format": "template"}, b"validate"),
        ({"body": "{{ event.type }}", "format": {"type": "template"}}, b"validate"),
    ],
)
async def test_a_body_is_a_template_and_without_one_the_body_is_what_soda_sent(given, sent):
    request = await arrived(None, make_event({"event": "validate"}), **given)
    assert request.body == sent
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"format": "template"}, 'format = "template" needs body'),
        ({"format": "raw", "body": "x"}, 'body has no effect with format = "raw"'),
        ({"format": "cloudevents", "body": "x"}, 'body has no effect with format = "cloudevents"'),
        ({"format": "cloudevents", "content_type": "text/plain"}, "content_type has no effect"),
        ({"format": "cloudevent"}, "'cloudevents', 'alertmanager', 'alertmanager-api'"),
        ({"format": {"type": "raw", "mode": "binary"}}, "Extra inputs"),
        ({"format": {"type": "standard-webhooks"}}, 'needs sign = { type = "standard-webhooks", … }'),
        (
            {"format": {"type": "standard-webhooks"}, "sign": {"type": "hmac", "header": "X", "secrets": ["s"]}},
            'needs sign = { type = "standard-webhooks", … }',
        ),
        ({"format": {"type": "standard-webhooks", "prefix": "soda"}, "sign": SIGN}, "prefix"),
        ({"format": {"type": "cloudevents", "prefix": ""}}, "prefix"),
        ({"format": {"type": "cloudevents", "source": "a b"}}, "a source is a URI"),
        ({"format": {"type": "cloudevents", "extensions": {"Team": "x"}}}, "an extension's name is 1 to 20"),
        ({"format": {"type": "cloudevents", "extensions": {"subject": "x"}}}, "CloudEvents defines it itself"),
        ({"format": {"type": "cloudevents", "extensions": {"team": "{{ x"}}}, "template, line 1"),
        ({"format": {"type": "cloudevents", "mode": "binary"}, "headers": {"CE-Id": "x"}}, "the header CE-Id is set"),
        ({"format": {"type": "alertmanager", "labels": {"a-b": "x"}}}, "labels"),
        ({"format": {"type": "alertmanager", "labels": {"check": "x"}}}, "the label check is made of the event"),
        ({"format": {"type": "alertmanager", "attributes": ["Data Set", "Dataset"]}}, "the label dataset is made"),
        ({"format": {"type": "alertmanager-api", "firing_for": "0s"}}, "firing_for"),
    ],
)
def test_what_does_not_go_together_is_a_fault(given, fault):
    with pytest.raises(ValidationError) as caught:
        ForwardOptions.model_validate(options(**given))
    assert fault in str(caught.value)


# standard-webhooks


@pytest.mark.parametrize("sample", SAMPLES)
async def test_the_reference_verifier_takes_a_standard_webhook_of_every_sample(sample):
    event = make_event(sample)
    request = await arrived("standard-webhooks", event)
    verified = standardwebhooks.Webhook(SECRET).verify(request.body, request.headers)
    assert verified == {
        "type": f"soda.{event.type}",
        "timestamp": "2026-05-04T12:00:00.000000Z",
        "data": json.loads(payload(sample)),
    }


VERIFY = """
const { Webhook } = require("standardwebhooks");
for (const [secret, headers, body] of JSON.parse(require("fs").readFileSync(0))) {
  console.log(JSON.stringify(new Webhook(secret).verify(Buffer.from(body, "base64"), headers).type));
}
"""


@pytest.fixture
def node() -> str:
    """The program, if it has the verifier."""
    found = shutil.which("node")
    if not found or subprocess.run([found, "-e", "require('standardwebhooks')"], capture_output=True).returncode:
        pytest.skip("node does not find the package standardwebhooks: npm install it, and set NODE_PATH")
    return found


async def test_the_reference_verifier_for_node_takes_them_too(node):
    events = [*map(make_event, SAMPLES), make_event({"event": "caf\u00e9 \U0001f9c3", "a": "\u2028\u00e9"})]
    requests = [await arrived("standard-webhooks", event) for event in events]
    sent = [(SECRET, one.headers, base64.b64encode(one.body).decode()) for one in requests]
    ran = await trio.run_process([node, "-e", VERIFY], stdin=json.dumps(sent).encode(), capture_stdout=True)
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [json.loads(one.body)["type"] for one in requests]


@pytest.mark.parametrize(
    ("event", "prefix", "expected"),
    [
        ("checkEvaluation", "", "checkEvaluation"),
        ("checkEvaluation", "acme.data.", "acme.data.checkEvaluation"),
        ("scan.failed", "soda.", "soda.scan.failed"),
        ("..caf\u00e9 x..\n.y", "soda.", "soda.caf_x._.y"),
        ("...", "soda.", "soda._"),
    ],
)
def test_the_type_of_a_standard_webhook_has_its_parts_between_full_stops(event, prefix, expected):
    sent = body({"type": "standard-webhooks", "prefix": prefix}, make_event({"event": event}))
    assert sent["type"] == expected


@given(event=events())
def test_any_event_is_the_data_of_a_standard_webhook(event):
    sent = body("standard-webhooks", event)
    assert list(sent) == ["type", "timestamp", "data"]
    assert re.fullmatch(r"\w+(\.\w+)+", sent["type"], re.ASCII)
    assert sent["data"] == json.loads(event.raw)


# cloudevents


@pytest.mark.parametrize("mode", ["structured", "binary"])
@pytest.mark.parametrize("sample", SAMPLES)
async def test_the_sdk_reads_a_cloud_event_of_every_sample(mode, sample):
    event = make_event(sample)
    request = await arrived(FORMATS[mode], event)
    read = from_http_event(HTTPMessage(request.headers, request.body))
    assert read.get_attributes() == {
        "specversion": "1.0",
        "id": event.id,
        "source": "/sodarouter/soda",
        "type": f"io.soda.{event.type}",
        "time": RECEIVED,
        "datacontenttype": "application/json",
        **({"subject": read.get_subject()} if event.type != "validate" else {}),
    }
    assert read.get_data() == json.loads(payload(sample))
    if mode == "binary":
        assert request.body == payload(sample)
    else:
        assert request.headers["content-type"] == "application/cloudevents+json"


@given(event=events())
def test_the_sdk_reads_the_same_of_any_event_in_both_modes(event):
    whole, apart = (composed(FORMATS[mode], event) for mode in ("structured", "binary"))
    structured = from_structured_event(HTTPMessage(dict(whole.headers), whole.body))
    lower = {name.lower(): value for name, value in apart.headers.items()}
    headers = {name: value for name, value in lower.items() if name.startswith(("ce-", "content-type"))}
    binary = from_binary_event(HTTPMessage(headers, apart.body))
    assert structured.get_attributes() == binary.get_attributes()
    assert structured.get_data() == binary.get_data() == json.loads(event.raw)
    # each character that a header must not have as it is, and no text that the specification forbids
    assert all(re.fullmatch(r"([!-$&-~]|%[0-9A-F]{2})+", value) and '"' not in value for value in headers.values())
    texts = [value for value in structured.get_attributes().values() if isinstance(value, str)]
    assert all(texts)
    assert not any(re.search("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff\U0010ffff]", text) for text in texts)


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        ({"event": "incidentCreated", "incident": {"id": 'e "1"%\u00e9'}}, 'e "1"%\u00e9'),
        ({"event": "contractPublished", "contract": {"dataset": "a/b"}}, "a/b"),
        ({"event": "agreementCreated", "agreement": {"id": "A-1"}}, "A-1"),
        ({"event": "checkEvaluation", "checkResults": [result(), result()]}, "orders"),
        ({"event": "checkEvaluation", "checkResults": [result(), result(datasets=[{"name": "x"}])]}, None),
        ({"event": "unheard-of"}, None),
    ],
)
@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_the_subject_is_what_the_event_is_about(mode, event, subject):
    request = await arrived(FORMATS[mode], make_event(event))
    assert from_http_event(HTTPMessage(request.headers, request.body)).get_subject() == subject


def test_what_is_part_of_an_event_or_sent_once_more_has_an_id_of_its_own():
    event = make_event()
    ids = [body("cloudevents", event, **known)["id"] for known in ({}, {"attempt": 2}, {"part": 2}, {"replay": 3})]
    assert ids == [event.id, event.id, f"{event.id}~2", f"{event.id}/3"]


async def test_the_source_the_prefix_and_extensions_are_settings():
    shape = {
        "type": "cloudevents",
        "mode": "binary",
        "source": "https://data.example.org/soda?a=%20#b",
        "prefix": "org.example.",
        "extensions": {
            "severity": "{{ incident.severity }}",
            "lead": "{{ incident.lead.email or '' }}",
            "env": "pr\u00f6d x",
        },
    }
    event = incident(severity="major", lead={"id": "1"})
    request = await arrived(shape, event)
    read = from_http_event(HTTPMessage(request.headers, request.body)).get_attributes()
    assert request.headers["ce-env"] == "pr%C3%B6d%20x"
    assert (read["source"], read["type"]) == (shape["source"], "org.example.incidentUpdated")
    assert (read["severity"], read["env"], "lead" in read) == ("high", "pr\u00f6d x", False)
    with pytest.raises(Reject, match="template, line 1"):
        composed(shape, make_event())
