"""A destination in processes of its own: the same contract, and whatever its code does, it is that delivery only.

The processes are real, and so is the time. `wild` is the plugin, and does what the source of an event is called.
"""

import json
import os
import pickle
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from canaries import canary
from distributions import SitePackages
from running import LISTEN, router_process, running_router, until
from structlog.testing import capture_logs
from support import make_delivery, make_event

from sodarouter import Delivery, Event, IncidentLink, Reject, Retry
from sodarouter.attempt import Ended, attempt
from sodarouter.config import Config, load
from sodarouter.delivery import Fallback, State
from sodarouter.errors import ConfigError
from sodarouter.event import Enrich
from sodarouter.isolation.handed import Handed, packed, unpacked
from sodarouter.lanes import Opened, open_destinations
from sodarouter.metrics import Sample
from sodarouter.options import Given, Inherited, Place
from sodarouter.redact import REDACTED
from sodarouter.settle import Ending, Faulted, TimedOut
from sodarouter.spool import Claim
from sodarouter.store import Kept, Store

SOURCE = '[source.soda]\npath = "/webhooks/soda"\n'
WILD = '[destination.{name}]\ntype = "wild"\nisolation = "{isolation}"\nseen = "seen"\n'
PATIENCE = 60.0
"""Seconds for what is not expected to take any time."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[dict[str, object]]]:
    with capture_logs() as lines:
        yield lines


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    site = SitePackages(tmp_path / "site", monkeypatch)
    code = (Path(__file__).parent / "wild.py").read_text(encoding="utf-8")
    site.install("acme-wild", {"wild": "acme_wild:WildPlugin"}, acme_wild=code)
    # for the routers that are processes
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
    yield
    assert processes(tmp_path / "seen") == set()


def processes(seen: Path) -> set[int]:
    """Those that have written into a file and still run."""
    pids = {int(line.split()[1]) for line in seen.read_text().splitlines()} if seen.exists() else set()
    return {pid for pid in pids - {os.getpid()} if runs(pid)}


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def make_store(secret: str = "", **kept: str) -> Store:
    """A store of what is kept already: JSON by key."""

    async def read(key: str) -> str | None:
        await trio.lowlevel.checkpoint()
        return kept.get(key)

    return Store(read, 1000.0, lambda text: bool(secret) and secret in text)


@dataclass
class One:
    """A destination that is open."""

    opened: Opened
    folder: Path

    async def attempt(self, source: str, limit: float = PATIENCE, enrich: Enrich | None = None) -> Ending:
        (ended,) = await self.ended(source, limit=limit, enrich=enrich)
        return ended.ending

    async def ended(
        self, *sources: str, stores: Sequence[Store] = (), limit: float = PATIENCE, enrich: Enrich | None = None
    ) -> list[Ended]:
        """How an attempt ends with an event of each of these sources."""
        self.opened.lane.timeout = limit
        events = [make_event(source=source) for source in sources]
        claims = [Claim(1, make_delivery(event, "one"), event, 1, 0.0) for event in events]
        return await attempt(self.opened.lane, claims, stores or [make_store() for _ in claims], enrich)

    @property
    def seen(self) -> list[list[str]]:
        """What it has written down: words, of which the second is the number of its process."""
        return [line.split() for line in (self.folder / "seen").read_text().splitlines()]

    def pids(self, what: str = "deliver") -> list[int]:
        return [int(line[1]) for line in self.seen if line[0] == what]


def configured(folder: Path, toml: str) -> Config:
    (folder / "router.toml").write_text(SOURCE + toml, encoding="utf-8")
    return load(folder / "router.toml")


@asynccontextmanager
async def opening(
    folder: Path, more: str = "", *, isolation: str = "process", kind: str = "wild"
) -> AsyncIterator[One]:
    config = configured(folder, WILD.format(name="one", isolation=isolation).replace("wild", kind) + more)
    with trio.fail_after(2 * PATIENCE):
        (opened,) = await open_destinations(config)
        try:
            yield One(opened, folder)
        finally:
            await opened.close()
            seen = folder / "seen"
            await until(lambda: not processes(seen))  # what was killed needs a moment to be gone


def shown(ending: Ending) -> object:
    if isinstance(ending, Retry | Reject):
        return type(ending), ending.reason, ending.response, getattr(ending, "after", None)
    return ending


MILD = {
    "takes it": None,
    "gives something back": None,
    "raises": Faulted("ValueError: broken"),
    "raises a group": Faulted("OSError: x"),
    "raises what cannot be printed": Faulted("Mute"),
    "panics": Faulted("Panic: index out of range"),
    "raises SystemExit": Faulted("SystemExit: 3"),
    "raises KeyboardInterrupt": Faulted("KeyboardInterrupt"),
    "asks for a retry": (Retry, "busy", "try later", 7),
    "asks for a retry with bytes": Faulted("Retry was raised with a reason or a response that is no text"),
    "rejects": (Reject, "unknown", "no", None),
}


@pytest.mark.parametrize("isolation", ["none", "process"])
async def test_a_delivery_ends_in_a_process_as_it_ends_in_the_router(tmp_path: Path, isolation: str) -> None:
    async with opening(tmp_path, isolation=isolation) as one:
        assert {source: shown(await one.attempt(source)) for source in MILD} == MILD
        assert len(set(one.pids())) == 1, "it is the same process all the time"
        assert (one.pids()[0] == os.getpid()) == (isolation == "none")


async def test_what_cannot_be_said_is_said_as_far_as_it_can(tmp_path: Path) -> None:
    async with opening(tmp_path) as one:
        assert await one.attempt("names a file that is no UTF-8") == Faulted("OSError: caf\\udce9")
        later = await one.attempt("asks for a retry much later")
        assert isinstance(later, Retry)
        assert later.after == pytest.approx(36_525 * 86_400)
        for source, kind in (("raises at length", Faulted), ("rejects at length", Reject)):
            ending = await one.attempt(source)
            assert isinstance(ending, kind)
            assert 4096 < len(ending.reason) <= 65536
        assert len(set(one.pids())) == 1


_WANTED = "not None, a link, Retry or Reject"

HARD = {
    "hangs": TimedOut(0.5),
    "swallows its cancellation": TimedOut(0.5),
    "blocks": TimedOut(0.5),
    "keeps the interpreter's lock": TimedOut(0.5),
    "stops itself": TimedOut(0.5),
    "floods": TimedOut(0.5),
    "prints without an end": TimedOut(0.5),
    "crashes": Faulted("its process ended with signal SIGSEGV"),
    "exits": Faulted("its process ended with exit status 3"),
    "leaves a child": Faulted("its process ended with exit status 3"),
    "crashes trio": Faulted("its process ended with exit status 1"),
    "hangs up": Faulted("its process hung up"),
    "answers a gigabyte": Faulted("its process said 1073741824 bytes at once"),
    "answers nonsense": Faulted("its process said something that the router does not understand"),
    "answers before it is asked": Faulted("its process said something that was not asked"),
}


async def test_whatever_the_code_does_it_is_that_delivery_and_the_next_has_a_new_process(
    tmp_path: Path, logged: list[dict[str, object]]
) -> None:
    async with opening(tmp_path) as one:
        for source, ending in HARD.items():
            limit = 0.5 if isinstance(ending, TimedOut) else PATIENCE
            assert (source, await one.attempt(source, limit)) == (source, ending)
            assert (source, await one.attempt("takes it")) == (source, None)
            first, second = one.pids()[-2:]
            assert first != second, source
            await until(lambda first=first: not runs(first))
    assert len(logged) < 10_000
    (child,) = [int(str(line["text"]).split()[1]) for line in logged if str(line.get("text")).startswith("child ")]
    await until(lambda: not runs(child))


async def test_ordinary_functions_run_in_a_thread_there_and_are_killed_too(tmp_path: Path) -> None:
    config = configured(tmp_path, '[destination.one]\ntype = "threaded"\nisolation = "process"\n')
    (opened,) = await open_destinations(config)
    one = One(opened, tmp_path)
    try:
        assert await one.attempt("takes it") is None
        store = make_store(count="5")
        await one.ended("keeps", stores=[store])
        assert store.seal()["count"].value == "6"
        ending = await one.attempt("raises")
        assert isinstance(ending, Retry)
        assert "MainThread" not in ending.reason
        assert await one.attempt("hangs", 0.5) == TimedOut(0.5)
        assert await one.attempt("takes it") is None
    finally:
        await opened.close()


async def test_a_kill_harms_no_delivery_that_is_under_way_beside_it(tmp_path: Path) -> None:
    """One process for each attempt at once; by default there is one."""
    assert configured(tmp_path, WILD.format(name="one", isolation="process")).destinations[0].concurrency == 1
    async with opening(tmp_path, "concurrency = 3\n") as one:
        endings: dict[str, Ending] = {}

        async def run(source: str, limit: float) -> None:
            endings[source] = await one.attempt(source, limit)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "hangs", PATIENCE)
            await until(lambda: len(one.pids()) == 1)
            nursery.start_soon(run, "crashes", PATIENCE)
            await until(lambda: "crashes" in endings)
            assert await one.attempt("takes it") is None
            assert await one.attempt("takes it") is None
            assert processes(tmp_path / "seen") >= {one.pids()[0]}
            nursery.cancel_scope.cancel()
        hanging, crashed, third, again = one.pids()
        assert len({hanging, crashed, third}) == 3
        assert third == again, "it is kept for the next"


async def test_an_attempt_that_is_over_before_its_process_has_started_leaves_it_to_the_next(tmp_path: Path) -> None:
    """Otherwise a destination with a short timeout would never deliver again."""
    async with opening(tmp_path) as one:
        assert await one.attempt("exits") == HARD["exits"]
        assert await one.attempt("takes it", 0.001) == TimedOut(0.001)
        assert await one.attempt("takes it") is None
        assert len(one.pids("open")) == 2


# opening and closing


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("raises", "ValueError: broken"),
        ("exits", "its process ended with exit status 3"),
        ("crashes", "its process ended with signal SIGSEGV"),
        ("answers nonsense", "its process said something that the router does not understand"),
    ],
)
async def test_a_destination_that_cannot_be_opened_is_named(tmp_path: Path, how: str, why: str) -> None:
    with pytest.raises(ConfigError) as failed:
        async with opening(tmp_path, f'opening = "{how}"\n'):
            pytest.fail("it opened")
    assert str(failed.value) == f"router.toml: destination.one: cannot be opened: {why}"


async def test_a_process_that_does_not_open_is_killed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sodarouter.lanes.OPEN_TIMEOUT", 3.0)
    with pytest.raises(ConfigError, match="was not open after 3 seconds"):
        async with opening(tmp_path, 'opening = "blocks"\n'):
            pytest.fail("it opened")
    await until(lambda: not processes(tmp_path / "seen"))


async def test_every_process_closes_its_destination(tmp_path: Path) -> None:
    async with opening(tmp_path, "concurrency = 2\n") as one, trio.open_nursery() as nursery:
        nursery.start_soon(one.attempt, "takes it")
        nursery.start_soon(one.attempt, "takes it")
    assert sorted(one.pids("close")) == sorted(one.pids("open"))
    assert len(one.pids("open")) == 2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", "a destination failed to close"),
        ("blocks", "a destination took too long to close"),
        ("exits", "a destination failed to close"),
    ],
)
async def test_a_failure_to_close_is_told_and_the_process_is_gone(
    tmp_path: Path, how: str, message: str, logged: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sodarouter.lanes.CLOSE_TIMEOUT", 1.0 if how == "blocks" else PATIENCE)
    async with opening(tmp_path, f'closing = "{how}"\n'):
        pass
    assert message in [line["event"] for line in logged]


# what is handed over


def test_an_event_and_a_delivery_arrive_as_they_were() -> None:
    when = datetime(2026, 5, 4, tzinfo=UTC)
    event = Event("1", "soda", when, "validate", b'{"event": "validate"}', late=True, enriched={"x": {"a": [1.5]}})
    assert event.view.type == event.payload.event == "validate"
    delivery = Delivery("1/x", "x", 2, when, (0, 2), 3, Fallback("y", "no"), 1, "orders")
    # a field that is new needs a value here
    assert all(getattr(delivery, one.name) != one.default for one in fields(Delivery))
    assert all(getattr(event, one.name) not in (one.default, {}) for one in fields(Event) if one.name != "enrich")
    handed = unpacked(packed(Handed.of(1, [(event, delivery)], None)))
    assert isinstance(handed, Handed)
    assert handed.items == [(event, delivery)]
    assert not {"view", "payload"} & vars(handed.items[0][0]).keys()


async def test_the_teams_of_the_configuration_are_seen_there_and_a_reload_changes_them(tmp_path: Path) -> None:
    async with opening(tmp_path) as one:
        for name in ("sales", "data"):
            config = configured(tmp_path, f'[[team]]\nname = "{name}"\nmatch = {{ dataset = "*" }}\n')
            assert await one.attempt("takes it", enrich=config.rules.teams.enrich) is None
            assert await one.attempt("takes it", enrich=config.rules.teams.enrich) is None
        assert await one.attempt("takes it") is None
        assert [line[4] for line in one.seen if line[0] == "deliver"] == ["sales", "sales", "data", "data", "-"]


def told(line: MutableMapping[str, Any]) -> str:
    return str(line.get("text") or line["event"])


async def test_options_are_those_that_the_router_has_validated_whatever_has_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable, a file and the configuration itself; paths start where they were written."""
    (tmp_path / "token").write_text("first-token")
    monkeypatch.setenv("WILD_WORD", "sesame")
    async with opening(tmp_path, 'token = { file = "token" }\n[plugin.wild]\nword = { env = "WILD_WORD" }\n') as one:
        (tmp_path / "token").write_text("second-token")
        (tmp_path / "router.toml").unlink()
        monkeypatch.delenv("WILD_WORD")
        assert await one.attempt("exits") == HARD["exits"]
        with capture_logs() as lines:
            ending = await one.attempt("tells its token")
            # what it logs and prints goes another way than its answer
            await until(lambda: {"delivering", "a word of 6 letters"} <= {told(line) for line in lines})
        assert ending == Faulted(f"ValueError: {REDACTED}")
    (delivering,) = [line for line in lines if line["event"] == "delivering"]
    assert delivering["token"] == REDACTED
    assert "a word of 6 letters" in [line.get("text") for line in lines]


def test_what_is_inherited_from_another_file_starts_there_in_the_process_too(tmp_path: Path) -> None:
    place = Place(tmp_path / "here")
    given = pickle.loads(pickle.dumps(Given.at(place, {"path": Inherited("x", tmp_path / "there")})))
    assert (given.table["path"], given.table["path"].folder) == ("x", tmp_path / "there")


@pytest.mark.parametrize("isolation", ["none", "process"])
async def test_what_it_counts_and_measures_is_the_router_s(tmp_path: Path, isolation: str) -> None:
    async with opening(tmp_path, isolation=isolation) as one:
        await one.attempt("raises")
        await one.attempt("takes it")
        await one.attempt("takes it")
        assert one.opened.health is None
        assert [(metric.name, metric.samples) for metric in one.opened.metrics.now()] == [
            ("attempt", (Sample((), 9.0, 6),)),
            ("calls", (Sample(("raises",), 2.0), Sample(("takes it",), 4.0))),
            ("open", (Sample((), 1.0),)),
        ]


# what a destination keeps, links and batches


@pytest.mark.parametrize("isolation", ["none", "process"])
async def test_what_it_keeps_and_links_is_the_same_as_in_the_router(tmp_path: Path, isolation: str) -> None:
    async with opening(tmp_path, isolation=isolation) as one:
        store = make_store(count="5")
        assert await one.ended("keeps", stores=[store]) == [Ended(None)]
        expires = 1000.0 + 90 * 86_400
        assert store.seal() == {"count": Kept("6", expires), "soon": Kept('["gone"]', 1060.0), "old": None}
        store = make_store()
        (ended,) = await one.ended("keeps and asks for a retry", stores=[store])
        assert shown(ended.ending) == (Retry, "busy", "", None)
        assert store.seal() == {"a": Kept("1", expires)}
        assert await one.attempt("asks all at once") is None
        assert await one.ended("links") == [Ended(None, IncidentLink("https://tracker.example/1", "#1"))]
        assert await one.ended("links nothing") == [Ended(None)]
        too_much = await one.attempt("keeps too much")
        assert too_much == Faulted("ValueError: store: the value of 'a' has 20,002 bytes, and 16,384 are the most")
        (ended,) = await one.ended("keeps a secret", stores=[make_store(secret="T0K3N")])
        assert ended.ending == Faulted("ValueError: store: an entry holds a secret, and secrets are not stored")
        assert len(set(one.pids())) == 1


KILLED = {
    "keeps and hangs": TimedOut(0.5),
    "asks for no key": Faulted("its process said a key that no store has"),
    "changes what is another's": Faulted("its process said something about another delivery"),
}


async def test_nothing_is_kept_of_an_attempt_whose_process_was_killed(tmp_path: Path) -> None:
    async with opening(tmp_path) as one:
        for source, ending in KILLED.items():
            store = make_store()
            limit = 0.5 if isinstance(ending, TimedOut) else PATIENCE
            (ended,) = await one.ended(source, stores=[store], limit=limit)
            assert (ended.ending, store.seal()) == (ending, {}), source


BATCHES: dict[tuple[str, ...], list[object]] = {
    ("taken", "later", "never", "links", "keeps"): [
        Ended(None),
        (Retry, "busy", "", 7),
        (Reject, "unknown", "", None),
        Ended(None, IncidentLink("https://tracker.example/1")),
        Ended(None),
    ],
    ("odd", "no text"): [
        Ended(Faulted(f"deliver_batch answered something of type object for a delivery, {_WANTED}")),
        Ended(Faulted("Retry was raised with a reason or a response that is no text")),
    ],
    ("nothing", "taken"): [Ended(None)] * 2,
    ("no list", "taken"): [
        Ended(Faulted("deliver_batch returned something of type int, not an answer for each of 2 deliveries"))
    ]
    * 2,
    ("too few", "taken"): [
        Ended(Faulted("deliver_batch returned something of type list, not an answer for each of 2 deliveries"))
    ]
    * 2,
    ("raises", "taken"): [(Reject, "all of them", "", None)] * 2,
}


@pytest.mark.parametrize("isolation", ["none", "process"])
async def test_batches_end_in_a_process_as_they_end_in_the_router(tmp_path: Path, isolation: str) -> None:
    async with opening(tmp_path, isolation=isolation, kind="batches") as one:
        for sources, expected in BATCHES.items():
            stores = [make_store(count="5") for _ in sources]
            endings = await one.ended(*sources, stores=stores)
            assert [
                shown(one.ending) if one.ending and not isinstance(one.ending, Faulted) else one for one in endings
            ] == (expected)
            changed = [index for index, store in enumerate(stores) if store.seal()]
            assert changed == [index for index, source in enumerate(sources) if source == "keeps"]


# what is logged and printed


async def test_what_it_logs_and_prints_is_in_the_log_of_the_router(
    tmp_path: Path, logged: list[dict[str, object]]
) -> None:
    async with opening(tmp_path) as one:
        assert await one.attempt("prints") is None
        await one.attempt("raises")
    said = [line["text"] for line in logged if line["event"] == "the destination's process printed"]
    assert said[1:] == [
        "to the output",
        "to the error",
        '{"level": "error", "message": 1}',
        "\N{REPLACEMENT CHARACTER} bytes",
    ]
    (by_hand,) = [line for line in logged if line["event"] == "made by hand"]
    assert by_hand == {"event": "made by hand", "log_level": "error", "destination": "one"}
    own = [line for line in logged if line["event"] == "delivering"]
    assert [(line["destination"], line["log_level"]) for line in own] == [("one", "info")] * 2
    (fault,) = [line for line in logged if line["event"] == "the destination's plugin failed"]
    assert "acme_wild.py" in "".join(getattr(fault["exc_info"], "__notes__", ()))


# in a router


async def test_the_good_destination_beside_a_dozen_bad_ones_has_all_its_events(tmp_path: Path) -> None:
    bad = [source for source in HARD if source != "leaves a child"][:12]
    keys = 'how = "{how}"\ntimeout = "2s"\nretry = {{ max_attempts = 1 }}\n'
    tables = [WILD.format(name=f"bad{n}", isolation="process") + keys.format(how=how) for n, how in enumerate(bad)]
    good = '[destination.good]\ntype = "file"\npath = "good.jsonl"\n'
    names = json.dumps([f"bad{number}" for number in range(len(bad))])
    routes = f'[[route]]\nto = ["good"]\n[[route]]\nmatch = {{ event = "agreementDeleted" }}\nto = {names}\n'
    with trio.fail_after(2 * PATIENCE):
        async with running_router(tmp_path, "".join([*tables, good, routes])) as router:
            await router.post(b'{"event": "agreementDeleted"}')
            for number in range(3):
                await router.post(json.dumps({"event": "checkEvaluation", "number": number}).encode())
            await until(lambda: (tmp_path / "good.jsonl").exists())
            await until(lambda: len((tmp_path / "good.jsonl").read_text().splitlines()) == 4)
            deliveries = await router.until_settled()
    assert {d.state for d in deliveries if d.destination == "good"} == {State.DELIVERED}
    assert {d.state for d in deliveries if d.destination != "good"} == {State.DEAD}
    await until(lambda: not processes(tmp_path / "seen"))


async def test_a_reload_keeps_the_process_of_a_destination_that_has_not_changed(tmp_path: Path) -> None:
    toml = WILD.format(name="one", isolation="process") + '[[route]]\nto = ["one"]\n'
    seen = tmp_path / "seen"
    with trio.fail_after(2 * PATIENCE):
        async with running_router(tmp_path, toml) as router:
            (before,) = processes(seen)
            (tmp_path / "router.toml").write_text(LISTEN + SOURCE + toml + "[unrouted]\nto = []\n")
            assert await router.bound.reload() == ()
            await router.post(b'{"event": "checkEvaluation", "number": 1}')
            await router.until_settled()
            assert processes(seen) == {before}
            (tmp_path / "router.toml").write_text(LISTEN + SOURCE + toml.replace("[[", 'how = "rejects"\n[['))
            assert await router.bound.reload() == ()
            await until(lambda: before not in processes(seen))
            await router.post(b'{"event": "checkEvaluation", "number": 2}')
            await router.until_settled()
            (after,) = processes(seen)
    lines = [line.split()[:2] for line in seen.read_text().splitlines()]
    assert [what for what, pid in lines if pid == str(before)] == ["open", "deliver", "close"]
    assert [what for what, pid in lines if pid == str(after)] == ["open", "deliver", "close"]


def _environments(pid: int) -> bytes:
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


@pytest.mark.parametrize("how", ["takes it", "blocks", "keeps the interpreter's lock"])
def test_no_process_outlives_a_router_that_is_killed_and_none_shows_its_secrets(tmp_path: Path, how: str) -> None:
    secret = canary("isolated")
    (tmp_path / "token").write_text(secret)
    toml = WILD.format(name="one", isolation="process") + f'how = "{how}"\ntoken = {{ file = "token" }}\n'
    with router_process(tmp_path, toml + '[[route]]\nto = ["one"]\n') as router:
        _post(router.url)
        _until(lambda: "deliver" in (tmp_path / "seen").read_text())
        (pid,) = processes(tmp_path / "seen")
        assert b"sodarouter.isolation\0one" in _environments(pid)
        assert secret.encode() not in _environments(pid)
        router.until_logged("delivering")
        assert router.end(signal.SIGKILL) == -signal.SIGKILL
        _until(lambda: not runs(pid))
        assert secret not in router.log
        assert REDACTED in router.log


def test_a_stop_lets_deliveries_finish_and_closes_the_destination(tmp_path: Path) -> None:
    toml = WILD.format(name="one", isolation="process") + '[[route]]\nto = ["one"]\n'
    with router_process(tmp_path, toml) as router:
        (pid,) = processes(tmp_path / "seen")
        os.kill(pid, signal.SIGTERM)  # as what stops all processes of a unit does
        _post(router.url)
        _until(lambda: "deliver" in (tmp_path / "seen").read_text())
        assert router.end(signal.SIGTERM) == 0
    assert (tmp_path / "seen").read_text().splitlines()[-1] == f"close {pid}"


def _post(url: str) -> None:
    import httpx2

    assert httpx2.post(f"{url}/webhooks/soda", content=b'{"event": "checkEvaluation"}').status_code == 200


def _until(condition: Callable[[], bool]) -> None:
    trio.run(until, condition)
