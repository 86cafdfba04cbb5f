"""From the webhook to the last of its deliveries: by the number of destinations, and of routes.

Every event goes to all destinations, which are forwards to a local server that answers at once. The other routes are a
mixture, of which none wants these events.
"""

import tempfile
import time
from itertools import islice
from pathlib import Path
from random import Random

from benchmarks import load
from benchmarks.decide import matches
from benchmarks.draining import PATIENCE, router, sink, taken
from benchmarks.figures import Figures
from benchmarks.running import cpu_seconds
from benchmarks.scale import Scale
from benchmarks.webhooks import webhooks

AGAINST = "1 destination"
CONNECTIONS = 64


def end_to_end(scale: Scale, figures: Figures) -> None:
    for _ in range(scale.starts):
        for routes in scale.routes:
            for destinations in scale.destinations:
                side = f"{destinations} destination{'s' * (destinations > 1)}"
                figures.add(f"{routes:,} routes", side, measure(scale.deliveries, destinations, routes))


def measure(deliveries: int, destinations: int, routes: int) -> dict[str, float]:
    events = max(1, deliveries // destinations)
    others = list(matches(routes - 1, Random(routes)))
    with (
        tempfile.TemporaryDirectory() as folder,
        sink(Path(folder)) as sink_port,
        router(Path(folder), sink_port, destinations, others) as running,
    ):
        used, began = cpu_seconds(running.pid), time.perf_counter()
        requests = islice(webhooks(), events)
        found = load.run(("127.0.0.1", running.port), requests, connections=CONNECTIONS, seconds=PATIENCE)
        while taken(sink_port) < events * destinations:
            if time.perf_counter() > began + PATIENCE:
                raise SystemExit(f"only {taken(sink_port)} of {events * destinations} deliveries came")
            time.sleep(0.01)  # until all have come
        seconds, used = time.perf_counter() - began, cpu_seconds(running.pid) - used
    return {
        "events/s": events / seconds,
        "deliveries/s": events * destinations / seconds,
        "CPU µs/delivery": used / events / destinations * 1e6,
        "200, p50 ms": found.percentile(0.5) * 1000,
        "200, p99 ms": found.percentile(0.99) * 1000,
    }
