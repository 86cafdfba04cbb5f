"""Links back to Soda: one for each incident, whatever fails meanwhile, and its token nowhere."""

import json
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trustme
from distributions import SitePackages
from engines import ENGINES, NOW, Engine, ended, keeping, open_engine
from running import Running, router_process, running_router, until
from sink import Answer, Sink, open_sink
from support import make_event

from sodarouter import Event, IncidentLink, Retry, State, Store
from sodarouter.delivery import Planned
from sodarouter.lane import Lane
from sodarouter.link import choose, usable
from sodarouter.linkback import LinkBack
from sodarouter.linking import linking_of
from sodarouter.outgoing import Outgoing
from sodarouter.replies import Replies
from sodarouter.settle import Verdict
from sodarouter.spool import LINK, Decided, DeliveryFilter, Keep, Linking, Routed

TOKEN = "0123456789abcdef0123456789abcdef"
TICKETS = """
    from typing import Any

    import trio

    from sodarouter import ConfigPath, Destination, Duration, IncidentLink, Options, Reject, hookimpl


    class TicketOptions(Options):
        tracker: str = "jira"
        slow: Duration = 0.0
        fails: bool = False
        made: int = 1


    class Tickets(Destination[TicketOptions]):
        type = "tickets"

        async def deliver(self, event, store):
            await trio.sleep(self.options.slow)
            if self.options.fails:
                raise Reject("no")
            if self.options.made:
                return IncidentLink(f"https://{self.options.tracker}.example/{event.view.incident.number}", "OPS-1")


    @hookimpl
    def destination_types() -> list[type[Destination[Any]]]:
        return [Tickets]
"""


def incident(callback: str | None, name: str = "i-1", **known: Any) -> bytes:
    """The body of an event of an incident; each is another one."""
    body = {"event": "incidentCreated", "incident": {"id": name, "number": 7, "title": "t", **known}}
    return json.dumps(body | ({"incidentLinkCallbackUrl": callback} if callback else {})).encode()


# which link


@pytest.mark.parametrize(
    ("made", "awaited", "prefer", "chosen"),
    [
        ([], [], [], None),
        (["a"], [], [], "a"),
        (["a", "b"], [], [], "a"),
        (["a"], ["b"], [], "a"),
        (["a"], ["b"], ["b"], None),
        (["a"], ["c"], ["b"], "a"),
        (["a", "b"], [], ["b"], "b"),
        (["a", "b"], ["c"], ["c", "b"], None),
        (["b"], ["a"], ["b", "a"], "b"),
    ],
)
def test_the_first_link_is_chosen_unless_a_preferred_one_may_still_come(made, awaited, prefer, chosen):
    assert choose(made, awaited, prefer) == chosen


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("ftp://x/1", "must begin with http"),
        ("javascript:alert(1)", "must begin with http"),
        ("/browse/1", "must begin with http"),
        ("https://x/a b", "no spaces"),
        ("https://x/\n", "no spaces"),
        ("https://[x/1", "must begin with http"),
        ("https://user:pw@x/1", "must not hold a user"),
        ("https://x/" + "1" * 2000, "may have 2,000 characters"),
        (7, "must be texts"),
    ],
)
def test_what_is_no_link_is_told(url, fault):
    with pytest.raises(ValueError, match=fault):
        usable(IncidentLink(url), "tracker")


def test_the_text_of_a_link_is_one_line_and_the_destination_s_name_without_one():
    assert usable(IncidentLink("https://x/1", " a\n b "), "tracker") == IncidentLink("https://x/1", "a b")
    assert usable(IncidentLink("https://x/1", " \n"), "tracker").text == "tracker"
    assert len(usable(IncidentLink("https://x/1", "a" * 999), "tracker").text) == 200


# in the spool


async def settle(engine: Engine, event: Event, destination: str, made: str | None = None, **known: Any) -> list[bool]:
    (claim,) = [one for one in await engine.claim(destination) if one.event.id == event.id]
    link = IncidentLink(f"https://x/{made}", made) if made else None
    state = known.pop("state", State.DELIVERED)
    return list(await engine.spool.settle([ended(claim, state, linking=Linking("i-1", link, **known))]))


async def planned(engine: Engine, *destinations: str, callback: bool = True, **known: Any) -> Event:
    url = f"https://cloud.soda.io/incident-link/1/{TOKEN}" if callback else None
    return await engine.planned(*destinations, event=make_event(incident(url, **known)))


@pytest.mark.parametrize("name", ENGINES)
async def test_one_link_of_an_incident_is_planned_once(name, tmp_path):
    async with open_engine(name, tmp_path) as engine:
        event = await planned(engine, "a", "b")
        await settle(engine, event, "a", "first")
        await settle(engine, event, "b", "second")
        again = await planned(engine, "a", title="changed")
        await settle(engine, again, "a", "third")
        assert [d.id for d in engine.reader.deliveries(DeliveryFilter(destination=LINK), limit=9)] == [
            f"{event.id}/{LINK}"
        ]
        assert await engine.spool.link("soda", "i-1") == IncidentLink("https://x/first", "first")
        assert await engine.spool.link("other", "i-1") is None
        assert (await engine.spool.stats()).backlog == 1


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("state", [State.DELIVERED, State.DEAD])
async def test_a_link_waits_for_a_preferred_one_until_that_cannot_come(name, state, tmp_path):
    async with open_engine(name, tmp_path) as engine:
        event = await planned(engine, "a", "b")
        await settle(engine, event, "a", "first", prefer=["b"])
        assert await engine.spool.link("soda", "i-1") is None
        await settle(engine, event, "b", None, prefer=["b"], state=state)
        assert await engine.spool.link("soda", "i-1") == IncidentLink("https://x/first", "first")


@pytest.mark.parametrize("name", ENGINES)
async def test_a_link_waits_for_an_event_with_the_callback_url(name, tmp_path):
    async with open_engine(name, tmp_path) as engine:
        event = await planned(engine, "a", callback=False)
        await settle(engine, event, "a", "first")
        assert engine.reader.deliveries(DeliveryFilter(destination=LINK), limit=9) == []
        later = await planned(engine, "b")
        await settle(engine, later, "b", "second")
        (delivery,) = engine.reader.deliveries(DeliveryFilter(destination=LINK), limit=9)
        assert (delivery.event, (await engine.spool.link("soda", "i-1")).text) == (later.id, "first")


@pytest.mark.parametrize("name", ENGINES)
async def test_links_are_kept_as_long_as_events(name, tmp_path):
    async with open_engine(name, tmp_path) as engine:
        event = await planned(engine, "a")
        await settle(engine, event, "a", "first")
        await engine.spool.prune(keeping(events=Keep(10.0)), NOW + 50, 100)
        assert await engine.spool.link("soda", "i-1"), "it is still to be put onto the incident"
        (claim,) = await engine.claim(LINK, now=NOW + 51)
        await engine.spool.settle([ended(claim)])
        await engine.spool.prune(keeping(events=Keep(10.0)), NOW + 55, 100)
        assert await engine.spool.link("soda", "i-1") is None


@pytest.mark.parametrize("name", ENGINES)
async def test_an_incident_that_outlives_the_retention_is_linked_once_all_the_same(name, tmp_path):
    async with open_engine(name, tmp_path) as engine:
        await settle(engine, await planned(engine, "a"), "a", "first")
        (claim,) = await engine.claim(LINK, now=NOW + 1)
        await engine.spool.settle([ended(claim)])
        late = make_event(incident(f"https://cloud.soda.io/incident-link/1/{TOKEN}", title="changed"))
        late = replace(late, id="late", received=late.received + timedelta(seconds=40))
        await engine.spool.append(late, window=0.0)
        (claim,) = await engine.claim(now=NOW + 41)
        await engine.spool.settle([Routed(claim, Decided([], [Planned("a")], NOW + 41))])
        await engine.spool.prune(keeping(events=Keep(10.0)), NOW + 45, 100)
        (claim,) = await engine.claim("a", now=NOW + 46)
        linking = Linking("i-1", IncidentLink("https://x/again", "again"))
        await engine.spool.settle([ended(claim, started=NOW + 46, linking=linking)])
        assert await engine.claim(LINK, now=NOW + 50) == []


@pytest.mark.parametrize("name", ENGINES)
async def test_a_link_waits_no_longer_for_a_preferred_delivery_that_was_discarded(name, tmp_path):
    async with open_engine(name, tmp_path) as engine:
        event = await planned(engine, "a", "b")
        await settle(engine, event, "a", "first", prefer=["b"])
        assert await engine.spool.choose_links(["b"], NOW) == 0
        await engine.spool.discard([f"{event.id}/b"], NOW)
        assert await engine.spool.choose_links(["b"], NOW) == 1
        assert await engine.spool.choose_links(["b"], NOW) == 0
        assert (await engine.spool.stats()).backlog == 1
        (claim,) = await engine.claim(LINK)
        assert claim.event.id == event.id


@pytest.mark.parametrize("name", ENGINES)
async def test_a_link_waits_no_longer_for_what_was_cut_off_in_its_only_attempt(name, tmp_path):
    async with open_engine(name, tmp_path) as engine:
        event = await planned(engine, "a", "b")
        await engine.claim("b")
        await settle(engine, event, "a", "first", prefer=["b"])
        await engine.spool.recover(NOW + 1, {"b": None})
        assert await engine.spool.choose_links(["b"], NOW + 1) == 1


# on the way


async def test_a_link_is_put_onto_its_incident_when_it_waited_for_one_that_is_preferred_no_longer(tmp_path, tickets):
    toml = """
        [destination.down]
        type = "forward"
        url = "http://127.0.0.1:1/"
        [[route]]
        to = ["tracker", "down"]
    """
    async with soda(tmp_path) as there:
        before, after = there.toml + 'prefer = ["down"]\n' + TRACKER + toml, there.toml + TRACKER + toml
        async with running_router(tmp_path, before, listen=LISTEN) as router:
            event = (await router.post(incident(there.callback()))).json()["id"]
            await until(lambda: router.reader.deliveries(DeliveryFilter(state=State.DELIVERED), limit=9) != [])
            assert there.sink.requests == []
            (tmp_path / "router.toml").write_text(LISTEN + SOURCE + after)
            assert await router.bound.reload() == ()
            await there.sink.until_requests(1)
            assert stored(router).event == event


@dataclass
class Soda:
    """A server that stands for Soda's, and what lets the router post to it."""

    sink: Sink
    toml: str

    def callback(self, number: int = 1) -> str:
        return f"{self.sink.url}/integrations/webhook/1/incident-link/{number}/{TOKEN}"


@pytest.fixture
def tickets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SitePackages(tmp_path / "site", monkeypatch).install(
        "acme-tickets", {"tickets": "acme_tickets"}, acme_tickets=TICKETS
    )


@asynccontextmanager
async def soda(folder: Path, *answers: Answer, host: str = "localhost") -> AsyncIterator[Soda]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    async with open_sink(*answers, tls=context) as sink:
        port = sink.url.rpartition(":")[2]
        sink.url = f"https://{host}:{port}"
        links = f'[links]\nhosts = ["localhost:{port}"]\n'
        yield Soda(sink, links)


LISTEN = """
    [outgoing]
    allow = ["127.0.0.0/8"]
    ca = "ca.pem"
    [server]
    listen = ["127.0.0.1:0"]
    [admin]
    listen = ["127.0.0.1:0"]
"""
TRACKER = '[destination.tracker]\ntype = "tickets"\n'
ROUTE = '[[route]]\nto = ["tracker"]\n'
SOURCE = '[source.soda]\npath = "/webhooks/soda"\n'


def stored(router: Running) -> Any:
    (delivery,) = router.reader.deliveries(DeliveryFilter(destination=LINK), limit=9)
    return delivery


def nowhere(folder: Path, *texts: str) -> None:
    files = [path for path in folder.glob("var/*") if path.is_file() and path.suffix != ".key"]
    assert files
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)
    assert not any(TOKEN in text for text in texts)


async def test_an_incident_gets_the_link_of_the_ticket_that_it_became(tmp_path, tickets, capsys):
    async with soda(tmp_path) as there, running_router(tmp_path, there.toml + TRACKER + ROUTE, listen=LISTEN) as router:
        assert (await router.post(incident(there.callback()))).json().keys() == {"id"}
        await there.sink.until_requests(1)
        await router.until_settled()
        # an update of the same incident makes no second one
        await router.post(incident(there.callback(), title="changed"))
        await router.until_settled()
        (request,) = there.sink.requests
        assert (request.method, request.target) == ("POST", f"/integrations/webhook/1/incident-link/1/{TOKEN}")
        assert json.loads(request.body) == {"url": "https://jira.example/7", "text": "OPS-1"}
        assert request.headers["content-type"] == "application/json"
        assert stored(router).state is State.DELIVERED
        nowhere(tmp_path, *capsys.readouterr())


async def test_a_link_is_posted_after_a_restart_if_soda_did_not_take_it_before(tmp_path, tickets, capsys):
    async with soda(tmp_path, Answer(503, body=TOKEN.encode())) as there:
        toml = there.toml + TRACKER + ROUTE
        async with running_router(tmp_path, toml, listen=LISTEN) as router:
            await router.post(incident(there.callback()))
            await there.sink.until_requests(1)
            await until(lambda: bool(router.reader.attempts(stored(router).id)))
            assert stored(router).state is State.PENDING
        there.sink.script(Answer(204))
        async with running_router(tmp_path, toml, listen=LISTEN) as router:
            await until(lambda: stored(router).state is State.DELIVERED)
            (attempt, _) = router.reader.attempts(stored(router).id)
            assert attempt.reason == "answered 503 Service Unavailable"
            assert len(there.sink.requests) == 2
        nowhere(tmp_path, *capsys.readouterr())


async def test_a_link_that_was_promised_is_posted_after_a_kill(tmp_path):
    """The ticket was made and settled; the router is killed while Soda does not answer, and goes on where it was."""
    hold = trio.Event()
    ticket = Answer(body=b'{"key": "OPS-17"}')
    async with open_sink(ticket) as tracker, soda(tmp_path, Answer(hold=hold)) as there:
        toml = f"""
            {there.toml}
            [destination.tracker]
            type = "forward"
            url = "{tracker.url}"
            keep = {{ key = "$.key" }}
            link = {{ url = "https://jira.example/{{{{ kept.key }}}}" }}
            [[route]]
            to = ["tracker"]
        """
        (tmp_path / "router.toml").write_text(LISTEN + SOURCE + toml)
        with router_process(tmp_path) as router:
            body = incident(there.callback())
            async with httpx2.AsyncClient(trust_env=False) as client:
                assert (await client.post(f"{router.url}/webhooks/soda", content=body)).status_code == 200
            await there.sink.until_requests(1)
            router.end(signal.SIGKILL)
        there.sink.script(Answer())
        with router_process(tmp_path):
            await there.sink.until_requests(2)
        assert json.loads(there.sink.requests[1].body) == {"url": "https://jira.example/OPS-17", "text": "tracker"}
        assert len(tracker.requests) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda url: url.replace("https:", "http:"), "does not begin with https:// and a host"),
        (lambda url: url.replace("localhost", "127.0.0.1"), "is of 127.0.0.1:"),
        (lambda url: url.replace("localhost", "cloud.soda.io.evil.example"), "is of cloud.soda.io.evil.example:"),
        (lambda url: url.replace("localhost", "user@localhost"), "does not begin with https:// and a host"),
        (lambda url: f"https://localhost/incident-link/{TOKEN}", "is of localhost, which is neither Soda's nor in"),
    ],
)
async def test_a_callback_url_of_a_host_that_is_not_soda_s_is_not_asked(tmp_path, tickets, change, reason):
    async with soda(tmp_path) as there, running_router(tmp_path, there.toml + TRACKER + ROUTE, listen=LISTEN) as router:
        await router.post(incident(change(there.callback())))
        await router.until_settled()
        assert stored(router).state is State.DEAD
        assert reason in stored(router).reason
        assert TOKEN not in stored(router).reason
        assert there.sink.requests == []


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("[::1]:8443", "[::1]:8443"),
        ("127.0.0.1:8443", "127.0.0.1:8443"),
        ("127.0.0.1", "127.0.0.1:443"),
    ],
)
async def test_a_host_is_allowed_as_it_is_written_in_the_url(tmp_path, host, written):
    async with open_engine("memory", tmp_path) as engine:
        body = incident(f"https://{written}/incident-link/1/{TOKEN}")
        event = await engine.planned("a", event=make_event(body))
        await settle(engine, event, "a", "first")
        (claim,) = await engine.claim(LINK, now=NOW + 1)
        linkback = LinkBack(engine.spool, Replies(), [host], Outgoing())
        with pytest.raises(Retry, match="not connected"):  # the guard has no private address allowed
            await linkback.deliver(claim.event, claim.delivery, Store(partial(engine.spool.kept, LINK, now=NOW), NOW))
        await linkback.close()


def test_what_a_preferred_destination_is_sent_of_no_incident_is_not_parsed():
    event = make_event({"event": "checkEvaluation", "checkResults": []})
    verdict = Verdict(State.DELIVERED, NOW, "")
    lane = Lane("a", print, threaded=True, timeout=1, concurrency=1, policy=None)
    assert linking_of(lane, event, None, verdict, ["a"], lambda _: False, str) is None
    assert "view" not in event.__dict__


@pytest.mark.parametrize("status", [301, 308, 400, 404, 410])
async def test_a_link_that_soda_will_never_take_is_a_visible_dead_letter(tmp_path, tickets, status):
    """A redirect is not followed: who can make Soda send one must not make the router post elsewhere."""
    elsewhere = {"location": "https://localhost:1/"}
    async with (
        soda(tmp_path, Answer(status, headers=elsewhere)) as there,
        running_router(tmp_path, there.toml + TRACKER + ROUTE, listen=LISTEN) as router,
    ):
        await router.post(incident(there.callback()))
        await router.until_settled()
        assert (stored(router).state, len(there.sink.requests)) == (State.DEAD, 1)
        assert f"answered {status}" in stored(router).reason


async def test_the_link_of_the_preferred_destination_wins_though_it_comes_later(tmp_path, tickets):
    toml = """
        prefer = ["slow", "none"]
        [destination.fast]
        type = "tickets"
        tracker = "fast"
        [destination.none]
        type = "tickets"
        made = 0
        [destination.slow]
        type = "tickets"
        tracker = "slow"
        slow = "200ms"
        [[route]]
        to = ["fast", "slow", "none"]
    """
    async with soda(tmp_path) as there, running_router(tmp_path, there.toml + toml, listen=LISTEN) as router:
        await router.post(incident(there.callback()))
        await router.until_settled()
        assert [json.loads(request.body)["url"] for request in there.sink.requests] == ["https://slow.example/7"]


async def test_what_makes_a_link_of_no_incident_is_delivered_all_the_same(tmp_path, monkeypatch):
    SitePackages(tmp_path / "site", monkeypatch).install(
        "acme-tickets",
        {"tickets": "acme_tickets"},
        acme_tickets="""
        from sodarouter import IncidentLink, hookimpl

        @hookimpl
        async def deliver(event):
            return IncidentLink("https://x/1") if event.type == "validate" else "https://x/1"
        """,
    )
    async with running_router(tmp_path, TRACKER + ROUTE) as router:
        for body in (b'{"event": "validate"}', incident("https://cloud.soda.io/incident-link/1/2")):
            await router.post(body)
        assert {d.state for d in await router.until_settled()} == {State.DELIVERED}
        assert router.reader.deliveries(DeliveryFilter(destination=LINK), limit=9) == []


# with the answer


@pytest.mark.usefixtures("intake")
@pytest.mark.parametrize("with_callback", [True, False])
async def test_a_link_that_is_made_in_time_goes_with_the_answer_and_nowhere_else(tmp_path, tickets, with_callback):
    source = SOURCE + 'reply_with_link = "9s"\n'
    async with (
        soda(tmp_path) as there,
        running_router(tmp_path, there.toml + TRACKER + ROUTE, listen=LISTEN, source=source) as router,
    ):
        body = incident(there.callback() if with_callback else None)
        answer = await router.post(body)
        assert answer.status_code == 200
        assert answer.json()["link"] == {"url": "https://jira.example/7", "text": "OPS-1"}
        await router.until_settled()
        assert stored(router).state is State.DELIVERED
        # a repeat does not wait, and is told of no link
        assert "link" not in (await router.post(body)).json()
        assert there.sink.requests == []


@pytest.mark.usefixtures("intake")
async def test_a_link_that_comes_too_late_for_the_answer_goes_to_the_callback_url(tmp_path, tickets):
    source = SOURCE + 'reply_with_link = "50ms"\n'
    slow = TRACKER + 'slow = "300ms"\n' + ROUTE
    async with (
        soda(tmp_path) as there,
        running_router(tmp_path, there.toml + slow, listen=LISTEN, source=source) as router,
    ):
        assert "link" not in (await router.post(incident(there.callback()))).json()
        await there.sink.until_requests(1)


@pytest.mark.usefixtures("intake")
async def test_a_link_goes_to_the_callback_url_when_the_sender_has_hung_up(tmp_path, tickets):
    source = SOURCE + 'reply_with_link = "9s"\n'
    slow = TRACKER + 'slow = "300ms"\n' + ROUTE
    async with (
        soda(tmp_path) as there,
        running_router(tmp_path, there.toml + slow, listen=LISTEN, source=source) as router,
    ):
        body = incident(there.callback())
        address = router.bound.server[0]
        stream = await trio.open_tcp_stream(address.host, address.port)
        head = f"POST /webhooks/soda HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        await stream.send_all(head.encode() + body)
        await until(lambda: bool(router.reader.events(limit=1)))
        await stream.aclose()
        await there.sink.until_requests(1)


@pytest.mark.usefixtures("intake")
async def test_other_events_and_those_that_make_no_link_are_answered_in_the_end(tmp_path, tickets):
    source = SOURCE + 'reply_with_link = "100ms"\n'
    toml = TRACKER + "made = 0\n" + ROUTE
    async with running_router(tmp_path, toml, source=source) as router:
        for body in (b'{"event": "validate"}', incident(None), incident(None).replace(b"Created", b"Updated")):
            assert (await router.post(body)).json().keys() == {"id"}
