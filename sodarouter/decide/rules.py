"""Routes as they are written, and the rules that they are compiled into."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from sodarouter.decide.groups import Each
from sodarouter.decide.index import Index
from sodarouter.decide.match import Condition, Match, asks_memory, compile_match
from sodarouter.decide.teams import Teams, TeamTable
from sodarouter.decide.when import When, compile_when
from sodarouter.decide.windows import Times, Window
from sodarouter.options import Options

VALIDATE = "validate"

OrderBy = Literal["incident", "dataset"]
"""What the deliveries to a destination are ordered by."""


def _when(value: object) -> When:
    if isinstance(value, When):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text: an expression")  # noqa: TRY004 (pydantic turns only ValueError into a fault)
    return compile_when(value)


Expression = Annotated[
    When, PlainValidator(_when), PlainSerializer(lambda when: when.source), WithJsonSchema({"type": "string"})
]
"""A CEL expression."""


class Route(Options):
    """A `[[route]]` table: which events, and which of their results, go to which destinations."""

    name: str | None = None
    """What the trace calls it; `route 1` and so on by default."""
    match: Match = Match()
    """The conditions; without any, every event matches."""
    when: Expression | None = None
    """An expression that must hold too."""
    active: list[str] = Field(default=[])
    """Windows of time, of which the event must have come in one; without, the route is always there."""
    mute: list[str] = Field(default=[])
    """Windows of time in which the route matches but sends nothing."""
    to: list[str] = Field(min_length=1)
    """The destinations."""
    each: Each = "event"
    """What one delivery is made for: the `event` with all results that match, or one `result`, `dataset`, `owner` or
    `team` at a time."""
    stop: bool = False
    """Whether an event that matches here is kept from the routes below."""


class Routing(Options):
    """All of a configuration that decides. It holds no secret, and is stored with the decisions that were made by it."""

    route: list[Route] = Field(default=[])
    unrouted: list[str] = Field(default=[])
    order_by: dict[str, OrderBy] = Field(default={})
    team: list[TeamTable] = Field(default=[])
    window: dict[str, Window] = Field(default={})

    def dump(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_defaults=True)


@dataclass(frozen=True)
class Rule:
    """A compiled route."""

    name: str
    conditions: tuple[Condition, ...]
    when: When | None
    active: tuple[tuple[str, Times], ...]
    mute: tuple[tuple[str, Times], ...]
    to: tuple[str, ...]
    each: Each
    stop: bool
    names_validate: bool
    """Whether it names the event type that goes nowhere else."""
    meaning: str
    """All that it says, but for its name: two rules of one meaning do the same, wherever they stand."""


@dataclass(frozen=True)
class Rules:
    """All routes in their order, and what else decides: made once, when the configuration is loaded."""

    rules: tuple[Rule, ...]
    unrouted: tuple[str, ...]
    order_by: Mapping[str, OrderBy]
    teams: Teams
    index: Index
    remember: bool
    """Whether any of them asks the memory."""


def compile_rules(routing: Routing) -> Rules:
    """The rules that `sodarouter.decide.decide` takes.

    Raises:
        KeyError: A route names a window that there is not.
    """
    times = {name: Times(window) for name, window in routing.window.items()}
    rules = tuple(_rule(number, route, times, routing.window) for number, route in enumerate(routing.route, 1))
    return Rules(
        rules,
        tuple(routing.unrouted),
        routing.order_by,
        Teams(routing.team),
        Index([rule.conditions for rule in rules]),
        any(rule.when or asks_memory(rule.conditions) for rule in rules),
    )


def _rule(number: int, route: Route, times: Mapping[str, Times], windows: Mapping[str, Window]) -> Rule:
    conditions = compile_match(route.match, route.match.not_)
    return Rule(
        route.name or f"route {number}",
        conditions,
        route.when,
        _named(route.active, times),
        _named(route.mute, times),
        tuple(dict.fromkeys(route.to)),
        route.each,
        route.stop,
        any(c.key == "event" and not c.negated and VALIDATE in c.patterns for c in conditions),
        "".join(
            [
                route.model_dump_json(exclude={"name"}, exclude_defaults=True),
                *(windows[name].model_dump_json() for name in (*route.active, *route.mute)),
            ]
        ),
    )


def _named(names: Iterable[str], times: Mapping[str, Times]) -> tuple[tuple[str, Times], ...]:
    return tuple((name, times[name]) for name in names)


def parse_routing(text: str) -> Routing:
    """What `Routing.dump` gave."""
    return Routing.model_validate_json(text)
