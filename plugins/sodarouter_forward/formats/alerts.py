"""What an event says as alerts: one for each result, or one for the incident.

Alertmanager tells an alert by all of its labels, so none of them is of what changes while it fires: outcome, status and
Soda's severity are annotations.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sodarouter import Agreement, Contract, Dataset, Event, Incident, Result, Team

MAX_TEXT = 2000
"""Characters of an annotation."""

Labels = Mapping[str, str]

OWN_LABELS = (
    "alertname",
    "agreement",
    "check",
    "check_id",
    "column",
    "dataset",
    "datasource",
    "incident",
    "source",
    "team",
)  # fmt: skip
"""The labels that are made here."""

_OVER = {"pass", "excluded"}
"""Outcomes that end an alert. Any other word, one that nobody has documented too, is better seen than not."""

_CHECK_PAGE = re.compile(r"/checks/([^/?#]+)")

_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?#]([!$&-;=?-Z_a-z~#]|%[0-9A-Fa-f]{2})*)?")
"""What Alertmanager takes for a URL, and more narrowly: it refuses all alerts of a request for one that it cannot read."""


@dataclass(frozen=True, slots=True)
class Alert:
    labels: Labels
    annotations: Labels
    firing: bool
    starts: datetime
    url: str | None
    """The page in Soda Cloud."""
    lasts: bool = True
    """Whether it fires until something else is said. What tells of no state, such as a published contract, does not."""

    @property
    def status(self) -> str:
        return "firing" if self.firing else "resolved"


def alerts(event: Event, more: Labels, attributes: tuple[str, ...]) -> list[Alert]:
    """The alerts of an event, one at least, and no two with the same labels.

    Args:
        event: What is told.
        more: Labels for all of them.
        attributes: Names of attributes of a check or its datasets that become labels.
    """
    if event.view.incident:
        return [_of_incident(event, event.view.incident, more)]
    told: dict[frozenset[tuple[str, str]], Alert] = {}
    for result in event.view.results:
        alert = _of_result(event, result, more, attributes)
        # of two checks that cannot be told apart, the one that fails is not to be ended by the one that passes
        if alert.firing or frozenset(alert.labels.items()) not in told:
            told[frozenset(alert.labels.items())] = alert
    return [*told.values()] or [_of_notice(event, more)]


def _of_result(event: Event, result: Result, more: Labels, attributes: tuple[str, ...]) -> Alert:
    outcome, datasets = result.outcome or "unknown", _names(result.datasets)
    page = _CHECK_PAGE.search(result.url or "")
    teams = _each(dataset.team for dataset in result.datasets)
    labels = _present(
        {
            "severity": "warning",
            **more,
            **_present({label_name(name): _attribute(result, name) for name in attributes}),
            "alertname": "SodaCheck",
            "check": result.name,
            # in v4 the id may be that of the one result
            "check_id": page[1] if page else None if result.name else result.id,
            "column": result.column,
            "dataset": datasets,
            "datasource": _joined(dataset.datasource for dataset in result.datasets),
            "source": event.source,
            "team": _joined(team.name for team in teams),
        }
    )
    annotations = {
        "summary": f"{result.name or 'Check'}{f' on {datasets}' if datasets else ''}: {outcome}",
        "description": result.definition,
        "outcome": outcome,
        "value": None if result.value is None else str(result.value),
        "runbook_url": _runbook(teams),
    }
    starts = min(result.timestamp or event.received, event.received)
    return Alert(labels, _present(annotations), outcome not in _OVER, starts, _page(result.url))


def _of_incident(event: Event, incident: Incident, more: Labels) -> Alert:
    number = None if incident.number is None else f"INC-{incident.number}"
    teams = event.view.teams
    labels = {
        "severity": "warning",
        **more,
        "alertname": "SodaIncident",
        "incident": incident.id or number,
        "source": event.source,
    }
    annotations = {
        "summary": " ".join(filter(None, [number, incident.title])) or "Incident",
        "description": incident.description,
        "severity": incident.severity,
        "status": incident.status,
        "datasets": _names(tuple(dataset for result in event.view.results for dataset in result.datasets)),
        "teams": _joined(team.name for team in teams),
        "links": _joined(link.url for link in incident.links),
        "resolution_notes": incident.resolution_notes,
        "runbook_url": _runbook(teams),
    }
    starts = min(incident.created or event.received, event.received)
    firing = incident.status != "resolved"
    return Alert(_present(labels), _present(annotations), firing, starts, _page(incident.url))


def _of_notice(event: Event, more: Labels) -> Alert:
    contract, agreement = event.view.contract or Contract(), event.view.agreement or Agreement()
    about = contract.dataset or agreement.label
    labels = {
        "severity": "info",
        **more,
        "alertname": f"Soda{event.type[:1].upper()}{event.type[1:]}",
        "agreement": agreement.id,
        "dataset": contract.dataset,
        "datasource": contract.datasource,
        "source": event.source,
    }
    annotations = {
        "summary": f"{event.type}: {about}" if about else event.type,
        "description": contract.contents or agreement.contents,
        "teams": _joined(team.name for team in event.view.teams),
        "runbook_url": _runbook(event.view.teams),
    }
    return Alert(_present(labels), _present(annotations), True, event.received, _page(event.view.url), lasts=False)


def _present(texts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text[:MAX_TEXT] for name, text in texts.items() if text}


def _joined(texts: Iterable[str | None]) -> str | None:
    return ", ".join(sorted({text for text in texts if text})) or None


def _names(datasets: tuple[Dataset, ...]) -> str | None:
    return _joined(dataset.name or dataset.label for dataset in datasets)


def _each(teams: Iterable[Team | None]) -> tuple[Team, ...]:
    return tuple(dict.fromkeys(team for team in teams if team))


def _runbook(teams: tuple[Team, ...]) -> str | None:
    return next((team.runbook for team in teams if team.runbook), None)


def label_name(attribute: str) -> str:
    """The label of an attribute: ``Data Domain`` gives ``data_domain``."""
    return re.sub(r"[^a-z0-9_]|^(?=[0-9])", "_", attribute.lower())


def _attribute(result: Result, name: str) -> str | None:
    given = [result.attributes, *(dataset.attributes for dataset in result.datasets)]
    match next((values[name] for values in given if values.get(name) is not None), None):
        case list() as several:
            return _joined(str(one) for one in several)
        case None | dict():
            return None
        case value:
            return str(value)


def _page(url: str | None) -> str | None:
    return url if url and _URL.fullmatch(url) else None
