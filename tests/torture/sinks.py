"""Where the router delivers to: sinks that fail, hang, dawdle and hang up, until they are healed."""

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NamedTuple

import trio

from tests.sink import Answer, Request, open_sink

from .ledger import Ledger, Mark

LATER = "30"
"""A Retry-After, in seconds, beyond the ``max_age`` of the picky destination."""
SLOWEST = 0.5
"""Seconds."""


class Reaction(NamedTuple):
    said: str
    answer: Answer
    taken: bool = False


TAKE = Reaction("took it", Answer(), taken=True)
FAULTS = (
    Reaction("answered 500", Answer(500, body=b"something broke")),
    Reaction("answered 503", Answer(503, {"Retry-After": "1"})),
    Reaction("hung up", Answer(raw=b"")),
    Reaction("hung up in the middle", Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Le")),
    Reaction("reset the connection", Answer(reset=True)),
)
PICKY = {
    Mark.REJECTED: Reaction("answered 400", Answer(400, body=b"never")),
    Mark.EXHAUSTED: Reaction("answered 500", Answer(500)),
    Mark.EXPIRED: Reaction("answered 503", Answer(503, {"Retry-After": LATER})),
}
"""By mark; the others are taken."""


class Sinks:
    """What `open_sinks` gives."""

    def __init__(self, ledger: Ledger, chance: random.Random, nursery: trio.Nursery) -> None:
        self.urls: dict[str, str] = {}
        """By destination."""
        self._ledger = ledger
        self._chance = chance
        self._nursery = nursery
        self._healthy = False

    def heal(self) -> None:
        """From now on they take everything, but for what is marked for the picky one."""
        self._healthy = True

    async def open(self, stack: AsyncExitStack) -> None:
        reactions: dict[str, Callable[[Mark], Reaction]] = {
            "good": lambda _: TAKE,
            "flaky": lambda _: TAKE if self._healthy else self._flaky(),
            "hanging": lambda _: TAKE if self._healthy or self._chance.random() < 0.6 else self._hanging(),
            "picky": lambda mark: PICKY.get(mark, TAKE),
        }
        for name, react in reactions.items():
            sink = await stack.enter_async_context(open_sink())
            sink.reply = partial(self._reply, sink.requests, name, react)
            self.urls[name] = sink.url

    def _reply(self, requests: list[Request], name: str, react: Callable[[Mark], Reaction], request: Request) -> Answer:
        requests.clear()  # there will be many, and the ledger has what counts
        told = json.loads(request.body)["torture"]
        reaction = react(Mark(told["mark"]))
        self._ledger.asked(name, told["uid"], request.body, reaction.said, taken=reaction.taken)
        return reaction.answer

    def _flaky(self) -> Reaction:
        return self._chance.choice((TAKE, TAKE, self._slow(), *FAULTS))

    def _slow(self) -> Reaction:
        ready = trio.Event()

        async def get_ready() -> None:
            await trio.sleep(self._chance.uniform(0, SLOWEST))
            ready.set()

        self._nursery.start_soon(get_ready)
        return Reaction("took it slowly", Answer(hold=ready), taken=True)

    def _hanging(self) -> Reaction:
        return Reaction("hangs", Answer(hold=trio.Event()))


@asynccontextmanager
async def open_sinks(ledger: Ledger, chance: random.Random) -> AsyncIterator[Sinks]:
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        sinks = Sinks(ledger, chance, nursery)
        await sinks.open(stack)
        yield sinks
        nursery.cancel_scope.cancel()
