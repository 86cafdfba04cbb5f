"""The stations that an event goes through, made from the live configuration, and given another one while they work."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial

import trio

from sodarouter.admit import Here
from sodarouter.api import add_api
from sodarouter.config import Config
from sodarouter.deciding import Ruleset
from sodarouter.deliver import Deliverer
from sodarouter.delivery import Condition, Lag, Loaded, Queue, Stats, Workers
from sodarouter.enrich import AT_ONCE, Enrichment
from sodarouter.event import Enrich
from sodarouter.health import Checkup
from sodarouter.lane import Lane
from sodarouter.linkback import LinkBack
from sodarouter.metrics import Metrics
from sodarouter.observe import Observers
from sodarouter.operations import Operations
from sodarouter.reload import Live
from sodarouter.replies import Replies
from sodarouter.route import Router
from sodarouter.spool import SqliteSpool
from sodarouter.survey import Survey
from sodarouter.wake import Wake
from sodarouter.web import Pages, admin_app


class Stations:
    """What a running daemon is made of.

    Args:
        live: The configuration that runs.
        spool: Open.
        lag: How late the event loops are.
        workers: Which processes take in.
        stopping: Whether the daemon has been asked to stop.
        reload: Puts the configuration of today in place, if it can be.
    """

    def __init__(
        self,
        live: Live,
        spool: SqliteSpool,
        lag: Callable[[], Lag],
        workers: Callable[[], Workers | None],
        stopping: Callable[[], bool],
        reload: Callable[[], Awaitable[object]],
    ) -> None:
        self._live = live
        self._spool = spool
        self._lag = lag
        self._workers = workers
        self._checkup = Checkup(live.config.redact)
        # trio looks names up in threads of one pool: one destination's dead resolver must not take those of the others
        self._threads = trio.to_thread.current_default_thread_limiter()
        self._own_threads = self._threads.total_tokens
        config = live.config
        observers = self.observers = _observers(config)
        replies = Replies()
        self._linkback = LinkBack(spool, replies, config.file.links.hosts, config.file.outgoing)
        self.deliverer = Deliverer(
            self._lanes,
            spool,
            observers,
            config.redact,
            enrich=_enrich(config),
            prefer=config.file.links.prefer,
            answering=replies.is_awaited,
        )
        enrichers = config.plugins.enrichers()
        enrichment = Enrichment(enrichers, config.redact) if enrichers else None
        self._own_threads += AT_ONCE * len(enrichers)
        self.router = Router(_ruleset(config), spool, config.redact, self.deliverer.wake.set, enrichment=enrichment)
        self.admission = Here(spool, observers, self.router.coming, self.router.forget, self.router.arrived, replies)
        self.survey = Survey(self._look)
        self.admin = admin_app(Pages(stopping, self.survey), config.plugins.routes, self._token)
        self.silences = Wake()
        """Set when there may be another silence, or one less."""
        self.links = Wake()
        """Set when a link may wait in vain for a better one."""
        operations = Operations(
            spool,
            refused=spool.refused,
            destinations=lambda: [destination.name for destination in live.config.destinations],
            changed=self._wake_all,
            readmitted=partial(observers.event_accepted, duplicate=False),
            translator=lambda source: live.config.translator(source),
        )

        async def loaded() -> Loaded:
            await reload()
            return live.loaded

        add_api(self.admin, operations, loaded)
        self._make_room()

    def change(self) -> None:
        """Goes on under the configuration that is live now. It does not wait, and cannot fail."""
        config = self._live.config
        self._linkback.replace(config.file.links.hosts, config.file.outgoing)
        self.deliverer.replace(self._lanes, config.redact, _enrich(config), config.file.links.prefer)
        self.router.replace(_ruleset(config))
        self._make_room()
        self.links.set()

    @property
    def _lanes(self) -> list[Lane]:
        return [*self._live.lanes, self._linkback.lane]

    async def aclose(self) -> None:
        """Closes what it has opened itself."""
        await self._linkback.close()

    def _make_room(self) -> None:
        table = self._live.config.file.spool
        self._spool.max_size, self._spool.max_backlog = table.max_size, table.max_backlog
        self._threads.total_tokens = self._own_threads + sum(lane.concurrency for lane in self._live.lanes)

    async def _look(self) -> Stats:
        found = await self._spool.stats()
        queues = dict(found.queues)
        for name, breaker in self.deliverer.breakers().items():
            queues[name] = replace(queues.get(name, Queue()), breaker=breaker)
        table = self._live.config.file.spool
        return replace(
            found,
            queues=queues,
            max_bytes=table.max_size,
            max_backlog=table.max_backlog,
            loaded=self._live.loaded,
            lag=self._lag(),
            workers=self._workers(),
            destinations=await self._conditions(
                "destination", ((one.lane.name, one.metrics, one.health) for one in self._live.opened)
            ),
            plugins=await self._conditions("plugin", self._live.config.plugins.told_of_themselves()),
        )

    async def _conditions(
        self, owner: str, told: Iterable[tuple[str, Metrics | None, Callable[[], object] | None]]
    ) -> dict[str, Condition]:
        found = {}
        for name, metrics, health in told:
            condition = Condition(
                metrics.now() if metrics else (), await self._checkup(f"{owner} {name}", health) if health else None
            )
            if condition != Condition():
                found[name] = condition
        return found

    def _wake_all(self) -> None:
        self.router.wake.set()
        self.deliverer.wake.set()
        self.silences.set()
        self.links.set()

    def _token(self) -> str | None:
        token = self._live.config.file.admin.token
        return token.get_secret_value() if token else None


def _observers(config: Config) -> Observers:
    told = config.plugins.observers
    return Observers(told("event_accepted"), told("event_refused"), told("delivery_settled"))


def _enrich(config: Config) -> Enrich | None:
    return config.rules.teams.enrich if config.rules.teams else None


def _ruleset(config: Config) -> Ruleset:
    return Ruleset(config.rules, config.hash, config.routing.dump())
