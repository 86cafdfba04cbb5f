"""``retry`` and ``discard``: what becomes of dead letters."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sodarouter.cli.acting import Acting
from sodarouter.cli.app import ACT, ConfigOption, DryRunOption, JsonOption, YesOption, app, config_path, fail
from sodarouter.cli.bulk import Choice, Notes, Task, carry_out
from sodarouter.cli.choose import WHICH, choosing, delivery_filter
from sodarouter.cli.reading import each_delivery, find_delivery, must_be_known, no_such, reading
from sodarouter.config import destination_types
from sodarouter.delivery import State
from sodarouter.spool import INTERNAL, DeliveryFilter, SqliteReader, StoredDelivery

NamedDeliveries = Annotated[
    list[str] | None,
    typer.Argument(metavar="DELIVERY", help="EVENT/DESTINATION, as `sodarouter dead` lists them.", show_default=False),
]

RETRY = Task(
    "dead letter",
    "Try them again?",
    done="will be tried again",
    would="would be tried again",
    key="retried",
)

WhyNot = Callable[[StoredDelivery], str]
"""Why it cannot be done with a delivery; empty if it can."""


class Discardable(StrEnum):
    DEAD = State.DEAD.value
    PENDING = State.PENDING.value


@app.command(rich_help_panel=ACT)
@choosing(delivery_filter)
def retry(
    context: typer.Context,
    chosen: DeliveryFilter,
    wanted: NamedDeliveries = None,
    config: ConfigOption = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters.", rich_help_panel=WHICH)] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Try dead letters again, at once and with all their attempts before them.

    The running router is asked to do it; when none runs, they are due at its next start. Exit status 1 if one of them
    cannot be: it is no dead letter, or its destination is not configured any more.

    For example: `sodarouter retry --destination oncall --cause exhausted --since 2h`
    """
    path = config_path(context, config)
    configured = {*destination_types(path), *INTERNAL}

    def why_not(delivery: StoredDelivery) -> str:
        if delivery.state is not State.DEAD:
            return f"it is {delivery.state}, not dead"
        if delivery.destination not in configured:
            return f"it stays dead, as {path.name} has no destination {delivery.destination!r} any more"
        return ""

    choice = _choice(path, wanted, replace(chosen, state=State.DEAD), why_not, every=every)

    def do(acting: Acting, deliveries: Sequence[str]) -> tuple[Notes, Notes]:
        return _told(path, deliveries, acting.retry(deliveries), why_not)

    carry_out(path, RETRY, choice, do, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command(rich_help_panel=ACT)
@choosing(delivery_filter)
def discard(
    context: typer.Context,
    chosen: DeliveryFilter,
    wanted: NamedDeliveries = None,
    config: ConfigOption = None,
    which: Annotated[
        Discardable, typer.Option("--state", help="Dead letters, or what still waits.", rich_help_panel=WHICH)
    ] = Discardable.DEAD,
    every: Annotated[bool, typer.Option("--all", help="All that are in this state.", rich_help_panel=WHICH)] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give deliveries up for good: dead letters or, with `--state pending`, what would still be tried.

    The event stays; `sodarouter replay` can deliver it once more. What is under way is not touched. Exit status 1 if one of
    them is in another state. `sodarouter export` writes them to a file before.

    For example: `sodarouter discard --destination oncall --until 7d`
    """
    path, taken = config_path(context, config), State(which.value)

    def why_not(delivery: StoredDelivery) -> str:
        if delivery.state is taken:
            return ""
        hint = "; `--state pending` discards what waits" if delivery.state is State.PENDING else ""
        return f"it is {delivery.state}, not {taken}{hint}"

    choice = _choice(path, wanted, replace(chosen, state=taken), why_not, every=every)

    def do(acting: Acting, deliveries: Sequence[str]) -> tuple[Notes, Notes]:
        return _told(path, deliveries, acting.discard(deliveries), why_not)

    carry_out(path, _discard(taken), choice, do, dry_run=dry_run, yes=yes, as_json=as_json)


def _discard(state: State) -> Task:
    thing = "dead letter" if state is State.DEAD else "pending delivery"
    return Task(thing, "Discard them for good?", done="discarded", would="would be discarded", key="discarded")


def _choice(
    path: Path, wanted: Sequence[str] | None, chosen: DeliveryFilter, why_not: WhyNot, *, every: bool
) -> Choice:
    if bool(wanted) == (every or replace(chosen, state=None) != DeliveryFilter()):
        raise fail("name deliveries, or say which with options such as --destination, or --all", 2)
    choice = Choice(named=bool(wanted))
    with reading(path) as reader:
        for name in dict.fromkeys(wanted or ()):
            delivery = find_delivery(reader, name)
            choice.add(name, why_not(delivery) if delivery else no_such(reader, name))
        if not wanted:
            for delivery in each_delivery(reader, chosen):
                choice.add(delivery.id, why_not(delivery), (delivery.destination, delivery.cause or delivery.state))
            if not choice.asked:
                must_be_known(path, reader, chosen.destination)
    return choice


def _told(path: Path, asked: Sequence[str], done: Sequence[str], why_not: WhyNot) -> tuple[Notes, Notes]:
    missed = set(asked) - set(done)
    with reading(path) as reader:
        return dict.fromkeys(done, ""), {name: _changed(reader, name, why_not) for name in sorted(missed)}


def _changed(reader: SqliteReader, name: str, why_not: WhyNot) -> str:
    delivery = find_delivery(reader, name)
    return (why_not(delivery) or "it changed meanwhile") if delivery else no_such(reader, name)
