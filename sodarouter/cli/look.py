"""``events``, ``show``, ``deliveries``, ``dead`` and ``quarantine``: what the spool holds."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sodarouter import soda
from sodarouter.cli.app import BeforeOption, ConfigOption, JsonOption, LimitOption, app, config_path, fail
from sodarouter.cli.output import moment, out, print_json, print_table, shown, state, until
from sodarouter.cli.told import numbered, subject, told
from sodarouter.config import load_table, names
from sodarouter.decide import VALIDATE
from sodarouter.delivery import State
from sodarouter.faults import suggestion
from sodarouter.redact import without_callback
from sodarouter.spool import (
    ROUTE,
    Attempt,
    DeliveryFilter,
    EventFilter,
    Refused,
    SqliteReader,
    StoredDelivery,
    StoredEvent,
)
from sodarouter.tables import Spool


@contextmanager
def reading(path: Path) -> Iterator[SqliteReader]:
    """The spool of a configuration. Only its ``[spool]`` table is read, so no secret needs to be at hand."""
    reader = SqliteReader(load_table(path, "spool", Spool).path)
    try:
        yield reader
    finally:
        reader.close()


def must_be_known(path: Path, reader: SqliteReader, destination: str) -> None:
    """For a destination of which nothing was found: it may be that there is none.

    Raises:
        typer.Exit: With status 2; the message says which is near.
    """
    configured = names(path, "destination")
    if destination not in (*configured, ROUTE) and not reader.deliveries(
        DeliveryFilter(destination=destination), limit=1
    ):
        hint = suggestion(destination, configured)
        raise fail(f"{path.name} has no destination {destination!r}" + (f"; {hint}" if hint else ""), 2)


@app.command()
def events(
    context: typer.Context,
    config: ConfigOption = None,
    event_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only this event type.")] = None,
    unrouted: Annotated[bool, typer.Option("--unrouted", help="Only events that no route matched.")] = False,
    limit: LimitOption = 20,
    before: BeforeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List events, and what became of their deliveries."""
    with reading(config_path(context, config)) as reader:
        found = reader.events(EventFilter(event_type=event_type, unrouted=unrouted), limit=limit, before=before)
        listed = [(stored, reader.deliveries(DeliveryFilter(event=stored.event.id), limit=1000)) for stored in found]
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
                shown(subject(stored.event)),
            ]
            for stored, deliveries in listed
        ],
        empty="no events" + _undocumented(event_type),
    )


def _undocumented(event_type: str | None) -> str:
    if event_type is None or event_type in soda.EVENT_TYPES:
        return ""
    hint = suggestion(event_type, soda.EVENT_TYPES)
    return shown(f"; Soda documents no event type {event_type!r}" + (f"; {hint}" if hint else ""))


def _summary(stored: StoredEvent, deliveries: list[StoredDelivery]) -> dict[str, Any]:
    event = stored.event
    return {
        "id": event.id,
        "received": event.received,
        "source": event.source,
        "type": event.type,
        "scope": event.scope,
        "subject": subject(event),
        "repeats": stored.repeats,
        "unrouted": stored.planned == 0 and event.type != VALIDATE,
        "deliveries": {delivery.destination: delivery.state for delivery in deliveries},
    }


def _deliveries(stored: StoredEvent, deliveries: list[StoredDelivery]) -> str:
    if any(delivery.destination == ROUTE and delivery.state is State.DEAD for delivery in deliveries):
        return "[red]not decided[/]"
    if stored.planned is None:
        return "[yellow]deciding[/]"
    counts = Counter(delivery.state for delivery in deliveries)
    return ", ".join(f"{counts[which]} {state(which)}" for which in State if counts[which]) or "[dim]none[/]"


@app.command()
def show(
    context: typer.Context,
    wanted: Annotated[
        str, typer.Argument(metavar="ID", help="An event, a delivery (EVENT/DESTINATION) or a quarantined body.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one event whole: what came, why it went where, and every attempt to deliver it."""
    with reading(config_path(context, config)) as reader:
        event_id, _, destination = wanted.partition("/")
        stored = reader.event(event_id)
        if stored is None:
            refused = reader.refused(wanted)
            if refused is None:
                raise fail(f"there is nothing with the id {wanted}; `sodarouter events` lists what there is")
            _show_refused(refused, as_json=as_json)
            return
        found = reader.deliveries(DeliveryFilter(event=event_id, destination=destination or None), limit=1000)
        if destination and not found:
            raise fail(f"the event {event_id} has no delivery to {destination}")
        attempts = {delivery.id: reader.attempts(delivery.id) for delivery in found}
    if as_json:
        listed = [{**_plain(delivery), "history": attempts[delivery.id]} for delivery in reversed(found)]
        document = {**stored.event.as_dict(), "repeats": stored.repeats, "trace": stored.trace, "deliveries": listed}
        print_json(document)
        return
    event = stored.event
    out.print(f"[bold]{shown(event.type)}[/] {event.id}")
    out.print(
        f"received {moment(event.received)} from source {event.source}"
        + (f", and {stored.repeats} more time{'s' * (stored.repeats > 1)}" if stored.repeats else "")
    )
    if about := subject(event):
        out.print(shown(about))
    out.print("\n[bold]Decision[/]")
    for line in told(stored) or ["it has not been decided yet"]:
        out.print("  " + shown(line))
    out.print("\n[bold]Deliveries[/]")
    for delivery in reversed(found):
        next_at = f", next attempt {until(delivery.next_at)}" if delivery.state is State.PENDING else ""
        some = f", {numbered(delivery.results)}" if delivery.results is not None else ""
        out.print(f"  {delivery.destination}: {state(delivery.state)}{next_at}{some}")
        recorded = {attempt.number: attempt for attempt in attempts[delivery.id]}
        for number in range(1, _ended(delivery) + 1):
            _show_attempt(number, recorded.get(number))
    if not found:
        out.print("  none")
    out.print("\n[bold]Payload[/]")
    print_json(event.as_dict()["payload"])


def _ended(delivery: StoredDelivery) -> int:
    """How many attempts are over."""
    return delivery.attempts - (delivery.state is State.LEASED)


def _show_attempt(number: int, attempt: Attempt | None) -> None:
    if attempt is None:
        out.print(f"    attempt {number}: interrupted, the router stopped in the middle of it")
        return
    why = f": {shown(attempt.reason)}" if attempt.reason else ""
    took = f"{moment(attempt.started)}, {attempt.seconds:.3f} s"
    out.print(f"    attempt {number} at {took}, {attempt.state.value}{why}")
    for line in attempt.response.splitlines():
        out.print(f"      [dim]{shown(line)}[/]")


def _plain(delivery: StoredDelivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "destination": delivery.destination,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "planned": delivery.planned,
        "next_at": delivery.next_at,
        "settled": delivery.settled,
        "results": delivery.results,
        "reason": delivery.reason,
    }


def _show_refused(refused: Refused, *, as_json: bool) -> None:
    body = without_callback(refused.raw.decode(errors="replace"))
    if as_json:
        print_json({**_refused(refused), "body": body})
        return
    out.print(f"[bold]quarantined[/] {refused.id}")
    out.print(f"received {moment(refused.received)} from source {refused.source}")
    out.print(shown(f"answered {refused.status} {refused.title}: {refused.detail}"))
    for fault in refused.faults:
        out.print("  " + shown(fault))
    out.print("\n[bold]Body[/]")
    for line in body.splitlines():
        out.print(shown(line))


def _refused(refused: Refused) -> dict[str, Any]:
    return {
        "id": refused.id,
        "received": refused.received,
        "source": refused.source,
        "status": refused.status,
        "title": refused.title,
        "detail": refused.detail,
        "faults": refused.faults,
        "bytes": len(refused.raw),
    }


@app.command()
def deliveries(
    context: typer.Context,
    config: ConfigOption = None,
    event: Annotated[str | None, typer.Option("--event", metavar="ID", help="Only of this event.")] = None,
    destination: Annotated[
        str | None, typer.Option("--destination", "-d", metavar="NAME", help="Only to this one.")
    ] = None,
    which: Annotated[State | None, typer.Option("--state", help="Only in this state.")] = None,
    limit: LimitOption = 20,
    before: BeforeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List deliveries: pending, leased (under way), delivered, dead."""
    path = config_path(context, config)
    with reading(path) as reader:
        found = reader.deliveries(
            DeliveryFilter(event=event, destination=destination, state=which), limit=limit, before=before
        )
        if destination and not found:
            must_be_known(path, reader, destination)
    if as_json:
        print_json([_plain(delivery) for delivery in found])
        return
    print_table(
        ["id", "state", "attempts", "planned", "next", "reason"],
        [
            [
                delivery.id,
                state(delivery.state),
                str(delivery.attempts),
                moment(delivery.planned),
                until(delivery.next_at) if delivery.state is State.PENDING else "",
                shown(delivery.reason),
            ]
            for delivery in found
        ],
        empty="no deliveries",
    )


@app.command()
def dead(
    context: typer.Context,
    config: ConfigOption = None,
    destination: Annotated[
        str | None, typer.Option("--destination", "-d", metavar="NAME", help="Only to this one.")
    ] = None,
    limit: LimitOption = 20,
    before: BeforeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters: deliveries that will not be tried again by themselves. `sodarouter retry` tries them."""
    path = config_path(context, config)
    with reading(path) as reader:
        found = reader.deliveries(DeliveryFilter(destination=destination, state=State.DEAD), limit=limit, before=before)
        if destination and not found:
            must_be_known(path, reader, destination)
    if as_json:
        print_json([_plain(delivery) for delivery in found])
        return
    print_table(
        ["id", "attempts", "given up", "reason"],
        [[d.id, str(d.attempts), moment(d.settled), shown(d.reason)] for d in found],
        empty="no dead letters",
    )


@app.command()
def quarantine(
    context: typer.Context,
    config: ConfigOption = None,
    limit: LimitOption = 20,
    before: BeforeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List bodies that were verified and could not be parsed. `sodarouter show ID` shows one whole."""
    with reading(config_path(context, config)) as reader:
        found = reader.quarantined(limit=limit, before=before)
    if as_json:
        print_json([_refused(refused) for refused in found])
        return
    print_table(
        ["id", "received", "source", "answer", "detail"],
        [[r.id, moment(r.received), r.source, shown(f"{r.status} {r.title}"), shown(r.detail)] for r in found],
        empty="the quarantine is empty",
    )
