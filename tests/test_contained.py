"""Hostile plugins that are installed, all at once in a router that runs: nothing that is not theirs is touched."""

import ast
import http.client
import json
import os
import signal
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from textwrap import dedent, indent

import pytest
import trio
from distributions import SitePackages
from hostilities import SOURCE
from running import SOURCE as SODA
from running import router_process, running_router, until
from structlog.testing import capture_logs

from sodarouter.config import load
from sodarouter.delivery import State
from sodarouter.errors import ConfigError
from sodarouter.failures import MAX_LOOKED_AT, MAX_STORED
from sodarouter.lane import MOST_TOLD

POSTS = 4
SECRET = "T0K3N-of-another"
DEBUG = '[log]\nlevel = "debug"\n'

DELIVERED = [
    "leaves_a_task_behind",
    "returns_what_is_nasty",
    "returns_a_coroutine",
    "links_half",
    "links_nasty_texts",
    "links_no_texts",
    "links_with_control_characters",
    "links_with_ten_million_characters",
    "links_with_half_of_another_s_secret",
    "keeps_for_ever",
    "counts_under_nasty_labels",
    "counts_a_thousand_labels",
    "tampers_with_the_event",
    "batch_is_emptied",
]
REASONS = {
    "raises": "ValueError: broken",
    "raises_system_exit": "SystemExit: 3",
    "raises_keyboard_interrupt": "KeyboardInterrupt",
    "raises_a_group": "OSError: of the group",
    "raises_a_deep_group": "OSError: at the bottom",
    "raises_the_unspeakable": "Unspeakable",
    "raises_the_untraceable": "Untraceable: of nothing",
    "raises_the_faceless": "Faceless: who",
    "raises_what_has_no_name": "X" * 200,
    "raises_ten_million_characters": "ValueError: ten million ten million",
    "retries_with_nasty_texts": "nasty reason",
    "retries_after_a_nasty_number": "Retry was raised with something that fails: SystemExit",
    "retries_unreadably": "Unreadable was raised with something that fails: SystemExit",
    "retries_with_ten_million_characters": "rrr",
    "rejects_with_a_nasty_text": "nasty reason",
    "hangs": "timed out after 0.3 s",
    "swallows_its_cancellation": "timed out after 0.3 s",
    "fails_while_it_is_cancelled": "OSError: at the end",
    "takes_all_threads_of_the_pool": "timed out after 0.3 s",
    "keeps_under_a_key_that_lies": "ValueError: store: a key is a text that can be written as UTF-8",
    "keeps_under_a_nasty_key": "SystemExit",
    "keeps_for_a_nasty_time": "SystemExit",
    "keeps_a_thousand_keys": "ValueError: store: a delivery may change 64 entries",
    "keeps_a_megabyte": "ValueError: store: the value of 'k' has 1,000,002 bytes",
    "keeps_what_nests": "ValueError: store: the value of 'k' is not what JSON can say",
    "counts_nasty_numbers": "SystemExit",
    "batch_raises_a_group": "OSError: of the batch",
    "batch_hangs": "timed out after 0.3 s",
    "batch_swallows_its_cancellation": "timed out after 0.3 s",
    "batch_lies_about_its_length": "SystemExit",
    "batch_answers_too_many": "deliver_batch returned something of type list, not an answer for each of",
    "batch_answers_what_is_nasty": "deliver_batch answered something of type Nasty",
    "batch_answers_unreadably": "Unreadable was raised with something that fails: SystemExit",
    "batch_returns_what_is_nasty": "SystemExit",
    "thread_hangs": "timed out after 0.3 s",
    "thread_keeps_after_its_time": "timed out after 0.3 s",
    "thread_raises_the_unspeakable": "Unspeakable",
    "thread_exits": "SystemExit: of the thread",
}
"""Why what they are handed is a dead letter."""

CLASSES = {"Hostile": "hostile", "HostileBatch": "hostile-batch", "InThreads": "hostile-threads"}
HOOKS = {"deliver", "deliver_batch", "health", "fails_at_the_end"}
WAYS = {
    method.name: CLASSES[node.name]
    for node in ast.parse(SOURCE).body
    if isinstance(node, ast.ClassDef) and node.name in CLASSES
    for method in node.body
    if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and method.name not in HOOKS
}
"""What the hostile destinations do, with the type that does it."""
SHORT = {way for way, reason in REASONS.items() if reason.startswith("timed out")} | {"fails_while_it_is_cancelled"}


def table(way: str) -> str:
    timeout = "300ms" if way in SHORT else "30s"
    policy = f'timeout = "{timeout}"\nretry = {{ max_attempts = 1 }}'
    return f'[destination.{way}]\ntype = "{WAYS[way]}"\nway = "{way}"\n{policy}\n'


GOOD = f"""
[destination.good]
type = "file"
path = "good.jsonl"
[destination.other]
type = "forward"
url = "https://127.0.0.1:9/"
headers = {{ Authorization = "{SECRET}" }}
"""
ROUTES = f"""
[[route]]
match = {{ event = "incident*" }}
to = {json.dumps(["good", *WAYS])}
[[route]]
match = {{ not = {{ event = "incident*" }} }}
to = ["good"]
"""
TOML = GOOD + "".join(map(table, WAYS)) + ROUTES


def incident(number: int) -> bytes:
    return json.dumps(
        {"event": "incidentCreated", "own": {"deep": [1]}, "incident": {"id": f"i-{number}", "title": "t"}}
    ).encode()


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = SitePackages(tmp_path / "site", monkeypatch)
    plugins = {"hostile": "acme_hostile", "hostile_observer": "acme_hostile:observer"}
    site.install("acme-hostile", plugins, acme_hostile=SOURCE)


async def test_all_of_them_at_once_touch_neither_the_intake_nor_another_destination(hostile, tmp_path):
    with capture_logs() as logged:
        async with running_router(tmp_path, TOML) as router:
            for number in range(POSTS):
                answer = await router.post(incident(number))
                assert answer.status_code == 200, answer.text
            assert (await router.post(b"[]")).status_code == 400  # it is told to an observer that raises
            settled = await router.until_settled()
            # and it goes on
            assert (await router.post(b'{"event": "checkEvaluation"}')).status_code == 200
            await router.until_settled()
            ready = await router.admin.get("/readyz")
            assert (ready.status_code, ready.json()["ready"]) == (200, True)
            assert ready.json()["destinations"]["raises"]["health"] == "nasty health"
            assert ready.json()["plugins"]["hostile"]["health"] == "nasty health"
            assert ready.json()["plugins"]["hostile_observer"]["health"] == "its health check fails: Faceless: health"
            metrics = await router.admin.get("/metrics")
            assert metrics.status_code == 200
            kept = {way: list(router.reader.entries(way, time.time(), limit=100)) for way in WAYS}
    good = [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]
    # what enrichers, observers and other destinations have done to the event is not seen by it
    assert {event["view"]["incident"]["id"] for event in good[:-1]} == {f"i-{number}" for number in range(POSTS)}
    assert all(event["payload"]["own"] == {"deep": [1]} for event in good[:-1])
    assert good[-1]["type"] == "checkEvaluation"
    found: dict[str, set[tuple[State, str]]] = {way: set() for way in WAYS}
    for delivery in settled:
        if delivery.destination != "good":
            found[delivery.destination].add((delivery.state, delivery.reason))
    assert [way for way in WAYS if found[way] == {(State.DELIVERED, "")}] == DELIVERED
    for way, reason in REASONS.items():
        assert {state for state, _ in found[way]} == {State.DEAD}, (way, found[way])
        for _, said in found[way]:
            assert said.removeprefix("exhausted after 1 attempt: ").removeprefix("rejected: ").startswith(reason), way
            assert len(said) <= MAX_STORED
    assert [way for way in WAYS if kept[way]] == ["keeps_for_ever", "keeps_a_thousand_keys"]
    told = [line["event"] for line in logged if line.get("destination") in WAYS]
    # each event and destination once, at most, but for the dead letters
    assert told.count("the destination's plugin failed") <= POSTS * len(WAYS)
    assert sum(line["event"] == "an observer failed" for line in logged) <= 30


def test_what_they_do_to_the_log_and_to_the_stop_of_a_process_is_contained(hostile, tmp_path):
    """As a process, whose log is made of their exceptions, and which has to end though their threads and tasks do not."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with router_process(tmp_path, DEBUG + TOML, env=environment) as router:
        for number in range(POSTS):
            request = urllib.request.Request(f"{router.url}/webhooks/soda", incident(number))
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 200
        router.until_logged("delivery given up; `sodarouter retry` tries it again", POSTS * len(REASONS))
        router.until_logged("delivered", POSTS * len(["good", *DELIVERED]))
        assert router.end(signal.SIGTERM) == 0
    lines = [json.loads(line) for line in router.log.splitlines()]
    assert lines[-1]["message"] == "stopped"
    assert max(map(len, router.log.splitlines())) < 2 * MAX_LOOKED_AT
    assert SECRET not in router.log
    assert len((tmp_path / "good.jsonl").read_text().splitlines()) == POSTS


# what all share


SMALL = """
import gc, os, sys, threading, warnings
import trio
from sodarouter import Destination, Options, Reject, hookimpl

class Small(Destination[Options]):
    type = "small"
{}

@hookimpl
def destination_types():
    return [Small]
"""


def small(body: str) -> str:
    """A plugin with one destination, the methods of which these are."""
    return SMALL.format(indent(dedent(body), "    "))


BESIDE = """
[destination.good]
type = "file"
path = "good.jsonl"
[destination.small]
type = "small"
timeout = "30s"
[[route]]
to = ["small", "good"]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePackages:
    return SitePackages(tmp_path / "site", monkeypatch)


def event(number: int, filler: int = 0) -> bytes:
    return json.dumps({"event": "checkEvaluation", "number": number, "filler": "x" * filler}).encode()


async def test_one_that_takes_every_thread_of_the_shared_pool_keeps_nobody_else(site, tmp_path):
    """Large events are decided in a thread, and the spool and the metrics are looked at in one."""
    site.install(
        "acme-small",
        {"small": "acme_small"},
        acme_small=small("""
            release = threading.Event()

            async def deliver(self, event):
                async with trio.open_nursery() as nursery:
                    for _ in range(trio.to_thread.current_default_thread_limiter().total_tokens + 10):
                        nursery.start_soon(trio.to_thread.run_sync, self.release.wait)
        """),
    )
    async with running_router(tmp_path, BESIDE) as router:
        try:
            assert (await router.post(event(1))).status_code == 200
            pool = trio.to_thread.current_default_thread_limiter()
            await until(lambda: pool.available_tokens == 0)
            assert (await router.post(event(2, filler=200_000))).status_code == 200
            await until(lambda: (tmp_path / "good.jsonl").read_text().count("\n") == 2)
            assert (await router.admin.get("/readyz")).status_code == 200
            assert (await router.admin.get("/metrics")).status_code == 200
        finally:
            sys.modules["acme_small"].Small.release.set()


async def test_a_slow_observer_is_named_and_not_the_destination_in_whose_task_it_is_told(site, tmp_path):
    slow = """
        import time
        from sodarouter import hookimpl

        @hookimpl
        def delivery_settled(settled):
            time.sleep(0.11)

        @hookimpl
        def event_accepted(event):
            time.sleep(0.11)
    """
    site.install("acme-slow", {"slow": "acme_slow"}, acme_slow=slow)
    toml = '[destination.good]\ntype = "file"\npath = "good.jsonl"\n[[route]]\nto = ["good"]\n'
    with capture_logs() as logged:
        async with running_router(tmp_path, toml) as router:
            await router.post(event(1))
            await router.until_settled()
            blocked = (await router.admin.get("/readyz")).json()["event_loop"]["blocked"]
    assert blocked["plugin slow"] >= 2
    assert "destination good" not in blocked
    named = {(line["plugin"], line["hook"]) for line in logged if line["event"] == "an observer blocked the event loop"}
    assert named == {("slow", "delivery_settled"), ("slow", "event_accepted")}


async def test_a_plugin_s_metrics_that_are_not_the_router_s_are_not_asked(site, tmp_path):
    lying = """
        from sodarouter import Metrics, Options, Plugin, hookimpl

        class Lying(Metrics):
            def now(self):
                raise SystemExit("of the metrics")

        class Counting(Plugin[Options]):
            def __init__(self, options):
                self.metrics = Lying()

            @hookimpl
            def event_accepted(self, event): ...
    """
    site.install("acme-lying", {"lying": "acme_lying:Counting"}, acme_lying=lying)
    async with running_router(tmp_path, "") as router:
        assert (await router.admin.get("/readyz")).status_code == 200
        assert (await router.admin.get("/metrics")).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("async def deliver(self, event): raise ValueError(event.id)", "the destination's plugin failed"),
        ("async def deliver(self, event): return event.id", "the destination's plugin breaks its contract"),
    ],
)
async def test_a_fault_that_is_worded_anew_or_repeated_does_not_fill_the_log(site, tmp_path, body, message):
    site.install("acme-small", {"small": "acme_small"}, acme_small=small(body))
    toml = BESIDE.replace('timeout = "30s"', 'breaker = "off"\nretry = { max_attempts = 2, initial = "10ms" }')
    with capture_logs() as logged:
        async with running_router(tmp_path, toml) as router:
            for number in range(20):
                await router.post(event(number))
            await router.until_settled()
    told = [line for line in logged if line["event"] == message]
    assert len(told) == (1 if "return" in body else MOST_TOLD)
    assert not any(line["event"] == "the destination takes deliveries again" for line in logged)


def test_what_a_plugin_does_to_the_whole_process_ends_neither_the_intake_nor_the_log(site, tmp_path):
    """It takes every file descriptor, closes what prints, turns warnings into errors and the collector off."""
    site.install(
        "acme-small",
        {"small": "acme_small"},
        acme_small=small("""
            taken = []

            async def deliver(self, event):
                if event.payload.model_extra["number"] == 1:
                    sys.stdout = sys.stderr = None
                    warnings.simplefilter("error")
                    gc.disable()
                    try:
                        while True:
                            self.taken.append(os.dup(0))
                    except OSError as error:
                        raise Reject("no descriptor is left") from error
                if event.payload.model_extra["number"] == 3:
                    for descriptor in self.taken:
                        os.close(descriptor)
        """),
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with router_process(tmp_path, DEBUG + BESIDE, env=environment, launcher=("prlimit", "--nofile=512:512")) as router:
        with closing(http.client.HTTPConnection(router.ready["listen"][0], timeout=30)) as kept:
            for number in range(3):
                kept.request("POST", "/webhooks/soda", event(number))
                answer = kept.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True)
                if number == 1:
                    router.until_logged("delivery given up; `sodarouter retry` tries it again")
            # a connection that is made now has to wait until there is a descriptor for it
            with closing(http.client.HTTPConnection(router.ready["listen"][0], timeout=30)) as late:
                late.connect()
                late.request("POST", "/webhooks/soda", event(4))
                kept.request("POST", "/webhooks/soda", event(3))
                assert kept.getresponse().status == 200
                assert late.getresponse().status == 200
        router.until_logged("delivered", 5 + 4)
        assert router.end(signal.SIGTERM) == 0, router.log
    assert (tmp_path / "good.jsonl").read_text().count("\n") == 5


@pytest.mark.parametrize("error", ["BaseException", "GeneratorExit", "type('PanicException', (BaseException,), {})"])
def test_one_that_panics_while_it_is_imported_or_made_is_named_in_one_line(site, tmp_path, error):
    """As extensions written in Rust do."""
    panics = f"raise {error}('index out of range')"
    made = f"""
        from sodarouter import Options, Plugin

        class Panicking(Plugin[Options]):
            def __init__(self, options):
                {panics}
    """
    site.install("acme-panics", {"one": "acme_one", "two": "acme_two:Panicking"}, acme_one=panics, acme_two=made)
    (tmp_path / "router.toml").write_text(SODA, encoding="utf-8")
    with pytest.raises(ConfigError) as failed:
        load(tmp_path / "router.toml")
    one, two = map(str, failed.value.faults)
    assert one.startswith("router.toml: plugin one (acme-panics 1.0): it cannot be imported: ")
    assert two.startswith("router.toml: plugin two (acme-panics 1.0): it cannot be made: ")
    assert "index out of range" in one
    assert "index out of range" in two


async def test_an_enricher_and_an_observer_cannot_change_what_is_decided_and_delivered(site, tmp_path):
    meddling = """
        from sodarouter import hookimpl

        def spoil(event):
            event.payload.model_extra["own"]["deep"].append("spoilt")
            event.payload.model_extra.clear()
            vars(event).update(view=None, raw=b"{}", type="spoilt")

        @hookimpl
        def event_accepted(event):
            spoil(event)

        @hookimpl
        def enrich(event):
            spoil(event)
    """
    site.install("acme-meddling", {"meddling": "acme_meddling"}, acme_meddling=meddling)
    toml = """
        [destination.good]
        type = "file"
        path = "good.jsonl"
        [[route]]
        match = { event = "incidentCreated" }
        to = ["good"]
    """
    async with running_router(tmp_path, toml) as router:
        await router.post(incident(1))
        await router.until_settled()
    (line,) = map(json.loads, (tmp_path / "good.jsonl").read_text().splitlines())
    assert line["payload"] == json.loads(incident(1))


@pytest.mark.parametrize("error", ["SystemExit(3)", "type('PanicException', (BaseException,), {})('x')"])
async def test_options_and_sources_that_exit_while_the_file_is_read_again_change_nothing(site, tmp_path, error):
    exits = f"""
        from pydantic import field_validator
        from sodarouter import Destination, Options, SourceType, hookimpl

        class ExitingOptions(Options):
            way: str

            @field_validator("way")
            @classmethod
            def exits(cls, way):
                if way == "validates":
                    raise {error}
                return way

        class Exiting(Destination[ExitingOptions]):
            type = "exiting"

            async def deliver(self): ...

        class Sent(SourceType[Options]):
            type = "exiting"

            def __init__(self, name, options):
                raise {error}

            def translate(self, request): ...

        @hookimpl
        def destination_types():
            return [Exiting]

        @hookimpl
        def source_types():
            return [Sent]
    """
    site.install("acme-exits", {"exits": "acme_exits"}, acme_exits=exits)
    toml = '[destination.good]\ntype = "exiting"\nway = "starts"\n[[route]]\nto = ["good"]\n'
    async with running_router(tmp_path, toml) as router:
        path = tmp_path / "router.toml"
        path.write_text(
            path.read_text().replace('"starts"', '"validates"')
            + '[source.other]\ntype = "exiting"\npath = "/webhooks/other"\n'
        )
        faults = [str(fault) for fault in await router.bound.reload()]
        assert sorted(fault.partition(": ")[2].partition(":")[0] for fault in faults) == [
            "destination.good",
            "source.other",
        ]
        assert (await router.post(event(1))).status_code == 200
        (delivery,) = await router.until_settled()
        assert delivery.state is State.DELIVERED
