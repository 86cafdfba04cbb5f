"""Asks source types to make events of what senders sent, so that the router survives whatever one of them does."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

import trio

from sodarouter.errors import Malformed, PluginFailed, Untranslatable
from sodarouter.event import Event
from sodarouter.failures import contained, describe, kind_of, plain, storable
from sodarouter.http import HttpResponse, WebhookRequest
from sodarouter.parse import parse
from sodarouter.problem import Answer, of_plugin
from sodarouter.shares import Overloaded
from sodarouter.source import SourceType

TIMEOUT = 5.0
"""Seconds for one translation: Soda's own patience of 10 is that of many senders."""
PATIENCE = 3.0
"""Seconds that a request waits for one of the threads of its source."""
THREADS = 4
"""Of each source. One that hangs keeps its thread until it returns or the configuration is read again."""

AnySource = SourceType[Any]


class Translator:
    """One source's type.

    Args:
        plugin: The name of the plugin that it is of.
        source: The type, made with the options of the source.
        largest: Bytes that the body of an event may have.
        redact: Takes secrets out of what the plugin says.
    """

    def __init__(self, plugin: str, source: AnySource, largest: int, redact: Callable[[str], str]) -> None:
        self.plugin = plugin
        self.source = source
        self._largest = largest
        self._redact = redact
        self._limiter = trio.CapacityLimiter(THREADS)

    async def event(self, request: WebhookRequest, received: datetime) -> Event | Answer:
        """The event that a request is, or what it is answered without becoming one.

        Args:
            request: Verified, with its body decompressed.

        Raises:
            Malformed: The source type says that it is none.
            PluginFailed: The source type failed, was too slow, or made something else of it.
            Overloaded: All threads of the source are taken.
        """
        turn = _Turn(self._limiter)
        failures: list[BaseException] = []
        made: Event | Answer | Malformed | None = None
        with contained(failures), turn.scope:
            made = await trio.to_thread.run_sync(
                self._make,
                request,
                received,
                thread_name=f"source {self.source.name}",
                abandon_on_cancel=True,
                # all that trio asks of one is that it can be acquired and released
                limiter=cast("trio.CapacityLimiter", turn),
            )
        if not turn.begun:
            raise Overloaded(f"its type is busy with {THREADS} others")
        if failures:
            raise PluginFailed(self.plugin, storable(self._redact(describe(failures[0])))) from failures[0]
        if made is None:
            raise PluginFailed(self.plugin, f"translate took longer than {TIMEOUT:g} seconds")
        if isinstance(made, Malformed):
            raise made
        return made

    def _make(self, request: WebhookRequest, received: datetime) -> Event | Answer | Malformed:
        """In a thread. Whatever it raises is the plugin's fault."""
        try:
            given: object = self.source.translate(request)
        except Untranslatable as error:
            return Malformed(422, "Not translatable", storable(self._redact(plain(error.detail))))
        if isinstance(given, HttpResponse):
            return of_plugin("translate", given)
        if not isinstance(given, bytes):
            raise TypeError(f"translate gave a {kind_of(given)}, neither bytes nor an HttpResponse")
        given = bytes(memoryview(given))  # nothing but bytes, whatever its class is
        if len(given) > self._largest:
            raise ValueError(f"translate gave {len(given):,} bytes, and {self._largest:,} are the most")
        try:
            body = parse(given)
        except Malformed as error:
            raise ValueError(f"translate gave no event: {error}") from None
        event = Event.taken_in(self.source.name, received, given, body)
        _ = event.view  # what asks for it in the loop must not be the one to make it
        return event


class _Turn:
    """A place among the threads of a source. The time for the work begins when it has one."""

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        self._limiter = limiter
        self.scope = trio.CancelScope()
        self.begun = False

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        with trio.fail_after(PATIENCE):
            await self._limiter.acquire_on_behalf_of(borrower)
        self.begun = True
        self.scope.deadline = trio.current_time() + TIMEOUT

    def release_on_behalf_of(self, borrower: object) -> None:
        self._limiter.release_on_behalf_of(borrower)
