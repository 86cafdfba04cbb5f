"""The formats `alertmanager` and `alertmanager-api` of `forward`, held against a real Alertmanager."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from alertmanager import PROGRAM, alertmanager
from formatting import RECEIVED, body, evaluation, events, incident, result
from hypothesis import given
from running import running_router
from sink import open_sink
from support import make_event

from sodarouter import Event, Team, View

needs_alertmanager = pytest.mark.skipif(PROGRAM is None, reason="there is no prometheus-alertmanager")
CHECK = {
    "severity": "warning",
    "alertname": "SodaCheck",
    "check": "No missing values",
    "column": "id",
    "dataset": "orders",
    "datasource": "warehouse",
    "source": "soda",
}


def told(event: Event, **shape: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body({"type": "alertmanager", **shape}, event)["alerts"]
    return found


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        *(({"outcome": word}, "firing") for word in ("fail", "warn", "error", "unheard-of", None)),
        ({"evaluationStatus": "notEvaluated"}, "firing"),
        ({"outcome": "pass"}, "resolved"),
        ({"evaluationStatus": "excluded"}, "resolved"),
    ],
)
def test_a_result_that_does_not_pass_fires_and_one_that_does_ends_the_same_alert(outcome, status):
    [alert] = told(evaluation(result(**outcome)))
    assert alert["labels"] == CHECK
    assert alert["status"] == status
    assert alert["fingerprint"] == told(evaluation(result()))[0]["fingerprint"]


def test_each_result_is_an_alert_and_what_cannot_be_told_apart_is_one_that_fires_if_any_does():
    ended, other = result(name="Ended", outcome="pass"), result(name="Other", outcome="pass")
    event = evaluation(result(), other, ended, result(outcome="pass"), other | {"outcome": "warn"}, None)
    sent = body("alertmanager", event)
    assert [(one["labels"].get("check"), one["status"]) for one in sent["alerts"]] == [
        ("No missing values", "firing"),
        ("Other", "firing"),
        ("Ended", "resolved"),
        (None, "firing"),
    ]
    assert sent["status"] == "firing"
    assert sent["commonLabels"] == {"alertname": "SodaCheck", "severity": "warning", "source": "soda"}
    assert sent["receiver"] == "there"


def test_an_incident_is_an_alert_until_it_is_resolved_whatever_else_changes():
    fields = {"title": "Orders are late", "severity": "minor", "checkResults": [result(outcome="pass")]}
    statuses = ("reported", "fixing", "closed", "resolved")
    severe = [
        incident(**fields | {"status": status, "severity": word}) for status in statuses for word in ("minor", "x")
    ]
    sent = [told(event) for event in severe]
    assert [[one["status"] for one in alerts] for alerts in sent] == [["firing"]] * 6 + [["resolved"]] * 2
    assert len({alerts[0]["fingerprint"] for alerts in sent}) == 1
    assert sent[0][0]["labels"] == {
        "severity": "warning",
        "alertname": "SodaIncident",
        "incident": "e1f3",
        "source": "soda",
    }
    assert sent[0][0]["annotations"]["summary"] == "INC-196 Orders are late"


def test_what_is_no_state_is_a_notice_that_alertmanager_ends_by_itself():
    event = make_event({"event": "contractPublished", "contract": {"dataset": "orders", "datasource": "warehouse"}})
    [alert] = body("alertmanager-api", event)
    assert alert["labels"] == {
        "severity": "info",
        "alertname": "SodaContractPublished",
        "dataset": "orders",
        "datasource": "warehouse",
        "source": "soda",
    }
    assert "endsAt" not in alert


def test_an_alert_fires_as_long_as_the_setting_says_and_ends_when_the_event_came():
    events = evaluation(result()), evaluation(result(outcome="pass", dataTimestamp="2999-01-01T00:00:00Z"))
    fired, ended = (body({"type": "alertmanager-api", "firing_for": "2h"}, event)[0] for event in events)
    assert datetime.fromisoformat(fired["endsAt"]) == RECEIVED + timedelta(hours=2)
    assert datetime.fromisoformat(ended["startsAt"]) == datetime.fromisoformat(ended["endsAt"]) == RECEIVED


def test_an_older_update_that_comes_late_lets_no_incident_fire_again():
    event = replace(incident(status="reported"), late=True)
    assert body("alertmanager-api", event) == []


def test_labels_are_added_from_settings_and_from_attributes():
    shape = {"labels": {"severity": "page", "cluster": "eu"}, "attributes": ["Data Domain", "severity", "tiers", "x"]}
    dataset = {"name": "orders", "attributes": [{"name": "Data Domain", "value": "Sales"}]}
    own = [
        {"name": "severity", "value": "critical"},
        {"name": "tiers", "value": ["b", "a"]},
        {"name": "x", "value": {}},
    ]
    [plain] = told(evaluation(result()), **shape)
    [rich] = told(evaluation(result(attributes=own, datasets=[dataset])), **shape)
    assert plain["labels"] == CHECK | {"severity": "page", "cluster": "eu"}
    assert rich["labels"].items() >= {"severity": "critical", "data_domain": "Sales", "tiers": "a, b"}.items()
    assert "x" not in rich["labels"]


def test_a_team_is_a_label_of_its_checks_and_its_runbook_an_annotation():
    team = Team("sales-data", runbook="https://wiki.example.org/sales")

    def enrich(view: View) -> View:
        datasets = tuple(replace(dataset, team=team) for dataset in view.results[0].datasets)
        return replace(view, results=(replace(view.results[0], datasets=datasets),))

    [alert] = told(evaluation(result(), enrich=enrich))
    assert alert["labels"]["team"] == "sales-data"
    assert alert["annotations"]["runbook_url"] == team.runbook


@pytest.mark.parametrize(
    ("url", "linked"),
    [
        ("https://cloud.soda.io/o/1/checks/39d7?a=%20#b", True),
        ("https://cloud.soda.io/checks/39d7 x", False),
        ("https://cloud.soda.io/%zz", False),
        ("https://user@cloud.soda.io/", False),
        ("javascript:alert(1)", False),
        ("/checks/39d7", False),
    ],
)
def test_a_link_is_one_that_alertmanager_can_read_or_there_is_none(url, linked):
    [alert] = body("alertmanager-api", evaluation(result(sodaCloudUrl=url)))
    assert alert.get("generatorURL") == (url if linked else None)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """Of an Alertmanager that runs for all examples."""
    with (
        alertmanager(tmp_path_factory.mktemp("alertmanager")) as url,
        httpx2.Client(base_url=url, trust_env=False) as client,
    ):
        yield client


@needs_alertmanager
@given(event=events())
def test_alertmanager_takes_any_event(client, event):
    shape = {"type": "alertmanager-api", "attributes": ["tier", "0 \u00e9"], "labels": {"env": "\u00e9"}}
    answer = client.post("/api/v2/alerts", json=body(shape, event))
    assert answer.status_code == 200, answer.text


@needs_alertmanager
async def test_a_check_that_fails_is_an_alert_in_alertmanager_until_it_passes(tmp_path):
    """What it then tells its own webhooks is what the format ``alertmanager`` makes of the same event."""
    url = "https://cloud.soda.io/o/1/checks/39d7"
    now = datetime.now(UTC).replace(microsecond=123000)
    async with open_sink() as real, open_sink() as ours, httpx2.AsyncClient(trust_env=False) as client:
        with alertmanager(tmp_path, tells=real.url) as there:
            toml = (
                f'[destination.api]\ntype = "forward"\nurl = "{there}/api/v2/alerts"\nformat = "alertmanager-api"\n'
                f'[destination.there]\ntype = "forward"\nurl = "{ours.url}"\nformat = "alertmanager"\n'
                '[[route]]\nto = ["api", "there"]\n'
            )
            async with running_router(tmp_path, toml) as router:
                for number, (outcome, active) in enumerate([("fail", 1), ("warn", 1), ("pass", 0)], 1):
                    sent = result(outcome=outcome, sodaCloudUrl=url, dataTimestamp=now.isoformat(), value=3)
                    await router.post(json.dumps({"event": "checkEvaluation", "checkResults": [sent]}).encode())
                    assert {one.state for one in await router.until_settled()} == {"delivered"}
                    standing = (await client.get(f"{there}/api/v2/alerts")).json()
                    assert len(standing) == active
                    if outcome == "warn":
                        # nothing new fires, so it is not told
                        assert standing[0]["annotations"]["outcome"] == "warn"
                        continue
                    await real.until_requests(min(number, 2))
                    theirs, mine = json.loads(real.requests[-1].body), json.loads(ours.requests[-1].body)
                    assert _alike(mine) == _alike(theirs)


def _alike(sent: dict[str, Any]) -> dict[str, Any]:
    """A webhook of Alertmanager's without what two clocks and two addresses make differ."""
    alerts = [
        {**alert, "startsAt": datetime.fromisoformat(alert["startsAt"]), "endsAt": alert["endsAt"] > "0002"}
        for alert in sent["alerts"]
    ]
    return {**sent, "alerts": alerts, "externalURL": bool(sent["externalURL"])}
