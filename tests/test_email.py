"""The email destination against a real SMTP server: aiosmtpd on a port of 127.0.0.1."""

import asyncio
import email
import email.policy
import json
import queue
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from html import escape
from pathlib import Path
from typing import Any

import pytest
import tomli
import trio
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from pydantic import ValidationError
from sodarouter_email import Email, destination_types
from sodarouter_email.addresses import parse_address
from support import SAMPLES, make_delivery, make_event, opened, payload

from sodarouter import Dataset, Event, Fallback, Reject, Result, Retry, Team, View
from sodarouter.options import Place

PATIENCE = 10.0
DOCS = Path(__file__).parent.parent / "docs" / "destinations" / "email.md"


class Server:
    """An SMTP server on a thread of its own that keeps what it gets, and refuses what a test tells it to."""

    def __init__(self, implicit_tls: ssl.SSLContext | None = None, **settings: Any) -> None:
        self.mails: list[tuple[Envelope, EmailMessage]] = []
        self.connections = 0
        self.closed: queue.Queue[bool] = queue.Queue()
        self.reached = threading.Event()
        self.on_sender: Callable[[], str] = lambda: "250 OK"
        self.on_recipient: dict[str, str] = {}
        self.on_data = "250 queued as 4X2"
        self.port = 0
        self._settings = {"hostname": "localhost", "enable_SMTPUTF8": True} | settings
        self._implicit_tls = implicit_tls
        self._transports: list[asyncio.Transport] = []

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, sender: str, options: list[str]
    ) -> str:
        if (reply := self.on_sender()).startswith("250"):
            envelope.mail_from = sender
        return reply

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (reply := self.on_recipient.get(address, "250 OK")).startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.on_data == "hang":
            self.reached.set()
            await asyncio.Event().wait()
        if self.on_data == "drop":
            assert server.transport
            server.transport.abort()
            return ""
        if self.on_data.startswith("250"):
            assert isinstance(envelope.content, bytes)
            message = email.message_from_string(
                envelope.content.decode().replace("\r\n", "\n"), policy=email.policy.default
            )
            assert isinstance(message, EmailMessage)
            self.mails.append((envelope, message))
        return self.on_data

    def mail(self) -> EmailMessage:
        """The only mail that has arrived."""
        [(_, message)] = self.mails
        return message

    def hang_up(self) -> None:
        """Closes every connection, and returns when that is done."""
        for transport in self._transports:
            self._loop.call_soon_threadsafe(transport.close)
        for _ in range(self.connections):
            self.closed.get(timeout=PATIENCE)

    async def closed_one(self) -> None:
        await trio.to_thread.run_sync(lambda: self.closed.get(timeout=PATIENCE))

    @contextmanager
    def running(self) -> Iterator["Server"]:
        started = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        thread.start()
        try:
            assert started.wait(PATIENCE)
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(PATIENCE)

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(self._connection, "127.0.0.1", 0, ssl=self._implicit_tls)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        for transport in self._transports:
            transport.abort()

    def _connection(self) -> SMTP:
        outer = self

        class Connection(SMTP):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                if len(outer._transports) == outer.connections:
                    outer.connections += 1
                    outer._transports.append(transport)

            def connection_lost(self, error: Exception | None) -> None:
                outer.closed.put(True)
                super().connection_lost(error)

        return Connection(self, loop=self._loop, **self._settings)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server().running() as server:
        yield server


def table(server: Server | int, **more: Any) -> dict[str, Any]:
    port = server if isinstance(server, int) else server.port
    return {
        "host": "127.0.0.1",
        "port": port,
        "tls": "none",
        "from": "soda@example.org",
        "to": ["ann@example.org"],
        **more,
    }


async def send(server: Server, event: Event | str, **more: Any) -> None:
    event = make_event(event) if isinstance(event, str) else event
    async with opened(Email, table(server, **more)) as destination:
        await destination.deliver(event, make_delivery(event))


def parts(message: EmailMessage) -> tuple[str, str]:
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text
    assert html
    return text.get_content(), html.get_content()


def check(name: str, outcome: str, dataset: str = "orders", **more: Any) -> dict[str, Any]:
    owners = [{"type": "user", "email": "owner@example.org"}]
    return {"name": name, "evaluationStatus": outcome, "datasets": [{"name": dataset, "owners": owners}], **more}


def checks(*results: dict[str, Any]) -> Event:
    return make_event({"event": "checkEvaluation", "checkResults": list(results)})


def incident(kind: str = "incidentCreated", **more: Any) -> Event:
    return make_event({"event": kind, "incident": {"id": "i1", "number": 7, "title": "Orders are late", **more}})


SPARSE = [
    {"event": "checkEvaluation"},
    {"event": "checkEvaluation", "checkResults": [{}]},
    {"event": "checkEvaluation", "checkResults": [{"datasets": [{"owners": [{}]}], "attributes": {"a": None}}, {}]},
    {"event": "incidentCreated"},
    {"event": "incidentUpdated", "incident": {"lead": {}, "links": [{}], "checkResults": [{}]}},
    {"event": "contractPublished", "contract": {"author": {}}},
    {"event": "agreementCreated", "agreement": {}},
    {"event": "agreementDeleted"},
    {"event": "validate"},
]


# --- what arrives


@pytest.mark.parametrize("body", [*SAMPLES, *SPARSE], ids=str)
async def test_every_event_becomes_text_and_html_without_holes(body: Any, server: Server) -> None:
    await send(server, make_event(body))
    text, html = parts(server.mail())
    for content in (server.mail()["Subject"], text, html):
        assert content.strip()
        assert not re.search(r"\bNone\b|undefined", content, re.IGNORECASE)
    assert not re.search(r"\n{4}| +$", text.split("-- \n")[0], re.MULTILINE)


async def test_a_failed_check_comes_with_all_that_helps(server: Server) -> None:
    await send(server, "v4-2026-checkEvaluation")
    assert server.mail()["Subject"] == "[Soda] Failed: No missing values (ecommerce_orders in neondb)"
    for content in parts(server.mail()):
        for expected in (
            "No missing values",
            "ecommerce_orders",
            "customer_id",
            "owner@example.com, Data Stewards (group)",
            "2025-05-20 14:06 UTC",
            "criticality",
            "https://cloud.soda.io/checks/11111111-2222-4333-8444-555555555555",
            "https://cloud.soda.io/datasets/66666666-7777-4888-8999-aaaaaaaaaaaa",
            "  - missing:",
        ):
            assert expected in content


async def test_problems_come_first_and_are_counted(server: Server) -> None:
    await send(
        server, checks(check("a", "pass"), check("b", "warn"), check("c", "fail", "customers"), check("d", "fail"))
    )
    text, html = parts(server.mail())
    assert server.mail()["Subject"] == "[Soda] 2 failed, 1 warned in 2 datasets"
    assert text.startswith("2 failed, 1 warned, 1 passed\n")
    for content in (text, html):
        assert content.index("customers") < content.index("orders")
    assert "PASSED: 1\n- a (orders)" in text


async def test_a_thousand_results_make_a_short_mail(server: Server) -> None:
    await send(server, checks(*(check(f"check {n}", "fail", f"d{n}", definition="x\n" * 1000) for n in range(1000))))
    text, html = parts(server.mail())
    assert "- failed: check 199 (d199)\n- and 800 more\n" in text
    assert "... and 988 more lines" in text
    assert len(html) < 100_000


async def test_an_unknown_event_shows_its_body(server: Server) -> None:
    await send(server, make_event({"event": "monitorAlert", "monitor": {"name": "<late> & 'odd'"}}))
    text, html = parts(server.mail())
    assert '"name": "<late> & \'odd\'"' in text
    assert "&lt;late&gt; &amp; &#39;odd&#39;" in html


async def test_html_escapes_and_only_web_addresses_are_links(server: Server) -> None:
    event = checks(check("<script>x</script>", "fail", sodaCloudUrl="javascript:alert(1)", attributes={"<i>": '"<b>"'}))
    await send(server, event)
    _, html = parts(server.mail())
    assert "<script>" not in html
    assert "<i>" not in html
    assert "<b>" not in html.replace("<b>&lt;script", "")
    assert 'href="javascript' not in html


@pytest.mark.parametrize("sample", ["v3-incidentCreated", "v4-2025-08-incidentCreated"])
@pytest.mark.parametrize(
    "more", [{}, {"subject": "{{ payload }}", "text": "{{ event.raw.decode() }}"}], ids=["built-in", "own"]
)
async def test_no_mail_has_the_token_of_the_callback_url(sample: str, more: dict[str, str], server: Server) -> None:
    await send(server, sample, **more)
    body = json.loads(payload(sample))
    url = body.get("incidentLinkCallbackUrl") or body["incident"]["incidentLinkCallbackUrl"]
    token = url.partition("/incident-link/")[2]
    content = server.mail()["Subject"] + "".join(
        part.get_content() for part in server.mail().walk() if not part.is_multipart()
    )
    assert token not in content
    assert ("/incident-link/**********" in content) == bool(more)


async def test_own_templates_replace_the_built_in_ones(server: Server) -> None:
    await send(server, "v3-incidentCreated", subject="{{ incident.title }}\n!", text="T {{ incident.number }}")
    assert server.mail()["Subject"] == "Invalid customer ids !"
    assert server.mail().get_content_type() == "text/plain"
    assert server.mail().get_content() == "T 196\n"


async def test_html_that_is_empty_leaves_plain_text(server: Server) -> None:
    await send(server, "v3-validate", html="")
    assert server.mail().get_content_type() == "text/plain"


async def test_a_template_that_fails_is_for_a_person_to_mend(server: Server) -> None:
    with pytest.raises(Reject, match="template"):
        await send(server, "v3-validate", text="{{ incident.title }}")
    assert not server.connections


# --- headers


async def test_machines_can_tell_what_wrote_the_mail(server: Server) -> None:
    event = make_event("v3-validate")
    await send(server, event)
    mail = server.mail()
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Sodarouter-Event"] == "validate"
    assert mail["X-Sodarouter-Delivery"] == f"{event.id}/there"
    assert mail["List-Id"] == "<there.sodarouter.example.org>"


async def test_what_is_late_replayed_or_stands_in_for_another_says_so(server: Server) -> None:
    event = make_event("v3-incidentUpdated", late=True)
    async with opened(Email, table(server)) as destination:
        await destination.deliver(event, make_delivery(event, replay=3, fallback=Fallback("pager", "<gone>")))
    text, html = parts(server.mail())
    for note in ("an older update, which came after a newer one", "in replay 3", 'because "pager" gave up: <gone>'):
        assert note in text
        assert escape(note, quote=False).replace('"', "&#34;") in html


async def test_a_retry_has_the_same_message_id_and_another_delivery_another(server: Server) -> None:
    first, second = make_event("v3-incidentCreated"), make_event("v3-incidentCreated")
    async with opened(Email, table(server)) as destination:
        await destination.deliver(first, make_delivery(first, attempt=1))
        await destination.deliver(first, make_delivery(first, attempt=2))
        await destination.deliver(second, make_delivery(second))
    one, again, other = (message["Message-ID"] for _, message in server.mails)
    assert one == again != other
    assert re.fullmatch(r"<[0-9a-f]{32}@example\.org>", one)


async def test_the_mails_of_one_incident_form_one_thread(server: Server) -> None:
    """The same References and, for Gmail, the same subject, whatever the status; another incident, another thread."""
    events = [incident(), incident("incidentUpdated", status="resolved", severity="low"), incident(id="i2")]
    async with opened(Email, table(server, **{"from": f"soda@{'long-' * 11}name.{'x' * 60}.org"})) as destination:
        for event in events:
            await destination.deliver(event, make_delivery(event))
    (_, one), (_, two), (_, other) = server.mails
    assert one["Subject"] == two["Subject"] == "[Soda] INC-7 Orders are late"
    assert one["References"] == one["In-Reply-To"] == two["References"] != other["References"]
    for envelope, _ in server.mails:
        assert re.search(rb"^References: <incident\.\S+>\r$", envelope.content, re.MULTILINE)


async def test_a_line_break_in_the_event_makes_no_header(server: Server) -> None:
    title = "x\r\nBcc: mallory@example.net\r\n\r\n" + "\u2028\x00" + "ä" * 300
    await send(server, incident(title=title))
    await send(server, make_event({"event": "odd\r\nBcc: mallory@example.net"}))
    for envelope, message in server.mails:
        assert message["Bcc"] is None
        assert envelope.rcpt_tos == ["ann@example.org"]
    subject = server.mails[0][1]["Subject"]
    assert subject.startswith("[Soda] INC-7 x Bcc: mallory@example.net ä")
    assert len(subject) == 200


# --- recipients


def people(**owners: str) -> Event:
    return incident(
        lead={"email": "lead@example.org"},
        reporter={"email": "reporter@example.net"},
        checkResults=[
            check(name, "fail") | {"datasets": [{"owner": {"email": mail}}]} for name, mail in owners.items()
        ],
    )


async def test_recipients_come_from_the_event_each_once(server: Server) -> None:
    event = people(a="One@example.org", b="one@example.org", c="not an address", d="two@example.org\r\nRCPT TO:<x@y>")
    to, cc, bcc = ["$owners", "Ann <ann@example.org>"], ["$lead", "ann@example.org"], ["$reporter"]
    await send(server, event, to=to, cc=cc, bcc=bcc, reply_to="team@example.org")
    [(envelope, message)] = server.mails
    assert envelope.rcpt_tos == ["One@example.org", "ann@example.org", "lead@example.org", "reporter@example.net"]
    assert message["To"] == "One@example.org, Ann <ann@example.org>"
    assert message["Cc"] == "lead@example.org"
    assert message["Reply-To"] == "team@example.org"
    assert "reporter@example.net" not in str(message).partition("\n\n")[0]


@pytest.mark.parametrize(
    ("sample", "author"),
    [("v4-2025-08-contractPublished", "author@example.com"), ("v3-agreementCreated", "julie@company.com")],
)
async def test_authors_of_contracts_and_agreements_can_be_reached(sample: str, author: str, server: Server) -> None:
    await send(server, sample, to=["$author"])
    assert server.mails[0][0].rcpt_tos == [author]


async def test_only_the_given_domains_are_taken_from_events(server: Server) -> None:
    event = people(a="test56@test.com", b="one@EXAMPLE.org")
    await send(server, event, to=["$owners", "$reporter", "partner@example.net"], domains=["example.org"])
    assert server.mails[0][0].rcpt_tos == ["one@EXAMPLE.org", "partner@example.net"]


@pytest.mark.parametrize(
    ("group", "reached"),
    [
        ("two@example.org", ["two@example.org"]),
        ("Two", ["two@example.org"]),
        ("2", ["two@example.org"]),
        ("three@example.net", []),
        ("nobody@example.org", []),
        (None, []),
    ],
)
async def test_the_owner_is_the_one_that_the_delivery_is_for(
    group: str | None, reached: list[str], server: Server
) -> None:
    owners = [
        {"type": "user", "email": "one@example.org"},
        {"type": "user", "id": "2", "email": "two@example.org", "name": "Two"},
        {"type": "user", "email": "three@example.net"},
    ]
    event = checks({"name": "a", "datasets": [{"name": "d", "owners": owners}]})
    options = table(server, to=["$owner"], cc=["ann@example.org"], domains=["example.org"])
    async with opened(Email, options) as destination:
        await destination.deliver(event, make_delivery(event, group=group))
    assert server.mails[0][0].rcpt_tos == [*reached, "ann@example.org"]


@pytest.mark.parametrize(
    ("group", "reached"),
    [
        ("sales", ["sales@example.net"]),
        (None, ["sales@example.net", "ops@example.net", "lead@example.net"]),
        ("orders", ["sales@example.net", "ops@example.net", "lead@example.net"]),
    ],
)
async def test_a_team_is_reached_wherever_its_addresses_are(
    group: str | None, reached: list[str], server: Server
) -> None:
    def enrich(view: View) -> View:
        sales, ops = (
            Team("sales", recipients=("sales@example.net",)),
            Team("ops", recipients=("ops@example.net", "lead@example.net")),
        )
        return View(view.type, results=(Result(datasets=(Dataset(team=sales), Dataset(team=ops))),))

    event = make_event(enrich=enrich)
    options = table(server, to=["$team"], domains=["example.org"], subject="{{ team.name }} of {{ teams | length }}")
    async with opened(Email, options) as destination:
        await destination.deliver(event, make_delivery(event, group=group))
    assert server.mails[0][0].rcpt_tos == reached
    assert server.mail()["Subject"] == "sales of 2"


async def test_the_fallback_gets_what_nobody_else_gets(server: Server) -> None:
    await send(server, "v3-validate", to=["$owners"], fallback_to=["duty@example.org"])
    await send(server, "v3-checkEvaluation", to=["$owners"], fallback_to=["duty@example.org"])
    assert [envelope.rcpt_tos for envelope, _ in server.mails] == [["duty@example.org"], ["person@soda.io"]]


async def test_a_mail_for_nobody_is_rejected(server: Server) -> None:
    with pytest.raises(Reject, match=r"no recipient: .* \$lead, \$author"):
        await send(server, "v3-validate", to=["$lead", "$author"])


async def test_addresses_beyond_ascii_need_smtputf8(server: Server) -> None:
    await send(server, "v3-validate", to=["Jörg <jörg@exämple.org>"], cc=["bär@example.org"])
    [(envelope, message)] = server.mails
    assert envelope.rcpt_tos == ["jörg@xn--exmple-cua.org", "bär@example.org"]
    assert message["To"].addresses[0].display_name == "Jörg"
    with Server(enable_SMTPUTF8=False).running() as old, pytest.raises(Reject, match="SMTPUTF8"):
        await send(old, "v3-validate", to=["jörg@example.org"])


async def test_names_and_domains_beyond_ascii_do_not(server: Server) -> None:
    with Server(enable_SMTPUTF8=False).running() as old:
        await send(old, "v3-validate", to=["Jörg <joerg@exämple.org>"])
    assert old.mail()["To"] == "Jörg <joerg@xn--exmple-cua.org>"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "ann@",
        "@example.org",
        "a b@c",
        '"a b"@c',
        "a@b, c@d",
        "a..b@c",
        "<a@b",
        "g: a@b;",
        "a@b\nc",
        "a@[::1]",
        "a@" + "x" * 70 + ".org",
        "a" * 70 + "@b",
    ],
)
def test_what_is_not_one_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a mail address"):
        parse_address(text)


# --- previews


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize(
    "more", [{}, {"text": "{{ event.type }}", "subject": "ä {{ event.id }}"}], ids=["built-in", "own"]
)
async def test_a_preview_is_what_arrives(sample: str, more: dict[str, Any], server: Server) -> None:
    event = make_event(sample)
    options = table(server, to=["Jörg <joerg@example.org>"], bcc=["hidden@example.org"], **more)
    shown = Email("there", Email.options_type.model_validate(options, context=Place())).preview(
        event, make_delivery(event)
    )
    async with opened(Email, options) as destination:
        for attempt in (1, 2):
            await destination.deliver(event, make_delivery(event, attempt=attempt))
    assert shown.target == f"joerg@example.org, hidden@example.org by 127.0.0.1:{server.port}"
    for envelope, message in server.mails:
        assert isinstance(envelope.content, bytes)
        assert shown.body == envelope.content.partition(b"\r\n\r\n")[2]
        ours = {
            name: str(value)
            for name, value in message.items()
            if name not in ("Date", "X-Peer", "X-MailFrom", "X-RcptTo")
        }
        assert shown.headers == ours


# --- the connection


async def test_several_events_share_a_connection(server: Server) -> None:
    event = make_event("v3-validate")
    async with opened(Email, table(server)) as destination:
        for _ in range(5):
            await destination.deliver(event, make_delivery(event))
        assert len(server.mails) == 5
        assert server.connections == 1
    await server.closed_one()


async def test_a_refused_mail_does_not_cost_the_connection(server: Server) -> None:
    event = make_event("v3-validate")
    server.on_recipient = {"ann@example.org": "550 no such user"}
    async with opened(Email, table(server)) as destination:
        with pytest.raises(Reject):
            await destination.deliver(event, make_delivery(event))
        server.on_recipient = {}
        await destination.deliver(event, make_delivery(event))
    assert server.connections == 1


async def test_deliveries_at_once_have_a_connection_each(server: Server) -> None:
    event = make_event("v3-validate")
    async with opened(Email, table(server)) as destination:
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(destination.deliver, event, make_delivery(event))
    assert len(server.mails) == 6
    assert server.connections == 2


async def test_a_kept_connection_that_died_is_replaced(server: Server) -> None:
    event = make_event("v3-validate")
    async with opened(Email, table(server)) as destination:
        await destination.deliver(event, make_delivery(event))
        await trio.to_thread.run_sync(server.hang_up)
        await destination.deliver(event, make_delivery(event))
    assert len(server.mails) == server.connections == 2


async def test_a_kept_connection_that_the_server_has_had_enough_of_is_replaced(server: Server) -> None:
    event = make_event("v3-validate")
    server.on_sender = lambda: "421 too many mails" if server.connections == 1 and server.mails else "250 OK"
    async with opened(Email, table(server)) as destination:
        await destination.deliver(event, make_delivery(event))
        await destination.deliver(event, make_delivery(event))
    assert len(server.mails) == server.connections == 2


async def test_an_idle_connection_is_closed(server: Server) -> None:
    event = make_event("v3-validate")
    async with opened(Email, table(server, idle_timeout="20ms")) as destination:
        await destination.deliver(event, make_delivery(event))
        await server.closed_one()
        await destination.deliver(event, make_delivery(event))
        await server.closed_one()
    assert server.connections == 2


async def test_a_connection_is_closed_after_so_many_mails(server: Server) -> None:
    event = make_event("v3-validate")
    async with opened(Email, table(server, messages_per_connection=2)) as destination:
        for _ in range(3):
            await destination.deliver(event, make_delivery(event))
        await server.closed_one()
    assert server.connections == 2


async def test_a_cancelled_delivery_leaves_no_connection_behind(server: Server) -> None:
    event = make_event("v3-validate")
    async with opened(Email, table(server)) as destination:
        await destination.deliver(event, make_delivery(event))
        server.on_data = "hang"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(destination.deliver, event, make_delivery(event))
            assert await trio.to_thread.run_sync(server.reached.wait, PATIENCE)
            nursery.cancel_scope.cancel()
        await server.closed_one()
        server.on_data = "250 OK"
        await destination.deliver(event, make_delivery(event))
    assert len(server.mails) == server.connections == 2


# --- TLS and login


AUTHORITY = trustme.CA()
PASSWORD = "open sesame"


def server_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    return context


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = (data.login, data.password) == (b"router", PASSWORD.encode())
    return AuthResult(
        success=good, handled=good, message=None if good else f"535 5.7.8 {data.password.decode()} is wrong"
    )


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
def secure() -> Iterator[Server]:
    settings = {
        "tls_context": server_tls(),
        "require_starttls": True,
        "auth_required": True,
        "authenticator": authenticate,
    }
    with Server(**settings).running() as server:
        yield server


async def test_starttls_and_login(secure: Server, ca_file: str) -> None:
    login = {"username": "router", "password": PASSWORD}
    await send(secure, "v3-validate", host="localhost", tls="starttls", ca_file=ca_file, **login)
    assert len(secure.mails) == 1


async def test_tls_from_the_first_byte(ca_file: str) -> None:
    with Server(implicit_tls=server_tls()).running() as server:
        await send(server, "v3-validate", host="localhost", tls="tls", ca_file=ca_file)
    assert len(server.mails) == 1


async def test_a_wrong_password_can_be_mended_and_is_not_told(secure: Server, ca_file: str) -> None:
    login = {"username": "router", "password": "hunter22"}
    with pytest.raises(Retry, match="did not accept username and password: 535") as caught:
        await send(secure, "v3-validate", host="localhost", tls="starttls", ca_file=ca_file, **login)
    assert "hunter22" not in caught.value.reason + caught.value.response
    assert "** is wrong" in caught.value.response


async def test_a_missing_login_can_be_mended(secure: Server, ca_file: str) -> None:
    with pytest.raises(Retry, match="530"):
        await send(secure, "v3-validate", host="localhost", tls="starttls", ca_file=ca_file)


async def test_a_certificate_of_strangers_gets_nothing(secure: Server) -> None:
    with pytest.raises(Retry, match="certificate cannot be trusted"):
        await send(secure, "v3-validate", host="localhost", tls="starttls")


async def test_without_starttls_nothing_is_sent(server: Server) -> None:
    with pytest.raises(Retry, match="STARTTLS"):
        await send(server, "v3-validate", tls="starttls")
    assert not server.mails


async def test_a_ca_file_that_cannot_be_read_stops_the_start(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ca_file: .*nowhere\.pem cannot be used: No such file"):
        await send(server, "v3-validate", tls="tls", ca_file=str(tmp_path / "nowhere.pem"))


# --- refusals


@pytest.mark.parametrize(("reply", "ending"), [("451 try later", Retry), ("554 5.7.1 spam", Reject)])
@pytest.mark.parametrize("stage", ["sender", "recipient", "data"])
async def test_a_4xx_is_for_later_and_a_5xx_for_never(reply: str, ending: type, stage: str, server: Server) -> None:
    match stage:
        case "sender":
            server.on_sender = lambda: reply
        case "recipient":
            server.on_recipient = {"ann@example.org": reply}
        case _:
            server.on_data = reply
    with pytest.raises(ending) as caught:
        await send(server, "v3-validate")
    assert caught.value.reason.endswith(f": {reply}")
    assert reply in caught.value.response


async def test_if_all_recipients_are_refused_one_temporary_is_enough_to_come_again(server: Server) -> None:
    server.on_recipient = {"ann@example.org": "550 who?", "bob@example.org": "450 busy"}
    with pytest.raises(Retry, match="refused every recipient: 450 busy") as caught:
        await send(server, "v3-validate", cc=["bob@example.org"])
    assert "ann@example.org: 550 who?" in caught.value.response


async def test_a_mail_that_some_recipients_get_is_taken(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.on_recipient = {"ann@example.org": "550 who?"}
    await send(server, "v3-validate", cc=["bob@example.org"])
    assert server.mails[0][0].rcpt_tos == ["bob@example.org"]
    assert "550 who?" in capsys.readouterr().out


async def test_a_connection_that_breaks_in_mid_message_is_for_later(server: Server) -> None:
    server.on_data = "drop"
    with pytest.raises(Retry, match="the connection broke"):
        await send(server, "v3-validate")


async def test_a_server_that_is_not_there_is_for_later() -> None:
    listener = trio.socket.socket()
    with listener:
        await listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        event = make_event("v3-validate")
        async with opened(Email, table(port)) as destination:
            with pytest.raises(Retry, match=f"127.0.0.1:{port}: the server cannot be reached: Connection refused"):
                await destination.deliver(event, make_delivery(event))


async def test_a_server_that_says_nothing_is_for_later() -> None:
    listener = trio.socket.socket()
    with listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        event = make_event("v3-validate")
        async with opened(Email, table(listener.getsockname()[1], smtp_timeout="50ms")) as destination:
            with pytest.raises(Retry, match="did not answer in time"):
                await destination.deliver(event, make_delivery(event))


# --- options and documentation


def faults(**more: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Email.options_type.model_validate(table(25, **more), context=Place())
    return str(caught.value)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"to": []}, "at least 1 item"),
        ({"to": ["$everybody"]}, "'$everybody' is none of $owners, $owner, $team, $reporter, $lead, $author"),
        ({"from": "soda"}, "'soda' is not a mail address"),
        ({"fallback_to": ["$owners"]}, "is not a mail address"),
        ({"username": "router"}, "username and password go together"),
        ({"username": "router", "password": "pässword"}, "must be ASCII"),
        ({"tls": "ssl"}, "Input should be 'starttls', 'tls' or 'none'"),
        ({"smtp_timeout": "0s"}, "greater than 0"),
        ({"text": "{% if %}"}, "template, line 1"),
        ({"sender": "soda@example.org"}, "Extra inputs"),
    ],
)
def test_options_that_cannot_work_are_refused(more: dict[str, Any], fault: str) -> None:
    assert fault in faults(**more)


def test_the_port_follows_the_kind_of_tls() -> None:
    ports = {}
    for tls in ("starttls", "tls", "none"):
        keys = {key: value for key, value in table(25, tls=tls).items() if key != "port"}
        ports[tls] = Email.options_type.model_validate(keys, context=Place()).effective_port
    assert ports == {"starttls": 587, "tls": 465, "none": 25}


def test_a_password_in_the_clear_is_fine_only_on_loopback() -> None:
    login = {"username": "router", "password": "x"}
    shown = {}
    for host, tls in (("localhost", "none"), ("smtp.example.org", "none"), ("smtp.example.org", "starttls")):
        options = Email.options_type.model_validate(table(25, host=host, tls=tls, **login), context=Place())
        shown[host, tls] = options.clear_text_password
    assert [place for place, clear in shown.items() if clear] == [("smtp.example.org", "none")]


def test_the_plugin_offers_the_type_email() -> None:
    assert [kind.type for kind in destination_types()] == ["email"]


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_the_documentation_lists_every_option_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    shown = {"from": "required", "host": "required", "to": "required", "port": "by `tls`"}
    shown |= {
        "smtp_timeout": '`"20s"`',
        "idle_timeout": '`"30s"`',
        "messages_per_connection": "`100`",
        "tls": '`"starttls"`',
    }
    names = {field.alias or name for name, field in Email.options_type.model_fields.items()}
    assert rows.keys() == names
    assert {name: default for name, default in rows.items() if default != "-"} == shown
    fields = Email.options_type.model_fields
    assert (fields["smtp_timeout"].default, fields["idle_timeout"].default) == (20.0, 30.0)
    assert (fields["messages_per_connection"].default, fields["tls"].default) == (100, "starttls")


def test_the_documented_table_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "x")
    (keys,) = tomli.loads(block("toml"))["destination"].values()
    assert keys.pop("type") == "email"
    Email.options_type.model_validate(keys, context=Place(tmp_path))


async def test_the_documented_mail_is_what_arrives(server: Server) -> None:
    body = json.loads(payload("v4-2026-checkEvaluation"))
    body["checkResults"] += [check("Freshness below 24h", "pass", "ecommerce_customers")]
    event = make_event(body, id="0198c2a4-7d10-7000-9c3e-1f0a5b6c7d8e")
    async with opened(Email, table(server)) as destination:
        await destination.deliver(event, make_delivery(event, "stewards"))
    text, _ = parts(server.mail())
    assert block("text") == f"Subject: {server.mail()['Subject']}\n\n{text}"
