"""The plugin ``prometheus``, read by prometheus_client's own parsers."""

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from pydantic import ValidationError
from sodarouter_prometheus import Prometheus, PrometheusOptions
from support import SAMPLES, make_delivery, make_event

from sodarouter import (
    Breaker,
    Cause,
    Condition,
    Halt,
    HttpRequest,
    HttpResponse,
    Lag,
    Loaded,
    Queue,
    Settled,
    SpoolError,
    State,
    Stats,
    Workers,
)
from sodarouter.plugins import Found, Plugins

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
REAL_ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2 sends."""

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def prometheus(**options: Any) -> Prometheus:
    return Prometheus(PrometheusOptions.model_validate(options))


async def scrape(
    plugin: Prometheus, stats: Stats | SpoolError | None = None, accept: str | None = None
) -> HttpResponse:
    async def now() -> Stats:
        if isinstance(stats, SpoolError):
            raise stats
        return stats or Stats()

    (route,) = plugin.http_routes()
    headers = {} if accept is None else {"accept": accept}
    return await route.handler(HttpRequest("GET", route.path, {}, headers, b"", now))


def series(families: Iterable[Metric]) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


class Read:
    """One scrape: ``read("name", label="value")`` is the value of a series."""

    def __init__(self, response: HttpResponse) -> None:
        self.text = bytes(response.body).decode()
        self.series = series(parse_text(self.text))

    def __call__(self, name: str, **labels: str) -> float:
        return self.series[f"sodarouter_{name}", frozenset(labels.items())]

    def all(self, name: str) -> list[tuple[dict[str, str], float]]:
        found = [(dict(labels), value) for (n, labels), value in self.series.items() if n == f"sodarouter_{name}"]
        return sorted(found, key=lambda each: sorted(each[0].items()))


async def read(plugin: Prometheus, stats: Stats | SpoolError | None = None) -> Read:
    return Read(await scrape(plugin, stats))


def evaluation(*results: dict[str, Any], event: str = "checkEvaluation") -> Any:
    return make_event({"event": event, "checkResults": list(results)})


def settled(
    state: State, *, seconds: float = 0.2, age: float = 3.0, destination: str = "there", cause: Cause | None = None
) -> Settled:
    event = make_event(received=datetime.now(UTC) - timedelta(seconds=age))
    delivery = make_delivery(event, destination)
    return Settled(delivery, event.type, event.source, event.received, state, seconds, cause=cause)


def busy() -> tuple[Prometheus, Stats]:
    """A plugin that has been told of everything, and stats with something in each field."""
    plugin = prometheus(result_labels=["dataset", "outcome", "check", "tag"])
    for name in SAMPLES:
        plugin.event_accepted(make_event(name), False)
    plugin.event_accepted(evaluation({"outcome": "fail", "name": 'quote " backslash \\ line\nend é'}), True)
    plugin.event_accepted(evaluation({"outcome": "fail", "name": 'quote " backslash \\ line\nend é'}), False)
    plugin.event_refused("soda", 401, "forbidden")
    plugin.event_refused(None, 404, "not_found")
    for state in (State.DELIVERED, State.PENDING):
        plugin.delivery_settled(settled(state))
    for cause in Cause:
        plugin.delivery_settled(settled(State.DEAD, cause=cause))
    long_ago = datetime.now(UTC) - timedelta(seconds=60)
    queues = {
        "there": Queue(3, 1, 2, long_ago, Halt.DRAINING, Breaker.OPEN),
        "well": Queue(breaker=Breaker.CLOSED),
        "gone": Queue(pending=1),
        "$route": Queue(),
    }
    return plugin, Stats(
        queues,
        quarantined=4,
        spool_bytes=4096,
        backlog=7,
        writer_lag=0.5,
        loaded=Loaded("0123456789ab", datetime(2026, 5, 4, tzinfo=UTC), failed=datetime.now(UTC), faults=("a fault",)),
        lag=Lag(0.25, {"destination there": 3, "plugin other": 1}),
        workers=Workers(2, 1, 5),
        max_bytes=8192,
        max_backlog=100,
        destinations={"there": Condition(health="it is not well")},
        plugins={"other": Condition(health="")},
    )


@pytest.mark.parametrize(("accept", "content_type"), [(None, TEXT), ("*/*", TEXT), (REAL_ACCEPT, OPENMETRICS)])
async def test_the_accept_header_chooses_the_format(accept: str | None, content_type: str) -> None:
    response = await scrape(prometheus(), accept=accept)
    asked = response.content_type.split("; escaping=")[0]
    assert asked == content_type
    assert bytes(response.body).endswith(b"# EOF\n") == (content_type == OPENMETRICS)


async def test_a_nonsensical_accept_header_gets_plain_text() -> None:
    assert (await scrape(prometheus(), accept="application/openmetrics-text; version=x")).content_type == TEXT


async def test_both_formats_parse_and_say_the_same() -> None:
    plugin, stats = busy()
    parsers: dict[str, Callable[[str], Iterable[Metric]]] = {"": parse_text, REAL_ACCEPT: parse_openmetrics}
    text, openmetrics = [
        {
            key: value
            for key, value in series(parse(bytes((await scrape(plugin, stats, accept)).body).decode())).items()
            if key[0].startswith("sodarouter_") and "age" not in key[0]
        }
        for accept, parse in parsers.items()
    ]
    assert text == openmetrics
    assert len(text) > 50


needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH")


async def promtool(*words: str, stdin: bytes = b"") -> tuple[int, str]:
    """Its exit status and all that it says."""
    checked = await trio.run_process(
        ["promtool", *words], stdin=stdin, capture_stdout=True, capture_stderr=True, check=False
    )
    return checked.returncode, (checked.stdout + checked.stderr).decode()


@needs_promtool
async def test_promtool_has_nothing_to_say() -> None:
    text = bytes((await scrape(*busy())).body)
    assert await promtool("check", "metrics", stdin=text) == (0, "")


async def test_events_are_counted_by_source_type_and_whether_they_came_before() -> None:
    plugin = prometheus()
    event = evaluation({"outcome": "fail"}, {"outcome": "pass"}, {"outcome": "fail"})
    plugin.event_accepted(event, False)
    plugin.event_accepted(event, True)
    found = await read(plugin)
    assert found("events_received_total", source="soda", type="checkEvaluation", duplicate="false") == 1
    assert found("events_received_total", source="soda", type="checkEvaluation", duplicate="true") == 1


async def test_a_duplicate_counts_neither_results_nor_incidents_again() -> None:
    plugin = prometheus()
    for duplicate in (False, True, True):
        plugin.event_accepted(evaluation({"outcome": "fail"}, {"outcome": "pass"}, {"outcome": "fail"}), duplicate)
        plugin.event_accepted(make_event("v3-incidentCreated"), duplicate)
    found = await read(plugin)
    assert found("results_total", type="checkEvaluation", outcome="fail", severity="") == 2
    assert found("results_total", type="checkEvaluation", outcome="pass", severity="") == 1
    assert found("incidents_total", type="incidentCreated", severity="high", status="reported") == 1


async def test_results_have_the_labels_that_were_asked_for_in_one_vocabulary() -> None:
    plugin = prometheus(
        result_labels=["dataset", "datasource", "owner", "tag", "column", "check", "outcome", "status", "source"]
    )
    datasets = [
        {
            "name": name,
            "datasource": {"name": "warehouse"},
            "owners": [{"email": "a@example.org"}],
            "tags": ["pii", "gold"],
        }
        for name in ("orders", "customers")
    ]
    result = {"name": "no nulls", "column": "id", "evaluationStatus": "notEvaluated", "datasets": datasets}
    incident = {"status": "fixing", "checkResults": [result, {}]}
    plugin.event_accepted(make_event({"event": "incidentUpdated", "incident": incident}), False)
    bare, full = (await read(plugin)).all("results_total")
    assert full == (
        {
            "dataset": "orders,customers",
            "datasource": "warehouse",
            "owner": "a@example.org",
            "tag": "pii,gold",
            "column": "id",
            "check": "no nulls",
            "outcome": "not_evaluated",
            "status": "in_progress",
            "source": "soda",
        },
        1.0,
    )
    assert bare[0]["status"] == "in_progress"
    assert {value for label, value in bare[0].items() if label not in ("status", "source")} == {""}


async def test_beyond_the_cap_datasets_are_counted_together_and_outcomes_stay_apart() -> None:
    plugin = prometheus(result_labels=["dataset", "outcome"], max_series=3)
    for number in range(10):
        datasets = [{"name": f"d{number}"}]
        plugin.event_accepted(evaluation({"outcome": "pass", "datasets": datasets}), False)
    for outcome in ("fail", "fail", "made_up_1", "made_up_2"):
        plugin.event_accepted(evaluation({"outcome": outcome, "datasets": [{"name": "new"}]}), False)
    plugin.event_accepted(evaluation({"outcome": "pass", "datasets": [{"name": "d1"}]}), False)
    found = await read(plugin)
    assert found.all("results_total") == [
        ({"dataset": "_other", "outcome": "_other"}, 2.0),
        ({"dataset": "_other", "outcome": "fail"}, 2.0),
        ({"dataset": "_other", "outcome": "pass"}, 7.0),
        ({"dataset": "d0", "outcome": "pass"}, 1.0),
        ({"dataset": "d1", "outcome": "pass"}, 2.0),
        ({"dataset": "d2", "outcome": "pass"}, 1.0),
    ]


async def test_event_types_and_incident_words_that_nobody_has_documented_are_capped_too() -> None:
    plugin = prometheus(max_series=2)
    for number in range(5):
        plugin.event_accepted(make_event({"event": f"new{number}"}), False)
        incident = {"severity": f"s{number}", "status": "resolved"}
        plugin.event_accepted(make_event({"event": "incidentUpdated", "incident": incident}), False)
    found = await read(plugin)
    types = {labels["type"]: value for labels, value in found.all("events_received_total")}
    assert types == {"new0": 1, "incidentUpdated": 5, "_other": 4}
    severities = {labels["severity"]: value for labels, value in found.all("incidents_total")}
    assert severities == {"s0": 1, "s1": 1, "_other": 3}


async def test_a_label_value_has_a_limited_length() -> None:
    plugin = prometheus(result_labels=["check"])
    for _ in range(2):
        plugin.event_accepted(evaluation({"name": "x" * 10_000}), False)
    assert (await read(plugin)).all("results_total") == [({"check": "x" * 200}, 2.0)]


async def test_refusals_are_counted_by_status_and_reason() -> None:
    plugin = prometheus()
    plugin.event_refused("soda", 401, "forbidden")
    plugin.event_refused("soda", 401, "forbidden")
    plugin.event_refused(None, 404, "not_found")
    found = await read(plugin)
    assert found("events_refused_total", source="soda", status="401", reason="forbidden") == 2
    assert found("events_refused_total", source="", status="404", reason="not_found") == 1


async def test_attempts_are_counted_by_outcome_and_timed() -> None:
    plugin = prometheus()
    plugin.delivery_settled(settled(State.PENDING, seconds=0.3))
    plugin.delivery_settled(settled(State.PENDING, seconds=0.3))
    plugin.delivery_settled(settled(State.DELIVERED, seconds=0.02))
    found = await read(plugin)
    outcomes = {labels["outcome"]: value for labels, value in found.all("deliveries_total")}
    assert outcomes == {"retried": 2, "delivered": 1, "dead": 0}, "a series is there before the first dead letter"
    assert found("attempt_seconds_count", destination="there") == 3
    assert found("attempt_seconds_sum", destination="there") == pytest.approx(0.62)


async def test_end_to_end_latency_is_that_of_what_arrived() -> None:
    plugin = prometheus(end_to_end_buckets=["1s", "1m"])
    plugin.delivery_settled(settled(State.PENDING, age=30))
    plugin.delivery_settled(settled(State.DEAD, age=30))
    plugin.delivery_settled(settled(State.DELIVERED, age=30))
    plugin.delivery_settled(settled(State.DELIVERED, age=-30))
    found = await read(plugin)
    buckets = {labels["le"]: value for labels, value in found.all("end_to_end_seconds_bucket")}
    assert buckets == {"1.0": 1, "60.0": 2, "+Inf": 2}
    assert 30 <= found("end_to_end_seconds_sum", destination="there") < 60


async def test_gauges_show_what_the_spool_holds_at_the_moment() -> None:
    plugin, stats = busy()
    found = await read(plugin, stats)
    assert found("queue_depth", destination="there", state="pending") == 3
    assert found("queue_depth", destination="there", state="leased") == 1
    assert found("dead_letters", destination="there") == 2
    assert 60 <= found("oldest_undelivered_age_seconds", destination="there") < 120
    assert found("oldest_undelivered_age_seconds", destination="$route") == 0
    assert found("quarantined") == 4
    assert found("spool_bytes") == 4096

    assert found("backlog") == 7
    assert found("spool_up") == 1
    assert found("spool_writer_lag_seconds") == 0.5
    assert found("spool_max_bytes") == 8192
    assert found("max_backlog") == 100


async def test_breakers_and_halts_are_1_for_the_state_that_they_are_in() -> None:
    found = await read(*busy())
    assert [labels for labels, value in found.all("breaker_state") if value] == [
        {"destination": "there", "state": "open"},
        {"destination": "well", "state": "closed"},
    ]
    assert len(found.all("breaker_state")) == 2 * len(Breaker), "one that is not configured has none"
    assert [labels for labels, value in found.all("destination_halted") if value] == [
        {"destination": "there", "halt": "draining"}
    ]
    assert len(found.all("destination_halted")) == 4 * len(Halt)


async def test_the_configuration_that_runs_is_shown_and_whether_another_failed() -> None:
    plugin, stats = busy()
    found = await read(plugin, stats)
    assert found("config_info", config="0123456789ab") == 1
    assert found("config_last_reload_successful") == 0
    assert found("config_last_reload_success_timestamp_seconds") == datetime(2026, 5, 4, tzinfo=UTC).timestamp()
    found = await read(plugin, Stats(loaded=Loaded("ab", datetime.now(UTC))))
    assert found("config_last_reload_successful") == 1


async def test_destinations_and_plugins_that_say_how_they_are_have_a_gauge() -> None:
    conditions = {"ill": Condition(health="no token"), "well": Condition(health=""), "mute": Condition()}
    found = await read(prometheus(), Stats(destinations=conditions, plugins=conditions))
    assert found.all("healthy") == [
        ({"destination": "ill"}, 0),
        ({"destination": "well"}, 1),
        ({"plugin": "ill"}, 0),
        ({"plugin": "well"}, 1),
    ]


async def test_whoever_blocks_the_event_loop_is_named_and_every_destination_starts_at_0() -> None:
    found = await read(*busy())
    assert found("event_loop_lag_seconds") == 0.25
    assert {labels["by"]: value for labels, value in found.all("event_loop_blocked_total")} == {
        "destination there": 3,
        "destination well": 0,
        "plugin other": 1,
        "router": 0,
    }


async def test_intake_processes_are_counted_if_there_are_to_be_some() -> None:
    found = await read(*busy())
    assert (found("workers_wanted"), found("workers"), found("worker_restarts_total")) == (2, 1, 5)
    assert (await read(prometheus(), Stats())).all("workers") == []


async def test_dead_letters_are_counted_by_cause() -> None:
    plugin = prometheus()
    for cause in (Cause.REJECTED, Cause.EXPIRED, Cause.REJECTED):
        plugin.delivery_settled(settled(State.DEAD, cause=cause))
    causes = {labels["cause"]: value for labels, value in (await read(plugin)).all("deliveries_given_up_total")}
    assert causes == {"rejected": 2, "expired": 1, "exhausted": 0, "unconfirmed": 0}


async def test_an_attempt_that_was_interrupted_has_no_time() -> None:
    plugin = prometheus()
    plugin.delivery_settled(settled(State.DEAD, seconds=0.0, cause=Cause.UNCONFIRMED))
    found = await read(plugin)
    assert found("deliveries_total", destination="there", outcome="dead") == 1
    assert found("attempt_seconds_count", destination="there") == 0


async def test_a_destination_has_its_series_before_anything_was_delivered() -> None:
    """Otherwise its first dead letter would be a series out of nowhere, which is no rise."""
    found = await read(prometheus(), Stats({"new": Queue(breaker=Breaker.CLOSED), "gone": Queue(dead=1)}))
    assert found("deliveries_given_up_total", destination="new", cause="rejected") == 0
    assert found("deliveries_total", destination="new", outcome="dead") == 0
    assert {labels["destination"] for labels, _ in found.all("deliveries_total")} == {"new"}


async def test_a_spool_that_cannot_be_asked_leaves_what_was_counted() -> None:
    plugin, stats = busy()
    await read(plugin, stats)
    found = await read(plugin, SpoolError("the spool fails: disk I/O error"))
    assert found("spool_up") == 0
    assert found("events_refused_total", source="soda", status="401", reason="forbidden") == 1
    assert not found.all("spool_bytes"), "0 would be a lie"
    assert not found.all("queue_depth")


async def test_a_spool_that_takes_nothing_in_is_not_up_and_shows_what_it_holds() -> None:
    found = await read(prometheus(), Stats(trouble="the disk is full", spool_bytes=4096))
    assert found("spool_up") == 0
    assert found("spool_bytes") == 4096


async def test_a_limit_that_is_not_known_is_not_shown_as_0() -> None:
    found = await read(prometheus(), Stats())
    assert not found.all("spool_max_bytes")
    assert not found.all("max_backlog")


async def test_a_destination_that_is_gone_leaves_no_gauge() -> None:
    plugin, stats = busy()
    await read(plugin, stats)
    found = await read(plugin, Stats({"other": Queue(pending=1)}))
    assert {labels["destination"] for labels, _ in found.all("queue_depth")} == {"other"}
    assert found("quarantined") == 0


async def test_scrapes_at_the_same_time_each_show_their_own_moment() -> None:
    plugin = prometheus()
    answers: dict[int, float] = {}

    async def one(depth: int) -> None:
        found = await read(plugin, Stats({"there": Queue(pending=depth)}))
        answers[depth] = found("queue_depth", destination="there", state="pending")

    async with trio.open_nursery() as nursery:
        for depth in range(10):
            nursery.start_soon(one, depth)
    assert answers == {depth: depth for depth in range(10)}


async def test_two_instances_count_apart() -> None:
    one, other = prometheus(), prometheus()
    one.event_refused("soda", 401, "forbidden")
    assert len((await read(one)).all("events_refused_total")) == 1
    assert not (await read(other)).all("events_refused_total")


async def test_the_version_and_the_process_are_shown() -> None:
    found = await read(prometheus())
    assert found("build_info", version=version("sodarouter")) == 1
    assert "process_resident_memory_bytes" in found.text
    assert "python_gc_collections_total" in found.text


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"path": "metrics"}, "pattern"),
        ({"result_labels": ["colour"]}, "'source', 'type'"),
        ({"result_labels": []}, "at least 1 item"),
        ({"result_labels": ["outcome", "outcome"]}, "named twice"),
        ({"max_series": 0}, "greater than or equal to 1"),
        ({"attempt_buckets": ["5s", "1s"]}, "from small to large"),
        ({"attempt_buckets": ["0s"]}, "greater than 0"),
        ({"end_to_end_buckets": []}, "at least 1 item"),
    ],
)
def test_options_that_make_no_sense_are_faults(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        PrometheusOptions.model_validate(options)


def test_the_router_finds_its_page_and_its_observers_and_no_fault() -> None:
    options = PrometheusOptions(path="/numbers")
    plugins = Plugins([Found("prometheus", "sodarouter", "0", target=Prometheus)], {"prometheus": options})
    assert not plugins.faults()
    assert [route.path for _, route in plugins.routes] == ["/numbers"]
    assert all(plugins.observers(hook) for hook in ("event_accepted", "event_refused", "delivery_settled"))


PAGE = Path(__file__).parent.parent / "docs/destinations/prometheus.md"


def alert_rules() -> str:
    """The file of rules that the page shows."""
    (found,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"))
    return str(found)


Given = Sequence[tuple[str, str]]
"""Series of ``promtool test rules``, one value a minute, without the prefix of the router's own."""

ALERTS: dict[str, tuple[Given, str]] = {
    "SodarouterDown": ([("up{job='sodarouter'}", "0x60")], "5m"),
    "SodarouterNotReady": ([("spool_up", "1x9 0x60")], "12m"),
    "SodarouterSpoolNearlyFull": ([("spool_bytes", "70+1x60"), ("spool_max_bytes", "100x60")], "30m"),
    "SodarouterDiskSlow": ([("spool_writer_lag_seconds", "0x9 3x60")], "12m"),
    "SodarouterDeliveriesLate": (
        [
            ("oldest_undelivered_age_seconds{destination='a'}", "0+60x60"),
            ("destination_halted{destination='a',halt='paused'}", "0x60"),
            ("destination_halted{destination='a',halt='draining'}", "0x60"),
        ],
        "20m",
    ),
    "SodarouterBreakerOpen": (
        [
            ("breaker_state{destination='a',state='closed'}", "1x9 0x60"),
            ("breaker_state{destination='a',state='open'}", "0x9 1 0 1 0 1x60"),
            ("breaker_state{destination='a',state='half-open'}", "0x9 0 1 0 1 0x60"),
        ],
        "20m",
    ),
    "SodarouterHaltForgotten": ([("destination_halted{destination='a',halt='paused'}", "1x2000")], "30h"),
    "SodarouterDeadLetters": ([("deliveries_given_up_total{destination='a',cause='rejected'}", "0x9 1x60")], "12m"),
    # one was under way when the router was killed, as the time before
    "SodarouterDeadLetters after a crash": (
        [
            ("deliveries_given_up_total{destination='a',cause='unconfirmed'}", "1x9 1x60"),
            ("dead_letters{destination='a'}", "1x9 2x60"),
        ],
        "12m",
    ),
    "SodarouterQuarantine": ([("quarantined", "4x9 5x60")], "12m"),
    "SodarouterReloadFailed": ([("config_last_reload_successful", "1x9 0x60")], "20m"),
    "SodarouterBlocked": ([("event_loop_blocked_total{by='destination a'}", "0x9 0+2x60")], "20m"),
}
"""What each alert of the page is for, and when it must have been told of."""
RULES = {case.split()[0] for case in ALERTS}

ALL_IS_WELL: Given = [
    ("up{job='sodarouter'}", "1x2000"),
    ("spool_up", "1x2000"),
    ("spool_bytes", "10x2000"),
    ("spool_max_bytes", "100x2000"),
    ("backlog", "5x2000"),
    ("max_backlog", "100x2000"),
    ("spool_writer_lag_seconds", "0.01x2000"),
    ("oldest_undelivered_age_seconds{destination='a'}", "10x2000"),
    # one that is paused for less than a day is meant to be late
    ("oldest_undelivered_age_seconds{destination='paused'}", "0+60x1000 0x1000"),
    ("destination_halted{destination='paused',halt='paused'}", "1x1000 0x1000"),
    ("breaker_state{destination='a',state='closed'}", "1x2000"),
    ("breaker_state{destination='a',state='open'}", "0x2000"),
    ("deliveries_given_up_total{destination='a',cause='rejected'}", "3x2000"),
    ("dead_letters{destination='a'}", "3x2000"),
    ("quarantined", "4x2000"),
    ("config_last_reload_successful", "1x2000"),
    ("event_loop_blocked_total{by='router'}", "1x2000"),
]


def rule_test(name: str, given: Given, expected: Iterable[tuple[str, str, int | None]]) -> str:
    """One test of ``promtool test rules``: the expected are times, queries and their one value, or ``None``."""
    series = "".join(
        f'      - series: "{metric if metric.startswith("up{") else f"sodarouter_{metric}"}"\n        values: "{values}"\n'
        for metric, values in given
    )
    queries = "".join(
        f'      - eval_time: {at}\n        expr: "{query}"\n'
        f"        exp_samples: {'[]' if value is None else f'[{{ value: {value} }}]'}\n"
        for at, query, value in expected
    )
    return f"  - name: {name}\n    interval: 1m\n    input_series:\n{series}    promql_expr_test:\n{queries}"


@needs_promtool
async def test_each_alert_of_the_page_fires_for_what_it_is_for_and_none_when_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(alert_rules(), encoding="utf-8")
    status, said = await promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert (status, f"SUCCESS: {len(RULES)} rules found" in said) == (0, True), said
    firing = "count(ALERTS{alertstate='firing'})"
    tests = [
        rule_test(alert, given, [(at, firing.replace("{", f"{{alertname='{alert.split()[0]}',"), 1)])
        for alert, (given, at) in ALERTS.items()
    ]
    tests.append(rule_test("all is well", ALL_IS_WELL, [(at, firing, None) for at in ("12m", "15h", "30h")]))
    (tmp_path / "test.yml").write_text(
        "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n" + "".join(tests), encoding="utf-8"
    )
    status, said = await promtool("test", "rules", str(tmp_path / "test.yml"))
    assert status == 0, said


async def test_the_alerts_and_the_table_of_the_page_name_the_metrics_that_there_are() -> None:
    plugin, stats = busy()
    samples = {name for name, _ in (await read(plugin, stats)).series if name.startswith("sodarouter_")}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples if not name.endswith("_created")}
    assert set(re.findall(r"sodarouter_[a-z_]+", alert_rules())) <= shown
    assert set(re.findall(r"(?m)^\| `(sodarouter_[a-z_]+)` \|", PAGE.read_text(encoding="utf-8"))) == shown
    assert set(re.findall(r"alert: (\w+)", alert_rules())) == RULES
