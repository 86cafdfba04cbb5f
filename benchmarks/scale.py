"""How long the benchmarks take: the full form, a quick one, and one that only shows that they run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    name: str
    rounds: int
    """In each of them every side of a comparison has its turn."""
    starts: int
    """Rounds of what begins with starting a router, which takes longer than what is measured."""
    seconds: float
    """Of load, for one figure of one round."""
    connections: tuple[int, ...]
    slow_connections: tuple[int, ...]
    """Those that are tried with a slow disk."""
    deliveries: int
    """Of one round from end to end, whatever the number of destinations."""
    destinations: tuple[int, ...]
    routes: tuple[int, ...]
    backlogs: tuple[int, int]
    """Pending deliveries: a small backlog, to which the large one is compared."""
    queued: int
    """Events that are kept waiting, to see what memory they take."""
    load: float
    """Seconds of load after which the router's memory is looked at."""
    stored: int
    """Events of a backtest."""


FULL = Scale(
    "full",
    5,
    3,
    4.0,
    (1, 16, 64, 256),
    (1, 64),
    15_000,
    (1, 5, 50),
    (20, 1000),
    (10_000, 1_000_000),
    5000,
    60.0,
    100_000,
)
QUICK = Scale("quick", 3, 1, 0.7, (1, 64), (64,), 1000, (1, 5, 50), (20, 1000), (10_000, 100_000), 2000, 2.0, 5000)
SHORTEST = Scale("shortest", 1, 1, 0.1, (1, 4), (2,), 20, (1, 2), (2, 20), (50, 200), 20, 0.2, 100)
