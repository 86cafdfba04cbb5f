"""Enriches: asks plugins what they add to events before these are decided, and waits for none of them for long.

Each plugin is asked by itself, sees nothing of what others add, and at worst costs the events its own addition.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from sodarouter.breaker import BreakerPolicy, Circuit
from sodarouter.callback import is_mentioned
from sodarouter.delivery import Breaker
from sodarouter.event import Event
from sodarouter.failures import contained, describe, kind_of, storable
from sodarouter.redact import Redactor

TIME_LIMIT = 5.0
"""Seconds that a plugin may take for one event."""
AT_ONCE = 16
"""Events that a plugin is asked about at once."""
MAX_BYTES = 64 * 1024
"""Of JSON, that a plugin may add to an event."""
MAX_DEPTH = 20
"""How deep it may nest: much deeper, and whatever goes through it later would fail."""
MAX_TOLD = 200
"""Characters of a failure that the trace has."""
PATIENCE = BreakerPolicy(failures=5, pause=30.0, max_pause=600.0)
"""When a plugin is left alone: so often at most can one that hangs keep events waiting for all of `TIME_LIMIT`."""

LEFT_ALONE = "left alone for a while, as it has failed again and again"
BUSY = f"it has not come back from {AT_ONCE} earlier events"

log = structlog.get_logger()


@dataclass(eq=False)
class Enricher:
    """One plugin that adds something to events."""

    name: str
    call: Callable[[Event], Any]
    """Its ``enrich``, alone."""
    threaded: bool
    """Whether ``call`` blocks and must run in a thread; otherwise it gives something to await."""
    busy: int = 0
    """Calls that have not ended, also those that nobody waits for any more."""
    failing: str = ""
    """The last failure that was logged."""
    circuit: Circuit = field(default_factory=lambda: Circuit(PATIENCE))
    limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(AT_ONCE))


@dataclass(frozen=True)
class Enriched:
    """What has been added to one event, each by the name of the plugin."""

    added: Mapping[str, Mapping[str, Any]]
    """Without those that added nothing."""
    failed: Mapping[str, str]
    """Why an addition is missing that there may have been."""


@dataclass
class _Call:
    """A plugin is asked about an event."""

    event: Event
    started: float
    scope: trio.CancelScope
    ended: trio.Event = field(default_factory=trio.Event)
    added: Mapping[str, Any] | None = None
    failures: list[BaseException] = field(default_factory=list)


_Answer = tuple[Mapping[str, Any] | None, str]
"""What a plugin adds, or why that is missing."""


class Enrichment:
    """All plugins that enrich.

    Args:
        enrichers: Each of another plugin.
        redact: Takes secrets out of what they add, and out of what they fail with.
    """

    def __init__(self, enrichers: Sequence[Enricher], redact: Redactor) -> None:
        self._enrichers = enrichers
        self._redact = redact
        self._calls: trio.Nursery

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """`of` can be asked as long as it is entered."""
        # calls are made here and not where they are waited for: one that shields itself may never end
        async with trio.open_nursery() as self._calls:
            yield
            self._calls.cancel_scope.cancel()

    async def of(self, events: Sequence[Event]) -> list[Enriched]:
        """What plugins add to these events, in their order."""
        answers: list[dict[str, _Answer]] = [{} for _ in events]
        async with trio.open_nursery() as asking:
            for enricher in self._enrichers:
                left = zip(events, answers, strict=True)
                for _ in range(min(AT_ONCE, len(events))):
                    asking.start_soon(self._ask_each, enricher, left)
        return [
            Enriched(
                {name: added for name, (added, _) in sorted(told.items()) if added is not None},
                {name: fault for name, (_, fault) in sorted(told.items()) if fault},
            )
            for told in answers
        ]

    async def _ask_each(self, enricher: Enricher, left: Iterator[tuple[Event, dict[str, _Answer]]]) -> None:
        """Asks about what is left, one by one. Several of these share what is left."""
        for event, answers in left:
            answers[enricher.name] = await self._ask(enricher, event)

    async def _ask(self, enricher: Enricher, event: Event) -> _Answer:
        now, circuit = trio.current_time(), enricher.circuit
        if circuit.ready_at(now) > now:
            return None, LEFT_ALONE
        if enricher.busy >= AT_ONCE:
            return None, BUSY
        probing = circuit.state(now) is Breaker.HALF_OPEN
        circuit.started(now)
        enricher.busy += 1
        call = _Call(event, now, trio.CancelScope(deadline=now + TIME_LIMIT))
        self._calls.start_soon(self._call, enricher, call, name=f"plugin {enricher.name}")
        if probing:
            # events have waited for it in vain before: whether it works again is found out while they go on
            self._calls.start_soon(self._answered, enricher, call)
            return None, LEFT_ALONE
        return await self._answered(enricher, call)

    async def _call(self, enricher: Enricher, call: _Call) -> None:
        event = call.event.apart()
        try:
            with contained(call.failures), call.scope:
                if enricher.threaded:
                    call.added = await trio.to_thread.run_sync(
                        lambda: self._plain(enricher.call(event), event),
                        abandon_on_cancel=True,
                        limiter=enricher.limiter,
                    )
                else:
                    work = enricher.call(event)
                    call.added = self._plain(None if work is None else await work, event)
                # a plugin that swallows Cancelled would otherwise pass for one that has answered
                await trio.lowlevel.checkpoint_if_cancelled()
        finally:
            enricher.busy -= 1
            call.ended.set()

    def _plain(self, made: object, event: Event) -> dict[str, Any] | None:
        """What a plugin adds, as nothing but JSON and without secrets. Whatever code of its own is in it runs here."""
        if made is None:
            return None
        if not isinstance(made, Mapping):
            raise TypeError(f"it gave a {kind_of(made)}, not a mapping")
        text = json.dumps(dict(made), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if (size := len(text.encode())) > MAX_BYTES:
            raise ValueError(f"it gave {size:,} bytes of JSON, more than {MAX_BYTES:,}")
        plain = json.loads(text)
        if _depth(plain) > MAX_DEPTH:
            raise ValueError(f"what it gave nests more than {MAX_DEPTH} deep")
        return self._without_secrets(plain, event)  # type: ignore[no-any-return]  # it gives what it was given

    def _without_secrets(self, value: Any, event: Event) -> Any:
        # the event's callback URL is one too, and stands in what the plugin was handed
        incident = None
        with suppress(Exception):  # an event that cannot be read is told of when it is decided
            incident = event.view.incident if is_mentioned(event.raw) else None
        if incident is not None and incident.callback_url is not None:
            value = Redactor([incident.callback_url.get_secret_value()]).within(value)
        return self._redact.within(value)

    async def _answered(self, enricher: Enricher, call: _Call) -> _Answer:
        """Waits for the end of a call, but no longer than for its time."""
        with trio.move_on_at(call.started + TIME_LIMIT) as waiting:
            await call.ended.wait()
        error = None
        if waiting.cancelled_caught or call.scope.cancelled_caught:
            fault = f"timed out after {TIME_LIMIT:g} s"
        elif call.failures:
            error, fault = call.failures[0], describe(call.failures[0])
        else:
            if enricher.circuit.succeeded(trio.current_time()):
                log.info("the plugin answers again, and enriches events again", plugin=enricher.name)
            enricher.failing = ""
            return call.added, ""
        fault = storable(self._without_secrets(fault, call.event))
        if fault != enricher.failing:  # once, not at every event
            enricher.failing = fault
            log.error("a plugin failed to enrich an event", plugin=enricher.name, fault=fault, exc_info=error)
        if enricher.circuit.failed(call.started, trio.current_time()):
            log.warning(
                "the plugin fails again and again, and is not asked about events for a while",
                plugin=enricher.name,
                failures=enricher.circuit.failures,
                pause=enricher.circuit.pause,
            )
        return None, fault[:MAX_TOLD]


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)
