"""The parts, in the order in which they run."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks import (
    backlog,
    backtest,
    decide,
    endtoend,
    history,
    hostile,
    intake,
    isolation,
    memory,
    processes,
    yielding,
)
from benchmarks.figures import Figures
from benchmarks.scale import Scale
from benchmarks.versions import in_turns


class Part(NamedTuple):
    name: str
    title: str
    measure: Callable[[Scale, Figures], None]
    against: Callable[[Scale], str]
    """The side to which the others are compared."""
    drawn: str
    """The measure of which there is a chart."""
    in_slices: bool = False
    """Whether another version can take part beside the others; else each version runs the part by itself, in turns."""


def _always(side: str) -> Callable[[Scale], str]:
    return lambda scale: side


PARTS = (
    Part("intake", "Signed webhooks of 2 KB, answered", intake.small, _always(intake.AGAINST), "requests/s", True),
    Part("large", "The same with 100 results in each body", intake.large, _always(intake.AGAINST), "requests/s", True),
    Part("slow-disk", "The same on a slow disk", intake.slowly, _always(intake.AGAINST), "requests/s", True),
    Part(
        "end-to-end",
        "From the webhook to the last of its deliveries",
        endtoend.end_to_end,
        _always(endtoend.AGAINST),
        "deliveries/s",
    ),
    Part("backlog", "A backlog of pending deliveries", backlog.backlog, backlog.against, "deliveries/s"),
    Part("history", "A spool with what was delivered long ago", history.history, history.against, "µs"),
    Part(
        "yielding",
        "The intake while a backlog drains",
        yielding.yielding,
        _always(yielding.AGAINST),
        "200, p99 ms",
    ),
    Part(
        "isolation",
        "A good destination beside one that is not",
        isolation.isolation,
        _always(isolation.AGAINST),
        "arrival, p99 ms",
    ),
    Part(
        "hostile",
        "A good destination beside ten hostile plugins",
        hostile.hostile,
        _always(hostile.AGAINST),
        "arrival, p50 ms",
    ),
    Part("memory", "Start and memory", memory.memory, _always(memory.AGAINST), "MiB at rest", True),
    Part("decide", "Decisions", decide.rates, _always(decide.AGAINST), "decisions/s"),
    Part("backtest", "Backtests", backtest.rates, _always(backtest.AGAINST), "events/s of CPU"),
    Part(
        "processes",
        "Destinations in processes of their own",
        processes.processes,
        _always(processes.AGAINST),
        "delivery µs",
    ),
)


def run(names: list[str], scale: Scale) -> Iterator[tuple[Part, Figures]]:
    """Runs the parts with these names, or all, and gives each when it is done."""
    for part in PARTS:
        if not names or part.name in names:
            if scale.against and not part.in_slices:
                yield part, in_turns(part.name, scale, scale.against)
                continue
            figures = Figures(part.against(scale))
            part.measure(scale, figures)
            yield part, figures
