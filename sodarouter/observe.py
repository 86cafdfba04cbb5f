"""Tells plugins what has happened, each by itself: an observer that raises is logged, and the others are still told."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from sodarouter.blame import SLOW, blame
from sodarouter.delivery import Settled
from sodarouter.event import Event
from sodarouter.failures import describe
from sodarouter.sparing import Sparing

Told = Sequence[tuple[str, Callable[..., Any]]]
"""The names of plugins, each with the caller of its implementation of one hook."""

MOST_TOLD = 10
"""Lines that the failures of one hook of a plugin get in a minute."""

log = structlog.get_logger()


class Observers:
    """The three hooks that are told afterwards. Never raises."""

    def __init__(self, accepted: Told = (), refused: Told = (), settled: Told = ()) -> None:
        self._accepted = accepted
        self._refused = refused
        self._settled = settled
        self._last: dict[tuple[str, str], str] = {}
        self._failures = Sparing(most=MOST_TOLD)
        self._delays = Sparing()

    def event_accepted(self, event: Event, *, duplicate: bool) -> None:
        if self._accepted and not duplicate:
            _ = event.view  # once for all of them and for the decision: nothing in it can be changed
        for told in self._accepted:
            # each its own: the router decides about it later
            self._tell("event_accepted", (told,), event=event.apart(), duplicate=duplicate)

    def event_refused(self, source: str | None, status: int, reason: str) -> None:
        self._tell("event_refused", self._refused, source=source, status=status, reason=reason)

    def delivery_settled(self, settled: Settled) -> None:
        self._tell("delivery_settled", self._settled, settled=settled)

    def _tell(self, hook: str, told: Told, **arguments: Any) -> None:
        for plugin, call in told:
            began = time.perf_counter()
            try:
                call(**arguments)
            except BaseException as error:  # an observer is not async, so none of it can be trio's
                self._failed(plugin, hook, error)
            if (seconds := time.perf_counter() - began) > SLOW:
                # the task is that of a destination or of the intake, which have done nothing
                blame(f"plugin {plugin}")
                known = {"plugin": plugin, "hook": hook, "seconds": round(seconds, 3)}
                self._delays(log.warning, "an observer blocked the event loop", plugin, hook, **known)

    def _failed(self, plugin: str, hook: str, error: BaseException) -> None:
        what = describe(error)
        if self._last.get((plugin, hook)) != what:  # once, not at every event
            self._last[plugin, hook] = what
            known = {"plugin": plugin, "hook": hook, "exc_info": error}
            self._failures(log.error, "an observer failed", plugin, hook, **known)
