"""What a destination can be asked to guarantee, over the whole way: order, one attempt, a stand-in."""

import json
import signal
from pathlib import Path
from typing import Any

import httpx2
import trio
from running import LISTEN, SOURCE, Process, as_served, router_process, running_router, until
from sink import Answer, Request, open_sink
from support import payload

from sodarouter.delivery import Cause, State
from sodarouter.spool import SqliteReader, StoredDelivery


def update(incident: str, number: int) -> bytes:
    return json.dumps({"event": "incidentUpdated", "incident": {"id": incident, "number": number}}).encode()


def about(request: Request) -> tuple[str, int]:
    incident = json.loads(request.body)["incident"]
    return incident["id"], incident["number"]


def said(router: Process, message: str) -> list[dict[str, Any]]:
    """The lines of its log that begin so."""
    return [line for line in map(json.loads, router.log.splitlines()) if line["message"].startswith(message)]


def by_destination(deliveries: list[StoredDelivery]) -> dict[str, StoredDelivery]:
    return {delivery.destination: delivery for delivery in deliveries}


async def test_a_later_update_never_overtakes_an_earlier_one_and_other_incidents_go_on(tmp_path: Path) -> None:
    async with open_sink() as sink:

        def reply(request: Request) -> Answer:
            # the first update is refused until the other incident has come by
            passed = about(request) != ("a", 1) or ("b", 1) in map(about, sink.requests)
            return Answer(200 if passed else 503)

        sink.reply = reply
        toml = f"""
            [destination.hook]
            type = "forward"
            url = "{sink.url}"
            order_by = "incident"
            breaker = "off"
            retry = {{ initial = "1ms", max_delay = "20ms", max_attempts = 10000 }}
            [[route]]
            to = ["hook"]
        """
        async with running_router(tmp_path, toml) as router:
            await router.post(update("a", 1))
            await sink.until_requests(1)
            for number in range(2, 6):
                await router.post(update("a", number))
            await router.post(update("b", 1))
            assert {delivery.state for delivery in await router.until_settled()} == {State.DELIVERED}
        seen = [about(request) for request in sink.requests]
        assert list(dict.fromkeys(number for incident, number in seen if incident == "a")) == [1, 2, 3, 4, 5]
        assert seen.index(("b", 1)) < seen.index(("a", 2))


async def test_what_one_destination_gives_up_goes_to_its_fallback_with_the_reason_and_on_to_the_next(
    tmp_path: Path,
) -> None:
    async with open_sink(Answer(410)) as gone, open_sink(Answer(503)) as down, open_sink() as good:
        body = "{{ delivery.fallback.destination }}: {{ delivery.fallback.reason }}"
        toml = f"""
            [destination.oncall]
            type = "forward"
            url = "{gone.url}"
            fallback = "second"
            [destination.second]
            type = "forward"
            url = "{down.url}"
            retry = {{ max_attempts = 1 }}
            fallback = "mailbox"
            body = "{body}"
            [destination.mailbox]
            type = "forward"
            url = "{good.url}"
            body = "{body}"
            [[route]]
            to = ["oncall"]
        """
        async with running_router(tmp_path, toml) as router:
            await router.post(payload("v3-incidentCreated"))
            settled = by_destination(await router.until_settled())
        assert down.requests[0].body.startswith(b"oncall: rejected: ")
        assert good.requests[0].body.startswith(b"second: exhausted after 1 attempt: ")
    assert {name: delivery.state for name, delivery in settled.items()} == {
        "oncall": State.DEAD,
        "second": State.DEAD,
        "mailbox": State.DELIVERED,
    }
    assert (settled["oncall"].cause, settled["second"].cause) == (Cause.REJECTED, Cause.EXHAUSTED)
    assert settled["mailbox"].fallback is not None
    assert settled["mailbox"].fallback.destination == "second"


async def test_at_most_once_a_failure_is_a_dead_letter_at_once(tmp_path: Path) -> None:
    async with open_sink(Answer(503, headers={"Retry-After": "1"})) as sink:
        toml = f"""
            [destination.hook]
            type = "forward"
            url = "{sink.url}"
            mode = "at-most-once"
            [[route]]
            to = ["hook"]
        """
        async with running_router(tmp_path, toml) as router:
            await router.post(payload("v3-incidentCreated"))
            (dead,) = await router.until_settled()
        assert (dead.state, dead.cause, len(sink.requests)) == (State.DEAD, Cause.UNCONFIRMED, 1)


async def test_at_most_once_what_was_under_way_when_the_router_was_killed_is_never_tried_again(tmp_path: Path) -> None:
    async with open_sink(Answer(hold=trio.Event())) as hung, open_sink() as good:
        toml = f"""
            [destination.hook]
            type = "forward"
            url = "{hung.url}"
            mode = "at-most-once"
            fallback = "mailbox"
            [destination.mailbox]
            type = "forward"
            url = "{good.url}"
            [[route]]
            to = ["hook"]
            [plugin.prometheus]
        """
        with router_process(tmp_path, toml) as router:
            async with httpx2.AsyncClient(base_url=router.url, trust_env=False) as client:
                await client.post("/webhooks/soda", content=payload("v3-incidentCreated"))
            await hung.until_requests(1)
            assert router.end(signal.SIGKILL) == -signal.SIGKILL
        hung.script(Answer(200))
        with router_process(tmp_path) as router:
            await good.until_requests(1)
            reader = SqliteReader(tmp_path / "var/sodarouter.db")
            await until(lambda: {d.state for d in reader.deliveries(limit=9)} == {State.DEAD, State.DELIVERED})
            settled = by_destination(reader.deliveries(limit=9))
            reader.close()
            (given_up,) = said(router, "delivery given up")
            assert (given_up["destination"], given_up["cause"]) == ("hook", "unconfirmed")
            assert (given_up["event_id"], given_up["fallback"]) == (settled["hook"].event, "mailbox")
            async with httpx2.AsyncClient(base_url=f"http://{router.ready['admin'][0]}", trust_env=False) as client:
                metrics = (await client.get("/metrics")).text
            count = 'sodarouter_deliveries_given_up_total{cause="unconfirmed",destination="hook"} 1.0'
            assert count in metrics.splitlines()
            assert router.end(signal.SIGTERM) == 0
        assert (settled["hook"].state, settled["hook"].cause) == (State.DEAD, Cause.UNCONFIRMED)
        assert settled["mailbox"].state is State.DELIVERED
        assert len(hung.requests) == 1


async def test_a_stop_says_which_deliveries_it_has_cut_off(tmp_path: Path) -> None:
    async with open_sink(Answer(hold=trio.Event())) as hung:
        toml = f"""
            [destination.hook]
            type = "forward"
            url = "{hung.url}"
            mode = "at-most-once"
            [[route]]
            to = ["hook"]
        """
        listen = LISTEN.replace("[admin]", 'stop_timeout = "10ms"\n[admin]')
        (tmp_path / "router.toml").write_text(as_served(listen) + SOURCE + toml, encoding="utf-8")
        with router_process(tmp_path) as router:
            async with httpx2.AsyncClient(base_url=router.url, trust_env=False) as client:
                await client.post("/webhooks/soda", content=payload("v3-incidentCreated"))
            await hung.until_requests(1)
            assert router.end(signal.SIGTERM) == 0
            (stopped,) = said(router, "stopped")
            assert stopped["cut_off"] == {"hook": 1}
