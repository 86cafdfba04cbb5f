"""What is no fault in a configuration, and yet hardly meant: told by ``check`` and at the start."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from sodarouter.config.relations import Asked
from sodarouter.config.tables import DestinationTable, File
from sodarouter.config.words import strange_additions, strange_words
from sodarouter.decide import VALIDATE, Route, TeamTable
from sodarouter.errors import Fault
from sodarouter.faults import suggestion
from sodarouter.plugins import installed


def advise(file: File, teams: Sequence[TeamTable], enriching: Collection[str]) -> Iterator[Fault]:
    """What an operator should know and may want. Places begin at the top of the file.

    Args:
        teams: Those of the file and of the files that it names.
        enriching: The plugins that add to events.
    """
    yield from _intake(file)
    yield from _routes(file, teams)
    for number, route in enumerate(file.route):
        yield from strange_additions(route.match, f"route[{number}].match", enriching)
        if route.match.not_:
            yield from strange_additions(route.match.not_, f"route[{number}].match.not", enriching)
    yield from _plugins(file)


def _intake(file: File) -> Iterator[Fault]:
    for name, source in file.source.items():
        if not source.get("verify"):
            yield Fault(
                f"source.{name}",
                "nothing is verified: whoever can reach it can send events",
                "set verify before it faces the internet",
            )
    if file.server.stop_timeout < file.server.body_timeout:
        yield Fault(
            "server.stop_timeout", "is shorter than body_timeout", "a sender may be cut off when the router stops"
        )


def _routes(file: File, teams: Sequence[TeamTable]) -> Iterator[Fault]:
    if not file.route and not file.unrouted.to:
        yield Fault("route", "there is none: events are kept and go nowhere", "add one: [[route]] with to")
        return
    names = [team.name for team in teams]
    asked = [Asked(route) for route in file.route]
    for number, route in enumerate(file.route):
        place = f"route[{number}]"
        strange = list(strange_words(route.match, f"{place}.match", file.source, names))
        # a word that is misspelt is the cause of a route that cannot match
        yield from strange or _useless(number, file.route, asked)
        if route.match.not_:
            yield from strange_words(route.match.not_, f"{place}.match.not", file.source, names)
        if route.each == "team" and not names:
            yield Fault(f"{place}.each", "there is no team", "add one: [[team]] with name and match")
    fallbacks = [table["fallback"] for table in file.destination.values() if "fallback" in table]
    used = {name for to in (*(route.to for route in file.route), file.unrouted.to, fallbacks) for name in to}
    for name in file.destination:
        if name not in used:
            yield Fault(f"destination.{name}", "no route sends anything to it")
    yield from _twins(file, asked)
    windows = {name for route in file.route for name in (*route.active, *route.mute)}
    for name in file.window:
        if name not in windows:
            yield Fault(f"window.{name}", "no route names it", "silences can: `sodarouter silence add --during`")


def _useless(number: int, routes: Sequence[Route], asked: Sequence[Asked]) -> Iterator[Fault]:
    """That a route can never match, or adds nothing to those before it."""
    place, route, own = f"route[{number}]", routes[number], asked[number]
    if why := own.never():
        yield Fault(place, f"can never match: {why}")
        return
    if both := sorted(set(route.active) & set(route.mute)):
        yield Fault(place, f"sends nothing in the window {both[0]}, which is both in active and in mute")
    if _names_validate(route):
        return
    for before in range(number):
        other = routes[before]
        if other.when or other.active or not own.implies(asked[before]):
            continue
        if other.stop:
            what = "all that this one matches" if asked[before].conditions else "all"
            yield Fault(place, f"no event comes this far: route[{before}] takes {what} and says stop = true")
            return
        if set(route.to) <= set(other.to) and route.each == other.each and not (other.mute or route.stop):
            yield Fault(place, f"adds nothing: route[{before}] sends the same to {', '.join(route.to)} already")
            return


def _twins(file: File, asked: Sequence[Asked]) -> Iterator[Fault]:
    """Destinations that are the same place: what goes to both arrives there twice."""
    names = list(file.destination)
    for number, name in enumerate(names):
        for other in names[:number]:
            if _own(file.destination[name]) == _own(file.destination[other]) and _both(file.route, asked, name, other):
                what = f"is the same as destination.{other}, and events go to both: they arrive twice"
                yield Fault(f"destination.{name}", what, "send them to one of the two")


def _own(table: Mapping[str, object]) -> dict[str, object]:
    core = DestinationTable.model_fields.keys() - {"type"}
    return {key: value for key, value in table.items() if key not in core}


def _both(routes: Sequence[Route], asked: Sequence[Asked], one: str, other: str) -> bool:
    """Whether an event may go to both."""
    to_one, to_other = (
        [these for route, these in zip(routes, asked, strict=True) if name in route.to] for name in (one, other)
    )
    return any(not a.is_disjoint(b) for a in to_one for b in to_other)


def _names_validate(route: Route) -> bool:
    """Whether it gets what a route without conditions does not take, and so cannot keep from it."""
    return VALIDATE in (route.match.event or ())


def _plugins(file: File) -> Iterator[Fault]:
    there = installed()
    for name in file.plugins.disabled:
        if name not in there:
            yield Fault("plugins.disabled", f"no plugin {name!r} is installed", suggestion(name, there))
