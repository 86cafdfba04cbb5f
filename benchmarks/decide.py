"""How long a decision takes, by the number of routes and of results.

An event's routes are a mixture: literal names and globs of datasets, owners, tags, attributes, checks, severities, outcomes,
things that must not be. `view` is what it takes to read the event itself, which is done once, for whatever is asked of it.
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random
from statistics import median
from typing import Any

from benchmarks.figures import Figures
from benchmarks.scale import Scale
from sodarouter.decide import Route, Routing, compile_rules, decide, explain
from sodarouter.event import Event
from sodarouter.view import normalise

DOMAINS = ["sales", "finance", "ops", "hr", "web", "risk", "supply", "people"]
BATCHES = 7
AGAINST = "20 routes"
COUNTS = (20, 100, 1000, 10_000)


def matches(count: int, random: Random) -> Iterator[dict[str, Any]]:
    """What routes say of the events that they want, as in router.toml."""

    def match(number: int) -> dict[str, Any]:
        domain, name = random.choice(DOMAINS), f"table_{number}"
        outcome = {"event": "checkEvaluation", "outcome": ["fail", "error"]}
        made: list[Callable[[], dict[str, Any]]] = [
            lambda: outcome | {"dataset": f"prod/{domain}_{name}"},
            lambda: outcome | {"dataset": [f"prod/{domain}_{number}_*", f"stage/{domain}_{number}_*"]},
            lambda: outcome | {"dataset": f"*_{number}_daily", "not": {"tag": "experimental"}},
            lambda: outcome | {"owner": f"owner{number}@example.org"},
            lambda: outcome | {"tag": f"tag{number}", "datasource": "prod"},
            lambda: outcome | {"attribute": {"data_domain": f"{domain} {number}"}},
            lambda: {"event": "check*", "check": f"check {number}", "column": "id"},
            lambda: {"event": "incident*", "severity": ["high", "critical"], "dataset": f"prod/{name}"},
            lambda: {"event": "contractPublished", "author": f"owner{number}@example.org"},
        ]
        return random.choice(made)()

    return map(match, range(count))


def routes(count: int, random: Random) -> list[Route]:
    return [
        Route.model_validate({"to": [f"d{number % 50}"], "match": match})
        for number, match in enumerate(matches(count, random))
    ]


def event(results: int, random: Random) -> Event:
    def result(number: int) -> dict[str, Any]:
        domain = random.choice(DOMAINS)
        return {
            "id": str(number),
            "name": f"check {random.randrange(2000)}",
            "column": "id",
            "evaluationStatus": random.choice(["pass", "fail", "fail"]),
            "datasets": [
                {
                    "id": f"dataset-{number}",
                    "name": f"{domain}_table_{random.randrange(2000)}",
                    "label": f"{domain} table",
                    "datasource": {"name": "prod"},
                    "owners": [{"type": "user", "id": "1", "email": f"owner{random.randrange(2000)}@example.org"}],
                    "tags": [f"tag{random.randrange(2000)}", "pii"],
                    "attributes": [{"name": "data_domain", "value": f"{domain} {random.randrange(2000)}"}],
                }
            ],
        }

    body = {"event": "checkEvaluation", "checkResults": [result(number) for number in range(results)]}
    return Event("1", "soda", datetime(2026, 5, 4, tzinfo=UTC), "checkEvaluation", json.dumps(body).encode())


def micros(work: Callable[[], object], seconds: float) -> float:
    """Of CPU for one call, the median of some batches of them."""
    started = time.process_time()
    work()
    count = max(1, int(seconds / BATCHES / max(1e-7, time.process_time() - started)))
    taken = []
    for _ in range(BATCHES):
        started = time.process_time()
        for _ in range(count):
            work()
        taken.append((time.process_time() - started) / count)
    return median(taken) * 1e6


def rates(scale: Scale, figures: Figures) -> None:
    seconds = scale.seconds / 10
    for results in (1, 10, 100):
        one = event(results, Random(results))
        body = json.loads(one.raw)
        one.view  # noqa: B018 (made once, as it is kept)
        for count in [count for count in COUNTS if count <= max(scale.routes) * 10]:
            rules = compile_rules(Routing(route=routes(count, Random(count))))
            decide(one, rules)
            view = micros(lambda: normalise(body), seconds)  # noqa: B023 (called at once)
            taken = micros(lambda: decide(one, rules), seconds)  # noqa: B023 (called at once)
            naive = micros(lambda: explain(one, rules), seconds)  # noqa: B023 (called at once)
            measures = {
                "decisions/s": 1e6 / taken,
                "decide µs": taken,
                "without the index µs": naive,
                "view µs": view,
                "routes that match": float(sum("route" in step for step in decide(one, rules).trace)),
            }
            figures.add(f"{results} result{'s' * (results > 1)}", f"{count:,} routes", measures)
