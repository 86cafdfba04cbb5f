"""How routes stand to one another, and to what events can be: which match nothing, which nothing new, which the same."""

from collections.abc import Iterable, Mapping, Sequence

from sodarouter import soda
from sodarouter.decide import Route
from sodarouter.decide.match import MAGIC, Condition, compile_match

_OF_INCIDENTS = {"severity", "status", "incident"}
_OF_CONTRACTS = {"author", "contract"}
_OF_RESULTS = {"outcome", "column", "check"}
_OF_EVALUATIONS = {"previous", "result", "streak"}
_WITH_RESULTS = ("checkEvaluation", "incidentCreated", "incidentUpdated")

_BEARERS: dict[str, frozenset[str]] = {
    **dict.fromkeys(_OF_INCIDENTS, frozenset({"incidentCreated", "incidentUpdated"})),
    **dict.fromkeys(_OF_CONTRACTS, frozenset({"contractPublished"})),
    **dict.fromkeys(_OF_RESULTS, frozenset(_WITH_RESULTS)),
    **dict.fromkeys(_OF_EVALUATIONS, frozenset({"checkEvaluation"})),
    **dict.fromkeys(("dataset", "datasource", "team"), frozenset((*_WITH_RESULTS, "contractPublished"))),
    **dict.fromkeys(("owner", "tag", "attribute"), frozenset(_WITH_RESULTS)),
}
"""The event types that have anything for a key; those of a key that is not here are all."""

_OUTCOMES = {"first_failure": ("fail", "error"), "still_failing": ("fail", "error"), "recovery": ("pass",)}
"""The outcomes of a result of which a check has become this."""

_SINGLE = frozenset({"event", "scope", "source", "severity"})
"""The keys for which an event has at most one text."""


class Asked:
    """What a route asks of events, beside its windows and its expression."""

    def __init__(self, route: Route) -> None:
        self.conditions = compile_match(route.match, route.match.not_)
        self._keys = frozenset((condition.key, condition.negated) for condition in self.conditions)

    def implies(self, other: "Asked") -> bool:
        """Whether whatever fits this also fits the other, as far as can be told by comparing their patterns."""
        # most routes ask for other things: this is what makes a thousand of them comparable
        return other._keys <= self._keys and _implies(self.conditions, other.conditions)

    def never(self) -> str:
        """Why no event can match; empty if one may."""
        return _never(self.conditions)

    def is_disjoint(self, other: "Asked") -> bool:
        """Whether no event fits both, as far as can be told by comparing their patterns."""
        return _disjoint(self.conditions, other.conditions)


def _never(conditions: Sequence[Condition]) -> str:
    wanted = [condition for condition in conditions if not condition.negated]
    for condition in wanted:
        for other in conditions:
            if other.negated and other.key == condition.key and _covers(other, condition):
                return f"{condition.key} wants what not.{condition.key} forbids"
    types = set(_possible(conditions))
    if not types:
        return "" if _names_unknown(conditions) else "no event has this scope and this type"
    for condition in wanted:
        bearers = _BEARERS.get(condition.key.partition(".")[0])
        if bearers is not None and types.isdisjoint(bearers) and not _names_unknown(conditions):
            return f"{_listed(types)} has no {condition.key}"
    return _at_odds({condition.key: condition for condition in wanted})


def _at_odds(wanted: Mapping[str, Condition]) -> str:
    """Why no result can have become this and have one of these outcomes."""
    result, outcome = wanted.get("result"), wanted.get("outcome")
    if result is None or outcome is None:
        return ""
    possible = {one for word, outcomes in _OUTCOMES.items() if result.mask({word: 1}) for one in outcomes}
    if not possible or any(outcome.mask({one: 1}) for one in possible):
        return ""
    return f"the outcome of a {' or '.join(result.patterns)} is {_listed(possible)}"


def _possible(conditions: Sequence[Condition]) -> Iterable[str]:
    """The documented event types that the conditions on type and scope leave."""
    for kind in soda.EVENT_TYPES:
        scope = soda.SCOPES.get(kind)
        texts = {"event": {kind: 1}, "scope": {scope: 1} if scope else {}}
        if all(bool(c.mask(texts[c.key])) != c.negated for c in conditions if c.key in texts):
            yield kind


def _names_unknown(conditions: Sequence[Condition]) -> bool:
    """Whether it names an event type that nobody has documented, whose keys are not known either."""
    return any(
        c.key == "event" and not c.negated and (c.fits is not None or not c.literals <= set(soda.EVENT_TYPES))
        for c in conditions
    ) and not any(c.key == "scope" and not c.negated for c in conditions)


def _listed(types: Iterable[str]) -> str:
    return " or ".join(sorted(types))


def _implies(special: Sequence[Condition], general: Sequence[Condition]) -> bool:
    return all(
        any(
            own.key == asked.key
            and own.negated == asked.negated
            and (_covers(own, asked) if asked.negated else _covers(asked, own))
            for own in special
        )
        for asked in general
    )


def _disjoint(one: Sequence[Condition], other: Sequence[Condition]) -> bool:
    return any(
        a.key == b.key
        and a.key in _SINGLE
        and not (a.negated or b.negated or a.fits or b.fits)
        and a.literals.isdisjoint(b.literals)
        for a in one
        for b in other
    )


def _covers(general: Condition, special: Condition) -> bool:
    """Whether each pattern of the second fits only what a pattern of the first fits too."""
    return all(
        pattern in general.patterns
        or "*" in general.patterns
        or (not MAGIC.search(pattern) and special.key != "streak" and bool(general.mask({pattern: 1})))
        for pattern in special.patterns
    )
