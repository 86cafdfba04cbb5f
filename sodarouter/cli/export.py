"""``sodarouter export``: deliveries with all that belongs to them, as JSON lines."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Any

import typer

from sodarouter.cli.app import LOOK, ConfigOption, app, config_path, fail
from sodarouter.cli.choose import WHICH, choosing, delivery_filter
from sodarouter.cli.deliveries import delivery_document
from sodarouter.cli.lines import ForceOption, OutputOption, write_lines
from sodarouter.cli.reading import each_delivery, find_delivery, must_be_known, no_such, reading
from sodarouter.cli.retry import NamedDeliveries
from sodarouter.delivery import State
from sodarouter.spool import DeliveryFilter, SqliteReader, StoredDelivery


@app.command(rich_help_panel=LOOK)
@choosing(delivery_filter)
def export(
    context: typer.Context,
    chosen: DeliveryFilter,
    wanted: NamedDeliveries = None,
    config: ConfigOption = None,
    which: Annotated[State, typer.Option("--state", help="In this state.", rich_help_panel=WHICH)] = State.DEAD,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Write deliveries as JSON lines, all dead letters by default: each with its attempts and the whole event.

    Soda's callback URL is taken out. Nothing is changed: `sodarouter discard`, with the same options, then gives them up.

    For example: `sodarouter export --destination oncall --until 7d --output dead.jsonl`
    """
    if wanted and chosen != DeliveryFilter():
        raise fail("name deliveries, or say which with options", 2)
    path = config_path(context, config)
    with reading(path) as reader:
        if wanted:
            found = _named(reader, wanted)
            write_lines(_documents(reader, found), output, force=force, things="deliveries", count=len(found))
            return
        asked = replace(chosen, state=which)
        count = sum(reader.count_deliveries(asked).values())
        if not count:
            must_be_known(path, reader, chosen.destination)
        documents = _documents(reader, each_delivery(reader, asked))
        write_lines(documents, output, force=force, things="deliveries", count=count)


def _named(reader: SqliteReader, wanted: Iterable[str]) -> list[StoredDelivery]:
    found = {name: find_delivery(reader, name) for name in wanted}
    for name, delivery in found.items():
        if delivery is None:
            raise fail(f"{name}: {no_such(reader, name)}")
    return [delivery for delivery in found.values() if delivery]


def _documents(reader: SqliteReader, deliveries: Iterable[StoredDelivery]) -> Iterator[dict[str, Any]]:
    for delivery in deliveries:
        stored = reader.event(delivery.event)
        if stored is not None:  # it may have been deleted meanwhile, with its deliveries
            history = reader.attempts(delivery.id)
            yield {**delivery_document(delivery), "history": history, "event": stored.event.as_dict()}
