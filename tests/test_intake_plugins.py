"""Plugins teach sources other senders: verifications and source types, those of the docs and hostile ones."""

import hmac
import json
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
import trio
from commandline import free_ports, listening, run_beside
from distributions import SitePackages
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from running import LISTEN, as_served, running_router
from structlog.testing import capture_logs

from sodarouter import HttpResponse, Options, SourceType, Untranslatable, Unverified, VerificationType, WebhookRequest
from sodarouter.admit import Here
from sodarouter.config import load
from sodarouter.errors import ConfigError
from sodarouter.observe import Observers
from sodarouter.options import Place
from sodarouter.plugins import Plugins, find
from sodarouter.receive import Intake, Receiver, Source
from sodarouter.redact import Redactor
from sodarouter.replies import Replies
from sodarouter.spool import MemorySpool
from sodarouter.translate import THREADS, Translator
from sodarouter.vet import Vetting

DOCS = Path(__file__).parent.parent / "docs/plugins/senders.md"
HINT = "; mend or uninstall it, or put its name into [plugins] disabled"
SECRET = "canary-stamp-4711"
ASSAY = f"""
[source.assay]
type = "assay"
path = "/assay"
verify = [{{ type = "stamp", secret = "{SECRET}" }}]
datasource = "warehouse"
[source.soda]
path = "/webhooks/soda"
[destination.log]
type = "file"
path = "events.jsonl"
[[route]]
match = {{ outcome = "fail", datasource = "warehouse" }}
to = ["log"]
"""
VERDICT = {"monitor": {"id": "m-17", "name": "orders are fresh"}, "verdict": "broken", "table": "orders", "run": 5}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePackages:
    return SitePackages(tmp_path / "site", monkeypatch)


def in_the_docs(module: str) -> str:
    """The source code of a module."""
    (found,) = re.findall(rf"(?ms)^```python\n# {module}\.py\n(.*?)^```$", DOCS.read_text(encoding="utf-8"))
    return str(found)


_namespace: dict[str, Any] = {"__name__": "stamp"}
exec(in_the_docs("sodarouter_stamp"), _namespace)
STAMP = _namespace["Stamp"]


@pytest.fixture
def assay(site: SitePackages) -> None:
    """Installs the two plugins of the docs."""
    modules = {name: in_the_docs(name) for name in ("sodarouter_stamp", "sodarouter_assay")}
    site.install("sodarouter-assay", {"stamp": "sodarouter_stamp", "assay": "sodarouter_assay"}, **modules)


def stamped(body: bytes, secret: str = SECRET) -> dict[str, str]:
    now = int(time.time())
    signature = hmac.digest(secret.encode(), b"%d." % now + body, "sha256").hex()
    return {"Assay-Signature": f"t={now},v1={signature}"}


def refusal(answer: httpx2.Response, status: int) -> Any:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    return answer.json()


# those of the docs, through a router that runs


@pytest.mark.usefixtures("intake")
async def test_a_verdict_of_another_tool_becomes_an_event_that_is_routed_and_delivered(assay, tmp_path):
    async with running_router(tmp_path, ASSAY, source="") as router:
        body = json.dumps(VERDICT).encode()
        answer = await router.post(body, "/assay", headers=stamped(body))
        assert answer.status_code == 200
        (delivery,) = await router.until_settled()
        assert delivery.destination == "log"
        stored = router.reader.event(answer.json()["id"]).event
        assert (stored.source, stored.type) == ("assay", "checkEvaluation")
        assert json.loads(stored.raw)["assay"] == VERDICT
        (result,) = stored.view.results
        assert (result.name, result.outcome, result.datasets[0].name) == ("orders are fresh", "fail", "orders")
        again = await router.post(body, "/assay", headers=stamped(body))
        assert again.json() == {"id": stored.id, "duplicate": True}
        (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
        assert json.loads(line)["payload"]["assay"] == VERDICT


@pytest.mark.usefixtures("intake")
async def test_a_handshake_is_answered_and_nothing_is_kept(assay, tmp_path):
    async with running_router(tmp_path, ASSAY, source="") as router:
        answer = await router.server.get("/assay?challenge=a%20b&challenge=c", headers=stamped(b""))
        assert (answer.status_code, answer.text) == (200, "c")
        assert refusal(await router.server.get("/assay?challenge=x"), 401)
        put = await router.server.put("/assay", content=b"{}", headers=stamped(b"{}"))
        assert refusal(put, 405)["detail"] == "a webhook is sent with POST or GET"
        assert put.headers["allow"] == "POST, GET"
        assert (await router.server.get("/webhooks/soda")).headers["allow"] == "POST"
        assert router.reader.events(limit=9) == []
        assert router.reader.quarantined(limit=9) == []


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "the header Assay-Signature is missing"),
        ({"Assay-Signature": "x"}, "the header Assay-Signature is not written as t=…,v1=…"),
        ({"Assay-Signature": f"t=5,v1={'0' * 64}"}, "it was signed at another time"),
        (stamped(b"something else"), "the header Assay-Signature holds no valid signature"),
    ],
)
async def test_who_does_not_pass_is_told_nothing_and_the_log_says_why(assay, tmp_path, headers, why):
    async with running_router(tmp_path, ASSAY, source="") as router:
        with capture_logs() as logs:
            answer = await router.post(b"{}", "/assay", headers=headers)
        assert refusal(answer, 401)["detail"] == "the request did not pass this source's stamp verification"
        assert [line["reason"] for line in logs if line["event"] == "a request was refused"] == [why]
        assert router.reader.quarantined(limit=9) == []


@pytest.mark.usefixtures("intake")
async def test_what_cannot_be_translated_is_explained_and_kept_as_it_came(assay, tmp_path):
    async with running_router(tmp_path, ASSAY, source="") as router:
        body = b'{"monitor": 5}'
        document = refusal(await router.post(body, "/assay", headers=stamped(body)), 422)
        assert document["title"] == "Not translatable"
        assert document["detail"].startswith("this is no verdict of a monitor: TypeError")
        (kept,) = router.reader.quarantined(limit=9)
        assert (kept.raw, kept.source, kept.status, kept.detail) == (body, "assay", 422, document["detail"])


@given(body=st.binary(max_size=200), at=st.integers(0, 10**11), place=st.integers(0))
def test_what_the_stamp_of_the_docs_signs_passes_and_anything_else_does_not(body, at, place):
    stamp = STAMP.model_validate({"secret": SECRET}, context=Place())
    headers = {name.lower(): value for name, value in stamp.sign(body, at + 0.5).items()}
    stamp.check_head(headers, None)
    stamp.check(WebhookRequest(body, headers=headers), at + 299)
    changed = bytearray(body + b" ")
    changed[place % len(changed)] ^= 1
    for other, now in ((bytes(changed), at), (body, at + 301)):
        with pytest.raises(Unverified):
            stamp.check(WebhookRequest(other, headers=headers), now)


@pytest.mark.usefixtures("intake")
async def test_a_reload_takes_up_another_secret_and_other_options(assay, tmp_path):
    async with running_router(tmp_path, ASSAY, source="") as router:
        body = json.dumps(VERDICT).encode()
        text = ASSAY.replace(SECRET, "another-secret").replace('"warehouse"\n[source', '"lake"\n[source')
        (tmp_path / "router.toml").write_text(as_served(LISTEN) + text, encoding="utf-8")
        assert await router.bound.reload() == ()
        assert (await router.post(body, "/assay", headers=stamped(body))).status_code == 401
        answer = await router.post(body, "/assay", headers=stamped(body, "another-secret"))
        event = router.reader.event(answer.json()["id"]).event
        assert event.view.results[0].datasets[0].datasource == "lake"
        bad = text.replace('"stamp"', '"stmap"').replace("datasource", "datasuorce", 1)
        (tmp_path / "router.toml").write_text(as_served(LISTEN) + bad, encoding="utf-8")
        assert len(await router.bound.reload()) == 2
        assert (await router.post(body, "/assay", headers=stamped(body, "another-secret"))).status_code == 200


# the commands


async def test_simulate_posts_the_sample_signed_by_the_plugin(assay, sodarouter, tmp_path):
    ports = free_ports(2)
    async with running_router(tmp_path, ASSAY, source="", listen=listening(*ports)) as router:
        ran = await run_beside(sodarouter, "simulate", "--post", "assay")
        assert (ran.status, ran.err) == (0, "1 posted\n")
        assert ran.out.startswith('sample: 200 {"id": ')
        assert router.reader.events(limit=9)[0].event.view.results[0].outcome == "fail"
        ran = await run_beside(sodarouter, "simulate", "incidentCreated", "--post", "assay")
        assert ran.status == 2
        assert ran.err.startswith("sodarouter: source 'assay' is of the type 'assay' and not Soda's: only a sample")


def test_simulate_says_that_a_type_has_no_sample_or_that_it_fails(site, sodarouter, tmp_path):
    site.install("acme-tools", {"acme": "acme_source"}, acme_source=ACME)
    (tmp_path / "router.toml").write_text('[source.x]\ntype = "acme"\npath = "/x"\n')
    ran = sodarouter("simulate", "--post", "x")
    assert (ran.status, ran.err) == (2, "sodarouter: source 'x' is of the type 'acme', which has no sample to post\n")
    sys.modules["acme_source"].Acme.sample = lambda self: 1 / 0
    ran = sodarouter("simulate", "--post", "x")
    assert (ran.status, ran.err) == (
        1,
        "sodarouter: the sample of the source type 'acme' fails: ZeroDivisionError: division by zero\n",
    )


def test_the_other_commands_know_such_sources(assay, sodarouter, tmp_path):
    test = '[[test]]\nsample = "checkEvaluation"\nsource = "assay"\nto = []\n'
    (tmp_path / "router.toml").write_text(ASSAY + test)
    assert "2 sources" in sodarouter("check").out
    (tmp_path / "payload.json").write_text('{"event": "checkEvaluation", "checkResults": []}')
    assert "from source assay" in sodarouter("route", "payload.json").out


def test_plugins_shows_what_a_plugin_offers(assay, sodarouter):
    rows = {row["name"]: row for row in sodarouter("plugins", "--json").json}
    assert (rows["assay"]["sources"], rows["assay"]["verifications"]) == (["assay"], [])
    assert (rows["stamp"]["sources"], rows["stamp"]["verifications"]) == ([], ["stamp"])
    offers = re.findall(r"sodarouter-assay +(.*)", sodarouter("plugins").out)
    assert offers == ["source assay", "verification stamp"]


def test_the_schema_has_what_a_plugin_offers(assay, sodarouter):
    schema = Draft202012Validator(sodarouter("schema").json)
    stamp = {"type": "stamp", "secret": "x"}
    known = {"path": "/x", "verify": [stamp], "duplicate_window": "1m"}
    assert schema.is_valid({"source": {"a": known, "b": {**known, "type": "assay", "datasource": "w"}}})
    for wrong in ({"type": "assya"}, {"type": "assay"}, {"datasource": "w"}, {"verify": [{"type": "stamp"}]}):
        assert not schema.is_valid({"source": {"a": {**known, **wrong}}}), wrong


ACME = """
import json
from sodarouter import HttpResponse, SourceType, Untranslatable, hookimpl

seen = []
broken = True

class Acme(SourceType):
    type = "acme"

    def translate(self, request):
        seen.append(request)
        if request.body == b"hello":
            return HttpResponse("hello", 202)
        if request.body == b"no":
            raise Untranslatable("say yes")
        if broken:
            raise KeyError("x")
        return json.dumps({"event": "acme", "said": request.body.decode()}).encode()

@hookimpl
def source_types():
    return [Acme]
"""
ACME_SOURCE = '[source.acme]\ntype = "acme"\npath = "/acme"\n[source.soda]\npath = "/webhooks/soda"\n'


@pytest.fixture
def acme(site: SitePackages) -> None:
    site.install("acme-tools", {"acme": "acme_source"}, acme_source=ACME)


async def test_what_a_plugin_failed_at_is_kept_and_translated_again_once_it_is_mended(
    acme, logged, sodarouter, tmp_path
):
    async with running_router(tmp_path, ACME_SOURCE, source="", listen=listening(*free_ports(2))) as router:
        for body in (b"first", b"second", b"no"):
            await router.post(body, "/acme")
        kept = router.reader.quarantined(limit=9)
        assert [one.raw for one in kept] == [b"no", b"second", b"first"]
        assert [one.status for one in kept] == [422, 500, 500]
        assert kept[1].detail == "the plugin acme failed: KeyError: 'x'"
        ran = await run_beside(sodarouter, "quarantine", "retry", kept[2].id, "--json")
        assert ran.json["not_retried"] == {kept[2].id: "the plugin acme failed: KeyError: 'x'"}
        sys.modules["acme_source"].broken = False
        ran = await run_beside(sodarouter, "quarantine", "retry", "--all", "--yes", "--json")
        assert set(ran.json["retried"]) == {kept[1].id, kept[2].id}
        assert ran.json["not_retried"] == {kept[0].id: "422 Not translatable: say yes"}
        event = router.reader.event(ran.json["retried"][kept[2].id]).event
        assert (event.raw, event.received) == (b'{"event": "acme", "said": "first"}', kept[2].received)
        request = sys.modules["acme_source"].seen[-1]
        assert (request.method, request.headers, request.query, request.client) == ("POST", {}, {}, None)


def test_a_command_translates_again_while_no_router_runs(acme, sodarouter, tmp_path):
    async def fill() -> list[str]:
        async with running_router(tmp_path, ACME_SOURCE, source="", listen=listening(*free_ports(2))) as router:
            for body in (b"first", b"no"):
                await router.post(body, "/acme")
            return [one.id for one in router.reader.quarantined(limit=9)]

    no, first = trio.run(fill)
    dry = ("quarantine", "retry", "--all", "--dry-run", "--json")
    assert set(sodarouter(*dry).json["not_retried"]) == {no, first}
    sys.modules["acme_source"].broken = False
    assert sodarouter(*dry).json["not_retried"] == {no: "422 Not translatable: say yes"}
    ran = sodarouter("quarantine", "retry", "--all", "--yes", "--json")
    assert ran.json["not_retried"] == {no: "422 Not translatable: say yes"}
    (event,) = sodarouter("events", "--json").json
    assert ran.json["retried"] == {first: event["id"]}
    assert "acme" in sodarouter("why", event["id"]).out


# hostile ones, at the intake itself


class Panic(BaseException):
    """As extensions written in Rust raise it: no ``Exception``."""


class Mute(Unverified):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


def returning(value: object) -> Callable[..., Any]:
    return lambda *_: value


class House:
    """A receiver with its spool in memory, and what its observers and the log were told."""

    def __init__(self, *sources: Source, max_body: int = 1000) -> None:
        self.spool = MemorySpool()
        self.refused: list[tuple[str | None, int, str]] = []
        observers = Observers(refused=[("test", lambda source, status, reason: self._tell(source, status, reason))])
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        admission = Here(self.spool, observers, nothing, nothing, nothing, Replies())
        self.receiver = Receiver(sources, Intake(max_body, 5), admission)

    def _tell(self, source: str | None, status: int, reason: str) -> None:
        self.refused.append((source, status, reason))

    async def post(self, body: bytes = b'{"event": "validate"}', path: str = "/in") -> httpx2.Response:
        async with self._client() as client:
            return await client.post(path, content=body)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx2.AsyncClient]:
        transport = httpx2.ASGITransport(app=self.receiver)  # type: ignore[arg-type]
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
            yield client


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


REFUSING = {
    "raises": (raising(ValueError("broken")), "ValueError: broken"),
    "raises a group, also of refusals": (raising(ExceptionGroup("", [Unverified("no")])), "Unverified: no"),
    "raises SystemExit": (raising(SystemExit(3)), "SystemExit: 3"),
    "raises KeyboardInterrupt": (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    "panics": (raising(Panic("index out of range")), "Panic: index out of range"),
    "raises what cannot be printed": (raising(Mute()), "RuntimeError: not even this"),
    "stops an iteration": (raising(StopIteration()), "StopIteration"),
    "says no by returning it": (
        returning(False),
        "the verification 'odd' returned a bool, where one raises or returns None",
    ),
    "says yes by returning it": (
        returning(True),
        "the verification 'odd' returned a bool, where one raises or returns None",
    ),
}


@pytest.mark.parametrize("method", ["check", "check_head"])
@pytest.mark.parametrize(("what", "fault"), REFUSING.values(), ids=REFUSING)
async def test_a_verification_that_fails_lets_nobody_in_and_is_named(logged, what, fault, method):
    class Odd(VerificationType):
        type: Literal["odd"] = "odd"

    setattr(Odd, method, lambda self, *arguments: what(*arguments))
    house = House(Source("soda", "/in", (), 600, (Vetting("acme", Odd()),)), Source("other", "/other", (), 600))
    answer = await house.post()
    assert refusal(answer, 500) == {
        "type": "about:blank",
        "title": "Internal error",
        "status": 500,
        "detail": "the router's log says more",
    }
    await house.post()
    assert house.refused == [("soda", 500, "plugin_failed")] * 2
    (line,) = [line for line in logged if line["event"] == "a plugin failed over a request"]
    assert (line["plugin"], line["source"], line["error"]) == ("acme", "soda", fault)
    assert house.spool.events(limit=9) == []
    assert house.spool.quarantined(limit=9) == []
    assert (await house.post(path="/other")).status_code == 200


async def test_a_verification_cannot_change_what_it_is_handed():
    class Changing(VerificationType):
        type: Literal["changing"] = "changing"

        def check(self, request: Any, now: float) -> None:
            request.headers["content-encoding"] = "gzip"

    house = House(Source("soda", "/in", (), 600, (Vetting("acme", Changing()),)))
    assert (await house.post()).status_code == 500


async def test_a_slow_verification_is_named(logged, monkeypatch):
    class Passing(VerificationType):
        type: Literal["passing"] = "passing"

        def check(self, request: Any, now: float) -> None: ...

    monkeypatch.setattr("sodarouter.vet.SLOW", 0.0)
    house = House(Source("soda", "/in", (), 600, (Vetting("slow-plugin", Passing()),)))
    assert (await house.post()).status_code == 200
    assert ("slow-plugin", "passing") in {(line.get("plugin"), line.get("verification")) for line in logged}


class Odd(SourceType[Options]):
    type = "odd"
    what: Callable[..., Any]

    def translate(self, request: Any) -> Any:
        return self.what(request)


def odd(what: Callable[..., Any], name: str = "soda", path: str = "/in", redact: Redactor | None = None) -> Source:
    """A source whose type does that."""
    made = Odd(name, Options())
    made.what = what
    return Source(name, path, (), 600, (), Translator("acme", made, 1000, redact or Redactor()))


FAILING = {
    "raises": (raising(ValueError("broken")), "ValueError: broken"),
    "raises a group": (raising(ExceptionGroup("", [Untranslatable("no")])), "Untranslatable: 422 Not translatable: no"),
    "raises SystemExit": (raising(SystemExit(3)), "SystemExit: 3"),
    "raises KeyboardInterrupt": (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    "panics": (raising(Panic("out of range")), "Panic: out of range"),
    "stops an iteration": (raising(StopIteration()), "RuntimeError: "),
    "explains itself with bytes": (raising(Untranslatable(b"no")), "TypeError: "),
    "gives nothing": (returning(None), "TypeError: translate gave a NoneType, neither bytes nor an HttpResponse"),
    "gives a text": (returning("{}"), "TypeError: translate gave a str, neither bytes nor an HttpResponse"),
    "gives what is no JSON": (returning(b"{"), "ValueError: translate gave no event: 400 Unreadable JSON: "),
    "gives no event": (returning(b"{}"), "ValueError: translate gave no event: 400 No event: "),
    "gives too much": (returning(b" " * 1001), "ValueError: translate gave 1,001 bytes, and 1,000 are the most"),
    "answers with no status": (returning(HttpResponse(status=99)), "ValueError: translate gave an answer with the st"),
    "answers with a text for a status": (returning(HttpResponse(status="200")), "ValueError: translate gave an answer"),
    "answers with a number": (
        returning(HttpResponse(5)),
        "TypeError: translate gave an answer with a int for its body",
    ),
    "splits its answer": (
        returning(HttpResponse(headers={"X": "a\r\nSet-Cookie: b"})),
        "ValueError: translate gave an answer with a header 'X' that cannot be sent",
    ),
    "answers in Chinese": (returning(HttpResponse(headers={"X": "\u4e2d"})), "UnicodeEncodeError: "),
}


@pytest.mark.parametrize(("what", "fault"), FAILING.values(), ids=FAILING)
async def test_what_a_failing_source_type_was_handed_is_in_quarantine(logged, what, fault):
    house = House(odd(what))
    answer = await house.post(b"as it came")
    assert refusal(answer, 500)["detail"] == "the router's log says more"
    assert house.refused == [("soda", 500, "plugin_failed")]
    (kept,) = house.spool.quarantined(limit=9)
    assert (kept.raw, kept.status, kept.title) == (b"as it came", 500, "Plugin failed")
    assert kept.detail.startswith(f"the plugin acme failed: {fault}")
    (line,) = [line for line in logged if line["event"] == "a plugin failed over a request"]
    assert (line["plugin"], line["source"]) == ("acme", "soda")
    assert house.spool.events(limit=9) == []


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Set at the end, so that no thread hangs longer than its test."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_source_type_that_hangs_costs_its_own_source_and_no_body(autojump_clock, released):
    house = House(odd(lambda _: released.wait()), Source("other", "/other", (), 600))
    began = trio.current_time()
    for number in range(THREADS):
        assert (await house.post(b"%d" % number)).status_code == 500
    assert trio.current_time() - began == pytest.approx(5.0 * THREADS)
    kept = house.spool.quarantined(limit=9)
    assert [one.raw for one in kept] == [b"%d" % number for number in reversed(range(THREADS))]
    assert {one.detail for one in kept} == {"the plugin acme failed: translate took longer than 5 seconds"}
    answer = await house.post(b"one more")  # all its threads hang: nothing is acknowledged, and the sender comes again
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert len(house.spool.quarantined(limit=9)) == THREADS
    assert (await house.post(path="/other")).status_code == 200
    assert house.refused[-1] == ("soda", 503, "overloaded")


async def test_a_source_type_that_hangs_has_its_threads_back_after_a_reload(site, tmp_path, monkeypatch, released):
    monkeypatch.setattr("sodarouter.translate.TIMEOUT", 0.05)
    monkeypatch.setattr("sodarouter.translate.PATIENCE", 0.05)
    site.install("acme-tools", {"acme": "acme_source"}, acme_source=ACME)
    async with running_router(tmp_path, ACME_SOURCE, source="") as router:
        acme = sys.modules["acme_source"].Acme
        translate, acme.translate = acme.translate, lambda *_: released.wait()
        for _ in range(THREADS):
            assert (await router.post(b"hello", "/acme")).status_code == 500
        assert (await router.post(b"hello", "/acme")).status_code == 503
        acme.translate = translate
        assert (await router.post(b"hello", "/acme")).status_code == 503
        assert (await router.post(b'{"event": "validate"}')).status_code == 200
        assert await router.bound.reload() == ()
        assert (await router.post(b"hello", "/acme")).status_code == 202


async def test_a_secret_in_what_a_source_type_says_is_blotted_out():
    house = House(odd(raising(Untranslatable(f"it is not {SECRET}\x1b[31m")), redact=Redactor({SECRET})))
    detail = refusal(await house.post(b"x"), 422)["detail"]
    assert detail == "it is not **********\N{REPLACEMENT CHARACTER}[31m"
    assert house.spool.quarantined(limit=9)[0].detail == detail


# the configuration


@pytest.fixture
def faults(tmp_path: Path) -> Callable[[str], list[str]]:
    def faults(text: str) -> list[str]:
        (tmp_path / "router.toml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / "router.toml")
        assert SECRET not in str(caught.value)
        return [str(fault).removeprefix("router.toml: ") for fault in caught.value.faults]

    return faults


def test_the_faults_of_both_are_told_as_those_of_the_router_s_own(assay, faults):
    text = f"""
    [source.a]
    type = "assay"
    path = "/a"
    verify = [
      {{ type = "stmap", secret = "{SECRET}" }},
      {{ type = "stamp", secert = "{SECRET}" }},
      {{ type = "stamp", secret = {{ env = "NOT_THERE_AT_ALL" }}, tolerance = 5 }},
      {{ type = "header", name = "X" }},
    ]
    datasuorce = "x"
    [source.b]
    type = "asay"
    pth = "/b"
    [source.c]
    type = 5
    path = "/a"
    [source.d]
    type = "assay"
    path = "/d"
    datasource = 7
    [source.e]
    path = "/e"
    datasource = "x"
    """
    assert faults(text) == [
        (
            "source.a.verify[0].type: must be one of header, basic, hmac, standard-webhooks, address, stamp; "
            "did you mean 'stamp'?"
        ),
        "source.a.verify[1].secert: unknown key; did you mean 'secret'?",
        "source.a.verify[2].secret: the environment variable NOT_THERE_AT_ALL is not set or is empty",
        'source.a.verify[2].tolerance: a duration is written like "30s", "5m", "1h 30m" or "7d", not 5',
        "source.a.verify[3].value: is missing",
        "source.a.datasuorce: unknown key; did you mean 'datasource'?",
        "source.b.type: no plugin offers 'asay'; did you mean 'assay'?",
        "source.b.path: is missing",
        "source.c.type: must be text",
        "source.d.datasource: must be text",
        "source.e.datasource: unknown key",
        "source.c.path: source.a has the same path",
    ]


FRAGILE = """
from sodarouter import Options, SourceType, hookimpl
from pydantic import field_validator

class FragileOptions(Options):
    size: int = 1

    @field_validator("size")
    @classmethod
    def _check(cls, value):
        return {1: 1, 2: 2}[value]

class Fragile(SourceType[FragileOptions]):
    type = "fragile"

    def __init__(self, name, options):
        super().__init__(name, options)
        if options.size == 2:
            raise OSError("no such thing")

    def translate(self, request): ...

@hookimpl
def source_types():
    return [Fragile]
"""


def test_a_source_type_that_cannot_be_made_is_a_fault_of_its_source(site, faults):
    site.install("acme-tools", {"fragile": "acme_fragile"}, acme_fragile=FRAGILE)
    source = '[source.x]\ntype = "fragile"\npath = "/x"\nsize = %d\n'
    assert faults(source % 2) == ["source.x: its type 'fragile' cannot be made of it: OSError: no such thing"]
    assert faults(source % 3) == [
        "source.x: cannot be validated: its model fails with KeyError, which is its author's to mend"
    ]


PROLOGUE = """
from typing import Any, Literal
from sodarouter import Options, SourceType, VerificationType, hookimpl
"""
WRONG = {
    "def source_types(): return [int]": "source_types gives <class 'int'>, which is no subclass of SourceType",
    "def source_types(): return SourceType": "source_types must give a list, not <class 'sodarouter.source.SourceType'>",
    "def source_types(): return [type('A', (SourceType,), {})]": (
        "the source A needs a type, the word that router.toml names it by"
    ),
    "def source_types(): return [type('A', (SourceType,), {'type': 'soda'})]": (
        "the source type 'soda' is the router's own"
    ),
    "def source_types(): return [type('A', (SourceType,), {'type': 'a', 'methods': 'POST'})]": (
        "the methods of the source type 'a' must be a tuple of GET, POST, PUT"
    ),
    "def source_types(): return [type('A', (SourceType,), {'type': 'a'})]": "the source type 'a' has no translate method",
    "def source_types():\n class A(SourceType):\n  type = 'a'\n  async def translate(self, request): ...\n return [A]": (
        "the translate of the source type 'a' must be an ordinary function: it is not awaited"
    ),
    "def source_types():\n class A(SourceType):\n  type = 'a'\n  def translate(self): ...\n return [A]": (
        "the translate of the source type 'a' is called with request"
    ),
    "def verification_types(): return [Options]": (
        "verification_types gives <class 'sodarouter.options.Options'>, which is no subclass of VerificationType"
    ),
    "def verification_types(): return [VerificationType]": (
        "the verification VerificationType needs a type, the word that router.toml names it by: "
        'type: Literal["word"] = "word"'
    ),
    "def verification_types():\n class A(VerificationType):\n  type: Literal['hmac'] = 'hmac'\n return [A]": (
        "the verification type 'hmac' is the router's own"
    ),
    "def verification_types():\n class A(VerificationType):\n  type: Literal['a'] = 'a'\n return [A]": (
        "the verification type 'a' has neither a check nor a check_head method: it would let everybody in"
    ),
    (
        "def verification_types():\n class A(VerificationType):\n  type: Literal['a'] = 'a'\n"
        "  async def check(self, request, now): ...\n return [A]"
    ): "the check of the verification type 'a' must be an ordinary function: it is not awaited",
    (
        "def verification_types():\n class A(VerificationType):\n  type: Literal['a'] = 'a'\n"
        "  def check(self, request): ...\n return [A]"
    ): "the check of the verification type 'a' is called with request and now",
    (
        "def verification_types():\n class A(VerificationType):\n  type: Literal['a'] = 'a'\n  later: 'NotThere'\n"
        "  def check(self, request, now): ...\n return [A]"
    ): "the verification type 'a' names a type for one of its fields that is not defined where it stands",
}


@pytest.mark.parametrize(("function", "cause"), WRONG.items())
def test_what_is_wrong_with_a_type_is_told_to_its_author(site, faults, function, cause):
    site.install("acme-tools", {"wrong": "acme_wrong"}, acme_wrong=f"{PROLOGUE}\n@hookimpl\n{function}\n")
    assert faults('[source.x]\npath = "/x"\n') == [f"plugin wrong (acme-tools 1.0): {cause}{HINT}"]


def test_two_plugins_that_offer_one_type_are_both_named(site):
    site.install("acme-one", {"one": "acme_one"}, acme_one=ACME)
    site.install("acme-two", {"two": "acme_two"}, acme_two=ACME)
    vouch = f"""{PROLOGUE}
class A(VerificationType):
    type: Literal["a"] = "a"
    def check(self, request, now): ...

@hookimpl
def verification_types():
    return [A]
"""
    site.install("acme-three", {"three": "acme_three", "four": "acme_four"}, acme_three=vouch, acme_four=vouch)
    told = {str(fault) for fault in Plugins(find(), {}).faults()}
    assert told == {
        f"plugin two (acme-two 1.0): plugin one (acme-one 1.0) offers the source type 'acme' too{HINT}",
        f"plugin three (acme-three 1.0): plugin four (acme-three 1.0) offers the verification type 'a' too{HINT}",
    }


def test_an_option_must_not_be_called_as_a_key_of_every_source(site, faults):
    code = ACME.replace("SourceType)", "SourceType[AcmeOptions])").replace(
        "seen = []", "from sodarouter import Options\nclass AcmeOptions(Options):\n    path: str = ''\nseen = []"
    )
    site.install("acme-tools", {"acme": "acme_source"}, acme_source=code)
    assert faults('[source.x]\npath = "/x"\n') == [
        "the source type acme: its options path are keys that every source has already; its author has to rename them"
    ]
