"""What is no fault in a configuration, and yet hardly meant: told by ``check`` and at the start."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sodarouter import soda
from sodarouter.config.tables import File
from sodarouter.decide import VALIDATE, Route
from sodarouter.decide.match import Conditions, compile_match
from sodarouter.errors import Fault
from sodarouter.faults import suggestion
from sodarouter.plugins import installed
from sodarouter.view import OUTCOMES, SEVERITIES, STATUSES, word


def advise(file: File) -> Iterator[Fault]:
    """What an operator should know and may want. Places begin at the top of the file."""
    yield from _intake(file)
    yield from _routes(file)
    yield from _plugins(file)


def _intake(file: File) -> Iterator[Fault]:
    for name, source in file.source.items():
        if not source.verify:
            yield Fault(
                f"source.{name}",
                "nothing is verified: whoever can reach it can send events",
                "set verify before it faces the internet",
            )
    if file.server.stop_timeout < file.server.body_timeout:
        yield Fault(
            "server.stop_timeout", "is shorter than body_timeout", "a sender may be cut off when the router stops"
        )


def _routes(file: File) -> Iterator[Fault]:
    if not file.route and not file.unrouted.to:
        yield Fault("route", "there is none: events are kept and go nowhere", "add one: [[route]] with to")
        return
    stopped_by = ""
    for number, route in enumerate(file.route):
        place = f"route[{number}]"
        if stopped_by and not _names_validate(route):
            yield Fault(place, f"no event comes this far: {stopped_by} takes all and says stop = true")
        if route.stop and not stopped_by and not compile_match(route.match, route.match.not_):
            stopped_by = place
        yield from _words(route.match, f"{place}.match", file.source)
        if route.match.not_:
            yield from _words(route.match.not_, f"{place}.match.not", file.source)
    fallbacks = [table["fallback"] for table in file.destination.values() if "fallback" in table]
    used = {name for to in (*(route.to for route in file.route), file.unrouted.to, fallbacks) for name in to}
    for name in file.destination:
        if name not in used:
            yield Fault(f"destination.{name}", "no route sends anything to it")


def _names_validate(route: Route) -> bool:
    """Whether it gets what a route without conditions does not take, and so cannot keep from it."""
    return VALIDATE in (route.match.event or ())


def _plugins(file: File) -> Iterator[Fault]:
    there = installed()
    for name in file.plugins.disabled:
        if name not in there:
            yield Fault("plugins.disabled", f"no plugin {name!r} is installed", suggestion(name, there))


@dataclass(frozen=True)
class _Vocabulary:
    """The words that a key can meet, and how a pattern is brought into their spelling."""

    said: str
    words: tuple[str, ...]
    spelt: Callable[[str], str | None] = str


_VOCABULARIES = {
    "event": _Vocabulary("Soda documents no event {!r}", soda.EVENT_TYPES),
    "scope": _Vocabulary("there is no scope {!r}", tuple(dict.fromkeys(soda.SCOPES.values()))),
    "severity": _Vocabulary("there is no severity {!r}", SEVERITIES, word),
    "status": _Vocabulary("there is no status {!r}", STATUSES, word),
    "outcome": _Vocabulary("there is no outcome {!r}", OUTCOMES, word),
}


def _words(asked: Conditions, place: str, sources: Iterable[str]) -> Iterator[Fault]:
    """The patterns that no event can fit, as far as can be known: those without a glob's characters."""
    vocabularies = {**_VOCABULARIES, "source": _Vocabulary("there is no source {!r}", tuple(sources))}
    for key, known in vocabularies.items():
        for pattern in getattr(asked, key) or ():
            if not set(pattern) & set("*?[") and known.spelt(pattern) not in known.words:
                hint = suggestion(pattern, known.words, otherwise=f"one of {', '.join(known.words)}")
                yield Fault(f"{place}.{key}", known.said.format(pattern), hint)
