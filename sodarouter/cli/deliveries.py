"""``deliveries`` and ``dead``: what waits, what is under way, what was delivered, what was given up."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from sodarouter.cli.app import LOOK, BeforeOption, ConfigOption, JsonOption, LimitOption, app, config_path, fail
from sodarouter.cli.choose import StateOption, choosing, delivery_filter, undocumented
from sodarouter.cli.output import moment, print_json, print_table, shown, state, until
from sodarouter.cli.reading import find_delivery, must_be_a_source, must_be_known, no_such, reading
from sodarouter.cli.told import stands_in
from sodarouter.config import destination_types
from sodarouter.delivery import Halt, State
from sodarouter.spool import INTERNAL, DeliveryFilter, SqliteReader, StoredDelivery

MOST_TOLD = 200
"""Characters of a reason in a table; `sodarouter show` has all of it."""


@app.command(rich_help_panel=LOOK)
@choosing(delivery_filter)
def deliveries(
    context: typer.Context,
    chosen: DeliveryFilter,
    config: ConfigOption = None,
    which: StateOption = None,
    limit: LimitOption = 20,
    before: BeforeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List deliveries: pending, leased (under way), delivered, dead, discarded.

    For example: `sodarouter deliveries --state pending --destination oncall`
    """
    path = config_path(context, config)
    with reading(path) as reader:
        found = _listed(path, reader, replace(chosen, state=which), limit, before)
        waiting = when_next(path, reader)
        if as_json:
            print_json([delivery_document(delivery) for delivery in found])
            return
        print_table(
            ["id", "state", "attempts", "planned", "next", "reason"],
            [
                [
                    delivery.id,
                    state(delivery.state) + (f" ({delivery.cause})" if delivery.cause else ""),
                    str(delivery.attempts),
                    moment(delivery.planned),
                    waiting(delivery),
                    _reason(delivery),
                ]
                for delivery in found
            ],
            empty=shown("no deliveries" + undocumented(chosen.event_type)),
        )


@app.command(rich_help_panel=LOOK)
@choosing(delivery_filter)
def dead(
    context: typer.Context,
    chosen: DeliveryFilter,
    config: ConfigOption = None,
    limit: LimitOption = 20,
    before: BeforeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters: deliveries that will not be tried again by themselves. `sodarouter retry` tries them.

    For example: `sodarouter dead --destination oncall --cause exhausted`
    """
    path = config_path(context, config)
    with reading(path) as reader:
        found = _listed(path, reader, replace(chosen, state=State.DEAD), limit, before)
    if as_json:
        print_json([delivery_document(delivery) for delivery in found])
        return
    print_table(
        ["id", "cause", "attempts", "given up", "reason"],
        [[d.id, d.cause or "", str(d.attempts), moment(d.settled), _reason(d)] for d in found],
        empty=shown("no dead letters" + undocumented(chosen.event_type)),
    )


def _listed(
    path: Path, reader: SqliteReader, chosen: DeliveryFilter, limit: int, before: str | None
) -> list[StoredDelivery]:
    found = reader.deliveries(chosen, limit=limit, before=before)
    if not found:
        must_be_known(path, reader, chosen.destination)
        must_be_a_source(path, reader, chosen.source)
        if before and find_delivery(reader, before) is None:
            raise fail(f"--before {before}: {no_such(reader, before)}")
    return found


def _reason(delivery: StoredDelivery) -> str:
    told = "; ".join(filter(None, [delivery.reason, stands_in(delivery.fallback) if delivery.fallback else ""]))
    return shown(told if len(told) <= MOST_TOLD else told[:MOST_TOLD] + "…")


def when_next(path: Path, reader: SqliteReader) -> Callable[[StoredDelivery], str]:
    """Says of a delivery when it is tried next; nothing of one that does not wait."""
    configured, halts = {*destination_types(path), *INTERNAL}, reader.halts()

    def told(delivery: StoredDelivery) -> str:
        if delivery.state is not State.PENDING:
            return ""
        if delivery.destination not in configured:
            return "when configured"
        if halts.get(delivery.destination) is Halt.PAUSED:
            return "when resumed"
        return until(delivery.next_at)

    return told


def delivery_document(delivery: StoredDelivery) -> dict[str, Any]:
    """A delivery for programs."""
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
        "cause": delivery.cause,
        "replay": delivery.replay,
        "fallback": delivery.fallback,
        "config": delivery.config,
        "part": delivery.part,
        "group": delivery.group,
    }
