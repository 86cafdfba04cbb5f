"""The memory: what is known of checks, incidents and contracts from the events before, and what follows from it.

It depends on events alone, never on rules, and each decision is stored with what it was told. So any rules can be tried on
an event later, and see what they would have seen then.

A check is told by the id in the URL of its page, else by its datasets, its column and its name: in the documents of Soda's
v4 a result's own id is "the unique ID of the check result", so no two runs need have it in common.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from sodarouter.decide.contracts import Changes, classify
from sodarouter.event import Event
from sodarouter.view import SEVERITIES, Incident, Result

MAX_CONTENTS = 256 * 1024
"""Characters of a contract that is remembered. A longer one cannot be compared, with either of its neighbours."""

MAX_RESULTS = 1000
"""Results of one event that are remembered, the first ones."""

INCIDENT_WORDS = ("opened", "raised", "lowered", "reopened", "resolved", "assigned", "updated")
"""What can have become of an incident: it was created; its severity is higher, or lower; it is open again, or resolved; it
has another lead; or something else has changed."""

RESULT_WORDS = ("first_failure", "still_failing", "recovery")
"""What can have become of a check. It begins to fail with the first `fail` or `error`, and has recovered with the next
`pass`; a `warn` in between is neither."""

_VERDICT = {"pass": "pass", "warn": "warn", "fail": "fail", "error": "fail"}
"""What counts for a streak. The other outcomes say nothing of the data: they are passed over, as if they had not been."""


class CheckMemory(NamedTuple):
    """A check's last result that said something of the data."""

    outcome: str
    streak: int
    """How many times in a row it passed, warned or failed."""
    failing: bool
    """Whether it has failed since it last passed."""
    at: str | None = None
    """The time of its data, ISO 8601 in UTC: such texts are in order when the times are."""


class IncidentMemory(NamedTuple):
    """An incident as it was last heard of."""

    severity: str | None
    status: str | None
    lead: str | None
    updated: str | None
    """As ``at`` of a `CheckMemory`."""


class ContractMemory(NamedTuple):
    """A contract as it was last published."""

    contents: str | None
    """``None`` if it was too long."""


Memory = CheckMemory | IncidentMemory | ContractMemory
_KINDS: dict[str, type[Memory]] = {"check": CheckMemory, "incident": IncidentMemory, "contract": ContractMemory}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class ResultFacts(NamedTuple):
    """What the memory says of one result."""

    previous: str | None = None
    """The outcome before."""
    became: str | None = None
    """One of `RESULT_WORDS`."""
    streak: int | None = None

    @property
    def streak_text(self) -> str | None:
        return None if self.streak is None else str(self.streak)


_NOTHING = ResultFacts()


@dataclass(frozen=True)
class Recalled:
    """What the memory says of an event, and what is to be remembered after it."""

    results: tuple[ResultFacts, ...]
    incident: frozenset[str]
    """Of `INCIDENT_WORDS`."""
    after: Mapping[bytes, Memory]
    contents: tuple[str | None, str | None] | None = field(default=None, repr=False)
    """A contract's contents before and now; ``None`` for other events."""

    @cached_property
    def changes(self) -> Changes | None:
        """What has changed in the contract. Comparing takes milliseconds, so it is done when asked for."""
        return None if self.contents is None else classify(*self.contents)

    @property
    def contract(self) -> frozenset[str]:
        """The classes of what has changed in the contract."""
        return frozenset() if self.changes is None else self.changes.classes


def memory_keys(event: Event) -> list[bytes]:
    """The keys of what is remembered of the checks, the incident or the contract that an event is about."""
    return list(dict.fromkeys([key for key, _ in event.once(_subjects) if key is not None]))


def recall(event: Event, memory: Mapping[bytes, Memory]) -> Recalled:
    """What the memory says of an event.

    Args:
        event: What is decided.
        memory: By the keys of `memory_keys`; what is not there is not known.
    """
    known = dict(memory)
    results = [_NOTHING] * len(event.view.results)
    words: frozenset[str] = frozenset()
    contents: tuple[str | None, str | None] | None = None
    after: dict[bytes, Memory] = {}
    for number, (key, subject) in enumerate(event.once(_subjects)):
        before = None if key is None else known.get(key)
        now: Memory | None = None
        if isinstance(subject, Result):
            results[number], now = _check(before if isinstance(before, CheckMemory) else None, subject)
        elif isinstance(subject, Incident):
            words, now = _incident(before if isinstance(before, IncidentMemory) else None, subject, event)
        else:
            contents = (before.contents if isinstance(before, ContractMemory) else None, subject)
            now = ContractMemory(subject if len(subject) <= MAX_CONTENTS else None)
        if now is not None and key is not None:
            known[key] = after[key] = now
    return Recalled(tuple(results), words, after, contents)


_Subject = tuple[bytes | None, Result | Incident | str]


def _subjects(event: Event) -> list[_Subject]:
    """What can be remembered of an event, each with its key; ``None`` for what has nothing to be told by."""
    view = event.view
    found: list[_Subject] = []
    # the results of an incident are in it once more, and do not count again
    if event.scope == "alert_notification":
        keys = _Keys(event, "check")
        found += [(keys.of(_identity(result)), result) for result in view.results[:MAX_RESULTS]]
    if view.incident:
        found.append((_Keys(event, "incident").of(view.incident.id), view.incident))
    if view.contract and view.contract.dataset and view.contract.contents is not None:
        found.append((_Keys(event, "contract").of(view.contract.dataset), view.contract.contents))
    return found


class _Keys:
    """The keys of one kind. They are digests, as names have any length."""

    def __init__(self, event: Event, kind: str) -> None:
        # what they have in common is digested once
        self._begun = blake2b(f"{kind}\0{event.source}\0".encode(), digest_size=16)

    def of(self, name: str | None) -> bytes | None:
        if not name:
            return None
        key = self._begun.copy()
        key.update(name.encode(errors="surrogatepass"))
        return key.digest()


_PAGE = re.compile(r"/checks/([^/?#]+)")


def _identity(result: Result) -> str | None:
    page = _PAGE.search(result.url) if result.url else None
    if page:
        return page[1]
    name = result.name or result.definition or result.id
    if result.datasets and name:
        datasets = sorted([f"{d.datasource}/{d.name or d.label or d.id}" for d in result.datasets])
        return "\0".join([*datasets, result.column or "", name])
    return result.id or name


def _check(before: CheckMemory | None, result: Result) -> tuple[ResultFacts, CheckMemory | None]:
    verdict = _VERDICT.get(result.outcome or "")
    if verdict is None:
        return ResultFacts(before.outcome if before else None), None
    at = result.timestamp.isoformat() if result.timestamp else None
    same = before is not None and _VERDICT.get(before.outcome) == verdict
    if before and at and before.at and (before.at > at or (same and at == before.at)):
        # it comes late, or was told already. A check that is run again on the data of then may have another outcome
        return _NOTHING, None
    streak = before.streak + 1 if before and same else 1
    was_failing = before is not None and before.failing
    failing = verdict == "fail" or (was_failing and verdict != "pass")
    became = None
    if verdict == "fail":
        became = "still_failing" if was_failing else "first_failure"
    elif verdict == "pass" and was_failing:
        became = "recovery"
    facts = ResultFacts(before.outcome if before else None, became, streak)
    return facts, CheckMemory(result.outcome or "", streak, failing, at)


def _incident(
    before: IncidentMemory | None, incident: Incident, event: Event
) -> tuple[frozenset[str], IncidentMemory | None]:
    updated = incident.updated.isoformat() if incident.updated else None
    created = event.type == "incidentCreated"
    if before and updated and before.updated and before.updated > updated:
        # it comes late. But that there is an incident at all was not told yet
        return frozenset({"opened"} if created else ()), None
    lead = (incident.lead.id or incident.lead.email or incident.lead.name) if incident.lead else None
    now = IncidentMemory(incident.severity, incident.status, lead, updated)
    if before:
        # what an update does not say has not changed
        now = now._replace(
            severity=now.severity or before.severity,
            status=now.status or before.status,
            updated=now.updated or before.updated,
        )
    if created:
        return frozenset({"opened"}), now
    return frozenset(_became(before, now)) or frozenset({"updated"}), now


def _became(before: IncidentMemory | None, now: IncidentMemory) -> Iterator[str]:
    if now.status == "resolved":
        if before is None or before.status != "resolved":
            yield "resolved"
    elif before and before.status == "resolved":
        yield "reopened"
    if before and before.severity in SEVERITIES and now.severity in SEVERITIES:
        change = SEVERITIES.index(now.severity) - SEVERITIES.index(before.severity)
        if change:
            yield "raised" if change > 0 else "lowered"
    if before and now.lead and now.lead != before.lead:
        yield "assigned"


def dump_memory(memory: Memory) -> str:
    """A memory as text, for the spool."""
    return to_json((_NAMES[type(memory)], *memory)).decode()


def parse_memories(texts: Mapping[bytes, str]) -> dict[bytes, Memory]:
    """What `dump_memory` gave, by key. What another version of the router wrote, and cannot be read, is not known."""
    return _parsed(texts, _joined(texts.values()))


def dump_state(keys: Iterable[bytes], texts: Mapping[bytes, str]) -> str:
    """What a decision was told, as text: to be stored with it.

    Args:
        keys: The event's, as `memory_keys` gives them.
        texts: What is known, by key, as `dump_memory` gave it.
    """
    return _joined([texts.get(key, "null") for key in keys])


def parse_state(event: Event, text: str) -> dict[bytes, Memory]:
    """What `dump_state` gave for this event."""
    return _parsed(memory_keys(event), text)


def _joined(texts: Iterable[str]) -> str:
    return f"[{','.join(texts)}]"


def _parsed(keys: Iterable[bytes], text: str) -> dict[bytes, Memory]:
    stored: Sequence[list[Any] | None] = from_json(text)
    known = [(key, _made(one)) for key, one in zip(keys, stored, strict=False) if one]
    return {key: one for key, one in known if one is not None}


def _made(stored: Sequence[Any]) -> Memory | None:
    kind, *values = stored
    made = _KINDS.get(kind)
    return made(*values) if made and len(values) == len(made._fields) else None
