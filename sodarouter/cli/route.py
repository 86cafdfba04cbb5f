"""``sodarouter route``: where a payload would go, and what would be sent."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sodarouter.cli.app import SET_UP, ConfigOption, JsonOption, app, config_path, fail
from sodarouter.cli.choose import parse_time
from sodarouter.cli.output import moment, out, print_json, shown
from sodarouter.cli.reading import must_be_configured, spool_if_there
from sodarouter.cli.told import (
    AllOption,
    changes_document,
    changes_of,
    numbered,
    print_changes,
    print_steps,
    subject,
)
from sodarouter.config import Config, load
from sodarouter.decide import State, explain
from sodarouter.decide.memory import memory_keys, parse_memories
from sodarouter.errors import Malformed
from sodarouter.event import Event
from sodarouter.faults import suggestion
from sodarouter.hindsight import silences_of, state_of
from sodarouter.ids import new_id
from sodarouter.parse import parse
from sodarouter.rehearsal import Rehearsed, rehearse
from sodarouter.spool import Reader

MOST_LINES = 40
"""Lines of what would be sent that are shown to people."""
LONGEST_LINE = 500
"""Characters that are shown of each."""


def _parse_enriched(text: str) -> dict[str, Any]:
    try:
        made = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"it is no JSON: {error}") from None
    if not isinstance(made, dict) or not all(isinstance(added, dict) for added in made.values()):
        raise typer.BadParameter('it must be an object of objects, such as {"catalog": {"tier": "gold"}}')
    return made


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
    enriched: Annotated[
        dict[str, Any] | None,
        typer.Option(
            "--enriched",
            parser=_parse_enriched,
            metavar="JSON",
            help='What plugins add to it: {"catalog": {"tier": "gold"}}; otherwise nothing, or what they have added.',
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
    if enriched is not None:
        event = event.with_enriched(enriched)
    decision = explain(event, loaded.rules, state)
    changes = changes_of(event, state.memory)
    if destination:
        must_be_configured(path, [destination], [one.name for one in loaded.destinations])
    wanted = [plan for plan in decision.planned if destination in (None, plan.destination)]
    rehearsed = list(rehearse(loaded, event, wanted))
    if as_json:
        print_json(
            {
                "event": {"id": event.id, "source": event.source, "received": event.received, "type": event.type},
                "contract_changes": changes_document(changes),
                "config": loaded.hash,
                "trace": decision.trace,
                "deliveries": [_document(one) for one in rehearsed],
            }
        )
        return
    out.print(f"[bold]{shown(event.type)}[/] from source {event.source} at {moment(event.received)}")
    if about := subject(event):
        out.print(shown(about))
    print_changes(changes)
    out.print(f"\n[bold]Decision[/] by {shown(path.name)}, configuration {loaded.hash}")
    print_steps(decision.trace, every=every)
    if destination and not rehearsed:
        out.print(f"\n[bold]It would not go to {shown(destination)}[/]")
        return
    out.print("\n[bold]It would go to[/]")
    for one in rehearsed:
        _print_rehearsed(one)
    if not rehearsed:
        out.print("  nowhere")


def _asked(
    config: Config, reader: Reader | None, payload: str, source: str | None, at: datetime | None
) -> tuple[Event, State]:
    """The event that is asked about, and what the decision about it knows."""
    silences = silences_of(reader.silences()) if reader else []
    if payload != "-" and not Path(payload).is_file():
        stored = reader.event(payload) if reader else None
        if stored is None:
            raise fail(f"there is no file {payload!r} and no event of this id", 2)
        if source is not None or at is not None:
            raise fail("a stored event has its source and its time: --source and --at are for a file or -", 2)
        return stored.event, state_of(stored, silences)
    raw = sys.stdin.buffer.read() if payload == "-" else Path(payload).read_bytes()
    names = list(config.file.source)
    if source is not None and source not in names:
        hint = suggestion(source, names, otherwise=f"there is {', '.join(names)}")
        raise fail(f"{config.path.name} has no source {source!r}; {hint}", 2)
    try:
        event = Event(new_id(), source or names[0], at or datetime.now(UTC), parse(raw)["event"], raw)
    except Malformed as error:
        raise fail(f"the payload is no event: {error.title}" + (f": {error.detail}" if error.detail else "")) from None
    remembered = reader.recollection(memory_keys(event)) if reader else {}
    return event, State(parse_memories(remembered), silences)


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
