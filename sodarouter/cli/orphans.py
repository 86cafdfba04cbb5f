"""``sodarouter orphans``: datasets that no team owns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import typer

from sodarouter.cli.app import LOOK, ConfigOption, JsonOption, app, config_path, fail
from sodarouter.cli.choose import choosing, event_filter, undocumented
from sodarouter.cli.output import counted, err, moment, print_json, print_table, shown
from sodarouter.cli.reading import reading
from sodarouter.config import load_routing
from sodarouter.decide import Teams
from sodarouter.decide.groups import dataset_name
from sodarouter.event import Event
from sodarouter.spool import EventFilter

MOST = 100_000
"""Datasets that are told apart: more would not be read, and have to be held."""
OWNERS = 3
"""Owners of each that are named."""


@dataclass
class _Orphan:
    dataset: str
    events: int
    results: int
    last: datetime
    owners: list[str]
    """Whom Soda names, those it named last: somebody to ask."""


@app.command(rich_help_panel=LOOK)
@choosing(event_filter)
def orphans(
    context: typer.Context,
    chosen: EventFilter,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the datasets of stored events that no team owns, those with the most results first.

    For example: `sodarouter orphans --since 30d`
    """
    path = config_path(context, config)
    teams = Teams(load_routing(path).team)
    if not teams:
        raise fail("the configuration has no teams: add [[team]] tables, or [teams] files", 2)
    found: dict[str, _Orphan] = {}
    seen = 0
    with reading(path) as reader:
        for stored in reader.stream(chosen):
            seen += 1
            _count(stored.event, teams, found)
    listed = sorted(found.values(), key=lambda orphan: (-orphan.results, orphan.dataset))
    if as_json:
        print_json(listed)
        return
    print_table(
        ["dataset", "results", "events", "last", "owners in Soda"],
        [
            [
                shown(orphan.dataset),
                f"{orphan.results:,}",
                f"{orphan.events:,}",
                moment(orphan.last),
                shown(", ".join(orphan.owners)),
            ]
            for orphan in listed
        ],
        empty=shown(
            f"every dataset of {counted(seen, 'event')} belongs to a team"
            if seen
            else "no events" + undocumented(chosen.event_type)
        ),
    )
    if len(found) >= MOST:
        err.print(f"there are more than {MOST:,}; --since looks at fewer events")


def _count(event: Event, teams: Teams, found: dict[str, _Orphan]) -> None:
    counted_here: set[str] = set()
    for name, owners in _unowned(event, teams):
        orphan = found.get(name)
        if orphan is None:
            if len(found) >= MOST:
                continue
            orphan = found[name] = _Orphan(name, 0, 0, event.received, [])
        orphan.results += 1
        orphan.events += name not in counted_here
        orphan.last = event.received
        orphan.owners = [*(owner for owner in orphan.owners if owner not in owners), *dict.fromkeys(owners)][-OWNERS:]
        counted_here.add(name)


def _unowned(event: Event, teams: Teams) -> Iterator[tuple[str, Sequence[str]]]:
    for result in event.view.results:
        for dataset in result.datasets:
            name = dataset_name(dataset)
            if name and teams.of(dataset) is None:
                yield name, [who for owner in dataset.owners if (who := owner.email or owner.name)]
    contract = event.view.contract
    if contract and contract.dataset and teams.of_contract(contract) is None:
        yield contract.dataset, [contract.author.email] if contract.author and contract.author.email else []
