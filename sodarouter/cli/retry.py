"""``sodarouter retry``: dead letters are tried again."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from sodarouter.cli.app import ConfigOption, JsonOption, app, config_path, fail
from sodarouter.cli.look import must_be_known, reading
from sodarouter.cli.output import out, print_json, shown
from sodarouter.config import load_table, names
from sodarouter.delivery import State
from sodarouter.spool import ROUTE, DeliveryFilter
from sodarouter.tables import Admin, Spool

BATCH = 500


@app.command()
def retry(
    context: typer.Context,
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="DELIVERY", help="Dead letters as EVENT/DESTINATION, as `sodarouter dead` lists them."),
    ] = None,
    config: ConfigOption = None,
    destination: Annotated[
        str | None, typer.Option("--destination", "-d", metavar="NAME", help="All dead letters of this destination.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which they are.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Try dead letters again, at once and with all their attempts before them.

    The running router is asked to do it; when none runs, they are due at its next start. Exit status 1 if one of them
    cannot be: it is no dead letter, or its destination is not configured any more.

    For example: `sodarouter retry --destination oncall`
    """
    if sum(map(bool, (wanted, destination, every))) != 1:
        raise fail("name deliveries, or --destination NAME, or --all; `sodarouter dead` lists them", 2)
    path = config_path(context, config)
    deliveries = list(dict.fromkeys(wanted or _dead(path, destination)))
    configured = {*names(path, "destination"), ROUTE}
    possible = [delivery for delivery in deliveries if delivery.partition("/")[2] in configured]
    retried = (_those_dead if dry_run else _retry)(path, possible) if possible else []
    left = _why_not(path, set(deliveries) - set(retried), configured)
    if as_json:
        print_json({"dry_run": dry_run, "asked": deliveries, "retried": retried, "not_retried": left})
    elif not deliveries:
        out.print("no dead letters")
    else:
        would = "would be" if dry_run else "will be"
        out.print(f"{len(retried)} of {len(deliveries)} {would} tried again")
        for delivery in deliveries:
            note = f": {left[delivery]}" if delivery in left else ""
            out.print(f"  {shown(delivery + note)}")
    if left:
        raise typer.Exit(1)


def _dead(path: Path, destination: str | None) -> list[str]:
    found: list[str] = []
    with reading(path) as reader:
        while page := reader.deliveries(
            DeliveryFilter(destination=destination, state=State.DEAD),
            limit=BATCH,
            before=found[-1] if found else None,
        ):
            found.extend(delivery.id for delivery in page)
        if destination and not found:
            must_be_known(path, reader, destination)
    return found


def _those_dead(path: Path, deliveries: list[str]) -> list[str]:
    def is_dead(delivery: str) -> bool:
        event, _, destination = delivery.partition("/")
        return bool(reader.deliveries(DeliveryFilter(event=event, destination=destination, state=State.DEAD), limit=1))

    with reading(path) as reader:
        return list(filter(is_dead, deliveries))


def _why_not(path: Path, deliveries: Collection[str], configured: Collection[str]) -> dict[str, str]:
    def reason(delivery: str) -> str:
        event, _, destination = delivery.partition("/")
        found = reader.deliveries(DeliveryFilter(event=event, destination=destination), limit=1)
        if not found:
            return "there is no such delivery"
        if found[0].state is State.DEAD and destination not in configured:
            return f"it stays dead, as {path.name} has no destination {destination!r} any more"
        return f"it is {found[0].state.value}" + ("" if found[0].state is State.DEAD else ", not dead")

    if not deliveries:
        return {}
    with reading(path) as reader:
        return {delivery: reason(delivery) for delivery in sorted(deliveries)}


def _retry(path: Path, deliveries: list[str]) -> list[str]:
    # only this command needs an HTTP client or the engine
    import time

    import trio

    from sodarouter.cli.client import admin_client
    from sodarouter.spool import Lock, SqliteSpool

    with admin_client(load_table(path, "admin", Admin)) as client:
        retried: list[str] = []
        for start in range(0, len(deliveries), BATCH):
            answer = client.post("/api/retry", {"deliveries": deliveries[start : start + BATCH]})
            if answer is None:
                break
            retried.extend(answer["retried"])
        else:
            return retried

    # nobody listens: the spool is free, or the lock says who has it
    with reading(path):
        pass  # it exists: opening it to write would make it
    spool_table = load_table(path, "spool", Spool)

    async def alone() -> list[str]:
        spool = SqliteSpool(spool_table.path, spool_table.max_size, spool_table.max_backlog)
        try:
            return await spool.retry(deliveries, time.time())
        finally:
            await spool.aclose()

    lock = Lock(spool_table.path)
    try:
        return trio.run(alone)
    finally:
        lock.release()
