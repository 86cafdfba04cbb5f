"""The checks check: each finds the destination that breaks it, and says what is wrong in a sentence."""

import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import trio

from sodarouter import (
    BatchItem,
    Delivery,
    Destination,
    Event,
    HttpOptions,
    HttpUrl,
    IncidentLink,
    ItemAnswer,
    Options,
    Preview,
    Reject,
    Retry,
    Secret,
    Store,
)
from sodarouter.options import ConfigPath
from sodarouter.testing import Check, Mark, chaos, check_destination, conduct, form
from sodarouter.testing.chaos import CHAOS
from sodarouter.testing.conduct import AFTERWARDS, CONDUCT
from sodarouter.testing.conformance import Look, conform
from sodarouter.testing.form import FORM


async def findings(kind: type[Destination[Any]], *looks: Look, options: Any = None) -> dict[str, str]:
    """What these checks have found beside those of the form: ``fault: …`` or ``warning: …``, by what should hold."""
    report = await conform(
        kind, options, ([look for look in looks if look not in CHAOS], [*filter(CHAOS.count, looks)])
    )
    return {check.name: f"{check.mark}: {check.text}" for check in report.checks if check.mark in _FOUND}


async def found(kind: type[Destination[Any]], look: Look) -> str:
    """What this check has found."""
    return (await findings(kind, look))[name_of(look)]


def name_of(look: Callable[..., object]) -> str:
    return (look.__doc__ or "").partition("\n")[0]


_FOUND = (Mark.FAULT, Mark.WARNING)


class PostOptions(HttpOptions):
    url: HttpUrl
    """Where to."""
    token: Secret | None = None
    """Sent along."""


class Post(Destination[PostOptions]):
    """As it should be."""

    type = "post"
    example: ClassVar[Mapping[str, Any]] = {"url": "{sink}"}

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        headers = {"X-Token": self.options.token.get_secret_value()} if self.options.token else {}
        answer = await self.http.request(
            "POST", self.options.url.get_secret_value(), headers=headers, content=event.raw
        )
        answer.raise_unless_taken()

    def preview(self, event: Event, delivery: Delivery) -> Preview | None:
        return Preview(f"POST {self.options.url}", event.raw)


async def test_one_that_is_as_it_should_be_passes_every_check():
    told: list[Check] = []
    report = await check_destination(Post, told=told.append)
    assert told == report.checks
    assert {check.mark for check in report.checks} == {Mark.OK}, report
    assert [check.name for check in report.checks] == [*map(name_of, (*FORM, *CONDUCT, *CHAOS, *AFTERWARDS))]


async def test_the_options_may_come_from_a_function():
    report = await check_destination(Post, lambda url: {"url": url, "token": "given"}, chaos=False)
    report.raise_faults()
    assert {check.mark for check in report.checks} == {Mark.OK}


async def test_what_cannot_be_checked_is_told():
    class Needs(Post):
        type = "needs"
        example: ClassVar[Mapping[str, Any]] = {}

    (skipped,) = (await check_destination(Needs)).marked(Mark.SKIPPED)
    assert skipped == Check("It behaves", Mark.SKIPPED, "it needs options, and has no example of its own")


async def test_options_that_are_wrong_are_a_fault():
    (text,) = (await findings(Post, options={"url": "ftp://x", "tokn": 1})).values()
    assert "destination.checked.tokn: unknown key; did you mean 'token'?" in text
    assert "destination.checked.url: " in text


def test_a_report_says_what_is_wrong():
    async def check() -> None:
        (await check_destination(Post, {"url": 1})).raise_faults()

    with pytest.raises(AssertionError, match=r"destination type post:\nfault: It opens with these options: "):
        trio.run(check)


# form


async def test_a_word_that_nobody_would_write_is_found():
    class Odd(Post):
        type = "My Post"

    assert "fault: 'My Post' is none" in str(await findings(Odd))


async def test_options_that_are_lax_undescribed_or_taken_are_found():
    class Inner(Options):
        depth: int = 0

    class LaxOptions(Options, extra="allow"):  # type: ignore[call-arg]  # pydantic's own way
        timeout: int = 3
        inner: Inner = Inner()
        api_token: str = ""

    class Lax(Destination[LaxOptions]):
        type = "lax"

        async def deliver(self) -> None: ...

    told = await findings(Lax)
    assert told[name_of(form.strict)] == (
        "fault: LaxOptions has another extra in its model_config than Options; leave it as it is"
    )
    assert told[name_of(form.described)] == "fault: put a docstring under timeout, inner, api_token, Inner.depth"
    assert "rename timeout" in told[name_of(form.own_keys)]
    assert told[name_of(form.secret)] == "fault: make api_token a Secret; text is shown, logged and stored"


async def test_one_that_cannot_be_called_is_looked_at_no_further():
    class Wrong(Destination[Options]):
        type = "wrong"

        async def deliver(self, evnt: Event) -> None: ...

    report = await check_destination(Wrong)
    assert "asks for the argument 'evnt'" in report.faults[0].text
    assert report.checks[-1].text == "its form has to be right first"


# conduct


class Deliverer(Destination[Options]):
    """What the faulty ones are made of."""

    type = "faulty"

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        await trio.lowlevel.checkpoint()


class TokenOptions(Options):
    token: Secret | None = None
    """Which is given one."""


class Keeper(Destination[TokenOptions]):
    type = "keeper"

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        await trio.lowlevel.checkpoint()

    @property
    def token(self) -> str:
        return self.options.token.get_secret_value() if self.options.token else ""


async def test_one_that_fails_at_what_is_not_there_is_found():
    class Faulty(Deliverer):
        async def deliver(self, event: Event, delivery: Delivery) -> None:
            assert event.view.incident or event.type != "incidentCreated"
            if event.type == "somethingNew":
                raise Reject("what is that?")

    text = await found(Faulty, conduct.takes_samples)
    assert text.startswith("fault: at the sample bare/incidentCreated: AssertionError")


async def test_one_that_rejects_what_nobody_has_documented_is_found():
    class Faulty(Deliverer):
        async def deliver(self, event: Event, delivery: Delivery) -> None:
            if event.type == "somethingNew":
                raise Reject("what is that?")

    text = await found(Faulty, conduct.takes_samples)
    assert text.startswith("warning: it rejects 1 of them: unknown (rejected: what is that?)")


async def test_instances_that_share_something_are_found():
    class Faulty(Deliverer):
        live = False

        async def open(self) -> None:
            type(self).live = True

        async def close(self) -> None:
            type(self).live = False

        async def deliver(self, event: Event, delivery: Delivery) -> None:
            if not self.live:
                raise Retry("closed")

    assert await found(Faulty, conduct.alone) == (
        "fault: beside another one, or after that was closed, it does not deliver: closed"
    )


async def test_one_that_does_not_bear_a_repeat_is_found():
    class Faulty(Deliverer):
        seen: ClassVar[set[str]] = set()

        async def deliver(self, event: Event, delivery: Delivery) -> None:
            if delivery.id in self.seen:
                raise ValueError("twice!")
            self.seen.add(delivery.id)

    assert await found(Faulty, conduct.repeats) == "fault: deliver fails: ValueError: twice!"


async def test_one_that_cannot_do_two_things_at_once_is_found():
    class Faulty(Deliverer):
        busy = False

        async def deliver(self, event: Event, delivery: Delivery) -> None:
            if self.busy:
                raise RuntimeError("busy")
            self.busy = True
            await trio.sleep(0.001)
            self.busy = False

    assert await found(Faulty, conduct.crowd) == "fault: deliver fails: RuntimeError: busy"


async def test_a_close_that_fails_is_found():
    class Faulty(Deliverer):
        async def close(self) -> None:
            raise KeyError("session")

    assert await found(Faulty, conduct.opens) == "fault: close fails: KeyError: 'session'"


async def test_a_batch_that_is_not_answered_for_is_found():
    class Faulty(Destination[Options]):
        type = "faulty"

        async def deliver_batch(self, batch: Sequence[BatchItem]) -> Sequence[ItemAnswer]:
            return [None for item in batch if item.event.view.incident]

    told = await findings(Faulty, conduct.takes_batches)
    assert "do not arrive: deliver_batch returned something of type list" in told[name_of(conduct.takes_batches)]
    assert told[name_of(conduct.returns)].startswith("fault: deliver_batch returned something of type list, not an")


async def test_what_cannot_be_returned_is_found():
    class Odd(Deliverer):
        async def deliver(self, event: Event, delivery: Delivery) -> bool:
            return True

    class Links(Deliverer):
        async def deliver(self, event: Event, delivery: Delivery) -> IncidentLink:
            return IncidentLink(f"tracker/{event.id}")

    text = (await findings(Odd, conduct.opens))[name_of(conduct.returns)]
    assert text == "fault: deliver returned something of type bool, which is no IncidentLink"
    text = (await findings(Links, conduct.opens))[name_of(conduct.returns)]
    assert text.startswith("fault: its link cannot be put onto an incident: its url must begin with http")


async def test_a_secret_that_is_kept_is_found():
    class Faulty(Keeper):
        async def deliver(self, event: Event, store: Store) -> None:
            store.set("token", self.token)

    assert "store: an entry holds a secret" in await found(Faulty, conduct.takes_samples)


async def test_a_health_that_fails_and_labels_without_an_end_are_found():
    class Sick(Deliverer):
        def health(self) -> str | None:
            return {}["state"]

    class Counts(Deliverer):
        async def deliver(self, event: Event, delivery: Delivery) -> None:
            self.metrics.count("deliveries", of=delivery.id)

    assert await found(Sick, conduct.speaks) == "fault: its health check fails: KeyError: 'state'"
    text = await found(Counts, conduct.speaks)
    assert text.startswith("warning: deliveries has the id of an event or an incident in a label")


async def test_one_that_blocks_the_loop_is_found():
    class Faulty(Deliverer):
        async def deliver(self, event: Event, delivery: Delivery) -> None:
            if event.type == "somethingNew":
                time.sleep(0.6)  # noqa: ASYNC251 (that is the fault)

    told = await findings(Faulty, conduct.takes_samples)
    assert "leave out async" in told[name_of(conduct.quick)]


async def test_a_preview_that_sends_differs_shows_a_secret_or_fails_is_found():
    class Sends(Keeper):
        def preview(self, event: Event, delivery: Delivery) -> Preview | None:
            urllib.request.urlopen("http://127.0.0.1:9/", timeout=1)
            return None

    class Differs(Keeper):
        def preview(self, event: Event, delivery: Delivery) -> Preview | None:
            return Preview("there", os.urandom(8))

    class Shows(Keeper):
        def preview(self, event: Event, delivery: Delivery) -> Preview | None:
            return Preview(self.token, event.raw)

    assert "URLError" in await found(Sends, conduct.previews)
    assert await found(Differs, conduct.previews) == "fault: the sample v3/validate is shown in two ways"
    assert await found(Shows, conduct.previews) == (
        "fault: a secret of its options stands in what it shows of the sample v3/validate"
    )


async def test_one_that_leaves_files_threads_or_tasks_behind_is_found():
    left: list[Any] = []
    done = threading.Event()

    class Files(Deliverer):
        async def open(self) -> None:
            left.append(Path(os.devnull).open())  # noqa: ASYNC230, SIM115 (that is the fault)

    class Threads(Deliverer):
        async def open(self) -> None:
            threading.Thread(target=done.wait).start()

    class Tasks(Deliverer):
        async def open(self) -> None:
            trio.lowlevel.spawn_system_task(trio.sleep_forever)

    try:
        for kind, what in ((Files, "files or sockets"), (Threads, "threads"), (Tasks, "tasks")):
            text = await found(kind, conduct.leaves_nothing)
            assert text.startswith(f"fault: it leaves {what} behind each time: ")
    finally:
        done.set()
        for file in left:
            file.close()


async def test_a_secret_in_the_log_or_the_repr_is_found():
    class Logs(Keeper):
        async def deliver(self, event: Event, delivery: Delivery) -> None:
            self.log.info("posting", token=self.token)

    class Shows(Keeper):
        def __repr__(self) -> str:
            return f"<Shows {self.token}>"

    name = name_of(conduct.keeps_secrets)
    assert (await findings(Logs, conduct.opens))[name].startswith("warning: one stands in what it logs")
    assert (await findings(Shows))[name] == "fault: one stands in its repr"


# chaos


async def test_one_with_a_client_of_its_own_that_minds_nothing_is_found():
    class Faulty(Post):
        def deliver(self, event: Event, delivery: Delivery) -> None:
            request = urllib.request.Request(self.options.url.get_secret_value(), event.raw)
            try:
                with urllib.request.urlopen(request, timeout=1) as answer:
                    answer.read()
            except urllib.error.HTTPError as error:
                error.close()
                raise Reject(f"answered {error.code}") from error

    told = await findings(Faulty, chaos.answers, chaos.redirects, chaos.breaks)
    assert told[name_of(chaos.answers)].startswith("fault: 408 means later, not never")
    assert told[name_of(chaos.redirects)].startswith("fault: it does, so whoever answers can have the router ask")
    assert "deliver fails" in told[name_of(chaos.breaks)]


async def test_one_that_takes_everything_for_taken_is_found():
    class Faulty(Post):
        async def deliver(self, event: Event, delivery: Delivery) -> None:
            await self.http.request("POST", self.options.url.get_secret_value())

    text = await found(Faulty, chaos.answers)
    assert "500 means later, not taken" not in text  # only the first five are told
    assert text.startswith("fault: 300 means later or never, not taken; ")


async def test_one_that_swallows_its_cancellation_is_found():
    class Faulty(Post):
        async def deliver(self, event: Event, delivery: Delivery) -> None:
            with suppress(trio.Cancelled):
                await super().deliver(event, delivery)

    assert "let trio.Cancelled pass" in await found(Faulty, chaos.hangs)


class PathOptions(Options):
    path: ConfigPath
    """A file."""


async def test_a_destination_gets_a_new_folder(tmp_path):
    class Writes(Destination[PathOptions]):
        type = "writes"
        example: ClassVar[Mapping[str, Any]] = {"path": "{folder}/x"}

        def deliver(self, event: Event, delivery: Delivery) -> None:
            assert self.options.path.parent.is_dir()
            assert not self.options.path.is_relative_to(tmp_path)

    assert await findings(Writes, conduct.opens, conduct.takes_samples) == {}


class FilterOptions(PostOptions):
    min_severity: Literal["low", "medium", "high", "critical"] = "critical"
    """What is less is ignored."""


class Filter(Post):
    """Sends critical incidents, and takes all else without a word."""

    type = "filter"
    options_type = FilterOptions

    def sent(self, event: Event) -> bool:
        return event.view.incident is not None and event.view.incident.severity == "critical"

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        if self.sent(event):
            await super().deliver(event, delivery)

    def preview(self, event: Event, delivery: Delivery) -> Preview | None:
        if not self.sent(event):
            return Preview.nothing("this is no critical incident")
        return super().preview(event, delivery)


async def test_one_that_ignores_all_but_a_few_events_is_checked_with_one_of_these():
    report = await check_destination(Filter)
    assert {check.mark for check in report.checks} == {Mark.OK}, report


async def test_one_that_rejects_what_it_does_not_send_is_told_so_once():
    class Rejects(Filter):
        async def deliver(self, event: Event, delivery: Delivery) -> None:
            if not self.sent(event):
                raise Reject("this is no critical incident")
            await super().deliver(event, delivery)

        def preview(self, event: Event, delivery: Delivery) -> Preview | None:
            if not self.sent(event):
                raise Reject("this is no critical incident")
            return super().preview(event, delivery)

    report = await check_destination(Rejects)
    (only,) = [check for check in report.checks if check.mark is not Mark.OK]
    assert (only.name, only.mark) == (name_of(conduct.takes_samples), Mark.WARNING)
    assert only.text.endswith("Each is a dead letter; to ignore an event, return")


async def test_one_that_sends_no_sample_is_not_checked_against_servers():
    class Silent(Filter):
        def sent(self, event: Event) -> bool:
            return event.type == "never"

    report = await check_destination(Silent)
    assert [check for check in report.checks if check.mark is not Mark.OK] == [
        Check("It bears whatever a server does", Mark.SKIPPED, "with these options none of the sample events is sent")
    ]


async def test_a_preview_that_is_wrong_about_what_is_ignored_is_found():
    class Silent(Filter):
        def preview(self, event: Event, delivery: Delivery) -> Preview | None:
            return super().preview(event, delivery) if self.sent(event) else None

    class Shows(Filter):
        def preview(self, event: Event, delivery: Delivery) -> Preview | None:
            return Preview(f"POST {self.options.url}", event.raw)

    class Denies(Post):
        def preview(self, event: Event, delivery: Delivery) -> Preview | None:
            return super().preview(event, delivery) if event.view.incident else Preview.nothing("this is no incident")

    text = await found(Silent, conduct.previews)
    assert text.startswith("warning: it gives None for the sample v3/validate")
    text = await found(Shows, chaos.arrives)
    assert text.startswith("warning: of the sample v3/validate nothing is sent: show Preview.nothing")
    text = await found(Denies, chaos.arrives)
    assert text == "warning: of the sample v3/validate it shows that nothing is sent, and something is"


async def test_an_option_can_be_the_host_and_port_of_the_server():
    class HostOptions(Options):
        server: str
        """Host and port."""

    class Connects(Destination[HostOptions]):
        type = "connects"
        example: ClassVar[Mapping[str, Any]] = {"server": "{host}"}

        async def deliver(self) -> None:
            host, _, port = self.options.server.partition(":")
            await (await trio.open_tcp_stream(host, int(port))).aclose()

    assert await findings(Connects, conduct.opens, conduct.takes_samples) == {}
