"""What the tests of routing share: events, routes, silences and memories of every kind, made by hypothesis."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import trio
from hypothesis import strategies as st
from support import make_event

from sodarouter.decide import Route, Routing, Rules, Silence, State, compile_rules
from sodarouter.decide.memory import Memory, recall
from sodarouter.decide.when import compile_when
from sodarouter.deciding import Ruleset
from sodarouter.delivery import Queue
from sodarouter.enrich import Enrichment
from sodarouter.event import Event
from sodarouter.redact import Redactor
from sodarouter.route import Router
from sodarouter.spool import ROUTE, Appended

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
"""A Monday."""
LATER = (NOON + timedelta(days=30)).timestamp()
"""When the router decides, as a Unix time."""
DESTINATIONS = ("a", "b", "c")
WINDOWS = {
    "work": {"days": "mon-fri", "hours": "09:00-17:00"},
    "weekend": {"days": "sat-sun"},
}
TEAMS = [
    {"name": "sales", "match": {"dataset": "sales_*", "not": {"tag": "old"}}},
    {"name": "core", "match": {"owner": "ANN@example.org"}},
    {"name": "core", "match": {"attribute": {"domain": ["core", "c*"]}}},
    {"name": "rest", "match": {"datasource": "prod"}},
]
EXPRESSIONS = [
    compile_when(text)
    for text in (
        "result.outcome == 'fail'",
        "result.value > 1.0",
        "results.size() > 1",
        "result.became == 'first_failure' || result.streak > 1",
        "results.exists(r, r.teams.exists(t, t == 'core'))",
        "event.type.startsWith('incident') && incident.severity == 'high'",
        "contract != null && 'first' in contract.changes",
        "enriched.catalog.tier == 'gold' || !has(enriched.catalog)",
    )
]

names = st.sampled_from(["sales_orders", "sales", "orders", "a", "ab", "b", "x_ab", "äb"])
owners = st.sampled_from(["Ann@example.org", "ann@EXAMPLE.org", "bob@example.org"])
outcomes = st.sampled_from(["pass", "warn", "fail", "error", "notEvaluated", "excluded", "strange"])


def _some(values: st.SearchStrategy[Any], most: int = 2) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=most)


datasets = st.fixed_dictionaries(
    {"name": names},
    optional={
        "id": st.sampled_from(["d-1", "d-2"]),
        "label": st.sampled_from(["Orders", "a"]),
        "datasource": st.sampled_from(["prod", "stage"]).map(lambda name: {"name": name}),
        "owners": _some(owners.map(lambda email: {"type": "user", "email": email})),
        "tags": _some(st.sampled_from(["pii", "old", "a"])),
        "attributes": _some(
            st.tuples(st.sampled_from(["domain", "tier"]), st.sampled_from(["core", "a", True, 1, ["a", "b"]])).map(
                lambda pair: {"name": pair[0], "value": pair[1]}
            )
        ),
    },
)
results = st.fixed_dictionaries(
    {"datasets": _some(datasets)},
    optional={
        "id": st.sampled_from(["1", "2"]),
        "name": st.sampled_from(["rows", "freshness"]),
        "sodaCloudUrl": st.sampled_from(["https://cloud.soda.io/checks/c-1", "https://x.example/o/1"]),
        "column": st.sampled_from(["a", "id"]),
        "outcome": outcomes,
        "value": st.sampled_from([0, 2, 2.5, None, "much"]),
        "dataTimestamp": st.sampled_from(["2026-05-04T11:00:00Z", "2026-05-04T11:00:01.5Z", "2026-05-04T10:00:00Z"]),
    },
)
evaluations = st.builds(
    lambda found, kind: {"event": kind, "checkResults": found},
    st.lists(results, max_size=4),
    st.just("checkEvaluation"),
)
incidents = st.builds(
    lambda kind, incident, found: {"event": kind, "incident": {**incident, "checkResults": found}},
    st.sampled_from(["incidentCreated", "incidentUpdated"]),
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.sampled_from(["i-1", "i-2"]),
            "severity": st.sampled_from(["minor", "major", "critical", "low", "high", "odd"]),
            "status": st.sampled_from(["opened", "reported", "investigating", "fixing", "resolved"]),
            "lead": st.sampled_from(["1", "2"]).map(lambda name: {"id": name}),
            "lastUpdatedTimestamp": st.sampled_from(["2026-05-04T11:00:00Z", "2026-05-04T11:30:00Z"]),
        },
    ),
    st.lists(results, max_size=2),
)
contracts = st.builds(
    lambda dataset, contents, author: {
        "event": "contractPublished",
        "contract": {"dataset": dataset, "contents": contents, "author": {"email": author}},
    },
    st.sampled_from(["prod/x/sales_orders", "a"]),
    st.sampled_from(["dataset: a\ncolumns:\n  - name: id\n", "dataset: a\ncolumns: []\n", "no: [yaml"]),
    owners,
)
others = st.sampled_from(["validate", "monitorAnomaly", "agreementCreated", "anything"]).map(
    lambda kind: {"event": kind}
)
enrichments = st.fixed_dictionaries(
    {},
    optional={
        "catalog": st.fixed_dictionaries(
            {}, optional={"tier": st.sampled_from(["gold", "silver", 1, True]), "of": st.just({"a.b": ["a", "ab"]})}
        ),
        "x.y": st.just({"z": "a"}),
    },
)
bodies = st.one_of(evaluations, incidents, contracts, others)


@st.composite
def events(draw: st.DrawFn, body: st.SearchStrategy[dict[str, Any]] = bodies) -> Event:
    return make_event(
        draw(body),
        source=draw(st.sampled_from(["soda", "staging"])),
        received=NOON + timedelta(hours=draw(st.integers(0, 7 * 24))),
        enriched=draw(enrichments),
    )


def patterns(words: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """Words, and globs of every form that is made of them."""
    word = st.sampled_from(words)
    glob = st.one_of(
        st.sampled_from(["*", "?", "??*", "[ab]*", "[!a]*", "[a", "a[", "*[ab]"]),
        word.map(lambda text: text[:2] + "*"),
        word.map(lambda text: "*" + text[-2:]),
        word.map(lambda text: text[:1] + "*" + text[-1:]),
        word.map(lambda text: "*" + text[1:-1] + "*"),
        word.map(lambda text: "?" + text[1:]),
    )
    return st.lists(st.one_of(word, glob), min_size=1, max_size=2)


PLAIN_KEYS = {
    "event": ["checkEvaluation", "incidentCreated", "incidentUpdated", "contractPublished", "validate", "anything"],
    "scope": ["alert_notification", "incidents", "contracts"],
    "source": ["soda", "staging"],
    "severity": ["low", "high", "critical", "major", "MINOR"],
    "status": ["reported", "in_progress", "fixing", "resolved", "opened"],
    "author": ["ann@example.org", "BOB@example.org"],
    "outcome": ["pass", "fail", "notEvaluated", "not_evaluated", "failed", "strange"],
    "dataset": ["sales_orders", "prod/sales_orders", "sales", "a", "ab", "Orders", "d-1", "äb"],
    "datasource": ["prod", "stage"],
    "owner": ["ann@example.org", "Bob@Example.org"],
    "tag": ["pii", "old", "a"],
    "column": ["a", "id"],
    "check": ["rows", "freshness", "1"],
    "team": ["sales", "core", "rest"],
}
"""Keys whose facts stand in the event, and words for each."""
REMEMBERED_KEYS = {
    "incident": ["opened", "raised", "lowered", "reopened", "resolved", "assigned", "updated"],
    "contract": ["first", "same", "breaking", "unreadable"],
    "previous": ["pass", "fail", "warn"],
    "result": ["first_failure", "still_failing", "recovery"],
}
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["domain", "tier"]), patterns(["core", "a", "b", "true", "1"]), min_size=1, max_size=1
)
ENRICHED = st.dictionaries(
    st.sampled_from(["catalog.tier", "catalog.of.a.b", "x.y.z", "catalog.none"]),
    patterns(["gold", "a", "ab", "true", "1"]),
    min_size=1,
    max_size=2,
)
_optional = {key: patterns(words) for key, words in PLAIN_KEYS.items()} | {
    "attribute": ATTRIBUTES,
    "enriched": ENRICHED,
}
plain_conditions = st.lists(st.sampled_from(sorted(_optional)), max_size=3, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: _optional[key] for key in keys})
)
_all = (
    _optional
    | {key: patterns(words) for key, words in REMEMBERED_KEYS.items()}
    | {"streak": st.lists(st.sampled_from(["1", ">=2", "<3", "> 1", "<=1"]), min_size=1, max_size=2)}
)
conditions = st.lists(st.sampled_from(sorted(_all)), max_size=3, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: _all[key] for key in keys})
)


@st.composite
def matches(draw: st.DrawFn) -> dict[str, Any]:
    none_of = draw(st.one_of(st.just({}), conditions))
    return draw(conditions) | ({"not": none_of} if none_of else {})


windows = st.lists(st.sampled_from(sorted(WINDOWS)), max_size=1)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    return Route.model_validate(
        {
            "match": draw(matches()),
            "to": draw(st.lists(st.sampled_from(DESTINATIONS), min_size=1, max_size=2)),
            "when": draw(st.one_of(st.none(), st.none(), st.sampled_from(EXPRESSIONS))),
            "each": draw(st.sampled_from(["event", "event", "result", "dataset", "owner", "team"])),
            "active": draw(windows),
            "mute": draw(windows),
            "stop": draw(st.booleans()),
        }
    )


@st.composite
def routings(draw: st.DrawFn, most: int = 6) -> Routing:
    return Routing.model_validate(
        {
            "route": draw(st.lists(routes(), max_size=most)),
            "unrouted": draw(st.sampled_from([[], ["c"]])),
            "order_by": draw(st.sampled_from([{}, {"a": "dataset", "b": "incident"}])),
            "team": TEAMS,
            "window": WINDOWS,
        }
    )


@st.composite
def silences(draw: st.DrawFn, name: str) -> Silence:
    return Silence.model_validate(
        {
            "id": name,
            "match": draw(matches()),
            "to": draw(st.sampled_from([[], ["a"], ["b", "c"]])),
            "during": draw(st.sampled_from([[], [WINDOWS["work"]]])),
            "author": "ann",
            "reason": "works",
            "starts": NOON,
            "ends": NOON + timedelta(days=draw(st.integers(0, 7))),
        }
    )


@st.composite
def states(draw: st.DrawFn) -> State:
    """What is remembered after some events, with some silences."""
    memory: dict[bytes, Memory] = {}
    for event in draw(st.lists(events(), max_size=5)):
        memory.update(recall(event, memory).after)
    return State(memory, [draw(silences(f"s-{number}")) for number in range(draw(st.integers(0, 2)))])


def compiled(*routes: dict[str, Any], **known: Any) -> Rules:
    """Rules of routes as they are written; each goes to ``there`` unless it says otherwise."""
    return compile_rules(
        Routing.model_validate({"route": [{"to": ["there"], **route} for route in routes], "window": WINDOWS, **known})
    )


class Deciding:
    """A router at work on a spool. Called, it waits until all that has come is decided."""

    def __init__(self, spool: Any, ruleset: Ruleset, enrichment: Enrichment | None) -> None:
        self.router = Router(ruleset, spool, Redactor(), self._tell, enrichment=enrichment, now=lambda: LATER)
        self._spool = spool
        self._planned = trio.Event()

    def _tell(self) -> None:
        self._planned.set()
        self._planned = trio.Event()

    async def __call__(self) -> None:
        self.router.wake.set()
        while True:
            # taken before the spool is asked: what is planned while it answers must not be missed
            next_planned = self._planned
            if (await self._spool.stats()).queues.get(ROUTE, Queue()) == Queue():
                return
            await next_planned.wait()

    async def ready(self) -> None:
        """Waits until the spool has the rules: from then on events are decided as they are stored."""
        event = make_event()
        while self.router.coming(event) is None:  # noqa: ASYNC110 (nobody is told of it)
            await trio.sleep(0.001)
        self.router.forget(event)

    async def take_in(self, event: Event, window: float = 0.0) -> Appended:
        """Stores an event as a receiver does: decided, if that can be."""
        stored: Appended = await self._spool.append(event, window=window, deciding=self.router.coming(event))
        if stored.duplicate:
            self.router.forget(event)
        else:
            self.router.arrived(event, stored.decided)
        return stored


@asynccontextmanager
async def routed(
    spool: Any, routing: Routing, config: str = "c-1", enrichment: Enrichment | None = None
) -> AsyncIterator[Deciding]:
    """A router that decides by these rules."""
    ruleset = Ruleset(compile_rules(routing), config, routing.dump())
    deciding = Deciding(spool, ruleset, enrichment)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deciding.router.run)
        yield deciding
        nursery.cancel_scope.cancel()
