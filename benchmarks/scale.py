"""How long the benchmarks take: the full form, a quick one, and one that only shows that they run."""

from dataclasses import dataclass, replace
from pathlib import Path


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
    syncs: tuple[int, ...]
    """Milliseconds that each sync takes longer there."""
    deliveries: int
    """Of one round from end to end, whatever the number of destinations."""
    destinations: tuple[int, ...]
    routes: tuple[int, ...]
    backlogs: tuple[int, int]
    """Pending deliveries: a small backlog, to which the large one is compared."""
    histories: tuple[int, int]
    """Events that were delivered long ago: few, to which the many are compared."""
    neighbours: int
    """Kinds of bad destinations beside a good one."""
    turns: int
    """Of each side in a round beside hostile plugins."""
    found_out: float
    """Seconds after which each hostile plugin has shown what it is: an enricher that hangs may keep events for five."""
    queued: int
    """Events that are kept waiting, to see what memory they take."""
    load: float
    """Seconds of load after which the router's memory is looked at."""
    stored: int
    """Events of a backtest."""
    against: Path | None = None
    """A checkout of another version, which takes part too."""
    only: tuple[str, ...] = ()
    """What the names of the servers begin with that take part in the intake; nothing: all."""


FULL = Scale(
    name="full",
    rounds=5,
    starts=3,
    seconds=4.0,
    connections=(1, 16, 64, 256),
    slow_connections=(1, 64),
    syncs=(5, 20),
    deliveries=15_000,
    destinations=(1, 5, 50),
    routes=(20, 1000),
    backlogs=(10_000, 1_000_000),
    histories=(10_000, 10_000_000),
    neighbours=5,
    turns=6,
    found_out=15.0,
    queued=5000,
    load=60.0,
    stored=100_000,
)
QUICK = replace(
    FULL,
    name="quick",
    rounds=3,
    starts=1,
    seconds=0.7,
    connections=(1, 64),
    slow_connections=(64,),
    deliveries=1000,
    backlogs=(10_000, 100_000),
    histories=(10_000, 100_000),
    queued=2000,
    load=2.0,
    stored=5000,
)
SHORTEST = replace(
    QUICK,
    name="shortest",
    rounds=1,
    seconds=0.1,
    connections=(2,),
    slow_connections=(2,),
    syncs=(5,),
    deliveries=20,
    destinations=(1, 2),
    routes=(2,),
    backlogs=(50, 200),
    histories=(100, 300),
    neighbours=1,
    turns=1,
    found_out=0.0,
    queued=20,
    load=0.2,
    stored=100,
)
