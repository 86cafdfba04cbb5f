"""The decision: what routes can say, and the pure function that says what becomes of an event under them."""

from sodarouter.decide.decision import Decision, State, Step, decide, explain
from sodarouter.decide.groups import Each
from sodarouter.decide.rules import VALIDATE, OrderBy, Route, Routing, Rules, compile_rules, parse_routing
from sodarouter.decide.silences import NewSilence, Silence, Standing
from sodarouter.decide.teams import Teams, TeamTable
from sodarouter.decide.windows import Window

__all__ = [
    "VALIDATE",
    "Decision",
    "Each",
    "NewSilence",
    "OrderBy",
    "Route",
    "Routing",
    "Rules",
    "Silence",
    "Standing",
    "State",
    "Step",
    "TeamTable",
    "Teams",
    "Window",
    "compile_rules",
    "decide",
    "explain",
    "parse_routing",
]
