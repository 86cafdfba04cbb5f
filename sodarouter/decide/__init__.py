"""The decision: what routes can say, and the pure function that says what becomes of an event under them."""

from sodarouter.decide.decision import (
    VALIDATE,
    Decision,
    OrderBy,
    Route,
    Rule,
    Rules,
    State,
    compile_rules,
    decide,
)

__all__ = ["VALIDATE", "Decision", "OrderBy", "Route", "Rule", "Rules", "State", "compile_rules", "decide"]
