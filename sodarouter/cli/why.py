"""``sodarouter why`` and ``why-not``: why an event went where it went, and what would become of it now."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sodarouter.cli.app import LOOK, ConfigOption, JsonOption, app, config_path, fail
from sodarouter.cli.output import moment, out, print_json, shown, state
from sodarouter.cli.reading import PAGE, reading
from sodarouter.cli.told import (
    LATE,
    AllOption,
    changes_document,
    changes_of,
    print_changes,
    print_steps,
    stands_in,
    subject,
)
from sodarouter.config import load_routing
from sodarouter.decide import Step, compile_rules
from sodarouter.delivery import Fallback, State
from sodarouter.faults import suggestion
from sodarouter.hindsight import going, now, silences_of, state_of, why
from sodarouter.spool import ROUTE, DeliveryFilter, SqliteReader, StoredDelivery, StoredEvent

EventArgument = Annotated[str, typer.Argument(metavar="EVENT", help="An event, as `sodarouter events` lists them.")]


@app.command("why", rich_help_panel=LOOK)
def why_command(
    context: typer.Context,
    event: EventArgument,
    config: ConfigOption = None,
    destination: Annotated[
        str | None,
        typer.Option("--destination", "-d", metavar="NAME", help="Tell only of the routes that send to this one."),
    ] = None,
    every: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tell why an event went where it went, and what would become of it by the configuration of now if that is another.

    For example: `sodarouter why 01a20a8b-c76e-7000-a4d6-828c041e361b`
    """
    path = config_path(context, config)
    with reading(path) as reader:
        _why(path, reader, _stored(reader, event), destination, every=every, as_json=as_json)


@app.command("why-not", rich_help_panel=LOOK)
def why_not_command(
    context: typer.Context,
    event: EventArgument,
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="Where it did not go.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell why an event did not go to a destination: of every route that sends there, which condition failed.

    For example: `sodarouter why-not 01a20a8b-c76e-7000-a4d6-828c041e361b oncall`
    """
    path = config_path(context, config)
    with reading(path) as reader:
        _why(path, reader, _stored(reader, event), destination, every=True, as_json=as_json)


def _why(
    path: Path, reader: SqliteReader, stored: StoredEvent, destination: str | None, *, every: bool, as_json: bool
) -> None:
    routing = load_routing(path)
    then = why(reader, stored)
    today = now(stored, compile_rules(routing), silences_of(reader.silences()))
    deliveries = reader.deliveries(DeliveryFilter(event=stored.event.id, destination=destination), limit=PAGE)
    stood_in = [(one.destination, one.fallback) for one in deliveries if one.fallback]
    if destination and not stood_in:
        known = {name for step in (*then.steps, *today.trace) for name in (*step.get("to", ()), *step.get("from", ()))}
        if destination not in known:
            hint = suggestion(destination, known)
            raise fail(f"no route sends to {destination!r}" + (f"; {hint}" if hint else ""), 2)
    steps = _about(then.steps, destination)
    differs = stored.planned is not None and then.planned != going(today.planned)
    changes = changes_of(stored.event, state_of(stored, ()).memory)
    if as_json:
        print_json(
            {
                "event": stored.event.id,
                "contract_changes": changes_document(changes),
                "config": stored.config,
                "whole": then.whole,
                "trace": steps,
                "stood_in": [{"destination": name, "fallback": fallback} for name, fallback in stood_in],
                "now": {"differs": differs, "trace": _about(today.trace, destination), "planned": today.planned},
            }
        )
        return
    event = stored.event
    out.print(f"[bold]{shown(event.type)}[/] {event.id} from source {event.source} at {moment(event.received)}")
    if about := subject(event):
        out.print(shown(about))
    if event.late:
        out.print(LATE)
    print_changes(changes)
    if stored.planned is None:
        out.print("\nIt has not been decided yet.")
    else:
        sentence = _sentence(then.steps, destination, instead_of=[fallback for _, fallback in stood_in])
        out.print(f"\n[bold]{shown(sentence)}[/] by configuration {shown(stored.config)}")
        print_steps(steps, every=every)
        if not then.whole:
            out.print("  [dim]the routes that did not match are not known any more[/]")
        for name, fallback in stood_in:
            out.print(f"  {shown(name)} {shown(stands_in(fallback))}")
        _print_unfinished(deliveries)
    if differs:
        out.print(f"\n[bold]{shown(_sentence(today.trace, destination, now=True))}[/] by {shown(path.name)}")
        print_steps(_about(today.trace, destination), every=every)


def _print_unfinished(deliveries: Iterable[StoredDelivery]) -> None:
    """What has not arrived: that it was sent somewhere does not say so."""
    for one in deliveries:
        if one.state is not State.DELIVERED and one.destination != ROUTE:
            reason = f": {shown(one.reason)}" if one.reason else ""
            out.print(f"  {shown(one.destination)} has not got it, the delivery is {state(one.state)}{reason}")


def _stored(reader: SqliteReader, event: str) -> StoredEvent:
    stored = reader.event(event.partition("/")[0])
    if stored is None:
        raise fail(f"there is no event {event}; `sodarouter events` lists what there is")
    return stored


def _has_effect(step: Step) -> bool:
    return step.get("matched", True) and "replay" not in step


def _about(steps: Sequence[Step], destination: str | None) -> list[Step]:
    if destination is None:
        return list(steps)
    return [
        step
        for step in steps
        # what is missing of an event may be why it did not go there
        if "enrich" in step or destination in (*step.get("to", ()), *step.get("from", ()))
    ]


def _sentence(
    steps: Iterable[Step], destination: str | None, *, instead_of: Sequence[Fallback] = (), now: bool = False
) -> str:
    matched = [step for step in steps if _has_effect(step)]
    went = dict.fromkeys(name for step in matched if "muted" not in step for name in step.get("to", ()))
    for step in matched:
        if "silence" in step and step["results"] is None:
            went = {name: None for name in went if name not in step["from"]}
    verb, goes = ("It would go", "It would not go") if now else ("It went", "It did not go")
    if destination is not None:
        if instead_of and destination not in went:
            others = dict.fromkeys(fallback.destination for fallback in instead_of)
            return f"{verb} to {destination} in place of {', '.join(others)}"
        return f"{verb} to {destination}" if destination in went else f"{goes} to {destination}"
    return f"{verb} to {', '.join(went)}" if went else f"{verb} nowhere"
