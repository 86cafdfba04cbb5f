"""The checks of source types, verifications and what plugins add: those of the docs pass, and what breaks one is found."""

import hmac
import importlib
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from distributions import SitePackages

from sodarouter import (
    Event,
    HttpResponse,
    Options,
    Plugin,
    Secret,
    SourceType,
    Untranslatable,
    Unverified,
    VerificationType,
    WebhookRequest,
    hookimpl,
)
from sodarouter.errors import PluginError
from sodarouter.testing import (
    Check,
    Mark,
    Report,
    check_enricher,
    check_source,
    check_verification,
    enriching,
    make,
    translating,
    vetting,
)

PAGES = Path(__file__).parent.parent / "docs"
DOCS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((PAGES / "plugins").glob("*.md")))
TESTING = (PAGES / "testing.md").read_text(encoding="utf-8")


@pytest.fixture
def in_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Gives a module of the docs. It is in a file, as the descriptions of options are read from there."""
    packages = SitePackages(tmp_path / "site", monkeypatch)

    def load(module: str) -> Any:
        (code,) = re.findall(rf"(?ms)^```python\n# {module}\.py\n(.*?)^```$", DOCS)
        packages.install(module, {}, **{module: code})
        return importlib.import_module(module)

    return load


def found(report: Report, check: Callable[..., object]) -> str:
    """What this check has found."""
    name = (check.__doc__ or "").partition("\n")[0]
    return next(f"{one.mark}: {one.text}" for one in report.checks if one.name == name)


def all_well(report: Report) -> bool:
    return {check.mark for check in report.checks} == {Mark.OK}


async def test_the_tests_on_the_page_about_testing_pass(in_the_docs, tmp_path):
    for module in ("sodarouter_assay", "sodarouter_stamp", "sodarouter_catalog"):
        in_the_docs(module)
    (code,) = re.findall(r"(?ms)^```python\n# test_assay\.py\n(.*?)^```$", TESTING)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    namespace["test_a_verdict_is_an_evaluation"]()
    namespace["test_a_stranger_does_not_pass"]()
    await namespace["test_the_tier_is_added"](tmp_path)
    await namespace["test_the_contracts_are_kept"]()


# verifications


class Signed(VerificationType):
    """As it should be."""

    example: ClassVar[Mapping[str, Any]] = {"secret": "a-secret-for-tests"}
    type: Literal["signed"] = "signed"
    secret: Secret
    """What the sender signs with."""

    def check(self, request: WebhookRequest, now: float) -> None:
        given = request.headers.get("x-signature", "").encode("latin-1")
        if not hmac.compare_digest(given, self.signature(request.body).encode()):
            raise Unverified("it is not signed")

    def sign(self, body: bytes, now: float) -> Mapping[str, str]:
        return {"X-Signature": self.signature(body)}

    def signature(self, body: bytes) -> str:
        return hmac.digest(self.secret.get_secret_value().encode(), body, "sha256").hex()


async def test_verifications_that_are_as_they_should_be_pass_every_check(in_the_docs):
    told: list[Check] = []
    report = await check_verification(Signed, told=told.append)
    assert all_well(report), report
    assert told == report.checks
    stamp = await check_verification(in_the_docs("sodarouter_stamp").Stamp, {"secret": "x"})
    assert all_well(stamp), stamp


async def test_a_verification_that_lets_everybody_in_is_found():
    class Open(Signed):
        def check(self, request: WebhookRequest, now: float) -> None: ...

    report = await check_verification(Open)
    assert found(report, vetting.unsigned) == "fault: it lets everybody in"
    assert found(report, vetting.bound) == "fault: it does"
    assert found(report, vetting.bound_to_secret) == "fault: it does, whatever secret is"
    assert found(report, vetting.rubbish).startswith("fault: it lets in headers that are all ''")


async def test_a_verification_that_fails_at_what_is_no_ascii_is_found():
    class Fails(Signed):
        def check(self, request: WebhookRequest, now: float) -> None:
            if not hmac.compare_digest(request.headers.get("x-signature", ""), self.signature(request.body)):
                raise Unverified("it is not signed")

    report = await check_verification(Fails)
    assert "TypeError" in found(report, vetting.rubbish)
    assert "raise Unverified" in found(report, vetting.rubbish)


async def test_a_verification_that_does_not_know_its_own_signature_or_tells_its_secret_is_found():
    class Odd(Signed):
        def sign(self, body: bytes, now: float) -> Mapping[str, str]:
            return {"X-Signatur": self.signature(body)}

        def check(self, request: WebhookRequest, now: float) -> None:
            try:
                super().check(request, now)
            except Unverified:
                raise Unverified(f"it is not signed with {self.secret.get_secret_value()}") from None

    report = await check_verification(Odd)
    assert found(report, vetting.signs) == "fault: it is not signed with **********"
    assert found(report, vetting.quiet).startswith("warning: one is")
    (skipped,) = (await check_verification(Signed, {})).marked(Mark.SKIPPED)
    assert "it needs options" in skipped.text


# source types


class Words(SourceType[Options]):
    """As it should be."""

    type = "words"

    def translate(self, request: WebhookRequest) -> bytes | HttpResponse:
        try:
            said = json.loads(request.body)["said"]
        except (ValueError, KeyError, TypeError) as error:
            raise Untranslatable(f"it says nothing: {type(error).__name__}") from error
        return json.dumps({"event": "words", "said": said}).encode()

    def sample(self) -> bytes | None:
        return b'{"said": "hello"}'


async def test_source_types_that_are_as_they_should_be_pass_every_check(in_the_docs):
    report = await check_source(Words, bodies=[b'{"said": 3}'])
    assert all_well(report), report
    assay = await check_source(in_the_docs("sodarouter_assay").Assay, {"datasource": "x"})
    assert all_well(assay), assay


async def test_a_source_type_that_fails_at_rubbish_is_found():
    class Fails(Words):
        def translate(self, request: WebhookRequest) -> bytes:
            return json.dumps({"event": "words", "said": json.loads(request.body)["said"]}).encode()

    text = found(await check_source(Fails), translating.rubbish)
    assert text.startswith("fault: '': the plugin checked failed: JSONDecodeError: ")
    assert text.endswith("; raise Untranslatable")


async def test_a_source_type_that_does_not_know_what_its_senders_send_is_found():
    class Deaf(Words):
        def sample(self) -> bytes | None:
            return b"{}"

    text = found(await check_source(Deaf), translating.translates)
    assert text == "fault: '{}': it says nothing: KeyError"
    assert found(await check_source(Words, bodies=[b"[]"]), translating.translates).startswith("fault: '[]': ")

    class Silent(Words):
        def sample(self) -> bytes | None:
            return None

    assert found(await check_source(Silent), translating.translates).startswith("skipped: it has no sample")


async def test_a_source_type_that_says_something_else_each_time_is_found():
    class Changes(Words):
        def translate(self, request: WebhookRequest) -> bytes:
            super().translate(request)
            return json.dumps({"event": "words", "at": time.perf_counter_ns()}).encode()

    assert found(await check_source(Changes), translating.same).startswith("warning: it does not, so that what")


# what plugins add


class Kinds(Plugin[Options]):
    @hookimpl
    def enrich(self, event: Event) -> Mapping[str, object] | None:
        return {"kind": event.type.lower()}


async def test_a_plugin_that_adds_as_it_should_passes_every_check():
    assert all_well(await check_enricher(make(Kinds)))
    with pytest.raises(PluginError, match="it implements no hook"):
        await check_enricher(object())


async def test_a_plugin_that_cannot_add_to_every_event_or_adds_what_is_no_json_is_found():
    class Fails:
        @hookimpl
        async def enrich(self, event: Event) -> Mapping[str, object] | None:
            return {"title": event.view.incident.title if event.view.incident else 1 / 0}

    class Odd:
        @hookimpl
        def enrich(self, event: Event) -> Mapping[str, object] | None:
            return {"at": event.received}

    text = found(await check_enricher(Fails()), enriching.bears)
    assert text.startswith("fault: at the sample v3/validate: ZeroDivisionError")
    assert "TypeError" in found(await check_enricher(Odd()), enriching.many)
