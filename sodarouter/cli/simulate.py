"""``sodarouter simulate``: payloads as Soda sends them, to print or to post."""

import json
import secrets
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer

from sodarouter import soda
from sodarouter.cli.app import SET_UP, ConfigOption, app, config_path, fail
from sodarouter.cli.output import err
from sodarouter.faults import suggestion
from sodarouter.simulate import VOCABULARIES, override, simulate


class Spoken(StrEnum):
    V3 = "v3"
    V4 = "v4"
    BOTH = "both"


@app.command("simulate", rich_help_panel=SET_UP)
def simulate_command(
    context: typer.Context,
    event_types: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EVENT",
            help=f"Event types: {', '.join(soda.EVENT_TYPES)}. Without any, all of them.",
            autocompletion=lambda: list(soda.EVENT_TYPES),
        ),
    ] = None,
    config: ConfigOption = None,
    vocabulary: Annotated[
        Spoken | None, typer.Option(help="Soda's v3 or v4; the newest that has the event by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same payloads, at other times.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="How many of each.")] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Set a value in each; the value is JSON or else text."),
    ] = None,
    post: Annotated[
        str | None,
        typer.Option(
            "--post", metavar="SOURCE", help="Send them to this source of the configuration, signed as it expects."
        ),
    ] = None,
) -> None:
    """Make random but valid payloads, as Soda's own event testing does, and print them or post them to the router.

    Exit status 1 if the router does not answer all of them with a 200.

    For example: `sodarouter simulate incidentCreated --set incident.severity=critical --post soda`
    """
    asked = event_types or list(soda.EVENT_TYPES)
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    random = Random(seed)  # noqa: S311 (no secrets are drawn from it)
    try:
        payloads = [
            _set(simulate(event_type, vocabulary=spoken, random=random, now=datetime.now(UTC)), settings or [])
            for event_type in asked
            for spoken in _spoken(event_type, vocabulary, only_one=bool(event_types))
            for _ in range(count)
        ]
    except ValueError as error:
        raise fail(str(error), 2) from None
    if post is None:
        for payload in payloads:
            sys.stdout.write(json.dumps(payload, indent=2, ensure_ascii=False) + "\n")
        return
    if not _post(config_path(context, config), post, payloads):
        raise typer.Exit(1)
    err.print(f"{len(payloads)} posted; --seed {seed} makes the same again")


def _spoken(event_type: str, asked: Spoken | None, *, only_one: bool) -> list[Any]:
    """The vocabularies to make an event type in; one it does not have is an error only if the type was asked for."""
    if asked is None:
        return [None]
    wanted = ["v3", "v4"] if asked is Spoken.BOTH else [asked.value]
    having = [name for name in wanted if event_type in VOCABULARIES[name]]  # type: ignore[index]  # its keys are these
    return having or (wanted[:1] if only_one else [])


def _set(payload: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    for setting in settings:
        if "=" not in setting:
            raise ValueError(f"--set {setting}: write PATH=VALUE")
    pairs = (setting.partition("=") for setting in settings)
    return override(payload, [(path, value) for path, _, value in pairs])


def _post(path: Path, source_name: str, payloads: list[dict[str, Any]]) -> bool:
    """Whether all were answered with a 200."""
    import httpx2  # only posting needs it

    from sodarouter.cli.client import client_for
    from sodarouter.config import load
    from sodarouter.verify import sign

    loaded = load(path)
    source = loaded.file.source.get(source_name)
    if source is None:
        hint = suggestion(source_name, loaded.file.source, otherwise=f"there is {', '.join(loaded.file.source)}")
        raise fail(f"{path.name} has no source {source_name!r}; {hint}", 2)
    good = True
    with client_for(loaded.file.server) as client:
        for posted, payload in enumerate(payloads):
            body = json.dumps(payload, ensure_ascii=False).encode()
            headers = {"Content-Type": "application/json", **sign(source.verify, body, time.time())}
            wire = {name.encode("ascii"): value.encode("latin-1") for name, value in headers.items()}
            try:
                answer = client.post(source.path, content=body, headers=wire)
            except httpx2.TransportError as error:
                where, why = loaded.file.server.listen[0], str(error) or type(error).__name__
                before = f"{posted} of {len(payloads)} had been posted; " if posted else ""
                raise fail(f"nothing answers at {where}: {why}; {before}does the router run?") from None
            sys.stdout.write(f"{payload['event']}: {answer.status_code} {answer.text.strip()}\n")
            good = good and answer.status_code == 200
    return good
