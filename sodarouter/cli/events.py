"""``events`` and ``show``: what came in, and what became of it."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from sodarouter.cli.app import LOOK, BeforeOption, ConfigOption, JsonOption, LimitOption, app, config_path, fail
from sodarouter.cli.choose import choosing, event_filter, undocumented
from sodarouter.cli.deliveries import delivery_document, when_next
from sodarouter.cli.output import moment, out, print_json, print_table, shown, state
from sodarouter.cli.quarantine import show_refused
from sodarouter.cli.reading import must_be_a_source, reading
from sodarouter.cli.told import (
    LATE,
    changes_document,
    changes_of,
    numbered,
    print_changes,
    print_steps,
    stands_in,
    subject,
)
from sodarouter.decide import VALIDATE
from sodarouter.delivery import State
from sodarouter.hindsight import state_of, why
from sodarouter.spool import (
    ROUTE,
    Attempt,
    DeliveryFilter,
    EventFilter,
    SqliteReader,
    StoredDelivery,
    StoredEvent,
    delivery_key,
)

MOST = 1000
"""Deliveries of one event that are shown."""


@app.command(rich_help_panel=LOOK)
@choosing(event_filter)
def events(
    context: typer.Context,
    chosen: EventFilter,
    config: ConfigOption = None,
    limit: LimitOption = 20,
    before: BeforeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List events, and what became of their deliveries.

    For example: `sodarouter events --since 2h --unrouted`
    """
    path = config_path(context, config)
    with reading(path) as reader:
        found = reader.events(chosen, limit=limit, before=before)
        if not found:
            must_be_a_source(path, reader, chosen.source)
            if before and reader.event(before) is None:
                raise fail(f"--before {before}: there is no such event")
        listed = [(stored, reader.deliveries(DeliveryFilter(event=stored.event.id), limit=MOST)) for stored in found]
    if as_json:
        print_json([_summary(stored, deliveries) for stored, deliveries in listed])
        return
    print_table(
        ["id", "received", "source", "type", "deliveries", "subject"],
        [
            [
                stored.event.id,
                moment(stored.event.received),
                stored.event.source,
                shown(stored.event.type),
                _deliveries(stored, deliveries),
                shown(subject(stored.event) + (" (came late)" if stored.event.late else "")),
            ]
            for stored, deliveries in listed
        ],
        empty=shown("no events" + undocumented(chosen.event_type)),
    )


def _summary(stored: StoredEvent, deliveries: list[StoredDelivery]) -> dict[str, Any]:
    event = stored.event
    return {
        "id": event.id,
        "received": event.received,
        "source": event.source,
        "type": event.type,
        "scope": event.scope,
        "subject": subject(event),
        "late": event.late,
        "repeats": stored.repeats,
        "unrouted": stored.planned == 0 and not stored.withheld and event.type != VALIDATE,
        "withheld": stored.withheld,
        "deliveries": {_within(delivery): delivery.state for delivery in deliveries},
    }


def _within(delivery: StoredDelivery) -> str:
    """What a delivery is called among those of its event: ``DESTINATION``, in a replay ``DESTINATION/NUMBER``."""
    return delivery.id.partition("/")[2]


def _deliveries(stored: StoredEvent, deliveries: list[StoredDelivery]) -> str:
    given_up = {State.DEAD, State.DISCARDED}
    if stored.planned is None:
        undecided = any(one.destination == ROUTE and one.state in given_up for one in deliveries)
        return "[red]not decided[/]" if undecided else "[yellow]deciding[/]"
    counts = Counter(delivery.state for delivery in deliveries)
    there = ", ".join(f"{counts[which]} {state(which)}" for which in State if counts[which])
    return there or f"[dim]{_why_none(stored)}[/]"


def _why_none(stored: StoredEvent) -> str:
    if not stored.withheld:
        return "none"
    return "silenced" if any("silence" in step for step in stored.trace) else "muted"


@app.command(rich_help_panel=LOOK)
def show(
    context: typer.Context,
    wanted: Annotated[
        str, typer.Argument(metavar="ID", help="An event, a delivery (EVENT/DESTINATION) or a quarantined body.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one event whole: what came, why it went where, and every attempt to deliver it."""
    path = config_path(context, config)
    with reading(path) as reader:
        event_id, destination, part, replay = delivery_key(wanted)
        stored = reader.event(event_id)
        if stored is None:
            refused = reader.refused(wanted)
            if refused is None:
                raise fail(f"there is nothing with the id {wanted}; `sodarouter events` lists what there is")
            show_refused(refused, as_json=as_json)
            return
        # without a part, all of them are meant
        only = (
            DeliveryFilter(event=event_id, destination=destination, part=part or None, replay=replay)
            if destination
            else None
        )
        found = reader.deliveries(only or DeliveryFilter(event=event_id), limit=MOST)
        if only and not found:
            raise fail(f"the event {event_id} has no delivery to {wanted.partition('/')[2]}")
        if as_json:
            print_json(_document(reader, stored, found))
        else:
            _show(path, reader, stored, found)


def _document(reader: SqliteReader, stored: StoredEvent, found: list[StoredDelivery]) -> dict[str, Any]:
    listed = [{**delivery_document(one), "history": reader.attempts(one.id)} for one in reversed(found)]
    return {
        **stored.event.as_dict(),
        "late": stored.event.late,
        "repeats": stored.repeats,
        "config": stored.config,
        "contract_changes": changes_document(changes_of(stored.event, state_of(stored, ()).memory)),
        "trace": why(reader, stored).steps,
        "deliveries": listed,
    }


def _show(path: Path, reader: SqliteReader, stored: StoredEvent, found: list[StoredDelivery]) -> None:
    event = stored.event
    out.print(f"[bold]{shown(event.type)}[/] {event.id}")
    out.print(
        f"received {moment(event.received)} from source {event.source}"
        + (f", and {stored.repeats} more time{'s' * (stored.repeats > 1)}" if stored.repeats else "")
    )
    if event.late:
        out.print(LATE)
    if about := subject(event):
        out.print(shown(about))
    print_changes(changes_of(event, state_of(stored, ()).memory))
    if event.enriched:
        out.print("\n[bold]Enriched[/]")
        print_json(event.enriched)
    out.print("\n[bold]Decision[/]" + (f" by configuration {shown(stored.config)}" if stored.config else ""))
    if stored.planned is None:
        out.print("  it has not been decided yet")
    print_steps(why(reader, stored).steps, every=False)
    out.print("\n[bold]Deliveries[/]")
    waiting = when_next(path, reader)
    for delivery in reversed(found):
        _show_delivery(delivery, waiting(delivery), reader.attempts(delivery.id), stored.config)
    if not found:
        out.print("  none")
    out.print("\n[bold]Payload[/]")
    print_json(event.as_dict()["payload"])


def _show_delivery(delivery: StoredDelivery, waiting: str, attempts: list[Attempt], config: str) -> None:
    replay = f" in replay {delivery.replay}" if delivery.replay else ""
    cause = f" ({delivery.cause})" if delivery.cause else ""
    next_at = f", next attempt {waiting}" if waiting else ""
    some = f", {numbered(delivery.results)}" if delivery.results is not None else ""
    part = f" part {delivery.part}" if delivery.part else ""
    group = f", {shown(delivery.group)}" if delivery.group else ""
    out.print(f"  {delivery.destination}{part}{replay}: {state(delivery.state)}{cause}{next_at}{group}{some}")
    if delivery.fallback:
        out.print("    " + shown(stands_in(delivery.fallback)))
    if delivery.config and delivery.config != config:
        out.print(f"    planned by configuration {shown(delivery.config)}")
    recorded = {attempt.number: attempt for attempt in attempts}
    for number in range(1, _ended(delivery) + 1):
        _show_attempt(number, recorded.get(number))


def _ended(delivery: StoredDelivery) -> int:
    """How many attempts are over."""
    return delivery.attempts - (delivery.state is State.LEASED)


def _show_attempt(number: int, attempt: Attempt | None) -> None:
    if attempt is None:
        out.print(f"    attempt {number}: interrupted, the router stopped in the middle of it")
        return
    why = f": {shown(attempt.reason)}" if attempt.reason else ""
    took = f"{moment(attempt.started)}, {attempt.seconds:.3f} s"
    # the delivery is pending then, its attempt is not
    ended = "failed" if attempt.state is State.PENDING else attempt.state.value
    out.print(f"    attempt {number} at {took}, {ended}{why}")
    for line in attempt.response.splitlines():
        out.print(f"      [dim]{shown(line)}[/]")
