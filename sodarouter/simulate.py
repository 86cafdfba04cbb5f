"""Random but valid payloads of every event type in both of Soda's vocabularies: what its "event testing" sends.

Everything is drawn from the ``random`` that is handed in, so a seed repeats a payload.
"""

import json
import math
import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from random import Random
from typing import Any, Literal
from uuid import UUID

from sodarouter import soda

Vocabulary = Literal["v3", "v4"]
Json = dict[str, Any]

_URL = "https://cloud.soda.io"
_NOWHERE = "https://soda.invalid"
"""Of callback URLs: who tries links out must not post to Soda (RFC 2606 keeps the name free)."""


def simulate(event_type: str, *, vocabulary: Vocabulary | None = None, random: Random, now: datetime) -> Json:
    """A payload, as JSON types.

    Args:
        event_type: One of `sodarouter.soda.EVENT_TYPES`.
        vocabulary: ``None`` takes the newest that has the event type.
        random: Where everything is drawn from.
        now: When the event happens, with a time zone.

    Raises:
        ValueError: There is no such event type in that vocabulary; the message says what there is.
    """
    spoken = [known for known, types in VOCABULARIES.items() if event_type in types]
    if not spoken:
        raise ValueError(f"no event type {event_type!r}{_did_you_mean(event_type, soda.EVENT_TYPES)}")
    if vocabulary is not None and vocabulary not in spoken:
        raise ValueError(f"{event_type!r} is not in the vocabulary {vocabulary}; it is in {' and '.join(spoken)}")
    chosen = vocabulary or spoken[-1]
    return {"event": event_type, **_MAKERS[chosen][event_type](_Cloud(chosen, random, now.astimezone(UTC)))}


def override(payload: Json, settings: Iterable[tuple[str, str]]) -> Json:
    """A copy of ``payload`` with values set, one after the other.

    A result in the words of v4 has its outcome twice, as ``outcome`` and as ``evaluationStatus``. If only one of the two
    is set, the other follows.

    Args:
        payload: JSON types.
        settings: Paths, each with its value. A path is such as ``incident.severity`` or
            ``checkResults[0].datasets[0].name``; its last name may be new. A value is JSON, or else text: ``critical``,
            ``"critical"``, ``3``, ``null``, ``[{"email": "a@example.com"}]``.

    Raises:
        ValueError: A path leads nowhere, or its last name looks like a misspelling; the message says where and what was
            perhaps meant.
    """
    copy = deepcopy(payload)
    wanted = [(_split(path), _value(value)) for path, value in settings]
    paths = [parts for parts, _ in wanted]
    for parts, value in wanted:
        *parents, last = parts
        at, walked = _walk(copy, parents)
        at[_checked(at, last, walked, may_be_new=True)] = value
        twin = _TWINS.get(last)
        if twin and twin in at and [*parents, twin] not in paths:
            at[twin] = "error" if last == "evaluationStatus" and value == "notEvaluated" else value
    return copy


_TWINS: dict[str | int, str] = {"outcome": "evaluationStatus", "evaluationStatus": "outcome"}
"""The two names of one fact; `sodarouter.view` believes ``evaluationStatus``."""


def _walk(payload: Json, parents: Iterable[str | int]) -> tuple[Any, str]:
    """What is found at the end of a path, and that path for people."""
    at: Any = payload
    walked = ""
    for part in parents:
        at = at[_checked(at, part, walked, may_be_new=False)]
        walked += f"[{part}]" if isinstance(part, int) else f".{part}" if walked else part
    return at, walked


_PART = re.compile(r"(?:^|(?!^)\.)([^.\[\]]+)|\[(\d+)\]")


def _split(path: str) -> list[str | int]:
    parts, at = list[str | int](), 0
    while match := _PART.match(path, at):
        parts.append(match[1] or int(match[2]))
        at = match.end()
    if at != len(path) or not parts:
        raise ValueError(f'{path!r}: a path is written like "incident.severity" or "checkResults[0].column"')
    return parts


def _checked(at: object, part: str | int, walked: str, *, may_be_new: bool) -> str | int:
    """``part``, if it leads on from ``at``, which is found at ``walked``."""
    place = walked or "the payload"
    match part, at:
        case int(), list():
            if part >= len(at):
                raise ValueError(
                    f"{place}: has {len(at)} element{'s' * (len(at) != 1)}, so no [{part}]; they are counted from 0"
                )
        case str(), dict():
            # a name of Soda's own is meant, however much it resembles another: "owners" beside "owner"
            misspelt = part not in soda.FIELDS and get_close_matches(part, at, cutoff=0.8)
            if part not in at and (misspelt or not may_be_new):
                raise ValueError(f"{place}: has no {part!r}{_did_you_mean(part, at)}")
        case int(), _:
            raise ValueError(f"{place}: is no array, so it has no [{part}]")
        case _:
            raise ValueError(f"{place}: is no object, so it has no {part!r}")
    return part


def _value(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return text


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _no_constant(text)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _did_you_mean(name: str, known: Any) -> str:
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there is {', '.join(known)}" if known else ""


class _Cloud:
    """Soda Cloud for the length of one event: draws values that look as in its webhook dialog."""

    def __init__(self, vocabulary: Vocabulary, random: Random, now: datetime) -> None:
        self.v4 = vocabulary == "v4"
        self.random = random
        self.now = now
        self.datasource = self.named("datasource")

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def number(self) -> int:
        return self.random.randint(1, 99)

    def id(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def url(self, kind: str, identity: str) -> str:
        return f"{_URL}/{kind}/{identity}"

    def time(self, *, before: float = 0.0) -> str:
        """Up to ``before`` seconds ago, with no fraction, or with six or nine digits of one: Soda sends all three."""
        moment = self.now - timedelta(seconds=self.random.uniform(0, before))
        digits = self.random.choice((0, 6, 9))
        fraction = f".{moment.microsecond:06d}{self.random.randrange(1000):03d}"[: digits + 1] if digits else ""
        return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"

    def named(self, kind: str) -> Json:
        return {"id": self.id(), "name": f"{kind}_{self.number()}", "label": f"My {kind} Label {self.number()}"}

    def user(self) -> Json:
        return {"id": self.id(), "email": f"test{self.number()}@test.com"}

    def group(self) -> Json:
        return {"id": self.id(), "name": f"user group {self.number()}"}

    def owners(self) -> Json:
        if not self.v4:
            return {"owner": self.user()}
        owners = [{"type": "user", **self.user()}]
        return {"owners": [*owners, {"type": "userGroup", **self.group()}] if self.chance(0.5) else owners}

    def attributes(self) -> list[Json]:
        values = {"Data Domain": ("Product", "Sales", "Finance"), "Criticality": ("low", "medium", "high")}
        return [
            {
                "id": self.id(),
                "label": label,
                "name": label.lower().replace(" ", "_"),
                "value": self.random.choice(choice),
            }
            for label, choice in values.items()
        ]

    def dataset(self) -> Json:
        identity = self.named("dataset")
        return {
            **identity,
            "sodaCloudUrl": self.url("datasets", identity["id"]),
            "tags": self.random.sample(("pii", "gold", "finance", "daily"), self.random.randint(0, 2)),
            **self.owners(),
            "datasource": self.datasource,
            "attributes": self.attributes(),
        }

    def check_result(self, outcomes: dict[str, int]) -> Json:
        outcome = self.random.choices(list(outcomes), list(outcomes.values()))[0]
        identity, dataset = self.id(), self.dataset()
        column, value = f"column_{self.number()}", 0.0 if outcome == "pass" else float(self.number())
        of_column = self.chance(0.8)
        result: Json = {
            "id": identity,
            "sodaCloudUrl": self.url("checks", identity),
            "datasets": [dataset],
            "column": column if of_column else None,
            "dataTimestamp": self.time(before=3600),
            "diagnostics": {"value": value},
        }
        if not self.v4:
            metric = f"missing_count({column})" if of_column else "duplicate_count(id)"
            result |= {"definition": f"checks for {dataset['name']}:\n  - {metric} = 0", "outcome": outcome}
            if self.chance(0.3):
                result["agreement"] = self.agreement() | {"approvalState": "pending", "evaluationResult": "warning"}
            return result
        name = "No missing values" if of_column else "Schema has not changed"
        check = "missing" if of_column else "schema"
        return result | {
            "name": name,
            "definition": f"checks:\n  - {check}:\n      name: {name}\n",
            "outcome": "error" if outcome == "notEvaluated" else outcome,
            "evaluationStatus": outcome,
            "value": value,
            "attributes": self.attributes(),
        }

    def check_evaluation(self) -> Json:
        outcomes = {"pass": 3, "warn": 2, "fail": 5} | ({"notEvaluated": 1} if self.v4 else {})
        return {"checkResults": [self.check_result(outcomes) for _ in range(self.random.randint(1, 3))]}

    def incident(self, status: str) -> Json:
        identity, number = self.id(), self.number()
        created, updated = self.time(before=3600), self.time()
        incident = {
            "id": identity,
            "sodaCloudUrl": self.url("incidents", identity),
            "number": number,
            "title": f"My incident {number}",
            "description": f"Description of my incident {number}",
            "severity": self.random.choice(
                ("low", "medium", "high", "critical") if self.v4 else ("minor", "major", "critical")
            ),
            "status": status,
            **(
                {"created": created, "lastUpdated": updated}
                if self.v4
                else {"createdTimestamp": created, "lastUpdatedTimestamp": updated}
            ),
            "links": [self.slack_link(number)] if self.chance(0.5) else [],
            "lead": self.user() if self.chance(0.8) else None,
            "reporter": self.user(),
            "checkResults": [self.check_result({"fail": 1}) for _ in range(self.random.randint(1, 3))],
        }
        if status == "resolved":
            incident |= {"resolutionNotes": "The missing values were loaded again", "resolutionTimestamp": updated}
        return incident

    def incident_created(self) -> Json:
        callback = {"incidentLinkCallbackUrl": self.callback_url()}
        incident = self.incident("reported" if self.v4 else "opened")
        return {"incident": incident | callback} if self.v4 else {"incident": incident, **callback}

    def incident_updated(self) -> Json:
        statuses = ("reported", "in_progress", "resolved") if self.v4 else ("investigating", "fixing", "resolved")
        return {"incident": self.incident(self.random.choice(statuses))}

    def slack_link(self, number: int) -> Json:
        channel = f"C{self.random.randrange(10**9):09d}"
        return {
            "integrationType": "slack",
            "name": f"soda-inc-{number}",
            "url": f"https://example.slack.com/channels/{channel}",
        }

    def callback_url(self) -> str:
        token = f"{self.random.getrandbits(128):032x}"
        return f"{_NOWHERE}/integrations/webhook/{self.id()}/incident-link/{self.id()}/{token}"

    def validate(self) -> Json:
        return {"sentAt": self.time()}

    def contract_published(self) -> Json:
        source, dataset = self.datasource["name"], self.named("dataset")["name"]
        qualified = f"{source}/soda/public/{dataset}"
        checks = "  - name: id\n    checks:\n      - missing:\n      - duplicate:\n"
        return {
            "contract": {
                "dataset": qualified,
                "prefixes": ["soda", "public"],
                "datasource": source,
                "author": self.user(),
                "contents": f"dataset: {qualified}\ncolumns:\n{checks}checks:\n  - row_count:\n  - schema:\n",
            }
        }

    def agreement(self) -> Json:
        identity = self.id()
        return {
            "id": identity,
            "sodaCloudUrl": self.url("agreements", identity),
            "label": f"My agreement {self.number()}",
        }

    def agreement_event(self, author: str) -> Json:
        agreement = self.agreement()
        name = self.named("dataset")["name"]
        file = {
            "path": f"agreements/{name}.yml",
            "contents": f"checks for {name}:\n  - row_count > 0\n  - missing_count(id) = 0\n",
        }
        if author == "deletedBy":
            del agreement["sodaCloudUrl"], file["contents"]
        return {"agreement": agreement | {"testsFile": file, author: {"email": self.user()["email"]}}}


_COMMON: dict[str, Callable[[_Cloud], Json]] = {
    "checkEvaluation": _Cloud.check_evaluation,
    "incidentCreated": _Cloud.incident_created,
    "incidentUpdated": _Cloud.incident_updated,
}

_MAKERS: dict[Vocabulary, dict[str, Callable[[_Cloud], Json]]] = {
    "v3": {
        "validate": _Cloud.validate,
        **_COMMON,
        "agreementCreated": lambda cloud: cloud.agreement_event("createdBy"),
        "agreementContentsUpdated": lambda cloud: cloud.agreement_event("updatedBy"),
        "agreementDeleted": lambda cloud: cloud.agreement_event("deletedBy"),
    },
    "v4": {**_COMMON, "contractPublished": _Cloud.contract_published},
}

VOCABULARIES: dict[Vocabulary, tuple[str, ...]] = {known: tuple(makers) for known, makers in _MAKERS.items()}
"""Which event types each vocabulary has."""
