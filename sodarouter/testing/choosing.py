"""Finds among the samples an event with which a destination does what it is there for: some take only a few."""

from collections.abc import Iterator

import trio

from sodarouter.delivery import State
from sodarouter.testing.bench import Bench, Chosen
from sodarouter.testing.samples import SAMPLES, sample
from sodarouter.testing.tried import Tried
from sodarouter.view import OUTCOMES, SEVERITIES, STATUSES

PATIENCE = 20.0
"""Seconds that looking for it may take."""


async def choose(bench: Bench) -> None:
    """Has the checks go on with an event for which the destination asks the server, or that it takes if it asks none."""
    best = 0
    async with bench.router() as router:
        with trio.move_on_after(PATIENCE):
            for candidate in candidates():
                before = bench.asked
                (tried,) = await router.send(sample(*candidate))
                asks = bench.asked != before
                good = _goodness(tried, asks=asks, talks=bench.talks)
                if good > best:
                    best, bench.chosen, bench.asks = good, candidate, asks
                if best == _BEST:
                    return


def candidates() -> Iterator[Chosen]:
    """The usual one first; then incidents and results of every kind, as these are what people choose by."""
    yield "incidentCreated", {}
    for severity in SEVERITIES:
        yield "incidentCreated", {"incident.severity": severity}
    for status in STATUSES:
        yield "incidentUpdated", {"incident.status": status}
    for outcome in OUTCOMES:
        yield "checkEvaluation", {"checkResults[0].outcome": outcome}
    for name in SAMPLES:
        yield name, {}


_BEST = 3


def _goodness(tried: Tried, *, asks: bool, talks: bool) -> int:
    rejected = tried.state is State.DEAD
    if talks:
        return (1 if rejected else 2) + 1 if asks else int(not rejected)
    return 0 if rejected else _BEST
