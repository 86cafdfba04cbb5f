"""What a silence has kept back."""

from collections import Counter
from dataclasses import dataclass, field

from sodarouter.cli.output import counted, out, shown
from sodarouter.cli.reading import each_event
from sodarouter.decide import Silence
from sodarouter.spool import EventFilter, SqliteReader


@dataclass
class Tally:
    """How much is kept back."""

    events: int = 0
    destinations: Counter[str] = field(default_factory=Counter)
    """By destination, the events of which it would have had something."""


def kept_back(reader: SqliteReader, silence: Silence) -> Tally:
    """What it has kept back up to now, as the stored decisions say."""
    tally = Tally()
    chosen = EventFilter(withheld=True, since=silence.starts, until=silence.ends)
    for stored in each_event(reader, chosen):
        for step in stored.trace:
            if step.get("silence") == silence.id:
                tally.events += 1
                tally.destinations.update(step["from"])
    return tally


def print_tally(tally: Tally) -> None:
    """How many for each destination."""
    for name, count in tally.destinations.most_common():
        out.print(shown(f"  {name}: {counted(count, 'event')}"))
