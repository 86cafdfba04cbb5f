"""``quarantine`` and its commands: bodies whose sender was verified, and that could not be made an event."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import trio
import typer

from sodarouter.cli.acting import Acting
from sodarouter.cli.app import (
    LOOK,
    BeforeOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    LimitOption,
    YesOption,
    app,
    config_path,
    fail,
)
from sodarouter.cli.bulk import Choice, Notes, Task, carry_out
from sodarouter.cli.choose import WHICH, SourceOption
from sodarouter.cli.lines import ForceOption, OutputOption, write_lines
from sodarouter.cli.output import moment, out, print_json, print_table, shown
from sodarouter.cli.reading import each_refused, must_be_a_source, reading
from sodarouter.config import translators
from sodarouter.operations import UNREADABLE, event_of
from sodarouter.redact import without_callback
from sodarouter.spool import Refused, SqliteReader

quarantine = typer.Typer(name="quarantine", rich_markup_mode="markdown")
app.add_typer(quarantine, rich_help_panel=LOOK)

NamedBodies = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Bodies, as `sodarouter quarantine` lists them.", show_default=False),
]
EveryOption = Annotated[bool, typer.Option("--all", help="All of them.", rich_help_panel=WHICH)]

RETRY = Task(
    "quarantined body",
    "Try them again?",
    done="became events",
    would="would become events",
    key="retried",
    note="it is the event ",
)
DISCARD = Task(
    "quarantined body",
    "Discard them for good?",
    done="discarded",
    would="would be discarded",
    key="discarded",
)
NO_SUCH = "it is not in the quarantine"


@quarantine.callback(invoke_without_command=True)
def list_quarantine(
    context: typer.Context,
    config: ConfigOption = None,
    source: SourceOption = None,
    limit: LimitOption = 20,
    before: BeforeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List bodies that were verified and could not be parsed; the commands try them again, discard or export them.

    For example: `sodarouter quarantine --source soda`, then `sodarouter quarantine show ID`
    """
    if context.invoked_subcommand is not None:
        return
    path = config_path(context, config)
    with reading(path) as reader:
        found = reader.quarantined(limit=limit, before=before, source=source)
        if not found:
            must_be_a_source(path, reader, source)
    if as_json:
        print_json([refused_document(refused) for refused in found])
        return
    print_table(
        ["id", "received", "source", "answer", "detail"],
        [[r.id, moment(r.received), r.source, shown(f"{r.status} {r.title}"), shown(r.detail)] for r in found],
        empty="the quarantine is empty",
    )


@quarantine.command()
def show(
    context: typer.Context,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="A quarantined body.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one quarantined body whole, and why it could not be parsed."""
    with reading(config_path(context, config)) as reader:
        refused = reader.refused(wanted)
    if refused is None:
        raise fail(f"there is no quarantined body {wanted}; `sodarouter quarantine` lists what there is")
    show_refused(refused, as_json=as_json)


@quarantine.command()
def retry(
    context: typer.Context,
    wanted: NamedBodies = None,
    config: ConfigOption = None,
    source: SourceOption = None,
    every: EveryOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Try bodies again, after an upgrade that understands more: what can be parsed becomes an event.

    The event has the time at which its body came, and is decided and delivered as any other. What cannot be parsed stays,
    with status 1.

    For example: `sodarouter quarantine retry --all --dry-run`
    """
    path = config_path(context, config)
    readers = translators(path) if dry_run else {}

    def why_not(refused: Refused) -> str:
        try:
            trio.run(event_of, refused, readers.get(refused.source))
        except UNREADABLE as error:
            return str(error)
        return ""

    def do(acting: Acting, bodies: Sequence[str]) -> tuple[Notes, Notes]:
        found = acting.readmit(bodies)
        return found.events, found.left

    # the router says whether they can be parsed, as its version is what counts; a dry run does not ask it
    choice = _choice(path, wanted, source, why_not if dry_run else lambda _: "", every=every)
    carry_out(path, RETRY, choice, do, dry_run=dry_run, yes=yes, as_json=as_json)


@quarantine.command()
def discard(
    context: typer.Context,
    wanted: NamedBodies = None,
    config: ConfigOption = None,
    source: SourceOption = None,
    every: EveryOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete bodies from the quarantine, for good. `sodarouter quarantine export` writes them to a file before."""

    def do(acting: Acting, bodies: Sequence[str]) -> tuple[Notes, Notes]:
        gone = acting.dismiss(bodies)
        return dict.fromkeys(gone, ""), dict.fromkeys(set(bodies) - set(gone), NO_SUCH)

    path = config_path(context, config)
    choice = _choice(path, wanted, source, lambda _: "", every=every)
    carry_out(path, DISCARD, choice, do, dry_run=dry_run, yes=yes, as_json=as_json)


@quarantine.command()
def export(
    context: typer.Context,
    wanted: NamedBodies = None,
    config: ConfigOption = None,
    source: SourceOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Write bodies as JSON lines, each with its faults and without Soda's callback URL; all of them, if none is named."""
    if wanted and source:
        raise fail("name quarantined bodies, or --source NAME", 2)
    with reading(config_path(context, config)) as reader:
        found = _named(reader, wanted) if wanted else each_refused(reader, source)
        write_lines(map(_whole, found), output, force=force, things="quarantined bodies")


def _named(reader: SqliteReader, wanted: Sequence[str]) -> Iterator[Refused]:
    for name in dict.fromkeys(wanted):
        refused = reader.refused(name)
        if refused is None:
            raise fail(f"{name}: {NO_SUCH}")
        yield refused


def _choice(
    path: Path, wanted: Sequence[str] | None, source: str | None, why_not: Callable[[Refused], str], *, every: bool
) -> Choice:
    if bool(wanted) == (every or source is not None):
        raise fail("name quarantined bodies, or --source NAME, or --all; `sodarouter quarantine` lists them", 2)
    choice = Choice(named=bool(wanted))
    with reading(path) as reader:
        for name in dict.fromkeys(wanted or ()):
            refused = reader.refused(name)
            choice.add(name, why_not(refused) if refused else NO_SUCH)
        if not wanted:
            for refused in each_refused(reader, source):
                choice.add(refused.id, why_not(refused), (refused.source, refused.title))
    return choice


def show_refused(refused: Refused, *, as_json: bool) -> None:
    if as_json:
        print_json(_whole(refused))
        return
    out.print(f"[bold]quarantined[/] {refused.id}")
    out.print(f"received {moment(refused.received)} from source {refused.source}")
    out.print(shown(f"answered {refused.status} {refused.title}: {refused.detail}"))
    for fault in refused.faults:
        out.print("  " + shown(fault))
    out.print("\n[bold]Body[/]")
    for line in _body(refused).splitlines():
        out.print(shown(line))


def _whole(refused: Refused) -> dict[str, Any]:
    return {**refused_document(refused), "body": _body(refused)}


def _body(refused: Refused) -> str:
    return without_callback(refused.raw.decode(errors="replace"))


def refused_document(refused: Refused) -> dict[str, Any]:
    """What is known of a quarantined body, for programs."""
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
