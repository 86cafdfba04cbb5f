"""What a fixture keeps of the event that it was made of, and what it does not."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from random import Random
from uuid import UUID

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support import SAMPLES, make_event, payload
from test_simulate import KINDS, NOW

from sodarouter.anonymise import anonymise
from sodarouter.anonymise.vocabulary import GIVEN_NAMES, VOCABULARY
from sodarouter.parse import parse
from sodarouter.simulate import simulate

Path = tuple[str | int, ...]

STAYS = {"event", "severity", "status", "outcome", "evaluationStatus", "approvalState", "evaluationResult"}
STAYS |= {"type", "integrationType", "tags"}
UUID_TEXT = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def anonymous(body: object, **known) -> dict:
    return json.loads(anonymise(json.dumps(body).encode(), **{"key": "k", **known}))


def told(text: str, **known) -> str:
    """What becomes of a text in the description of an incident."""
    body = {"event": "incidentCreated", "incident": {"description": text}}
    return anonymous(body, **known)["incident"]["description"]


def leaves(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from leaves(inner, (*path, key))
        case list():
            for index, inner in enumerate(value):
                yield from leaves(inner, (*path, index))
        case _:
            yield path, value


def rewritten(value: object, change: Callable[[Path, object], object], path: Path = ()) -> object:
    match value:
        case dict():
            return {key: rewritten(inner, change, (*path, key)) for key, inner in value.items()}
        case list():
            return [rewritten(inner, change, (*path, index)) for index, inner in enumerate(value)]
        case _:
            return change(path, value)


def stays(path: Path) -> bool:
    """Whether what stands there is left as it is: words of Soda's, tags, and what attributes are called."""
    names = [part for part in path if isinstance(part, str)]
    return names[-1] in STAYS or names[-2:] in (["attributes", "name"], ["attributes", "label"])


def words(text: str) -> set[str]:
    """What of a text could tell something: an oracle that knows nothing of how it is anonymised."""
    text = re.sub(rf"{UUID_TEXT}|[0-9a-f]{{32}}|\d{{4}}-\d\d-\d\dT[\d:.]+Z", " ", text)
    spaced = "".join(sign if sign.isalpha() or sign.isdecimal() else " " for sign in text)
    found = re.findall(r"[^\W\d]{3,}|\d{4,}", spaced)
    known = {
        word
        for name in (*VOCABULARY, "https", "example", "invalid", "integrations", "link", "yml", "json")
        for word in name.split("_")
    }
    return {word.lower() for word in found if word in GIVEN_NAMES or word.lower() not in known}


def check(body: dict) -> None:
    """All that is promised of every event."""
    raw = json.dumps(body).encode()
    made = anonymise(raw, key="k")
    assert made == anonymise(raw, key="k")
    after = json.loads(made)
    before_leaves, after_leaves = list(leaves(body)), list(leaves(after))

    assert [path for path, _ in after_leaves] == [path for path, _ in before_leaves]
    assert [type(value) for _, value in after_leaves] == [type(value) for _, value in before_leaves]

    pairs = [
        (path, old, new)
        for (path, old), (_, new) in zip(before_leaves, after_leaves, strict=True)
        if isinstance(old, str)
    ]
    assert all(new == old for path, old, new in pairs if stays(path))
    originals = set().union(*(words(old) for path, old, _ in pairs if not stays(path)))
    survived = originals & set().union(*(words(new) for path, _, new in pairs if not stays(path)))
    assert not survived
    for path, old, new in pairs:
        if re.search(r"[a-z]@[a-z]+\.[a-z]", old) or re.fullmatch(UUID_TEXT, old):
            assert not re.search(rf"(?<!\w){re.escape(json.dumps(old, ensure_ascii=False)[1:-1])}(?!\w)", made.decode())
        if path[-1] == "email" and re.fullmatch(r"[a-z0-9.]+@[a-z0-9]+\.[a-z]+", old):
            assert re.fullmatch(r"[a-z0-9.]+@[a-z]+\.example", new)

    meanings = defaultdict(set)
    for _, old, new in pairs:
        meanings[new].add(old)
    assert all(len(olds) == 1 for olds in meanings.values())

    assert parse(made)["event"] == body["event"]
    was, now = make_event(raw).view, make_event(made).view
    assert [result.outcome for result in now.results] == [result.outcome for result in was.results]
    assert [result.timestamp for result in now.results] == [result.timestamp for result in was.results]
    assert [result.value for result in now.results] == [result.value for result in was.results]
    if was.incident:
        assert (now.incident.severity, now.incident.status) == (was.incident.severity, was.incident.status)
        assert (now.incident.callback_url is None) == (was.incident.callback_url is None)
    assert equalities(now) == equalities(was)


def equalities(view) -> list[int]:
    """Which names of a view are the same: the first place where each of them stands."""
    named = [
        name
        for result in view.results
        for dataset in result.datasets
        for name in (dataset.name, dataset.id, dataset.datasource, *(owner.email for owner in dataset.owners))
    ]
    return [named.index(name) for name in named]


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_sample_keeps_its_shape_and_nothing_else(sample):
    check(json.loads(payload(sample)))


@settings(max_examples=60)
@given(st.sampled_from(KINDS), st.integers(0, 10**6))
def test_every_simulated_event_keeps_its_shape_and_nothing_else(kind, seed):
    vocabulary, event_type = kind
    check(simulate(event_type, vocabulary=vocabulary, random=Random(seed), now=NOW))


texts = st.text(max_size=12) | st.from_regex(r"[A-Z]?[a-z]{2,8}([_/ .-][a-z]{2,8}|[0-9]{1,8}){0,4}", fullmatch=True)


@settings(max_examples=25, phases=[Phase.explicit, Phase.generate])
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.data())
def test_whatever_the_texts_are_only_the_shape_is_kept(kind, seed, data):
    vocabulary, event_type = kind
    body = simulate(event_type, vocabulary=vocabulary, random=Random(seed), now=NOW)

    def change(path: Path, value: object) -> object:
        times = {"created", "lastUpdated", "sentAt", "dataTimestamp", "createdTimestamp", "lastUpdatedTimestamp"}
        if not isinstance(value, str) or stays(path) or path[-1] in times | {"incidentLinkCallbackUrl"}:
            return value
        return data.draw(texts | st.just(value))

    check(rewritten(body, change))


numbers = st.sampled_from(["0", "-0.0", "1e5", "1E+400", "-12.50", "9" * 5000, "0." + "1" * 5000])
values = st.recursive(
    st.builds(json.dumps, st.text(), ensure_ascii=st.booleans()) | numbers | st.sampled_from(["true", "false", "null"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: f"[{','.join(some)}]")
        | st.lists(st.tuples(st.sampled_from(["a", "name", "checkResults"]), inner), max_size=3).map(
            lambda some: "{" + ", ".join(f'"{key}" : {value}' for key, value in some) + "}"
        )
    ),
    max_leaves=8,
)


def exactly(text: str | bytes) -> object:
    """JSON with the order and the repetitions of its members and the spelling of its numbers."""
    return json.loads(
        text, object_pairs_hook=tuple, parse_int=lambda n: ("number", n), parse_float=lambda n: ("number", n)
    )


def without_strings(value: object) -> object:
    match value:
        case ("number", str()):
            return value
        case tuple() | list():
            return [without_strings(inner) for inner in value]
        case str():
            return "text"
        case _:
            return value


@settings(max_examples=100)
@given(values)
def test_any_json_keeps_its_order_its_repetitions_and_the_spelling_of_its_numbers(value):
    raw = f'{{"event": "new", "x": {value}, "x": {value}}}'
    made = anonymise(raw.encode(), key="k")
    assert without_strings(exactly(made)) == without_strings(exactly(raw))
    assert made.decode().startswith('{\n  "event": "new",\n  "x": ')


def test_what_belongs_together_has_one_name_everywhere():
    made = anonymous(
        {
            "event": "checkEvaluation",
            "checkResults": [
                {
                    "definition": "checks for prod/sales_orders:\n  - missing_count(order_date) = 0\n",
                    "column": "order_date",
                    "datasets": [{"name": "prod/sales_orders", "label": "Sales Orders"}],
                }
            ],
        }
    )["checkResults"][0]
    name, column = made["datasets"][0]["name"], made["column"]
    assert re.fullmatch(r"[a-z]{6}/[a-z]{6}_[a-z]{6}", name)
    assert made["definition"] == f"checks for {name}:\n  - missing_count({column}) = 0\n"
    assert made["datasets"][0]["label"] == name.partition("/")[2].replace("_", " ").title()


def test_events_of_one_key_agree_and_those_of_another_do_not():
    created, updated = (anonymous(json.loads(payload(f"v3-incident{what}"))) for what in ("Created", "Updated"))
    assert created["incident"] == updated["incident"]
    other = anonymous(json.loads(payload("v3-incidentCreated")), key="another")
    assert other["incident"]["title"] != created["incident"]["title"]


def test_addresses_of_one_domain_share_one_and_nobody_can_be_written_to():
    made = told("jane.doe@acme.com JANE.DOE@ACME.COM jane.doe@other.org jürgen@acme.com")
    one, shouted, other, third = made.split()
    assert shouted == one.upper()
    assert re.fullmatch(r"[a-z]{6}\.[a-z]{6}@[a-z]{6}\.example", one)
    assert one.partition("@")[0] == other.partition("@")[0]
    assert one.partition("@")[2] == third.partition("@")[2] != other.partition("@")[2]


def test_somebodys_name_is_none_of_the_vocabulary():
    owners = [{"type": "user", "email": "max@acme.com"}, {"type": "userGroup", "name": "Missing Values"}]
    body = {"event": "checkEvaluation", "checkResults": [{"datasets": [{"owners": owners}]}]}
    user, group = anonymous(body)["checkResults"][0]["datasets"][0]["owners"]
    assert "max" not in user["email"]
    assert not words(group["name"]) & {"missing", "values"}
    assert told("Max: max(price)") == told("Max") + f": max({told('price')})"


def test_ids_stay_ids():
    made = told("39d706c3-5a48-4f4b-8888-123456789abc 39D706C3-5A48-4F4B-8888-123456789ABC 6f90f4ad C03FU9GR7P7 471100")
    uuid, shouted, code, channel, number = made.split()
    assert (UUID(uuid).version, UUID(uuid).variant) == (4, UUID(int=8 << 60).variant)
    assert shouted == uuid.upper()
    assert re.fullmatch("[0-9a-f]{8}", code)
    assert re.fullmatch(r"[A-Z]\d\d[A-Z]{2}\d[A-Z]{2}\d[A-Z]\d", channel)
    assert re.fullmatch("[1-9][0-9]{5}", number)
    made = anonymous({"event": "new", "id": 471100, "scanId": 1234567, "paid": 471100, "number": 4711})
    assert made["id"] != 471100
    assert len(str(made["id"])) == 6
    assert made["scanId"] != 1234567
    assert (made["paid"], made["number"]) == (471100, 4711)


@pytest.mark.parametrize(
    "text",
    [
        "missing_count(x) = 0",
        "freshness(x) < 1d12h",
        "warn: when between 5 and 10%",
        "failed at 2026-05-04T12:00:00.123456789Z, INC-196",
        "SELECT count(*) FROM x WHERE y IS NOT NULL",
        "checks:\n  - schema:\n      warn:\n        when required column missing: [x]\n",
        "",
    ],
)
def test_thresholds_moments_and_keywords_stay(text):
    assert told(text) == text


@pytest.mark.parametrize(
    "text", ["1980-03-01", "+32 475 12 34 56", "10.1.2.3", "123-45-6789", "4711 0815", "张三", "🦄", "e\u0301te\u0301"]
)
def test_what_may_be_somebodys_does_not(text):
    made = told(f"it is {text}!")
    assert made.startswith("it is ")
    assert text not in made
    assert not set(re.findall(r"[^\x00-\x7f]|\d{4,}", text)) & set(made)


def test_urls_keep_their_shape_and_only_the_hosts_that_everybody_has():
    identity = "39d706c3-5a48-4f4b-8888-123456789abc"
    url = f"https://cloud.us.soda.io/o/{identity}/datasets/{identity}?tab=checks"
    made = told(f"{url} {identity}")
    other = made.split()[1]
    assert made.startswith(f"https://cloud.us.soda.io/o/{other}/datasets/{other}?")
    assert re.fullmatch(
        r"https://[a-z]{6}\.example:8443/[a-z]{6}/[a-z]{6}%2F[a-z]{6}#[a-z]{6}",
        told("https://acme.soda.io:8443/team/prod%2Forders#notes"),
    )
    assert told("https://x.org/J%C3%BCrgen").rpartition("/")[2] == told("Jürgen")
    assert "hunter" not in told("https://jane:hunter2@acme.com/")


def test_a_callback_url_is_of_the_same_shape_and_leads_nowhere():
    url = "https://cloud.soda.io/integrations/webhook/1-2/incident-link/3-4/uLsecret6rvMcIrQ"
    fake = rf"https://soda\.invalid/integrations/webhook/{UUID_TEXT}/incident-link/{UUID_TEXT}/[0-9a-f]{{32}}"
    body = {"event": "incidentCreated", "incident": {"description": f"see {url}!"}, "incidentLinkCallbackUrl": url}
    body["incident"]["checkResults"] = [{"datasets": [{"tags": [url]}]}]
    for keep in ([], ["*"], [url]):
        made = anonymous(body, keep=keep)
        assert re.fullmatch(fake, made["incidentLinkCallbackUrl"])
        assert "secret" not in json.dumps(made)
        assert made["incident"]["checkResults"][0]["datasets"][0]["tags"] == [made["incidentLinkCallbackUrl"]]
    # as it is stored when it was sealed
    made = anonymous({"event": "incidentCreated", "incident": {}, "incidentLinkCallbackUrl": "**********"})
    assert re.fullmatch(fake, made["incidentLinkCallbackUrl"])


def test_what_is_to_be_kept_is_kept_wherever_it_stands_alone():
    text = "checks for prod/sales_orders: Data Stewards of orders, reorders and test/orders, see jane@acme.com"
    made = told(text, keep=["prod/*", "orders", "Data Stewards", "acme.com"])
    assert re.fullmatch(
        r"checks for prod/sales_orders: Data Stewards of orders, [a-z]{6} and [a-z]{6}/orders, [a-z]{6} [a-z]{6}@acme.com",
        made,
    )
    assert told("acme", keep=["[a-m]*"]) == "acme"
    assert told("zebra", keep=["[a-m]*"]) != "zebra"
    assert told("x+y", keep=["x+y", ""]) == "x+y"


def test_attributes_keep_their_names_in_either_form_and_not_their_values():
    listed = [{"id": "17", "name": "data_domain", "label": "Data Domain", "value": "Acme deal"}]
    mapped = {"name": "Acme", "status": "Jane Doe", "Data Domain": ["Acme", 4711, True, None]}
    for attributes in (listed, mapped):
        body = {"event": "checkEvaluation", "checkResults": [{"attributes": attributes}]}
        made = anonymous(body)["checkResults"][0]["attributes"]
        assert not words(json.dumps(made)) & {"acme", "jane", "doe", "deal"}
        assert "Data Domain" in json.dumps(made)
    assert list(made) == list(mapped)
    assert made["Data Domain"][1:] == [4711, True, None]


def test_keys_stay_where_soda_has_its_fields_and_not_where_data_is():
    data = {"v4": {"failedRowsCount": 3}, "customerName": 1, "rows": [{"customer_name": "Jane", "status": "Acme"}]}
    body = {
        "event": "checkEvaluation",
        "checkResults": [{"diagnostics": data, "newField": {"value": "x", "acme": 1}}],
    }
    made = anonymous(body)["checkResults"][0]
    assert "newField" in made
    assert "acme" not in made["newField"]
    diagnostics = made["diagnostics"]
    assert diagnostics["v4"] == {"failedRowsCount": 3}
    assert "customerName" not in diagnostics
    assert not words(json.dumps(diagnostics["rows"])) & {"customer", "jane", "acme"}


def test_words_of_soda_that_are_new_stay_and_texts_in_their_place_do_not():
    body = {"event": "incidentUpdated", "incident": {"severity": "P1", "status": "waiting_for_vendor"}}
    assert anonymous(body) == body
    body["incident"]["status"] = "ask jane@acme.com"
    assert "jane" not in anonymous(body)["incident"]["status"]


def test_many_short_numbers_still_have_different_pseudonyms():
    ids = list(range(1000, 10_000))
    made = anonymous({"event": "new", "ids": ids})["ids"]
    assert len(set(made)) == len(ids)


def test_what_is_no_json_is_a_value_error():
    for raw in (b"{", b'{"event": NaN}', b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            anonymise(raw)
