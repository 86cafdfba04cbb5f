"""Conditions on events, as they are written on the command line."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from sodarouter.cli.choose import WHICH
from sodarouter.config import load_routing, source_names
from sodarouter.config.words import strange_words
from sodarouter.decide.match import Conditions, Match
from sodarouter.errors import ConfigError, Fault
from sodarouter.faults import faults, suggestion

MatchOption = Annotated[
    list[str] | None,
    typer.Option(
        "--match",
        metavar="KEY=PATTERN",
        help="What must hold, with the keys of `match` in a route: severity=low,medium or attribute.domain=Sales. "
        "Several must all hold.",
        rich_help_panel=WHICH,
    ),
]
NotOption = Annotated[
    list[str] | None,
    typer.Option("--not", metavar="KEY=PATTERN", help="What must not hold, none of it.", rich_help_panel=WHICH),
]


_NAMED = {"attribute": "NAME", "enriched": "PLUGIN.NAME"}
"""The keys behind which a name follows, and what kind of name."""


def parse_match(match: Sequence[str], none: Sequence[str]) -> Match:
    """The conditions of ``--match`` and of ``--not``.

    Raises:
        ConfigError: With every fault.
    """
    found: list[Fault] = []
    table = _table("--match", match, found)
    if negated := _table("--not", none, found):
        table["not"] = negated
    if found:
        raise ConfigError(found)
    try:
        return Match.model_validate(table)
    except ValidationError as error:
        raise ConfigError([_placed(fault) for fault in faults(error, Match, table)]) from None


def advice(path: Path, match: Match) -> Iterator[Fault]:
    """What hardly is meant: words that no event can have."""
    sources, teams = source_names(path), [team.name for team in load_routing(path).team]
    yield from map(_placed, strange_words(match, "", sources, teams))
    if match.not_:
        yield from map(_placed, strange_words(match.not_, "not", sources, teams))


def _table(option: str, texts: Iterable[str], found: list[Fault]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for text in texts:
        key, _, written = text.partition("=")
        patterns = [pattern.strip() for pattern in written.split(",")]
        name, _, attribute = key.strip().partition(".")
        place = f"{option} {key.strip()}"
        if not all(patterns):
            found.append(Fault(f"{option} {text}", "is no condition", "write KEY=PATTERN, such as dataset=prod/*"))
        elif name not in Conditions.model_fields or (attribute and name not in _NAMED):
            found.append(Fault(place, "unknown key", suggestion(key, Conditions.model_fields)))
        elif name in _NAMED and not attribute:
            found.append(Fault(place, "needs the name of one", f"write {name}.{_NAMED[name]}=PATTERN"))
        else:
            into, last = (table.setdefault(name, {}), attribute) if attribute else (table, name)
            if last in into and option == "--match":
                # both would have to hold, and a list says that one is enough
                found.append(
                    Fault(place, "is there twice", f"write {key.strip()}=PATTERN,PATTERN for one or the other")
                )
            into[last] = [*into.get(last, ()), *patterns]
    return table


def _placed(fault: Fault) -> Fault:
    """With the place on the command line for that in a table."""
    place = fault.place.lstrip(".")
    negated = place.removeprefix("not.")
    return replace(fault, place=f"--match {place}" if negated == place else f"--not {negated}")
