"""``route``, ``why`` and ``why-not``: where an event would go, and why it went where it went."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sodarouter.cli.app import LOOK, SET_UP, ConfigOption, JsonOption, app, config_path, fail
from sodarouter.cli.choose import parse_time
from sodarouter.cli.output import moment, out, print_json, shown
from sodarouter.cli.reading import must_be_configured, reading, spool_if_there
from sodarouter.cli.told import MOST_STEPS, numbered, subject, told
from sodarouter.config import Config, load, load_routing
from sodarouter.decide import State, Step, compile_rules, explain
from sodarouter.decide.memory import parse, subjects
from sodarouter.errors import Malformed
from sodarouter.event import Event
from sodarouter.faults import suggestion
from sodarouter.hindsight import going, now, silences_of, state_of, why
from sodarouter.ids import new_id
from sodarouter.parse import parse as parse_body
from sodarouter.rehearsal import Rehearsed, rehearse
from sodarouter.spool import Reader, SqliteReader, StoredEvent

MOST_LINES = 40
"""Lines of what would be sent that are shown to people, and"""
LONGEST_LINE = 500
"""characters of each."""

AllOption = Annotated[bool, typer.Option("--all", help="Tell of every route, however many there are.")]
EventArgument = Annotated[str, typer.Argument(metavar="EVENT", help="An event, as `sodarouter events` lists them.")]


@app.command("route", rich_help_panel=SET_UP)
def route_command(
    context: typer.Context,
    payload: Annotated[
        str,
        typer.Argument(
            metavar="FILE|EVENT|-", help="A file with a payload, the id of a stored event, or - for standard input."
        ),
    ],
    config: ConfigOption = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="NAME", help="The source that it comes from; otherwise the first.")
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            "--at", parser=parse_time, metavar="TIME", help="When it comes: 2026-11-23T22:00, or how long ago, as 2h."
        ),
    ] = None,
    destination: Annotated[
        str | None, typer.Option("--destination", "-d", metavar="NAME", help="Show only what goes there.")
    ] = None,
    every: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what would become of a payload: of every route whether it matches and why not, and what would be sent.

    Nothing is sent and nothing stored. What the router remembers and its silences are taken from the spool, if there is one.

    For example: `sodarouter simulate incidentCreated | sodarouter route -`
    """
    path = config_path(context, config)
    loaded = load(path)
    with spool_if_there(path) as reader:
        event, state = _asked(loaded, reader, payload, source, at)
    decision = explain(event, loaded.rules, state)
    if destination:
        must_be_configured(path, [destination], [one.name for one in loaded.destinations])
    wanted = [plan for plan in decision.planned if destination in (None, plan.destination)]
    rehearsed = list(rehearse(loaded, event, wanted))
    if as_json:
        print_json(
            {
                "event": {"id": event.id, "source": event.source, "received": event.received, "type": event.type},
                "config": loaded.hash,
                "trace": decision.trace,
                "deliveries": [_document(one) for one in rehearsed],
            }
        )
        return
    out.print(f"[bold]{shown(event.type)}[/] from source {event.source} at {moment(event.received)}")
    if about := subject(event):
        out.print(shown(about))
    out.print(f"\n[bold]Decision[/] by {shown(path.name)}, configuration {loaded.hash}")
    _print_steps(decision.trace, every=every)
    out.print("\n[bold]It would go to[/]")
    for one in rehearsed:
        _print_rehearsed(one)
    if not rehearsed:
        out.print("  nowhere" if destination is None else shown(f"not to {destination}"))


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
    if destination:
        known = {name for step in (*then.steps, *today.trace) for name in (*step.get("to", ()), *step.get("from", ()))}
        if destination not in known:
            hint = suggestion(destination, known)
            raise fail(f"no route sends to {destination!r}" + (f"; {hint}" if hint else ""), 2)
    steps = _about(then.steps, destination)
    differs = stored.planned is not None and then.planned != going(today.planned)
    if as_json:
        print_json(
            {
                "event": stored.event.id,
                "config": stored.config,
                "whole": then.whole,
                "trace": steps,
                "now": {"differs": differs, "trace": _about(today.trace, destination), "planned": today.planned},
            }
        )
        return
    event = stored.event
    out.print(f"[bold]{shown(event.type)}[/] {event.id} from source {event.source} at {moment(event.received)}")
    if about := subject(event):
        out.print(shown(about))
    if stored.planned is None:
        out.print("\nIt has not been decided yet.")
    else:
        out.print(f"\n[bold]{shown(_sentence(then.steps, destination))}[/] by configuration {shown(stored.config)}")
        _print_steps(steps, every=every)
        if not then.whole:
            out.print("  [dim]the routes that did not match are not known any more[/]")
    if differs:
        out.print(f"\n[bold]{shown(_sentence(today.trace, destination, now=True))}[/] by {shown(path.name)}")
        _print_steps(_about(today.trace, destination), every=every)


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
    return [step for step in steps if destination in step.get("to", ()) or destination in step.get("from", ())]


def _sentence(steps: Iterable[Step], destination: str | None, *, now: bool = False) -> str:
    matched = [step for step in steps if _has_effect(step)]
    went = dict.fromkeys(name for step in matched if "muted" not in step for name in step.get("to", ()))
    for step in matched:
        if "silence" in step and step["results"] is None:
            went = {name: None for name in went if name not in step["from"]}
    verb, goes = ("It would go", "It would not go") if now else ("It went", "It did not go")
    if destination is not None:
        return f"{verb} to {destination}" if destination in went else f"{goes} to {destination}"
    return f"{verb} to {', '.join(went)}" if went else f"{verb} nowhere"


def _asked(
    config: Config, reader: Reader | None, payload: str, source: str | None, at: datetime | None
) -> tuple[Event, State]:
    """The event that is asked about, and what the decision about it knows."""
    silences = silences_of(reader.silences()) if reader else []
    if payload != "-" and not Path(payload).is_file():
        stored = reader.event(payload) if reader else None
        if stored is None:
            raise fail(f"there is no file {payload!r} and no event of this id", 2)
        return stored.event, state_of(stored, silences)
    raw = sys.stdin.buffer.read() if payload == "-" else Path(payload).read_bytes()
    names = list(config.file.source)
    if source is not None and source not in names:
        hint = suggestion(source, names, otherwise=f"there is {', '.join(names)}")
        raise fail(f"{config.path.name} has no source {source!r}; {hint}", 2)
    try:
        event = Event(new_id(), source or names[0], at or datetime.now(UTC), parse_body(raw).event, raw)
    except Malformed as error:
        raise fail(f"the payload is no event: {error.title}" + (f": {error.detail}" if error.detail else "")) from None
    remembered = reader.recollection(subjects(event)) if reader else {}
    return event, State(parse(remembered), silences)


def _print_steps(steps: Sequence[Step], *, every: bool) -> None:
    for line in told(steps, None if every else MOST_STEPS):
        out.print("  " + shown(line))


def _print_rehearsed(one: Rehearsed) -> None:
    delivery = one.delivery
    part = f" part {delivery.part}" if delivery.part else ""
    group = f", {delivery.group}" if delivery.group else ""
    which = "the whole event" if delivery.results is None else numbered(delivery.results)
    out.print(f"  [bold]{delivery.destination}{part}[/]{shown(group)}: {which}")
    if one.fault:
        out.print(f"    [red]{shown(one.fault)}[/]")
        return
    if one.preview is None:
        out.print("    [dim]its type does not say what it would send; this is what it would be handed[/]")
        _print_body(one.event.raw_redacted)
        return
    out.print(f"    {shown(one.preview.target)}")
    for name, value in one.preview.headers.items():
        out.print(f"    [dim]{shown(name)}: {shown(value)}[/]")
    _print_body(one.preview.body)


def _print_body(body: bytes) -> None:
    lines = body.decode(errors="replace").splitlines()
    for line in lines[:MOST_LINES]:
        out.print(f"      {shown(line[:LONGEST_LINE])}" + (" [dim]…[/]" if len(line) > LONGEST_LINE else ""))
    if len(lines) > MOST_LINES or any(len(line) > LONGEST_LINE for line in lines):
        out.print(f"      [dim]{len(body):,} bytes in all, which --json shows[/]")


def _document(one: Rehearsed) -> dict[str, Any]:
    preview = one.preview
    body = preview.body if preview else one.event.raw_redacted
    return {
        "id": one.delivery.id,
        "destination": one.delivery.destination,
        "part": one.delivery.part,
        "group": one.delivery.group,
        "results": one.delivery.results,
        "fault": one.fault,
        "previewed": preview is not None,
        "target": preview.target if preview else "",
        "headers": dict(preview.headers) if preview else {},
        "body": body.decode(errors="replace"),
    }
