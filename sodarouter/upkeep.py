"""What is done now and then: what is kept no longer is deleted, and what nobody will deliver is told of."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
import trio

from sodarouter.config import Config
from sodarouter.decide import Silence
from sodarouter.errors import SpoolError
from sodarouter.hindsight import silences_of
from sodarouter.spool import INTERNAL, Spool, patiently
from sodarouter.wake import Wake

PRUNE_EVERY = 3600.0
CHOOSE_EVERY = 3600.0
PRUNE_PAUSE = 0.1
PRUNE_BATCH = 500
"""What is old is deleted this many at a time."""

log = structlog.get_logger()


async def prune(spool: Spool, config: Callable[[], Config], *, now: Callable[[], float] = time.time) -> None:
    """Deletes what is kept no longer, every hour, until it is cancelled."""
    while True:
        pause = PRUNE_EVERY
        try:
            retention = config().file.spool.retention.kept()
            if await spool.prune(retention, now(), PRUNE_BATCH) >= PRUNE_BATCH:
                # there is more; what comes in and goes out gets its turns in between
                pause = PRUNE_PAUSE
        except SpoolError as error:
            log.error("what is old could not be deleted", error=str(error))
        await trio.sleep(pause)


async def choose_links(
    spool: Spool,
    config: Callable[[], Config],
    changed: Wake,
    planned: Callable[[], None],
    *,
    now: Callable[[], float] = time.time,
) -> None:
    """Puts links onto incidents for which no attempt does so any more: at the start and every hour, until it is cancelled.

    Args:
        changed: Set when another configuration is in place, or somebody has given up deliveries.
        planned: Called when there is something to deliver.
    """
    while True:
        if await patiently(spool.outage, lambda: spool.choose_links(config().file.links.prefer, now())):
            planned()
        await changed.wait(CHOOSE_EVERY)


async def tell_silences(spool: Spool, changed: Wake, *, now: Callable[[], float] = time.time) -> None:
    """Logs every silence once when it is known, at the start too, and once when it has ended, until it is cancelled.

    Of those that had ended before the start nothing is said.

    Args:
        changed: Set when there may be another, or one less.
    """
    known: dict[str, Silence] = {}
    while True:
        found = (await patiently(spool.outage, lambda: spool.recall((), (), now()))).silences
        for one in silences_of(stored for stored in found if stored.id not in known):
            known[one.id] = one
            log.info("a silence is set", **_told(one), starts=one.starts.isoformat(), ends=one.ends.isoformat())
        moment = datetime.fromtimestamp(now(), UTC)
        for ended in known.keys() - {stored.id for stored in found}:
            one = known.pop(ended)
            how = "a silence has ended" if one.ends <= moment else "a silence was ended before its time"
            log.info(how, **_told(one), hint="`sodarouter events --withheld` lists what was kept back")
        soonest = min((one.ends for one in known.values()), default=None)
        await changed.wait((soonest - moment).total_seconds() if soonest else None)


def _told(silence: Silence) -> dict[str, object]:
    return {
        "silence": silence.id,
        "of": silence.describe(),
        **({"during": [window.describe() for window in silence.during]} if silence.during else {}),
        "to": silence.to or "all destinations",
        "author": silence.author,
        "reason": silence.reason,
    }


async def tell_homeless(config: Config, spool: Spool) -> None:
    """Deliveries for a destination that is no longer configured stay in the spool, and the operator should know."""
    known = {*INTERNAL, *(destination.name for destination in config.destinations)}
    for name, queue in (await spool.stats()).queues.items():
        if name not in known and queue.pending:
            log.warning(
                "deliveries wait for a destination that is not configured",
                destination=name,
                count=queue.pending,
                hint=f"`sodarouter discard --destination {name} --state pending` gives them up",
            )
