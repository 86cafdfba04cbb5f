"""Checks a source type: what it makes of what its senders send, and of what they would not."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from sodarouter.errors import ConfigError, Malformed, PluginFailed
from sodarouter.event import Event
from sodarouter.failures import describe
from sodarouter.http import WebhookRequest
from sodarouter.options import Place
from sodarouter.redact import Redactor
from sodarouter.source import SourceType
from sodarouter.testing.bench import filled, new_folder
from sodarouter.testing.checking import Checks, Told, nobody
from sodarouter.testing.form import form_of_source
from sodarouter.testing.making import made
from sodarouter.testing.report import DoubtfulError, Mark, NotCheckedError, NotWellError, Report
from sodarouter.testing.samples import MOMENT, sample
from sodarouter.translate import Translator

NAME = "checked"
LARGEST = 16 * 1024 * 1024
"""Bytes of an event, which is more than any router takes by default."""
SLOW = 1.0
"""Seconds for one body: four can be translated at once."""


@dataclass
class _Bench:
    source: SourceType[Any]
    bodies: Sequence[bytes]
    redact: Redactor

    async def event(self, request: WebhookRequest) -> object:
        """The event of a request, or an answer to it. A translator of its own, as one that hangs keeps its thread.

        Raises:
            Malformed: The source type says that it is none.
            PluginFailed: It failed.
        """
        return await Translator(NAME, self.source, LARGEST, self.redact).event(request, MOMENT)

    def known(self) -> list[bytes]:
        """What its senders send, as far as that is known."""
        try:
            body: object = self.source.sample()
        except Exception as error:
            raise NotWellError(f"its sample fails: {describe(error)}") from error
        if body is not None and not isinstance(body, bytes):
            raise NotWellError(f"its sample gives {type(body).__name__}, not bytes")
        return [*self.bodies, *([body] if body is not None else [])]


async def check_source(
    kind: type[SourceType[Any]],
    options: Mapping[str, Any] | None = None,
    bodies: Sequence[bytes] = (),
    *,
    folder: Path | None = None,
    told: Told = nobody,
) -> Report:
    """Checks a source type: ``(await check_source(Assay, bodies=[VERDICT])).raise_faults()``.

    Args:
        kind: The type.
        options: The keys of its table but for the router's own; by default its own `example`. In a text ``{folder}``
            becomes a new folder.
        bodies: What its senders send, beside its own `sample`: each has to become an event.
        folder: Where relative paths start; a new folder by default.
        told: Called with each check as it ends.
    """
    form = form_of_source(kind)
    checks = Checks(Report(f"source type {form.word}"), told)
    if not checks.look(form):
        return checks.report
    given = kind.example if options is None else options
    if not given and any(info.is_required() for info in kind.options_type.model_fields.values()):
        checks.add("It behaves", Mark.SKIPPED, "it needs options, and has no example of its own")
        return checks.report
    with new_folder() as new:
        place = Place(folder or new)
        try:
            source = made(kind, filled(given, {"{folder}": str(new)}), NAME, place)
        except ConfigError as error:
            checks.add("It can be made with these options", Mark.FAULT, "; ".join(map(str, error.faults)))
            return checks.report
        redact = checks.redact = Redactor(place.secrets)
        for check in TRANSLATED:
            await checks.make(check, _Bench(source, bodies, redact))
    return checks.report


async def translates(bench: _Bench) -> None:
    """What its senders send becomes an event"""
    known = bench.known()
    for body in known:
        try:
            got = await bench.event(WebhookRequest(body))
        except Malformed as error:
            raise NotWellError(f"{_brief(body)}: {error.detail}") from error
        except PluginFailed as error:
            raise NotWellError(f"{_brief(body)}: {error}") from error
        if not isinstance(got, Event):
            raise NotWellError(f"{_brief(body)} is answered, and becomes none")
    if not known:
        raise NotCheckedError("it has no sample, so `sodarouter simulate --post` has nothing to post")


async def same(bench: _Bench) -> None:
    """The same body becomes the same event"""
    for body in bench.known():
        first, second = [await bench.event(WebhookRequest(body)) for _ in range(2)]
        if isinstance(first, Event) and isinstance(second, Event) and first.raw != second.raw:
            raise DoubtfulError("it does not, so that what a sender repeats is delivered twice")


async def rubbish(bench: _Bench) -> None:
    """Rubbish is an event, an answer or Untranslatable, and never another failure"""
    for body in _rubbish(bench.known()):
        try:
            await bench.event(WebhookRequest(body))
        except Malformed:
            continue
        except PluginFailed as error:
            raise NotWellError(f"{_brief(body)}: {error}; raise Untranslatable") from error


async def handshakes(bench: _Bench) -> None:
    """It bears each of its methods without a body, and with a query"""
    for method in bench.source.methods:
        for query in ({}, {"challenge": "x", "hub.challenge": "x", "token": ""}):
            try:
                await bench.event(WebhookRequest(b"", method, "/", query))
            except Malformed:
                continue
            except PluginFailed as error:
                raise NotWellError(f"{method} with {query}: {error}; raise Untranslatable") from error


async def quick(bench: _Bench) -> None:
    """It does not take long"""
    for body in (*bench.known(), sample("many").raw):
        began = time.perf_counter()
        try:
            await bench.event(WebhookRequest(body))
        except (Malformed, PluginFailed):
            await trio.lowlevel.checkpoint()
        if (seconds := time.perf_counter() - began) > SLOW:
            raise DoubtfulError(f"it takes {seconds:.1f} s for {_brief(body)}, and a sender waits")


TRANSLATED = (translates, same, rubbish, handshakes, quick)
"""The checks, in their order. What holds is the first line of the docstring."""


def _rubbish(known: Sequence[bytes]) -> Iterator[bytes]:
    yield from (b"", b" ", b"{", b"{}", b"[]", b"null", b"0", b'"text"', b"\x00\xff\xfe", b"a=b&c=d", b"x" * 100_000)
    yield from (sample(kind).raw for kind in ("unknown", "unicode", "bare/incidentCreated"))
    for body in known:
        yield from (body[:-1], body[: len(body) // 2], body + b"x", b"[" + body + b"]")
        try:
            table = json.loads(body)
        except ValueError:
            continue
        if isinstance(table, dict):
            yield from (json.dumps(changed).encode() for changed in _changed(table))


_ODD: tuple[Any, ...] = (None, "", "x", -1, True, [], [None], {})


def _changed(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same with one value missing, or another."""
    for key, value in table.items():
        yield {name: other for name, other in table.items() if name != key}
        yield from ({**table, key: odd} for odd in _ODD)
        if isinstance(value, dict):
            yield from ({**table, key: inner} for inner in _changed(value))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield from ({**table, key: [inner, *value[1:]]} for inner in _changed(value[0]))


def _brief(body: bytes) -> str:
    text = body[:60].decode(errors="backslashreplace")
    return repr(text if len(body) <= 60 else f"{text}…")
