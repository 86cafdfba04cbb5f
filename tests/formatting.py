"""What the tests of `forward`'s formats share: ways to make one, and any event at all."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from sink import Request, open_sink
from sodarouter_forward import Forward
from sodarouter_forward.options import ForwardOptions
from sodarouter_forward.request import Composed, Composer
from support import make_delivery, make_event, make_store, opened

from sodarouter import Event
from sodarouter.parse import parse

SECRET = "whsec_" + base64.b64encode(b"a key of twenty-four byt").decode()
SIGN = {"type": "standard-webhooks", "secrets": [SECRET]}
FORMATS: dict[str, Any] = {
    "standard-webhooks": "standard-webhooks",
    "structured": {"type": "cloudevents", "mode": "structured"},
    "binary": {"type": "cloudevents", "mode": "binary"},
    "alertmanager": "alertmanager",
    "alertmanager-api": "alertmanager-api",
}
RECEIVED = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NOW = RECEIVED.timestamp()


def options(shape: Any = None, **more: Any) -> dict[str, Any]:
    given = {} if shape is None else {"format": shape}
    signed = {"sign": SIGN} if "standard-webhooks" in json.dumps(shape) else {}
    return {"url": "https://example.org/hook", **given, **signed, **more}


def composed(shape: Any, event: Event, **known: Any) -> Composed:
    composer = Composer(ForwardOptions.model_validate(options(shape)))
    return composer.compose(event, make_delivery(event, **known), NOW)


def body(shape: Any, event: Event, **known: Any) -> Any:
    return json.loads(composed(shape, event, **known).body)


async def arrived(shape: Any, event: Event, **more: Any) -> Request:
    """The request that a real server gets, which is what a preview says."""
    async with open_sink() as sink, opened(Forward, options(shape, **more) | {"url": sink.url}) as forward:
        await forward.deliver(event, make_delivery(event), make_store())
        assert forward.preview(event, make_delivery(event)).body == sink.requests[0].body
    return sink.requests[0]


def result(**fields: Any) -> dict[str, Any]:
    dataset = {"name": "orders", "datasource": {"name": "warehouse"}}
    return {"name": "No missing values", "column": "id", "outcome": "fail", "datasets": [dataset], **fields}


def evaluation(*results: dict[str, Any] | None, **known: Any) -> Event:
    return make_event({"event": "checkEvaluation", "checkResults": results}, **known)


def incident(**fields: Any) -> Event:
    return make_event({"event": "incidentUpdated", "incident": {"id": "e1f3", "number": 196, **fields}})


# any event at all

NOTHING_OR_TEXT = st.none() | st.text(max_size=20)
WORDS = st.sampled_from(["pass", "fail", "warn", "error", "notEvaluated", "excluded", "resolved", "major"])
MOMENTS = st.none() | st.text(max_size=5) | st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
PAGES = NOTHING_OR_TEXT | st.text(max_size=20).map(lambda text: f"https://cloud.soda.io/checks/{text}")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists
)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


DATASETS = objects(
    name=NOTHING_OR_TEXT,
    datasource=NOTHING_OR_TEXT | objects(name=NOTHING_OR_TEXT),
    attributes=st.lists(objects(name=st.just("tier") | NOTHING_OR_TEXT, value=ANYTHING), max_size=2),
)
RESULTS = st.lists(
    st.none()
    | objects(
        id=NOTHING_OR_TEXT,
        name=NOTHING_OR_TEXT,
        definition=NOTHING_OR_TEXT,
        sodaCloudUrl=PAGES,
        column=NOTHING_OR_TEXT,
        outcome=WORDS | NOTHING_OR_TEXT,
        value=ANYTHING,
        dataTimestamp=MOMENTS,
        datasets=st.lists(st.none() | DATASETS, max_size=2),
    ),
    max_size=3,
)
INCIDENTS = objects(
    id=NOTHING_OR_TEXT,
    number=st.none() | st.integers(),
    title=NOTHING_OR_TEXT,
    description=NOTHING_OR_TEXT,
    sodaCloudUrl=PAGES,
    severity=WORDS | NOTHING_OR_TEXT,
    status=WORDS | NOTHING_OR_TEXT,
    createdTimestamp=MOMENTS,
    checkResults=RESULTS,
)
CONTRACTS = objects(dataset=NOTHING_OR_TEXT, datasource=NOTHING_OR_TEXT, contents=NOTHING_OR_TEXT)
AGREEMENTS = objects(id=NOTHING_OR_TEXT, label=NOTHING_OR_TEXT, sodaCloudUrl=PAGES)
BODIES = st.one_of(
    objects(checkResults=RESULTS).map(lambda fields: {"event": "checkEvaluation", **fields}),
    objects(incident=INCIDENTS).map(lambda fields: {"event": "incidentUpdated", **fields}),
    objects(contract=CONTRACTS).map(lambda fields: {"event": "contractPublished", **fields}),
    objects(agreement=AGREEMENTS).map(lambda fields: {"event": "agreementCreated", **fields}),
    st.builds(
        lambda event, fields: {**fields, "event": event},
        st.text(min_size=1, max_size=200).filter(str.strip),
        st.dictionaries(st.text(max_size=5), ANYTHING, max_size=2),
    ),
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    raw = json.dumps(draw(BODIES), ensure_ascii=draw(st.booleans())).encode()
    parse(raw)
    return make_event(b"\n" + raw + b" ", late=draw(st.booleans()))
