"""Who sends to the router, at a rate: signed or with a header, sent again when unanswered, and some twice on purpose."""

import hashlib
import hmac
import random
from collections.abc import Callable, Mapping
from typing import TypeVar

import httpx2
import trio

from .config import HEADED, SECRET, SIGNED
from .ledger import Ledger, Mark, Sent

Thing = TypeVar("Thing")

MARKS = {
    Mark.PLAIN: 78,
    Mark.REJECTED: 4,
    Mark.EXHAUSTED: 4,
    Mark.EXPIRED: 2,
    Mark.UNROUTED: 6,
    Mark.MALFORMED: 6,
}
"""Of a hundred bodies."""
FILLERS = {300: 88, 20_000: 8, 200_000: 4}
"""Bytes that bodies are made larger by, of a hundred bodies."""
CALLBACKS = 0.2
"""The share of plain bodies that hold a callback URL."""
TWICE = 0.05
"""The share of bodies that are sent again after their 200."""
TRIES = 6
"""How often a body is sent that is not answered. Soda promises none of it; some senders do it."""
PAUSE = 0.2
"""Seconds between two of them."""
TIMEOUT = 10.0
"""As Soda's own."""


class Sender:
    """One connection's worth of sending.

    Args:
        url: Gives the router's address, which is another after each start.
        pause: Seconds between two bodies, on average.
    """

    def __init__(self, ledger: Ledger, chance: random.Random, url: Callable[[], str], pause: float) -> None:
        self._ledger = ledger
        self._chance = chance
        self._url = url
        self._pause = pause

    async def run(self, stopping: trio.Event) -> None:
        """Sends until ``stopping`` is set; what is under way is waited for."""
        async with httpx2.AsyncClient(trust_env=False, timeout=TIMEOUT) as client:
            while not stopping.is_set():
                with trio.move_on_after(self._chance.expovariate(1 / self._pause)):
                    await stopping.wait()
                await self._one(client, stopping)

    async def _one(self, client: httpx2.AsyncClient, stopping: trio.Event) -> None:
        source, mark, filler = self._chance.choice((SIGNED, HEADED)), self._drawn(MARKS), self._drawn(FILLERS)
        callback = mark is Mark.PLAIN and self._chance.random() < CALLBACKS
        sent = self._ledger.write(source, mark, filler, callback=callback)
        for _ in range(TRIES):
            await self._post(client, sent)
            if sent.answered or stopping.is_set():
                break
            await trio.sleep(PAUSE)
        if sent.event and self._chance.random() < TWICE:
            self._ledger.repeats += 1
            await self._post(client, sent)

    async def _post(self, client: httpx2.AsyncClient, sent: Sent) -> None:
        try:
            answer = await client.post(
                f"{self._url()}/{sent.source}", content=sent.body, headers=_headers(sent.source, sent.body)
            )
        except httpx2.TransportError as error:
            self._ledger.failed(sent, type(error).__name__)
            return
        if answer.status_code == 200:
            self._ledger.accepted(sent, answer.json()["id"])
        else:
            self._ledger.refused(sent, answer.status_code)

    def _drawn(self, weights: Mapping[Thing, int]) -> Thing:
        return self._chance.choices(list(weights), list(weights.values()))[0]


def _headers(source: str, body: bytes) -> dict[str, str]:
    if source == HEADED:
        return {"Authorization": SECRET}
    return {"X-Soda-Signature": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}
