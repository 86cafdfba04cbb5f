"""The formats ``alertmanager``, what Alertmanager sends to webhooks, and ``alertmanager-api``, what it takes itself."""

import json
import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from sodarouter import Delivery, Duration, Event
from sodarouter_forward.formats.alerts import OWN_LABELS, Alert, Labels, alerts, label_name
from sodarouter_forward.formats.made import Format, Made, timestamp, to_json

_NEVER = "0001-01-01T00:00:00Z"
"""How Alertmanager writes the end of what still fires."""


def _label(name: str) -> str:
    if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name):
        raise ValueError("a label's name is letters, digits and _, and does not begin with a digit")
    return _other(name)


def _other(name: str) -> str:
    if name in OWN_LABELS:
        raise ValueError(f"the label {name} is made of the event")
    return name


def _becomes_other(attribute: str) -> str:
    _other(label_name(attribute))
    return attribute


class _AlertsFormat(Format):
    labels: dict[
        Annotated[str, AfterValidator(_label)],
        Annotated[str, StringConstraints(min_length=1)],
    ] = Field(default_factory=dict)
    """More labels for every alert. `severity` is `warning`, or `info` for what is no alarm, unless it stands here."""
    attributes: list[Annotated[str, StringConstraints(min_length=1), AfterValidator(_becomes_other)]] = Field(
        default_factory=list
    )
    """Attributes of the check, or else of its datasets, by name, that become labels: `Data Domain` would be
    `data_domain`. They go before `labels`."""

    @property
    def computes(self) -> bool:
        return True

    def _alerts(self, event: Event) -> list[Alert]:
        return alerts(event, self.labels, tuple(self.attributes))


class AlertmanagerApiFormat(_AlertsFormat):
    """What Alertmanager takes at ``/api/v2/alerts``."""

    type: Literal["alertmanager-api"] = "alertmanager-api"
    firing_for: Duration = Field(7 * 86400.0, gt=0)
    """How long Alertmanager lets an alert fire of which nothing more is heard, from when its event came in."""

    def make(self, event: Event, delivery: Delivery) -> Made:
        # an older update says nothing of how the incident stands now, and would let it fire again
        told = [] if event.late else self._alerts(event)
        return Made(to_json([self._posted(alert, event) for alert in told]))

    def _posted(self, alert: Alert, event: Event) -> dict[str, object]:
        posted: dict[str, object] = {
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": timestamp(alert.starts),
        }
        # without an end, Alertmanager's own resolve_timeout gives it one
        if not alert.firing:
            posted["endsAt"] = timestamp(event.received)
        elif alert.lasts:
            posted["endsAt"] = timestamp(event.received + timedelta(seconds=self.firing_for))
        if alert.url:
            posted["generatorURL"] = alert.url
        return posted


class AlertmanagerFormat(_AlertsFormat):
    """What Alertmanager sends to a webhook, version 4."""

    type: Literal["alertmanager"] = "alertmanager"
    external_url: str = "https://cloud.soda.io"
    """What stands where Alertmanager puts its own URL."""

    def make(self, event: Event, delivery: Delivery) -> Made:
        told = self._alerts(event)
        common = _common([alert.labels for alert in told])
        return Made(
            to_json(
                {
                    "receiver": delivery.destination,
                    "status": "firing" if any(alert.firing for alert in told) else "resolved",
                    "alerts": [_sent(alert, event) for alert in told],
                    "groupLabels": common,
                    "commonLabels": common,
                    "commonAnnotations": _common([alert.annotations for alert in told]),
                    "externalURL": self.external_url,
                    "version": "4",
                    "groupKey": _group_key(common),
                    "truncatedAlerts": 0,
                }
            )
        )


def _sent(alert: Alert, event: Event) -> dict[str, object]:
    return {
        "status": alert.status,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": timestamp(alert.starts),
        "endsAt": _NEVER if alert.firing else timestamp(event.received),
        "generatorURL": alert.url or "",
        "fingerprint": fingerprint(alert.labels),
    }


def _common(given: list[Labels]) -> Labels:
    """What all of them have, with the same value."""
    return dict(sorted(set.intersection(*(set(one.items()) for one in given))))


def _group_key(labels: Labels) -> str:
    pairs = (f"{name}={json.dumps(text, ensure_ascii=False)}" for name, text in sorted(labels.items()))
    return f"{{}}:{{{', '.join(pairs)}}}"


def fingerprint(labels: Labels) -> str:
    """Alertmanager's own: the FNV-1a hash, 64 bits, of the names in their order, each with its value."""
    value = 0xCBF29CE484222325
    for byte in b"".join(b"%s\xff%s\xff" % (name.encode(), labels[name].encode()) for name in sorted(labels)):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"
