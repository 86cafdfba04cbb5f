"""What is done now and then: what is kept no longer is deleted, and what nobody will deliver is told of."""

import time
from collections.abc import Callable

import structlog
import trio

from sodarouter.config import Config
from sodarouter.errors import SpoolError
from sodarouter.spool import ROUTE, Spool

PRUNE_EVERY = 3600.0
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


async def tell_homeless(config: Config, spool: Spool) -> None:
    """Deliveries for a destination that is no longer configured stay in the spool, and the operator should know."""
    known = {ROUTE, *(destination.name for destination in config.destinations)}
    for name, queue in (await spool.stats()).queues.items():
        if name not in known and queue.pending:
            log.warning(
                "deliveries wait for a destination that is not configured",
                destination=name,
                count=queue.pending,
                hint=f"`sodarouter discard --destination {name} --state pending` gives them up",
            )
