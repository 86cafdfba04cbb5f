"""Plugins add to events before these are decided: what they add is kept and seen everywhere, and none harms but itself.

Time is trio's autojump clock but where threads run: a thread's work takes real time, over which the clock would jump.
"""

import asyncio
import json
import re
import sqlite3
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import timedelta
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import trio
from commandline import Command
from distributions import SitePackages
from engines import ENGINES, Engine, keeping, open_engine
from routing import LATER, NOON, compiled, routed
from running import running_router, until
from structlog.testing import capture_logs
from support import make_delivery, make_event
from trio.testing import MockClock

from sodarouter.backtest import Side, compare
from sodarouter.decide import Routing, decide
from sodarouter.decide.facts import Subject
from sodarouter.decide.match import Match, compile_match
from sodarouter.decide.when import WhenError, compile_when
from sodarouter.delivery import State
from sodarouter.enrich import AT_ONCE, LEFT_ALONE, MAX_BYTES, MAX_DEPTH, PATIENCE, TIME_LIMIT, Enricher, Enrichment
from sodarouter.event import Event
from sodarouter.hindsight import why
from sodarouter.redact import Redactor
from sodarouter.spool import EventFilter, Keep, MemorySpool, SqliteReader
from sodarouter.template import Template

GOLD = Routing.model_validate({"route": [{"name": "gold", "to": ["there"], "when": "enriched.catalog.tier == 'gold'"}]})
ALL = Routing.model_validate({"route": [{"name": "all", "to": ["there"]}]})


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def enrichment(secrets: tuple[str, ...] = (), **plugins: Callable[[Event], Any]) -> Enrichment:
    enrichers = [Enricher(name, call, threaded=not iscoroutinefunction(call)) for name, call in plugins.items()]
    return Enrichment(enrichers, Redactor(secrets))


def check(number: int = 0) -> Event:
    body = {"event": "checkEvaluation", "n": number, "checkResults": [{"datasets": [{"name": "orders"}]}]}
    return make_event(body, received=NOON + timedelta(seconds=number))


async def catalog(event: Event) -> Mapping[str, Any]:
    return {"tier": "gold"}


# what is added is kept, and seen


async def test_what_is_added_decides_is_kept_and_is_handed_on(engine: Engine) -> None:
    event = check()
    await engine.append(event)
    async with routed(engine.spool, GOLD, enrichment=enrichment(catalog=catalog)) as settled:
        await settled()
    stored = engine.reader.event(event.id)
    assert stored.event.enriched == {"catalog": {"tier": "gold"}}
    assert [step["route"] for step in stored.trace] == ["gold"]
    (claim,) = await engine.claim("there", now=LATER)
    handed = claim.event.handed_over((0,), None)
    assert handed.enriched["catalog"]["tier"] == "gold"
    assert handed.as_dict()["enriched"] == {"catalog": {"tier": "gold"}}


async def test_an_event_without_any_is_as_it_was(engine: Engine) -> None:
    async def nothing(event: Event) -> None: ...

    event = check()
    await engine.append(event)
    async with routed(engine.spool, ALL, enrichment=enrichment(catalog=nothing)) as settled:
        await settled()
    assert engine.reader.event(event.id).event.enriched == {}
    assert "enriched" not in engine.reader.event(event.id).event.as_dict()
    assert [step["route"] for step in engine.reader.event(event.id).trace] == ["all"]


async def test_none_sees_what_another_adds(engine: Engine) -> None:
    seen = []

    async def curious(event: Event) -> Mapping[str, Any]:
        seen.append(dict(event.enriched))
        return {"n": len(seen)}

    event = check()
    await engine.append(event)
    async with routed(engine.spool, ALL, enrichment=enrichment(b=curious, a=curious)) as settled:
        await settled()
    assert seen == [{}, {}]
    assert list(engine.reader.event(event.id).event.enriched) == ["a", "b"]


async def test_a_replay_is_decided_with_what_was_added_then_and_asks_nobody(engine: Engine) -> None:
    asked = []

    async def fickle(event: Event) -> Mapping[str, Any]:
        asked.append(event.id)
        return {"tier": "gold" if len(asked) == 1 else "lead"}

    event = check()
    await engine.append(event)
    async with routed(engine.spool, GOLD, enrichment=enrichment(catalog=fickle)) as settled:
        await settled()
        number = await engine.spool.begin_replay(LATER)
        await engine.spool.replay(number, [event.id], [], LATER, first=LATER, every=0)
        await settled()
    assert asked == [event.id]
    assert sorted(one.replay for one in engine.reader.deliveries(limit=9)) == [0, number]
    assert engine.reader.event(event.id).event.enriched == {"catalog": {"tier": "gold"}}
    assert why(engine.reader, engine.reader.event(event.id)).whole


async def test_why_and_backtest_see_what_the_decision_saw(engine: Engine) -> None:
    async def catalog(event: Event) -> Mapping[str, Any]:
        number = json.loads(event.raw)["n"]
        if number == 2:
            raise ValueError("the catalogue knows nothing of it")
        return {"tier": "gold" if number == 0 else "lead"}

    for number in range(3):
        await engine.append(check(number))
    async with routed(engine.spool, GOLD, enrichment=enrichment(catalog=catalog)) as settled:
        await settled()
    listed = engine.reader.events(limit=9)
    assert [one.planned for one in listed] == [0, 0, 1]
    told = [why(engine.reader, one) for one in listed]
    assert all(one.whole for one in told)
    failed = "ValueError: the catalogue knows nothing of it"
    assert told[0].steps[0] == {"enrich": "catalog", "failed": failed}
    assert [[step.get("matched") for step in one.steps if "route" in step] for one in told] == [
        [False],
        [False],
        [True],
    ]
    nothing, gold = compiled(), compiled({"match": {"enriched": {"catalog": {"tier": "g*"}}}})
    report = compare(engine.reader.stream(EventFilter()), Side(nothing), Side(gold))
    assert {name: one.added for name, one in report.destinations.items()} == {"there": 1}


async def test_it_goes_with_its_event(tmp_path: Path) -> None:
    async with open_engine("sqlite", tmp_path) as engine:
        for number in range(2):
            await engine.append(check(number))
        nowhere = Routing.model_validate({})
        async with routed(engine.spool, nowhere, enrichment=enrichment(catalog=catalog)) as settled:
            await settled()
        with closing(sqlite3.connect(tmp_path / "spool.db")) as spool:
            kept = "SELECT count(*) FROM enrichment"
            assert spool.execute(kept).fetchone() == (2,)
            keep = keeping(events=Keep(age=0.5))
            await engine.spool.prune(keep, (NOON + timedelta(seconds=1)).timestamp(), 100)
            assert spool.execute(kept).fetchone() == (1,)


# nobody's harm but its own


class Panic(BaseException):
    """As extensions written in Rust raise it: no ``Exception``."""


class Lazy(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise Panic("index out of range")

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def raising(error: BaseException) -> Callable[[Event], Awaitable[None]]:
    async def enrich(event: Event) -> None:
        raise error

    return enrich


def giving(value: Any) -> Callable[[Event], Awaitable[Any]]:
    async def enrich(event: Event) -> Any:
        return value

    return enrich


async def hanging(event: Event) -> None:
    await trio.sleep_forever()


async def deaf(event: Event) -> Mapping[str, Any]:
    with suppress(BaseException):
        await trio.sleep_forever()
    return {"too": "late"}


async def shielded(event: Event) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(1000)


async def clumsy(event: Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise RuntimeError("the clean-up failed")


def nested(depth: int) -> Any:
    return {"a": nested(depth - 1)} if depth else 1


round_and_round: dict[str, Any] = {}
round_and_round["a"] = round_and_round
TIMED_OUT = f"timed out after {TIME_LIMIT:g} s"
HOSTILE: dict[str, tuple[Any, str, float]] = {
    "raises": (raising(ValueError("broken")), "ValueError: broken", 0.0),
    "raises a group": (raising(ExceptionGroup("all", [KeyError("a"), ValueError("b")])), "KeyError: 'a'", 0.0),
    "raises SystemExit": (raising(SystemExit(3)), "SystemExit: 3", 0.0),
    "raises asyncio's CancelledError": (raising(asyncio.CancelledError()), "CancelledError", 0.0),
    "panics": (raising(Panic("index out of range")), "Panic: index out of range", 0.0),
    "says much": (raising(ValueError("x" * 5000)), "ValueError: xxx", 0.0),
    "says a secret": (raising(ValueError("token hunter22")), "ValueError: token **********", 0.0),
    "gives a list": (giving(["a"]), "TypeError: it gave a list, not a mapping", 0.0),
    "gives false": (giving(False), "TypeError: it gave a bool, not a mapping", 0.0),
    "gives what JSON has no word for": (giving({"a": {1}}), "TypeError: Object of type set", 0.0),
    "gives infinity": (giving({"a": float("inf")}), "ValueError: Out of range float", 0.0),
    "gives half a character": (giving({"a": "\udce9"}), "UnicodeEncodeError", 0.0),
    "gives a circle": (giving(round_and_round), "ValueError: Circular reference", 0.0),
    "gives too much": (giving({"a": "x" * MAX_BYTES}), "ValueError: it gave 65,544 bytes of JSON, more than", 0.0),
    "gives what is too deep": (giving(nested(MAX_DEPTH)), "ValueError: what it gave nests more than 20 deep", 0.0),
    "gives what is much too deep": (giving(nested(900)), "", 0.0),
    "gives a mapping that panics": (giving(Lazy()), "Panic: index out of range", 0.0),
    "takes other arguments": (lambda: None, "", 0.0),
    "hangs": (hanging, TIMED_OUT, TIME_LIMIT),
    "swallows its cancellation": (deaf, TIMED_OUT, TIME_LIMIT),
    "shields itself from it": (shielded, TIMED_OUT, TIME_LIMIT),
    "fails while it is cancelled": (clumsy, TIMED_OUT, TIME_LIMIT),
}


@pytest.mark.parametrize(("hostile", "fault", "took"), HOSTILE.values(), ids=HOSTILE)
async def test_a_failing_plugin_costs_its_own_addition(
    autojump_clock: MockClock, logged: list[Any], hostile: Any, fault: str, took: float
) -> None:
    spool, event = MemorySpool(), check()
    await spool.append(event, window=0.0)
    enrichers = [Enricher("bad", hostile, threaded=False), Enricher("catalog", catalog, threaded=False)]
    async with routed(spool, GOLD, enrichment=Enrichment(enrichers, Redactor(["hunter22"]))) as settled:
        await settled()
        assert trio.current_time() == took
    stored = spool.event(event.id)
    assert stored is not None
    assert (stored.planned, stored.event.enriched) == (1, {"catalog": {"tier": "gold"}})
    first, *rest = stored.trace
    assert (first["enrich"], [step["route"] for step in rest]) == ("bad", ["gold"])
    assert first["failed"].startswith(fault)
    assert len(json.dumps(first)) < 300
    assert [line["plugin"] for line in logged if line["log_level"] == "error"] == ["bad"]


def test_the_most_that_may_be_given_may_be_given() -> None:
    asked = enrichment()
    assert asked._plain(nested(MAX_DEPTH - 1), check()) == nested(MAX_DEPTH - 1)
    most = {"a": "x" * (MAX_BYTES - len('{"a":""}'))}
    assert asked._plain(most, check()) == most


@pytest.mark.parametrize("hostile", [hanging, deaf, shielded, clumsy])
async def test_one_that_hangs_keeps_events_waiting_a_few_times_and_then_none(
    autojump_clock: MockClock, logged: list[Any], hostile: Any
) -> None:
    spool = MemorySpool()
    async with routed(spool, GOLD, enrichment=enrichment(bad=hostile, catalog=catalog)) as settled:
        for number in range(20):
            await spool.append(check(number), window=0.0)
            await settled()
        assert trio.current_time() == pytest.approx(PATIENCE.failures * TIME_LIMIT, abs=1)
        told = [stored.trace[0]["failed"] for stored in spool.events(limit=99)][::-1]
        assert told == [TIMED_OUT] * PATIENCE.failures + [LEFT_ALONE] * 15
        await trio.sleep(PATIENCE.pause + 1)
        began = trio.current_time()
        for number in range(20, 200):
            await spool.append(check(number), window=0.0)
        await settled()
        assert trio.current_time() < began + 1
    assert all(stored.event.enriched == {"catalog": {"tier": "gold"}} for stored in spool.events(limit=999))
    # once for each kind, however many events there were
    assert [line["log_level"] for line in logged if "plugin" in line] == ["error", "warning"]


async def test_many_events_at_once_wait_little_longer_than_one(autojump_clock: MockClock) -> None:
    spool = MemorySpool()
    for number in range(100):
        await spool.append(check(number), window=0.0)
    async with routed(spool, GOLD, enrichment=enrichment(bad=hanging, catalog=catalog)) as settled:
        await settled()
        # some more are asked about before the first ones that time out have been counted
        assert trio.current_time() <= 2 * TIME_LIMIT
    assert {stored.planned for stored in spool.events(limit=999)} == {1}


async def test_one_that_answers_again_is_asked_about_every_event_again(
    autojump_clock: MockClock, logged: list[Any]
) -> None:
    broken = True

    async def flaky(event: Event) -> Mapping[str, Any]:
        if broken:
            raise OSError("the catalogue is down")
        await trio.sleep(1)
        return {"tier": "gold"}

    spool = MemorySpool()
    async with routed(spool, GOLD, enrichment=enrichment(catalog=flaky)) as settled:

        async def decided(number: int) -> int | None:
            event = check(number)
            await spool.append(event, window=0.0)
            await settled()
            stored = spool.event(event.id)
            return stored.planned if stored else None

        assert [await decided(number) for number in range(PATIENCE.failures + 1)] == [0] * 6
        broken = False
        assert await decided(10) == 0
        await trio.sleep(PATIENCE.pause)
        # this one does not wait for the answer that shows that it works
        assert await decided(11) == 0
        assert trio.current_time() < PATIENCE.pause + 1
        await trio.sleep(2)
        assert await decided(12) == 1
    told = [line["event"] for line in logged if "plugin" in line]
    assert told[-1] == "the plugin answers again, and enriches events again"


async def test_no_more_are_asked_at_once_than_may_be_and_all_are_asked(autojump_clock: MockClock) -> None:
    now = most = 0

    async def slow(event: Event) -> Mapping[str, Any]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await trio.sleep(1)
        now -= 1
        return {"tier": "gold"}

    spool = MemorySpool()
    for number in range(100):
        await spool.append(check(number), window=0.0)
    async with routed(spool, GOLD, enrichment=enrichment(catalog=slow)) as settled:
        await settled()
    assert most == AT_ONCE
    assert trio.current_time() == 7  # a hundred, sixteen at a time
    assert {stored.planned for stored in spool.events(limit=999)} == {1}


async def test_a_stop_goes_through_a_plugin_that_hangs_and_the_event_is_decided_later(
    autojump_clock: MockClock,
) -> None:
    spool, event = MemorySpool(), check()
    await spool.append(event, window=0.0)
    async with routed(spool, GOLD, enrichment=enrichment(bad=clumsy)):
        await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == 0
    stored = spool.event(event.id)
    assert stored is not None
    assert stored.planned is None
    await spool.recover(LATER, {})
    async with routed(spool, ALL, enrichment=enrichment(catalog=catalog)) as settled:
        await settled()
    stored = spool.event(event.id)
    assert stored is not None
    assert stored.event.enriched == {"catalog": {"tier": "gold"}}


async def test_an_ordinary_function_runs_in_a_thread(engine: Engine) -> None:
    loop = threading.get_ident()

    def enrich(event: Event) -> Mapping[str, Any]:
        return {"tier": "gold" if threading.get_ident() != loop else "lead"}

    def broken(event: Event) -> Mapping[str, Any]:
        raise SystemExit(2)

    event = check()
    await engine.append(event)
    async with routed(engine.spool, GOLD, enrichment=enrichment(catalog=enrich, broken=broken)) as settled:
        await settled()
    stored = engine.reader.event(event.id)
    assert (stored.planned, stored.trace[0]["failed"]) == (1, "SystemExit: 2")


async def test_what_is_secret_is_not_kept_nor_told(engine: Engine) -> None:
    url = "https://cloud.soda.io/incident-link/canary-77"
    body = {"event": "incidentCreated", "incident": {"id": "i-1"}, "incidentLinkCallbackUrl": url}

    async def leaky(event: Event) -> Mapping[str, Any]:
        assert event.view.incident is not None
        assert event.view.incident.callback_url is not None
        return {"at": event.view.incident.callback_url.get_secret_value(), "in": [{"hunter22": "a hunter22 b"}]}

    async def clumsy(event: Event) -> None:
        raise ValueError(f"hunter22 {b64encode(url.encode()).decode()}")

    event = make_event(body)
    await engine.append(event)
    adding = enrichment(("hunter22",), catalog=leaky, clumsy=clumsy)
    async with routed(engine.spool, ALL, enrichment=adding) as settled:
        await settled()
    stored = engine.reader.event(event.id)
    assert stored.trace[0]["enrich"] == "clumsy"
    for kept in (json.dumps(stored.event.enriched), json.dumps(stored.trace)):
        assert "canary-77" not in kept
        assert "hunter22" not in kept
        assert b64encode(url.encode()).decode()[8:40] not in kept


# what routes and templates see


def seen(**enriched: Any) -> Subject:
    return Subject(check().with_enriched(enriched), {})


@pytest.mark.parametrize(
    ("text", "with_tier", "without_tier", "without_all"),
    [
        ("enriched.catalog.tier == 'gold'", True, False, False),
        ("enriched.catalog.tier != 'lead'", True, False, False),
        ("!(enriched.catalog.tier == 'lead')", True, False, False),
        ("enriched['catalog']['tier'] == 'gold'", True, False, False),
        ("has(enriched.catalog.tier)", True, False, False),
        ("!has(enriched.catalog) || !has(enriched.catalog.tier)", False, True, True),
        ("enriched.catalog.tier == 'gold' || event.type == 'checkEvaluation'", True, True, True),
        ("enriched.catalog.tags.exists(t, t == 'pii')", False, False, False),
        ("result.name == '' && enriched.catalog.tier == 'gold'", True, False, False),
    ],
)
def test_what_is_missing_makes_an_expression_not_true_and_is_no_failure(
    text: str, with_tier: bool, without_tier: bool, without_all: bool
) -> None:
    when = compile_when(text)
    subjects = seen(catalog={"tier": "gold"}), seen(catalog={}), seen()
    assert [when.holds_for(subject.document, 0) for subject in subjects] == [with_tier, without_tier, without_all]


def test_what_is_missing_elsewhere_or_of_the_wrong_kind_is_a_failure_still() -> None:
    with pytest.raises(WhenError, match="there is no 'domain'"):
        compile_when("enriched.catalog.tier == 'gold' && result.attributes.domain == 'x'").holds_for(
            seen(catalog={"tier": "gold"}).document, 0
        )
    with pytest.raises(WhenError, match=r"such as null"):
        compile_when("enriched.catalog.owner.email == 'x'").holds(seen(catalog={"owner": None}).document)


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({"catalog": {"tier": "gold"}}, True),
        ({"catalog.tier": ["lead", "g*"]}, True),
        ({"catalog.tier": "lead"}, False),
        ({"catalog": {"tags": "pii", "owner": {"team": "core"}}}, True),
        ({"catalog": {"of.a": "x"}}, True),
        ({"catalog": {"count": "3", "on": "true"}}, True),
        ({"catalog": {"none": "*"}}, False),
        ({"other": {"tier": "gold"}}, False),
        ({"catalog": "gold"}, False),
    ],
)
def test_a_match_asks_for_what_plugins_have_added(match: Any, fits: bool) -> None:
    added = {"tier": "gold", "tags": ["pii", 1], "owner": {"team": "core"}, "of.a": "x", "count": 3, "on": True}
    subject = seen(catalog=added)
    route = {"match": Match.model_validate({"enriched": match})}
    assert bool(decide(subject.event, compiled(route)).planned) == fits
    assert bool(decide(subject.event, compiled({"match": {"not": {"enriched": match}}})).planned) != fits
    (*_, condition) = compile_match(route["match"])
    assert not condition.on_result


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("{{ enriched.catalog.tier }}", "gold"),
        ("{{ enriched['catalog']['tier'] | upper }}", "GOLD"),
        ("[{{ enriched.catalog.none }}{{ enriched.none.none.none }}]", "[]"),
        ("{{ enriched.none.tier | default('?') }}", "?"),
        ("{% if enriched.none.tier == 'gold' %}yes{% else %}no{% endif %}", "no"),
        ("{% for one in enriched.catalog.owners %}{{ one.name }}{{ one.mail }};{% endfor %}", "ann;"),
        ("{% for one in enriched.none.owners %}{{ one.name }}{% endfor %}", ""),
        ("{{ enriched.catalog | tojson }}", '{"tier": "gold", "owners": [{"name": "ann"}]}'),
        ("{{ enriched.catalog.keys() | sort | join(',') }}", "owners,tier"),
    ],
)
def test_a_template_sees_what_plugins_have_added_and_nothing_where_they_have_not(source: str, given: str) -> None:
    event = check().with_enriched({"catalog": {"tier": "gold", "owners": [{"name": "ann"}]}})
    assert Template(source).render(event, make_delivery(event)) == given


# the whole way

DOCS = (Path(__file__).parent.parent / "docs/plugins/hooks.md").read_text(encoding="utf-8")
SAMPLE = re.findall(r"(?ms)^```python\n# sodarouter_catalog.py\n(.*?)^```$", DOCS)[0]
TOML = """
    [plugin.catalog]
    path = "catalog.json"
    [destination.there]
    type = "file"
    path = "lines.txt"
    line = "{{ enriched.catalog.tier }}{{ '\\n' }}"
    [[route]]
    name = "gold"
    match = { enriched = { catalog.tier = "gold" } }
    to = ["there"]
"""


AGE = "from sodarouter import hookimpl\n\n@hookimpl\nasync def enrich(event): return {'seconds': 1}\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePackages:
    return SitePackages(tmp_path / "site", monkeypatch)


@pytest.fixture
def installed(tmp_path: Path, site: SitePackages) -> Path:
    """The plugin of the docs, and its catalogue."""
    site.install("sodarouter-catalog", {"catalog": "sodarouter_catalog:Catalog"}, sodarouter_catalog=SAMPLE)
    (tmp_path / "catalog.json").write_text('{"orders": "gold", "customers": "silver"}')
    return tmp_path


def evaluation(*names: str) -> bytes:
    results = [{"id": name, "outcome": "fail", "datasets": [{"name": name}]} for name in names]
    return json.dumps({"event": "checkEvaluation", "checkResults": results}).encode()


async def test_the_plugin_of_the_docs_enriches_and_a_restart_forgets_nothing(installed: Path) -> None:
    async with running_router(installed, TOML) as router:
        paused = await router.admin.post("/api/destinations/there", json={"halt": "paused"})
        assert paused.status_code == 200
        for names in (["orders", "customers"], ["customers"], ["unknown"]):
            assert (await router.post(evaluation(*names))).status_code == 200
        await until(lambda: all(one.planned is not None for one in router.reader.events(limit=9)))
    # what is looked up now would be something else
    (installed / "catalog.json").write_text("{}")
    async with running_router(installed, TOML) as router:
        await router.admin.post("/api/destinations/there", json={"halt": None})
        await router.until_settled()
        newest = router.reader.events(limit=9)
        assert [stored.event.enriched["catalog"] for stored in newest] == [
            {"tier": "none", "datasets": 0},
            {"tier": "silver", "datasets": 1},
            {"tier": "gold", "datasets": 2},
        ]
        assert [stored.planned for stored in newest] == [0, 0, 1]
        assert [one.state for one in router.reader.deliveries(limit=9)] == [State.DELIVERED]
    assert (installed / "lines.txt").read_text() == "gold\n"


async def test_a_broken_plugin_keeps_no_event_back_and_the_commands_tell(
    installed: Path, site: SitePackages, sodarouter: Command
) -> None:
    site.install("sodarouter-age", {"age": "sodarouter_age"}, sodarouter_age=AGE)
    (installed / "catalog.json").write_text("no JSON")
    async with running_router(installed, TOML) as router:
        await router.post(evaluation("orders"))
        await router.until_settled()
    with closing(SqliteReader(installed / "var/sodarouter.db")) as reader:
        (stored,) = reader.events(limit=9)
    assert stored.event.enriched == {"age": {"seconds": 1}}
    told = "without what catalog may have added: JSONDecodeError: "
    assert told in await trio.to_thread.run_sync(lambda: sodarouter("why", stored.event.id).out)
    assert told in await trio.to_thread.run_sync(lambda: sodarouter("why-not", stored.event.id, "there").out)


def test_the_list_of_plugins_says_which_enrich(site: SitePackages, sodarouter: Command) -> None:
    site.install("sodarouter-age", {"age": "sodarouter_age"}, sodarouter_age=AGE)
    listed = {one["name"]: one["enriches"] for one in sodarouter("plugins", "--json").json}
    assert {name for name, enriches in listed.items() if enriches} == {"age"}
    assert "enriches events" in sodarouter("plugins").out


def test_route_and_the_tests_of_a_configuration_are_told_what_was_added(installed: Path, sodarouter: Command) -> None:
    (installed / "one.json").write_bytes(evaluation("orders"))
    tests = """
        [[test]]
        file = "one.json"
        enriched = { catalog = { tier = "gold" } }
        to = ["there"]
        contains = { there = ["gold"] }
        [[test]]
        file = "one.json"
        to = []
    """
    (installed / "router.toml").write_text('[source.soda]\npath = "/soda"\n' + TOML + tests)
    assert "2 tests passed" in sodarouter("check").out
    assert sodarouter("route", "one.json", "--json").json["deliveries"] == []
    given = sodarouter("route", "one.json", "--enriched", '{"catalog": {"tier": "gold"}}', "--json").json
    assert [one["body"] for one in given["deliveries"]] == ["gold\n"]
    for wrong in ("gold", '{"catalog": "gold"}', "[]"):
        assert sodarouter("route", "one.json", "--enriched", wrong).status == 2


async def test_a_stored_event_is_tried_with_what_was_added_to_it(installed: Path, sodarouter: Command) -> None:
    async with running_router(installed, TOML) as router:
        await router.post(evaluation("orders"))
        await router.until_settled()
        (stored,) = router.reader.events(limit=9)
    name = stored.event.id
    test = f'[[test]]\nevent = "{name}"\nto = ["there"]\n[[test]]\nevent = "{name}"\nenriched = {{}}\nto = []\n'
    (installed / "router.toml").write_text('[source.soda]\npath = "/soda"\n' + TOML + test)

    def commands() -> None:
        assert "2 tests passed" in sodarouter("check").out
        assert len(sodarouter("route", name, "--json").json["deliveries"]) == 1
        assert sodarouter("show", name, "--json").json["enriched"] == {"catalog": {"tier": "gold", "datasets": 1}}
        assert '"tier": "gold"' in sodarouter("show", name).out
        exported = json.loads(sodarouter("export", "--state", "delivered").out)
        assert exported["event"]["enriched"]["catalog"]["tier"] == "gold"
        assert "catalog (tier, datasets)" in sodarouter("fixture", name).err
        dry = ("silence", "add", "--match", "enriched.catalog.tier=gold", "--for", "1h", "--reason", "x", "--dry-run")
        assert sodarouter(*dry).status == 0

    await trio.to_thread.run_sync(commands)
