"""What plugin authors test with: the samples, and the router in miniature."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import pytest
import trio

from sodarouter import (
    BatchItem,
    Delivery,
    Destination,
    Event,
    IncidentLink,
    ItemAnswer,
    Options,
    Plugin,
    Reject,
    Retry,
    Secret,
    SourceType,
    State,
    Store,
    VerificationType,
    WebhookRequest,
    hookimpl,
)
from sodarouter.errors import ConfigError, Malformed, PluginError
from sodarouter.simulate import VOCABULARIES
from sodarouter.testing import SAMPLES, FakeRouter, event_of, make, sample, sample_delivery, sample_events


class MoodOptions(Options):
    token: Secret = "secret-token"  # type: ignore[assignment]  # what the option is written as
    """A secret."""


class Moody(Destination[MoodOptions]):
    type = "moody"
    moods: ClassVar[list[BaseException | None]] = []
    closed = 0

    def __init__(self, name: str, options: MoodOptions) -> None:
        super().__init__(name, options)
        self.seen: list[Delivery] = []

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        await trio.lowlevel.checkpoint()
        self.seen.append(delivery)
        if Moody.moods and (mood := Moody.moods.pop(0)):
            raise mood

    async def close(self) -> None:
        Moody.closed += 1


@pytest.fixture(autouse=True)
def moods():
    Moody.moods, Moody.closed = [], 0
    return Moody.moods


# samples


def test_there_is_a_sample_of_every_type_in_every_vocabulary():
    events = sample_events()
    assert list(events) == list(SAMPLES)
    for vocabulary, types in VOCABULARIES.items():
        assert {events[f"{vocabulary}/{kind}"].type for kind in types} == set(types)


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_sample_is_an_event_that_can_be_looked_at_in_every_way(kind):
    event = sample(kind)
    assert json.loads(event.raw)["event"] == event.type == event.payload.event
    assert json.dumps(event.as_dict())
    assert event.raw == sample(kind).raw
    assert event.id != sample(kind).id


def test_a_sample_can_be_had_with_other_values():
    event = sample("incidentCreated", {"incident.severity": "critical", "incident.number": 7})
    assert (event.view.incident.severity, event.view.incident.number) == ("critical", 7)
    with pytest.raises(ValueError, match=r"there is no sample 'incidentCraeted'; did you mean "):
        sample("incidentCraeted")


def test_the_callback_url_is_not_in_what_people_see():
    event = sample("callback")
    url = event.view.incident.callback_url.get_secret_value().encode()
    assert event.raw.count(url) == 2
    assert url not in event.raw_redacted


def test_a_delivery_can_be_made_by_hand():
    event = sample()
    assert sample_delivery(event, "team", attempt=3).id == f"{event.id}/team"
    assert sample_delivery(event, attempt=3).attempt == 3


# the router in miniature


async def test_what_is_sent_is_delivered_to_every_destination():
    async with FakeRouter({"type": Moody}, {"type": Moody}, destinations={"third": {"type": Moody}}) as router:
        event = sample()
        tried = await router.send(event)
        assert [(one.delivery.destination, one.state) for one in tried] == [
            (name, State.DELIVERED) for name in ("moody", "moody-2", "third")
        ]
        assert router.delivered == [event] * 3
        assert router.destination("third").seen == [tried[2].delivery]
    assert Moody.closed == 3


async def test_what_is_put_off_waits_by_the_policy_and_retry_does_not(moods):
    moods += [Retry("busy", after=3000, response="said secret-token"), None, Reject("no")]
    async with FakeRouter({"type": Moody}) as router:
        (tried,) = await router.send(sample())
        assert (tried.state, tried.reason, tried.response) == (State.PENDING, "busy", "said **********")
        assert router.pending == [tried.event]
        (again,) = await router.retry()
        assert (again.state, again.delivery.attempt, again.delivery.id) == (State.DELIVERED, 2, tried.delivery.id)
        (never,) = await router.send(sample())
        assert (never.state, never.cause, router.dead) == (State.DEAD, "rejected", [never.event])
        assert await router.retry() == []


async def test_retries_come_by_themselves_on_the_clock_of_trio(moods, autojump_clock):
    moods += [Retry("busy", after=3000)]
    async with FakeRouter({"type": Moody}) as router:
        await router.send(sample())
        await trio.sleep(3600)
        assert [tried.state for tried in router.attempts] == [State.PENDING, State.DELIVERED]


async def test_a_hanging_destination_is_timed_out(autojump_clock):
    class Hangs(Destination[Options]):
        type = "hangs"

        async def deliver(self, event: Event) -> None:
            await trio.sleep_forever()

    async with FakeRouter({"type": Hangs, "timeout": "5s", "retry": {"max_attempts": 1}}) as router:
        (tried,) = await router.send(sample())
    assert tried.reason == "exhausted after 1 attempt: timed out after 5 s"
    assert router.swallowed == []


async def test_a_fault_is_raised_in_the_test_or_kept(moods):
    moods += [KeyError("x")]
    with pytest.raises(KeyError):
        async with FakeRouter({"type": Moody}) as router:
            await router.send(sample())
    moods += [KeyError("x")]
    async with FakeRouter({"type": Moody}, keep_faults=True) as router:
        (tried,) = await router.send(sample())
    assert (tried.state, tried.reason) == (State.PENDING, "KeyError: 'x'")
    assert [str(fault) for fault in router.faults] == ["'x'"]


async def test_a_function_that_blocks_runs_in_a_thread():
    class Blocks(Destination[Options]):
        type = "blocks"

        def deliver(self, delivery: Delivery) -> None:
            trio.from_thread.run_sync(lambda: None)

    async with FakeRouter({"type": Blocks}) as router:
        (tried,) = await router.send(sample())
    assert tried.state is State.DELIVERED


async def test_after_a_crash_the_same_delivery_comes_again():
    async with FakeRouter({"type": Moody}) as router:
        first = router.destination()
        (tried,) = await router.send(sample(), crash="after")
        second = router.destination()
        assert first is not second
        assert [delivery.id for delivery in first.seen] == [delivery.id for delivery in second.seen]
        assert (tried.state, tried.delivery.attempt) == (State.DELIVERED, 2)


async def test_an_attempt_that_a_crash_interrupts_is_made_again():
    class Sleeps(Destination[Options]):
        type = "sleeps"
        slept = 0

        async def deliver(self, event: Event) -> None:
            Sleeps.slept += 1
            if Sleeps.slept == 1:
                await trio.sleep_forever()

    async with FakeRouter({"type": Sleeps}) as router:
        (tried,) = await router.send(sample(), crash="during")
    assert (tried.state, tried.delivery.attempt, router.swallowed) == (State.DELIVERED, 2, [])


async def test_a_cancellation_that_does_not_come_out_is_noted():
    class Swallows(Destination[Options]):
        type = "swallows"
        error: ClassVar[Exception | None] = None

        async def deliver(self, event: Event) -> None:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                if self.error:
                    raise self.error from None

    for error in (None, Retry("cancelled")):
        Swallows.error = error
        async with FakeRouter({"type": Swallows, "timeout": "10ms"}) as router:
            await router.send(sample())
        assert router.swallowed == ["swallows"]


async def test_wrong_options_are_told_as_those_of_a_router_toml():
    with pytest.raises(ConfigError) as caught:
        async with FakeRouter({"type": Moody, "tokn": "x", "timeout": "5"}):
            pass
    told = "\n".join(map(str, caught.value.faults))
    assert "router.toml: destination.moody.tokn: unknown key; did you mean 'token'?" in told
    assert "router.toml: destination.moody.timeout: " in told


async def test_installed_plugins_are_found_by_their_words(tmp_path):
    async with FakeRouter({"type": "file", "path": "events.jsonl"}, folder=tmp_path) as router:
        event = sample("unicode")
        await router.send(event)
        assert router.preview(event).target == str(tmp_path / "events.jsonl")
    assert json.loads((tmp_path / "events.jsonl").read_text())["id"] == event.id
    with pytest.raises(ConfigError, match="no plugin offers 'flie'; did you mean 'file'"):
        async with FakeRouter({"type": "flie"}):
            pass


async def test_plugins_can_be_handed_over_and_observe():
    class Mine:
        settled: ClassVar[list[Any]] = []

        @hookimpl
        def destination_types(self):
            return [Moody]

        @hookimpl
        def delivery_settled(self, settled):
            self.settled.append(settled)

    mine = Mine()
    async with FakeRouter({"type": "moody"}, plugins={"mine": mine}) as router:
        await router.send(sample())
    assert [settled.state for settled in mine.settled] == [State.DELIVERED]
    with pytest.raises(PluginError, match="it implements no hook"):
        async with FakeRouter({"type": "moody"}, plugins={"mine": object()}):
            pass


async def test_a_test_that_fails_fails_with_its_own_error():
    with pytest.raises(ZeroDivisionError):
        async with FakeRouter({"type": Moody}):
            raise ZeroDivisionError


# what destinations keep, link, take together, and say of themselves


class Tickets(Destination[MoodOptions]):
    type = "tickets"
    default_concurrency = 1

    async def deliver(self, event: Event, store: Store) -> IncidentLink | None:
        incident = event.view.incident
        key = incident.id if incident and incident.id else "others"
        number = await store.get(key) or 0
        assert isinstance(number, int)
        store.set(key, number + 1)
        self.metrics.count("tickets", kind=event.type)
        if Moody.moods and (mood := Moody.moods.pop(0)):
            raise mood
        return IncidentLink(f"https://tracker.example/{number}", f"#{number}")

    def health(self) -> str | None:
        return "secret-token is old"


async def test_what_a_destination_keeps_survives_a_restart_and_is_lost_with_an_attempt_that_was(moods):
    event = sample("incidentCreated")
    async with FakeRouter({"type": Tickets}, {"type": Moody}) as router:
        await router.send(event)
        assert router.kept("tickets") == {event.view.incident.id: 1}
        assert router.kept("moody") == {}
        await router.restart()
        await router.send(event, crash="after")
        assert router.kept() == {event.view.incident.id: 2}
        moods += [Retry("busy")]
        await router.send(event)
        assert router.kept() == {event.view.incident.id: 3}


async def test_the_link_of_an_incident_is_told_as_it_would_be_put_onto_it():
    async with FakeRouter({"type": Tickets}, {"type": Moody}) as router:
        tickets, moody = await router.send(sample("incidentCreated"))
        assert tickets.link == IncidentLink("https://tracker.example/0", "#0")
        assert moody.link is None
        assert [delivery.destination for delivery in router.deliveries] == ["tickets", "moody"]
        assert await router.retry() == []
        (none, _) = await router.send(sample("agreementDeleted"))
        assert none.link is None


async def test_what_a_destination_measures_and_how_it_is_are_told_as_the_router_shows_them():
    async with FakeRouter({"type": Tickets}) as router:
        await router.send(sample("incidentCreated"))
        (counted,) = router.metrics()["tickets"].samples
        assert (counted.labels, counted.value) == (("incidentCreated",), 1.0)
        assert await router.health() == "********** is old"


async def test_what_is_sent_together_is_a_batch():
    class Lake(Destination[Options]):
        type = "lake"
        default_concurrency = 1
        sizes: ClassVar[list[int]] = []

        async def deliver_batch(self, batch: Sequence[BatchItem]) -> Sequence[ItemAnswer]:
            self.sizes.append(len(batch))
            return [Reject("bare") if item.event.view.incident is None else None for item in batch]

    events = [sample("incidentCreated"), sample("bare/incidentCreated"), sample("incidentUpdated")]
    async with FakeRouter({"type": Lake}, {"type": Moody}) as router:
        tried = await router.send_all(events)
        assert [(one.event, one.delivery.destination) for one in tried] == [
            (event, name) for event in events for name in ("lake", "moody")
        ]
        assert [one.state for one in tried[::2]] == [State.DELIVERED, State.DEAD, State.DELIVERED]
        assert Lake.sizes == [3]
        await router.send(events[0], crash="after")
        assert Lake.sizes == [3, 1, 1]


async def test_plugins_add_to_the_events():
    class Owners(Plugin[MoodOptions]):
        @hookimpl
        def enrich(self, event: Event) -> dict[str, object] | None:
            if event.type == "somethingNew":
                raise KeyError(self.options.token.get_secret_value())
            return {"owner": "ann", "type": event.type}

    plugin = make(Owners, {"token": "secret-token"})
    async with FakeRouter({"type": Moody}, plugins={"owners": plugin}) as router:
        (tried,) = await router.send(sample("incidentCreated"))
        assert tried.event.enriched == {"owners": {"owner": "ann", "type": "incidentCreated"}}
        assert router.delivered == [tried.event]
        assert (await router.enriched(sample("validate"))).enriched["owners"]["type"] == "validate"
        with pytest.raises(PluginError, match="plugin owners: enrich fails: KeyError"):
            await router.send(sample("unknown"))


async def test_a_process_of_its_own_is_for_what_is_installed(tmp_path):
    table = {"type": "file", "path": tmp_path / "x", "isolation": "process"}
    async with FakeRouter(table) as router:
        (tried,) = await router.send(sample("incidentCreated"))
        assert tried.state is State.DELIVERED
        with pytest.raises(PluginError, match="the instance is in another process"):
            router.destination()
    assert (tmp_path / "x").exists()
    with pytest.raises(ConfigError) as caught:
        async with FakeRouter({"type": Moody, "isolation": "process"}):
            pass
    assert str(caught.value) == (
        "router.toml: destination.moody.isolation: a process of its own finds only plugins that are installed; "
        'write type = "moody"'
    )


# what a test calls itself


class StampOptions(Options):
    secret: Secret


def test_what_is_made_has_the_options_of_a_router_toml(tmp_path):
    class Words(SourceType[StampOptions]):
        type = "words"
        example: ClassVar[Mapping[str, Any]] = {"secret": "from the example"}

    class Stamp(VerificationType):
        type: Literal["stamp"] = "stamp"
        secret: Secret

        def check(self, request: WebhookRequest, now: float) -> None: ...

    assert make(Words).options.secret.get_secret_value() == "from the example"
    (tmp_path / "x").write_text("from a file")
    made = make(Stamp, {"secret": {"file": "x"}}, folder=tmp_path)
    assert (made.type, made.secret.get_secret_value()) == ("stamp", "from a file")
    with pytest.raises(ConfigError, match=r"source\.made\.secrt: unknown key; did you mean 'secret'"):
        make(Words, {"secrt": "x"})


def test_an_event_can_be_made_of_any_body():
    event = event_of({"event": "validate", "x": "ä"}, source="other")
    assert (event.type, event.source, event.raw) == ("validate", "other", '{"event": "validate", "x": "ä"}'.encode())
    with pytest.raises(Malformed):
        event_of(b"[]")


# what shows what arrives


def test_what_is_posted_to_the_module_is_shown():
    command = [sys.executable, "-m", "sodarouter.testing", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # who runs the tests in the background of a shell has it ignored, and so would the command
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, preexec_fn=heeded) as process:
        try:
            (url,) = re.findall(r"http://\S+(?=,)", process.stdout.readline())
            urllib.request.urlopen(
                urllib.request.Request(f"{url}/hook", b'{"text": "late"}', {"X-Of": "orders"})
            ).close()
            lines = [process.stdout.readline().rstrip("\n")]
            while lines[-1] != '{"text": "late"}':
                lines.append(process.stdout.readline().rstrip("\n"))
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    assert lines[0] == "POST /hook"
    assert "x-of: orders" in lines


def test_what_is_no_port_is_told():
    command = [sys.executable, "-m", "sodarouter.testing", "here"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, env=environment, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "'here' is no port; it listens at 8099 if you name none\n")
