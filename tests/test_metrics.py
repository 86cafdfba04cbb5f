"""What plugins and destinations count of their own: bounded, safe in threads, and shown with its kind."""

import threading
from pathlib import Path
from typing import Any

import pytest
from distributions import SitePackages
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from running import running_router
from sodarouter_prometheus import Prometheus, PrometheusOptions
from support import payload
from test_reload import rewrite

from sodarouter import Condition, HttpRequest, Metric, MetricKind, Metrics, Sample, Stats
from sodarouter.config import load
from sodarouter.metrics import MAX_VALUE, MOST_METRICS, MOST_SERIES
from sodarouter.redact import REDACTED, Redactor


def samples(metrics: Metrics) -> dict[tuple[str, ...], tuple[float, int]]:
    """The values of the only metric."""
    (metric,) = metrics.now()
    return {sample.labels: (sample.value, sample.count) for sample in metric.samples}


def test_a_counter_grows_a_gauge_is_what_was_said_last_and_a_summary_adds_up() -> None:
    metrics = Metrics()
    for amount in (1, 2.5):
        metrics.count("messages", amount, channel="x")
        metrics.gauge("queue_length", amount)
        metrics.observe("lookup_seconds", amount)
    metrics.count("messages", channel="y")
    assert metrics.now() == (
        Metric("lookup_seconds", MetricKind.SUMMARY, (), (Sample((), 3.5, 2),)),
        Metric("messages", MetricKind.COUNTER, ("channel",), (Sample(("x",), 3.5), Sample(("y",), 1))),
        Metric("queue_length", MetricKind.GAUGE, (), (Sample((), 2.5),)),
    )


def test_labels_are_the_same_in_whatever_order_they_are_given_and_may_have_any_name() -> None:
    metrics = Metrics()
    metrics.count("messages", name="a", amount="b")
    metrics.count("messages", amount="b", name="a")
    assert samples(metrics) == {("b", "a"): (2, 0)}


@given(st.lists(st.text(max_size=3), max_size=400))
def test_however_many_label_values_there_are_their_number_is_bounded_and_nothing_is_lost(values: list[str]) -> None:
    metrics = Metrics()
    for value in values:
        metrics.count("messages", channel=value)
    if values:
        found = samples(metrics)
        assert len(found) <= MOST_SERIES + 1
        assert sum(value for value, _ in found.values()) == len(values)


def test_what_is_beyond_the_bound_is_counted_together() -> None:
    metrics = Metrics()
    for number in range(MOST_SERIES + 10):
        metrics.count("messages", channel=str(number))
    metrics.count("messages", channel="3")
    found = samples(metrics)
    assert found["_other",] == (10, 0)
    assert found["3",] == (2, 0)


def test_a_label_value_is_stored_without_secrets_cut_and_fit_to_be_shown() -> None:
    metrics = Metrics(Redactor(["hunter2222"]))
    for value in ("with hunter2222", "x" * 1000, "\x1b[31m", "\udc80"):
        metrics.count("messages", channel=value)
    assert set(samples(metrics)) == {(f"with {REDACTED}",), ("x" * MAX_VALUE,), ("\ufffd[31m",), ("\\udc80",)}


@pytest.mark.parametrize(
    ("use", "fault"),
    [
        (lambda m: m.count("Messages"), "'Messages' is no name of a metric"),
        (lambda m: m.count("x" * 65), "is no name of a metric: lower-case letters, digits and _, 64"),
        (lambda m: m.count("messages_total"), "messages_total: leave the ending _total out"),
        (lambda m: m.count("messages", -1), "messages: a count is a number that is not negative, not -1"),
        (lambda m: m.count("messages", float("nan")), "not nan"),
        (lambda m: m.gauge("length", float("inf")), "length: a gauge is a number, not inf"),
        (lambda m: m.observe("length", float("nan")), "length: what is observed is a number, not nan"),
        (lambda m: m.gauge("known", 1), "known: it is a counter already, and cannot be a gauge too"),
        (lambda m: m.count("known", b="1"), "known: its labels are a, and it was given b"),
        (lambda m: m.count("known"), "known: its labels are a, and it was given none"),
        (lambda m: m.count("known", a=3), "known: the label a must be text, not 3"),
        (lambda m: m.count("messages", plugin="x"), "messages: 'plugin' cannot be a label's name"),
        (lambda m: m.count("messages", Channel="x"), "messages: 'Channel' cannot be a label's name"),
        (lambda m: m.count("messages", **dict.fromkeys("abcdefghi", "")), "messages: it has more than 8 labels"),
    ],
)
def test_a_fault_of_use_is_told_at_once_and_changes_nothing(use: Any, fault: str) -> None:
    metrics = Metrics()
    metrics.count("known", a="1")
    before = metrics.now()
    with pytest.raises(ValueError) as caught:
        use(metrics)
    assert fault in str(caught.value)
    assert metrics.now() == before


def test_there_are_only_so_many_names() -> None:
    metrics = Metrics()
    for number in range(MOST_METRICS):
        metrics.count(f"messages_{number}")
    with pytest.raises(ValueError, match="put what varies into a label"):
        metrics.count("one_more")
    metrics.count("messages_0")


def test_threads_lose_no_count() -> None:
    metrics = Metrics()

    def work() -> None:
        for number in range(2000):
            metrics.count("messages", channel=str(number % 7))
            metrics.observe("lookup_seconds", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, messages = metrics.now()
    assert sum(sample.value for sample in messages.samples) == 8000
    assert seconds.samples == (Sample((), 8000, 8000),)


# shown by the plugin prometheus


async def shown(stats: Stats, accept: str = "") -> str:
    async def now() -> Stats:
        return stats

    (route,) = Prometheus(PrometheusOptions()).http_routes()
    answer = await route.handler(HttpRequest("GET", "/metrics", {}, {"accept": accept}, b"", now))
    return bytes(answer.body).decode()


def own(families: Any) -> dict[tuple[str, str, frozenset[tuple[str, str]]], float]:
    """The kind, name and labels of each series, and its value."""
    return {
        (family.type, sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        if family.name.startswith("sodarouter_plugin_")
        for sample in family.samples
    }


BOTH = pytest.mark.parametrize(
    ("accept", "parse"), [("", parse_text), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)]
)


@BOTH
async def test_each_kind_is_shown_as_what_it_is_with_whose_it_is(accept: str, parse: Any) -> None:
    chat, tickets = Metrics(), Metrics()
    chat.count("messages", 2, channel='"\\\n')
    chat.observe("lookup_seconds", 0.5)
    tickets.count("messages", 3)
    tickets.gauge("queue_length", 4)
    stats = Stats(destinations={"chat": Condition(chat.now())}, plugins={"tickets": Condition(tickets.now())})
    found = own(parse(await shown(stats, accept)))
    assert found == {
        (
            "counter",
            "sodarouter_plugin_messages_total",
            frozenset({("destination", "chat"), ("channel", '"\\\n')}),
        ): 2,
        ("counter", "sodarouter_plugin_messages_total", frozenset({("plugin", "tickets")})): 3,
        ("gauge", "sodarouter_plugin_queue_length", frozenset({("plugin", "tickets")})): 4,
        ("summary", "sodarouter_plugin_lookup_seconds_sum", frozenset({("destination", "chat")})): 0.5,
        ("summary", "sodarouter_plugin_lookup_seconds_count", frozenset({("destination", "chat")})): 1,
    }


@BOTH
async def test_one_name_of_several_kinds_is_a_metric_of_its_own_for_each(accept: str, parse: Any) -> None:
    first, second, third = Metrics(), Metrics(), Metrics()
    first.gauge("messages", 1)
    second.count("messages", 2)
    third.observe("messages", 3)
    conditions = {name: Condition(one.now()) for name, one in (("a", first), ("b", second), ("c", third))}
    found = own(parse(await shown(Stats(plugins=conditions), accept)))
    assert {(kind, name): value for (kind, name, _), value in found.items()} == {
        ("counter", "sodarouter_plugin_messages_total"): 2,
        ("gauge", "sodarouter_plugin_messages_gauge"): 1,
        ("summary", "sodarouter_plugin_messages_summary_count"): 1,
        ("summary", "sodarouter_plugin_messages_summary_sum"): 3,
    }


CHAT = """
from sodarouter import Destination, HttpOptions, Options, Plugin, hookimpl

class ChatOptions(Options):
    channel: str = "x"

class Chat(Destination[ChatOptions]):
    type = "chat"

    async def open(self):
        self.metrics.count("opened")

    def deliver(self):
        self.metrics.count("messages", channel=self.options.channel)

class Offers(Plugin):
    def __init__(self, options):
        super().__init__(options)
        self.metrics.gauge("made", 1)

    @hookimpl
    def destination_types(self):
        return [Chat]

    @hookimpl
    def event_accepted(self):
        self.metrics.count("seen")
"""


async def test_a_reload_keeps_the_counts_of_destinations_that_stay_and_drops_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = SitePackages(tmp_path / "site", monkeypatch)
    site.install("acme-chat", {"chat": "acme_chat:Offers"}, acme_chat=CHAT)
    toml = '[destination.team]\ntype = "chat"\n{more}[[route]]\nto = ["team"]\n'
    async with running_router(tmp_path, toml.format(more='[destination.gone]\ntype = "chat"\n')) as router:

        async def counted() -> dict[str, float]:
            found = own(parse_text((await router.admin.get("/metrics")).text))
            return {
                f"{name.removeprefix('sodarouter_plugin_')} {sorted(dict(labels).values())}": value
                for (_, name, labels), value in found.items()
            }

        await router.post(payload("v3-incidentCreated"))
        await router.until_settled()
        before = {"messages_total ['team', 'x']": 1, "made ['chat']": 1, "seen_total ['chat']": 1}
        assert await counted() == before | {"opened_total ['team']": 1, "opened_total ['gone']": 1}
        rewrite(tmp_path, toml.format(more='channel = "y"\n'))
        assert await router.bound.reload() == ()
        await router.post(payload("v4-2025-08-incidentCreated"))
        await router.until_settled()
        after = {"messages_total ['team', 'y']": 1, "seen_total ['chat']": 2, "opened_total ['team']": 2}
        assert await counted() == before | after


def test_a_plugin_counts_without_any_secret_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SitePackages(tmp_path / "site", monkeypatch).install("acme-chat", {"chat": "acme_chat:Offers"}, acme_chat=CHAT)
    file = tmp_path / "router.toml"
    file.write_text("""
        source.soda = { path = "/soda", verify = [{ type = "header", name = "A", value = "of-the-source" }] }
        destination.team = { type = "exec", command = ["true"], env = { TOKEN = "of-the-destination" } }
        """)
    plugins = load(file).plugins
    metrics = next(metrics for name, metrics, _ in plugins.told_of_themselves() if name == "chat")
    assert metrics is not None
    for secret in ("of-the-source", "of-the-destination"):
        metrics.count("failures", why=f"it was sent {secret}")
    failures, _ = metrics.now()
    assert [(sample.labels, sample.value) for sample in failures.samples] == [((f"it was sent {REDACTED}",), 2)]


class Odd(float):
    """What is added to it becomes anything."""

    def __add__(self, other):
        return object()

    __radd__ = __add__


class OddText(str):
    def __hash__(self):
        raise SystemExit("of the label")


def test_nothing_of_a_class_of_the_plugin_s_own_is_kept():
    metrics = Metrics()
    metrics.count("a", Odd(1), label=OddText("x"))
    metrics.gauge("b", Odd(2))
    metrics.observe("c", Odd(3))
    values = [(sample.labels, sample.value) for metric in metrics.now() for sample in metric.samples]
    assert values == [(("x",), 1.0), ((), 2.0), ((), 3.0)]
    assert {type(value) for _, value in values} == {float}


@pytest.mark.parametrize("value", [None, "1", 1j, object(), 10**400])
def test_what_is_no_number_is_told(value):
    metrics = Metrics()
    for use in (metrics.count, metrics.gauge, metrics.observe):
        with pytest.raises(ValueError, match="number"):
            use("a", value)
    assert metrics.now() == ()
