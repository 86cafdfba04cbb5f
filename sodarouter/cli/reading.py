"""The spool of a configuration, to look into, and what is asked of it by several commands."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sodarouter.cli.app import fail
from sodarouter.config import destination_types, load_table, source_names
from sodarouter.config.tables import Spool
from sodarouter.delivery import State
from sodarouter.faults import suggestion
from sodarouter.spool import (
    INTERNAL,
    DeliveryFilter,
    EventFilter,
    Refused,
    SqliteReader,
    StoredDelivery,
    StoredEvent,
    delivery_id,
    delivery_key,
)

PAGE = 10_000
"""Large, as the spool may have to put all that are wanted in order for each page."""
BODIES = 20
"""A page of the quarantine, or of events: each body may have megabytes."""


@contextmanager
def reading(path: Path) -> Iterator[SqliteReader]:
    """The spool of a configuration. Only its ``[spool]`` table is read, so no secret needs to be at hand."""
    reader = SqliteReader(load_table(path, "spool", Spool).path)
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def spool_if_there(path: Path) -> Iterator[SqliteReader | None]:
    """As `reading`; ``None`` if no router has made the spool yet."""
    spool = load_table(path, "spool", Spool)
    if not spool.path.exists():
        yield None
        return
    with reading(path) as reader:
        yield reader


def find_delivery(reader: SqliteReader, delivery: str) -> StoredDelivery | None:
    wanted = DeliveryFilter(**delivery_key(delivery)._asdict())
    return next(iter(reader.deliveries(wanted, limit=1)), None)


def no_such(reader: SqliteReader, delivery: str) -> str:
    """Says that there is no such delivery, and which there are if its event was divided for that destination."""
    event, destination, part, replay = delivery_key(delivery)
    wanted = DeliveryFilter(event=event, destination=destination, replay=replay)
    there = sorted(one.part for one in reader.deliveries(wanted, limit=PAGE)) if destination and not part else []
    if not there:
        return "there is no such delivery"
    first, last = (delivery_id(event, destination, replay, number) for number in (there[0], there[-1]))
    return f"there is no such delivery, but {first}" + (f" to ~{there[-1]}" if last != first else "")


def each_delivery(reader: SqliteReader, wanted: DeliveryFilter) -> Iterator[StoredDelivery]:
    """All that are wanted, the newest first; of dead letters, destination by destination."""
    if wanted.state is State.DEAD and wanted.destination is None:
        # the spool keeps dead letters by destination: to put all of them in order for every page would take for ever
        for name, queue in reader.stats().queues.items():
            if queue.dead:
                yield from each_delivery(reader, replace(wanted, destination=name))
        return
    before = None
    while page := reader.deliveries(wanted, limit=PAGE, before=before):
        yield from page
        before = page[-1].id


def each_event(reader: SqliteReader, wanted: EventFilter) -> Iterator[StoredEvent]:
    """All that are wanted, the newest first."""
    before = None
    while page := reader.events(wanted, limit=BODIES, before=before):
        yield from page
        before = page[-1].event.id


def each_refused(reader: SqliteReader, source: str | None = None) -> Iterator[Refused]:
    """The whole quarantine, the newest first."""
    before = None
    while page := reader.quarantined(limit=BODIES, before=before, source=source):
        yield from page
        before = page[-1].id


def must_be_known(path: Path, reader: SqliteReader, destination: str | None) -> None:
    """For a destination of which nothing was found: it may be that there is none.

    Raises:
        typer.Exit: With status 2; the message says which is near.
    """
    configured = destination_types(path)
    if destination in (None, *INTERNAL, *configured):
        return
    if not reader.deliveries(DeliveryFilter(destination=destination), limit=1):
        must_be_configured(path, [str(destination)], configured)


def must_be_a_source(path: Path, reader: SqliteReader, source: str | None) -> None:
    """As `must_be_known`, for a source."""
    configured = source_names(path)
    if source not in (None, *configured) and not reader.events(EventFilter(source=source), limit=1):
        must_be_configured(path, [str(source)], configured, "source")


def must_be_configured(path: Path, wanted: Iterable[str], known: Iterable[str], thing: str = "destination") -> None:
    """Ends the command unless the configuration has all of these names.

    Raises:
        typer.Exit: With status 2, as one of them is not known; the message says which is near.
    """
    known = list(known)
    for name in wanted:
        if name not in known:
            hint = suggestion(name, known)
            raise fail(f"{path.name} has no {thing} {name!r}" + (f"; {hint}" if hint else ""), 2)
