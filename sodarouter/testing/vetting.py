"""Checks a verification type: whom it lets in, and what it makes of requests that nobody would send."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sodarouter.blame import SLOW
from sodarouter.errors import ConfigError, Forbidden, PluginFailed
from sodarouter.http import WebhookRequest
from sodarouter.options import Place
from sodarouter.redact import Redactor
from sodarouter.testing.bench import finder
from sodarouter.testing.checking import Checks, Told, nobody
from sodarouter.testing.form import form_of_verification, holds_secret
from sodarouter.testing.making import made
from sodarouter.testing.report import DoubtfulError, Mark, NotCheckedError, NotWellError, Report
from sodarouter.testing.samples import sample
from sodarouter.verification import VerificationType
from sodarouter.vet import Vetting

NAME = "checked"
ANOTHER = "another-secret-than-that"


@dataclass
class _Bench:
    kind: type[VerificationType]
    options: Mapping[str, Any]
    place: Place
    verification: VerificationType
    now: float

    def passes(
        self, body: bytes, headers: Mapping[str, str], by: VerificationType | None = None, *, after: float = 0.0
    ) -> str | None:
        """``None`` if a request passes, and otherwise why it does not.

        Raises:
            PluginFailed: It cannot be said.
        """
        vetting = Vetting(NAME, by or self.verification)
        try:
            vetting.head(headers, None)
            vetting.whole(WebhookRequest(body, headers=headers), self.now + after)
        except Forbidden as error:
            return error.reason
        return None

    def signed(self, body: bytes) -> dict[str, str]:
        """Its headers, as a verification sees them."""
        headers = self.verification.sign(body, self.now)
        if not isinstance(headers, Mapping):
            raise NotWellError(f"sign gives {type(headers).__name__}, which is no mapping")
        return {name.lower(): value for name, value in headers.items()}


async def check_verification(
    kind: type[VerificationType],
    options: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
    told: Told = nobody,
) -> Report:
    """Checks a verification type: ``(await check_verification(Stamp, {"secret": "x"})).raise_faults()``.

    Args:
        kind: The type.
        options: The keys of its entry in a source's ``verify``, without the type; by default its own `example`.
        folder: Where relative paths start.
        told: Called with each check as it ends.
    """
    form = form_of_verification(kind)
    checks = Checks(Report(f"verification type {form.word}"), told)
    if not checks.look(form):
        return checks.report
    given = kind.example if options is None else options
    if not given and any(info.is_required() for info in kind.model_fields.values()):
        checks.add("It behaves", Mark.SKIPPED, "it needs options, and has no example of its own")
        return checks.report
    place = Place(folder or Path())
    try:
        verification = made(kind, given, NAME, place)
    except ConfigError as error:
        checks.add("It can be made with these options", Mark.FAULT, "; ".join(map(str, error.faults)))
        return checks.report
    checks.redact = Redactor(place.secrets)
    bench = _Bench(kind, given, place, verification, time.time())
    for check in VETTED:
        await checks.make(check, bench)
    return checks.report


async def unsigned(bench: _Bench) -> None:
    """It refuses a request that proves nothing"""
    for body in (b"", b"{}", sample().raw):
        if bench.passes(body, {}) is None:
            raise NotWellError("it lets everybody in")


async def signs(bench: _Bench) -> None:
    """What it signs passes"""
    signed = False
    for body in (b"", b"{}", sample().raw, sample("unicode").raw, bytes(range(256))):
        headers = bench.signed(body)
        signed = signed or bool(headers)
        if headers and (why := bench.passes(body, headers)) is not None:
            raise NotWellError(why)
    if not signed:
        raise NotCheckedError("it has no sign, so `sodarouter simulate --post` cannot post to its sources")


async def bound(bench: _Bench) -> None:
    """What is signed for one body does not let in another"""
    one, other = bench.signed(b"{}"), bench.signed(b"[]")
    # where both are the same it is the sender that proves something, and not the body
    if one != other and bench.passes(b"[]", one) is None:
        raise NotWellError("it does")


async def bound_to_secret(bench: _Bench) -> None:
    """What is signed with another secret does not pass"""
    headers = bench.signed(b"{}")
    others = list(_with_another_secret(bench))
    if not headers or not others:
        raise NotCheckedError("it signs nothing" if others else "none of its options is a secret that takes any text")
    for name, other in others:
        if bench.passes(b"{}", headers, other) is None:
            raise NotWellError(f"it does, whatever {name} is")


def _with_another_secret(bench: _Bench) -> Iterator[tuple[str, VerificationType]]:
    for name, info in bench.kind.model_fields.items():
        key = info.alias or name
        if holds_secret(info) and key in bench.options:
            with suppress(ConfigError):  # some take only texts of a certain form
                yield key, made(bench.kind, {**bench.options, key: ANOTHER}, NAME, Place(bench.place.folder))


async def rubbish(bench: _Bench) -> None:
    """It refuses rubbish, and never fails at it"""
    true = bench.signed(b"{}")
    for what, body, headers in _rubbish(true):
        try:
            why = bench.passes(body, headers)
        except PluginFailed as error:
            raise NotWellError(f"{what}: {error}; raise Unverified") from error
        if why is None:
            raise NotWellError(f"it lets in {what}")


TEXTS = (
    "",
    " ",
    "x",
    "=",
    ",",
    "t=,v1=",
    "t=1,v1=zz",
    "v1,",
    "\xe9\xff",
    "0" * 9_000,
    "-1",
    "1e999",
    "9" * 400,
    "Bearer ",
)
"""What may stand in a header: any character of latin-1, of any length."""


def _rubbish(true: Mapping[str, str]) -> Iterator[tuple[str, bytes, Mapping[str, str]]]:
    for text in TEXTS:
        yield f"headers that are all {text[:20]!r}", b"{}", _Every(text)
        for name in true:
            yield f"a {name} of {text[:20]!r}", b"{}", {**true, name: text}
    for name, value in true.items():
        yield f"a request without {name}", b"{}", {other: said for other, said in true.items() if other != name}
        yield f"a {name} that is cut", b"{}", {**true, name: value[: len(value) // 2]}
        yield f"a {name} with something that is no ASCII", b"{}", {**true, name: value[:-1] + "\xe9"}


class _Every(Mapping[str, str]):
    """Headers of all names."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __getitem__(self, name: str) -> str:
        return self._value

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


async def quiet(bench: _Bench) -> None:
    """No secret is in why it refuses a request"""
    has_secret: Callable[[str], bool] = finder(frozenset(bench.place.secrets))
    for _, body, headers in _rubbish(bench.signed(b"{}")):
        if has_secret(bench.passes(body, headers) or ""):
            raise DoubtfulError("one is; the router takes it out of the log, and it should not be there")


async def quick(bench: _Bench) -> None:
    """It does not keep the event loop waiting"""
    body = b" " * 1_000_000
    headers = bench.signed(body)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        bench.passes(body, headers)
        seconds.append(time.perf_counter() - began)
    if min(seconds) > SLOW:
        raise DoubtfulError(f"it takes {min(seconds):.1f} s for a megabyte, in which the router does nothing else")


VETTED = (unsigned, signs, bound, bound_to_secret, rubbish, quiet, quick)
"""The checks, in their order. What holds is the first line of the docstring."""
