"""The router, with a place at which it dies: SIGKILL at the NTH passage of a named step between receive and settle.

    python -m tests.torture.victim --die-at appended:3 -- --config router.toml

Nothing else differs from ``python -m sodarouter``: each step is the real function, passed on the way in or out of it.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import sodarouter_file
import sodarouter_forward

from sodarouter import deciding, receive
from sodarouter.cli import main as router
from sodarouter.spool import Routed, SqliteSpool

Passed = Callable[[], None]
Function = Callable[..., Any]

APPENDS = ("append", "append_all")
ANSWERED = "answered"


def _before(owner: Any, name: str, passed: Passed) -> None:
    def wrapped(function: Function) -> Function:
        @wraps(function)
        async def passing(*args: Any, **known: Any) -> Any:
            passed()
            return await function(*args, **known)

        return passing

    _wrap(owner, name, wrapped)


def _after(owner: Any, name: str, passed: Passed, which: Callable[..., bool] = lambda *_, **__: True) -> None:
    """``which`` is asked with the result and then the arguments whether this was a passage."""

    def wrapped(function: Function) -> Function:
        @wraps(function)
        async def passing(*args: Any, **known: Any) -> Any:
            result = await function(*args, **known)
            if which(result, *args, **known):
                passed()
            return result

        return passing

    _wrap(owner, name, wrapped)


def _after_at_once(owner: Any, name: str, passed: Passed) -> None:
    def wrapped(function: Function) -> Function:
        @wraps(function)
        def passing(*args: Any, **known: Any) -> Any:
            result = function(*args, **known)
            passed()
            return result

        return passing

    _wrap(owner, name, wrapped)


def _wrap(owner: Any, name: str, wrapped: Callable[[Function], Function]) -> None:
    # an AttributeError here says that the router has changed and this step must be sought anew
    setattr(owner, name, wrapped(getattr(owner, name)))


def _settles(kind: type) -> Callable[..., bool]:
    return lambda _, __, outcomes: any(isinstance(outcome, kind) for outcome in outcomes)


def _delivering(passed: Passed) -> None:
    for destination in (sodarouter_file.File, sodarouter_forward.Forward):
        _before(destination, "deliver", passed)


def _delivered(passed: Passed) -> None:
    for destination in (sodarouter_file.File, sodarouter_forward.Forward):
        _after(destination, "deliver", passed)


def _appending(passed: Passed) -> None:
    for name in APPENDS:
        _before(SqliteSpool, name, passed)


def _appended(passed: Passed) -> None:
    for name in APPENDS:
        _after(SqliteSpool, name, passed)


STEPS: dict[str, Callable[[Passed], None]] = {
    # the body is whole and verified, and nothing of it is stored
    "received": _appending,
    # the decision is made, mostly in the transaction that is to store the event, and nothing of it is stored
    "decided": lambda passed: _after_at_once(deciding, "decide", passed),
    # committed, mostly with its decision, and the sender does not know
    "appended": _appended,
    # the sender has its 200; not where another process answers
    ANSWERED: lambda passed: _after(receive, "answer", passed, lambda _, __, given: given.status == 200),
    # a body that is no event is committed to the quarantine, and the sender does not know
    "quarantined": lambda passed: _after(SqliteSpool, "quarantine", passed),
    # of a large event, or of one that came behind it
    "claimed-for-decision": lambda passed: _after(
        SqliteSpool, "claim", passed, lambda found, *_, **__: bool(found.claims)
    ),
    # the deliveries of such a one are planned
    "routed": lambda passed: _after(SqliteSpool, "settle", passed, _settles(Routed)),
    "claimed": lambda passed: _after(
        SqliteSpool, "exchange", passed, lambda exchanged, *_, **__: bool(exchanged[1].claims)
    ),
    "delivering": _delivering,
    # the destination has it, and the spool does not know
    "delivered": _delivered,
    "settled": lambda passed: _after(SqliteSpool, "exchange", passed, lambda exchanged, *_, **__: any(exchanged[0])),
}
"""How each step is watched, in the order in which an event passes them."""


def die_at(step: str, nth: int) -> None:
    """Has this process kill itself at the ``nth`` passage of ``step``."""
    left = nth

    def passed() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    STEPS[step](passed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.victim", description=__doc__)
    parser.add_argument("--die-at", required=True, metavar="STEP:NTH", help=f"one of {', '.join(STEPS)}")
    parser.add_argument("router", nargs="*", help="after --: the arguments of sodarouter")
    asked = parser.parse_args()
    step, _, nth = asked.die_at.partition(":")
    if step not in STEPS or not nth.isdecimal() or int(nth) < 1:
        parser.error(f"--die-at: {asked.die_at!r} is no step and passage")
    die_at(step, int(nth))
    sys.argv = ["sodarouter", *asked.router]
    router()


if __name__ == "__main__":
    main()
