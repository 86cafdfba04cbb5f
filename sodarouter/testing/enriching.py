"""Checks what a plugin adds to events."""

import time
from dataclasses import dataclass

from sodarouter.enrich import Enrichment
from sodarouter.errors import PluginError
from sodarouter.lag import LagMonitor, monitored
from sodarouter.plugins import Found, Plugins
from sodarouter.redact import Redactor
from sodarouter.testing.bench import Heard
from sodarouter.testing.checking import Checks, Told, nobody
from sodarouter.testing.report import DoubtfulError, NotWellError, Report
from sodarouter.testing.samples import sample_events

NAME = "checked"
SLOW = 1.0
"""Seconds for one event, from which on a plugin that remembers nothing is told to."""
BLOCKS = 0.5
"""Seconds of one step, as for destinations."""


@dataclass
class _Bench:
    plugins: Plugins
    name: str
    redact: Redactor
    monitor: LagMonitor


async def check_enricher(plugin: object, *, name: str = NAME, told: Told = nobody) -> Report:
    """Checks what a plugin adds to events: ``(await check_enricher(make(Catalog, {"path": path}))).raise_faults()``.

    Args:
        plugin: A module, or any object that implements ``enrich``.
        name: That of its entry point.
        told: Called with each check as it ends.

    Raises:
        PluginError: It is no plugin.
    """
    plugins = Plugins([Found(name, name, "0", plugin)], {})
    if broken := plugins.faults():
        raise PluginError(broken[0].fault)
    return await checked_enricher(plugins, name, Redactor(), told)


async def checked_enricher(plugins: Plugins, name: str, redact: Redactor, told: Told) -> Report:
    """As `check_enricher`, of a plugin that is held already."""
    checks = Checks(Report(f"what plugin {name} adds to events"), told, redact)
    with Heard.listening(), monitored() as monitor:
        bench = _Bench(plugins, name, redact, monitor)
        for check in ENRICHING:
            await checks.make(check, bench)
    return checks.report


async def bears(bench: _Bench) -> None:
    """It bears every sample event, and what it adds is JSON that is not too large"""
    enrichers = bench.plugins.enrichers()
    if not enrichers:
        raise NotWellError("it does not implement enrich")
    slowest = 0.0
    async with (enrichment := Enrichment(enrichers, bench.redact)).working():
        for kind, event in sample_events().items():
            began = time.perf_counter()
            (found,) = await enrichment.of([event])
            slowest = max(slowest, time.perf_counter() - began)
            if found.failed:
                raise NotWellError(f"at the sample {kind}: {found.failed[bench.name]}")
    if slowest > SLOW:
        raise DoubtfulError(
            f"it takes {slowest:.1f} s for one, and all events wait for it: let it remember what it knows"
        )


async def many(bench: _Bench) -> None:
    """It can be asked about several events at once"""
    async with (enrichment := Enrichment(bench.plugins.enrichers(), bench.redact)).working():
        for found in await enrichment.of(list(sample_events().values())):
            if found.failed:
                raise NotWellError(found.failed[bench.name])


async def quick(bench: _Bench) -> None:
    """It does not block the event loop"""
    lag = bench.monitor.lag()
    if lag.blocked.get(f"plugin {bench.name}") and lag.longest >= BLOCKS:
        raise NotWellError(f"a step took {lag.longest:.1f} s: leave out async, and enrich runs in a thread")


ENRICHING = (bears, many, quick)
"""The checks, in their order. What holds is the first line of the docstring."""
