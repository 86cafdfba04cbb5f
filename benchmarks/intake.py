"""Webhooks in, and a 200 when they are on disk: side by side with other servers.

All servers of a comparison run from the first round to the last, and have their turn in each; whoever has no turn does
nothing. CPU is counted until a server is quiet again, so that what it puts off, such as deciding and delivering, counts.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import load
from benchmarks.contenders import BARE, Contender, taking_part
from benchmarks.figures import Figures
from benchmarks.running import cpu_seconds, free_port, started, until_quiet
from benchmarks.scale import Scale
from benchmarks.slow import slow_disk

AGAINST = BARE.name


def small(scale: Scale, figures: Figures) -> None:
    compare(scale, figures, taking_part(scale, figures), scale.connections)


def large(scale: Scale, figures: Figures) -> None:
    """With a hundred results in each body."""
    compare(scale, figures, taking_part(scale, figures), scale.connections, results=100)


def slowly(scale: Scale, figures: Figures) -> None:
    """With a disk that takes its time."""
    contenders = [one for one in taking_part(scale, figures) if one.syncs or one is BARE]
    with tempfile.TemporaryDirectory() as folder:
        for milliseconds in scale.syncs:
            environment = slow_disk(Path(folder), milliseconds)
            if environment is None:
                figures.note("left out: a disk cannot be made slow here; it takes Linux and the compiler cc")
                return
            about = f"a sync takes {milliseconds} ms longer"
            compare(scale, figures, contenders, scale.slow_connections, environment=environment, about=about)


def compare(
    scale: Scale,
    figures: Figures,
    contenders: Iterable[Contender],
    connections: Sequence[int],
    *,
    results: int = 1,
    environment: Mapping[str, str] | None = None,
    about: str = "",
) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        sides: list[tuple[Contender, int, int]] = []
        for number, contender in enumerate(contenders):
            port, place = free_port(), Path(folder, str(number))
            place.mkdir()
            command = contender.command(place, port)
            pid = running.enter_context(started(command, port, place, environment))
            load.run(("127.0.0.1", port), contender.requests(results), connections=8, seconds=scale.seconds / 4)
            until_quiet(pid)
            sides.append((contender, port, pid))
        for _ in range(scale.rounds):
            for many in connections:
                for contender, port, pid in sides:
                    case = ", ".join(filter(None, [f"{many} connection{'s' * (many > 1)}", about]))
                    found, used = measure(scale, contender, port, pid, many, results)
                    figures.add(case, contender.name, listed(found, used))
                    if found.closed:
                        figures.note(f"{contender.name} closed some of its connections, which were opened anew: {case}")


def measure(
    scale: Scale, contender: Contender, port: int, pid: int, connections: int, results: int
) -> tuple[load.Load, float]:
    """One turn of one server: what came of it, and the seconds of CPU that it took."""
    before = cpu_seconds(pid)
    requests = contender.requests(results)
    found = load.run(("127.0.0.1", port), requests, connections=connections, seconds=scale.seconds)
    until_quiet(pid)
    if set(found.statuses) != {200}:
        raise SystemExit(f"{contender.name} answered {found.statuses}")
    return found, cpu_seconds(pid) - before


def listed(found: load.Load, used: float) -> dict[str, float]:
    return {
        "requests/s": found.rate,
        "p50 ms": found.percentile(0.5) * 1000,
        "p99 ms": found.percentile(0.99) * 1000,
        "CPU µs/request": used / len(found.latencies) * 1e6,
        "generator busy %": found.busy * 100,
    }
