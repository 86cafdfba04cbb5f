"""``sodarouter simulate``: payloads as Soda sends them, to print or to post."""

import json
import secrets
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sodarouter import soda
from sodarouter.cli.app import SET_UP, ConfigOption, app, config_path, fail
from sodarouter.cli.output import err
from sodarouter.failures import contained, describe
from sodarouter.faults import suggestion
from sodarouter.simulate import VOCABULARIES, override, simulate

if TYPE_CHECKING:  # printing needs none of it
    from sodarouter.config import Config, ConfiguredSource
    from sodarouter.translate import Translator


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
    loaded, source = _configured(config_path(context, config), post)
    again = f"; --seed {seed} makes the same again"
    bodies = [(str(payload["event"]), json.dumps(payload, ensure_ascii=False).encode()) for payload in payloads]
    if source.translator:
        if event_types or settings or vocabulary:
            said = f"source {post!r} is of the type {source.table.type!r} and not Soda's"
            raise fail(f"{said}: only a sample of its own can be posted, without EVENT, --vocabulary and --set", 2)
        bodies, again = [("sample", _sample(source, source.translator))] * count, ""
    if not _post(loaded, source, bodies):
        raise typer.Exit(1)
    err.print(f"{len(bodies)} posted{again}")


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


def _configured(path: Path, name: str) -> tuple["Config", "ConfiguredSource"]:
    from sodarouter.config import load

    loaded = load(path)
    names = [source.name for source in loaded.sources]
    if name not in names:
        hint = suggestion(name, names, otherwise=f"there is {', '.join(names)}")
        raise fail(f"{path.name} has no source {name!r}; {hint}", 2)
    return loaded, loaded.sources[names.index(name)]


def _sample(source: "ConfiguredSource", translator: "Translator") -> bytes:
    """What the sender of a source sends that is not Soda."""
    failures: list[BaseException] = []
    sample: object = None
    with contained(failures):
        sample = translator.source.sample()
    if failures:
        raise fail(f"the sample of the source type {source.table.type!r} fails: {describe(failures[0])}")
    if not isinstance(sample, bytes):
        raise fail(f"source {source.name!r} is of the type {source.table.type!r}, which has no sample to post", 2)
    return sample


def _headers(source: "ConfiguredSource", body: bytes) -> dict[bytes, bytes]:
    from sodarouter.verify import sign

    failures: list[BaseException] = []
    wire: dict[bytes, bytes] = {}
    with contained(failures):  # the verifications of plugins sign as well
        headers = {"Content-Type": "application/json", **sign(source.table.verify, body, time.time())}
        wire = {name.encode("ascii"): value.encode("latin-1") for name, value in headers.items()}
    if failures:
        raise fail(f"a request to the source {source.name!r} cannot be signed: {describe(failures[0])}")
    return wire


def _post(loaded: "Config", source: "ConfiguredSource", bodies: Sequence[tuple[str, bytes]]) -> bool:
    """Whether all were answered with a 200.

    Args:
        bodies: Each with what it is.
    """
    import httpx2  # only posting needs it

    from sodarouter.cli.client import client_for

    good = True
    with client_for(loaded.file.server) as client:
        for posted, (what, body) in enumerate(bodies):
            wire = _headers(source, body)
            try:
                answer = client.post(source.table.path, content=body, headers=wire)
            except httpx2.TransportError as error:
                where, why = loaded.file.server.listen[0], str(error) or type(error).__name__
                before = f"{posted} of {len(bodies)} had been posted; " if posted else ""
                raise fail(f"nothing answers at {where}: {why}; {before}does the router run?") from None
            sys.stdout.write(f"{what}: {answer.status_code} {answer.text.strip()}\n")
            good = good and answer.status_code == 200
    return good
