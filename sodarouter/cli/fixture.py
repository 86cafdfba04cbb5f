"""``sodarouter fixture``: a real event as a test payload, without what it tells of people, data and business."""

import re
import secrets
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import typer

from sodarouter.anonymise import anonymise
from sodarouter.cli.app import LOOK, ConfigOption, app, config_path, fail
from sodarouter.cli.output import err, shown
from sodarouter.cli.reading import reading
from sodarouter.config import load_table
from sodarouter.config.tables import Spool
from sodarouter.errors import Malformed
from sodarouter.parse import parse
from sodarouter.seal import key_file, load_keys

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@app.command(rich_help_panel=LOOK)
def fixture(
    context: typer.Context,
    wanted: Annotated[
        str, typer.Argument(metavar="EVENT", help="The id of a stored event, a file, or - for standard input.")
    ],
    config: ConfigOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", metavar="TEXT", help="A name that stays, or a glob, such as orders_*. Several are allowed."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="TEXT", help="The same key gives the same pseudonyms; the spool's own by default."
        ),
    ] = None,
) -> None:
    """Make a test payload of a real event: names, ids, e-mail addresses and texts become pseudonyms, its shape stays.

    The same name gets the same pseudonym everywhere, so what belongs together still does. Event type, severity, status,
    outcome, times, numbers, tags and names of attributes are as they were.

    For example: `sodarouter fixture 01a20a8f-6a25-7000-82e8-487fb27062aa --keep prod --keep orders --output late.json`
    """
    if key == "":
        raise fail("--key must not be empty: whoever guesses a name could then prove it", 2)
    raw, own_key = _found(wanted, context, config, wants_key=key is None)
    try:
        parse(raw)
    except Malformed as error:
        raise fail(f"{wanted}: {error.detail}") from None
    drawn = key or own_key or secrets.token_hex()
    made = anonymise(raw, keep=keep or (), key=drawn)
    for text in keep or ():
        if anonymise(raw, keep=[text], key=drawn) == anonymise(raw, key=drawn):
            err.print(f"[yellow]warning:[/] {shown(f'--keep {text!r} keeps nothing: no name in it is called so')}")
    if output is None:
        sys.stdout.write(made.decode())
    else:
        _write(made, output, force)
    where = f"{output}: " if output else ""
    again = "" if key or own_key else "; with --key another one gets the same pseudonyms"
    err.print(shown(f"{where}read it before you pass it on, then let a [[test]] take it as its file{again}"))


def _found(wanted: str, context: typer.Context, config: Path | None, *, wants_key: bool) -> tuple[bytes, str | None]:
    """The body, and what the pseudonyms of the events of its spool are drawn with."""
    if wanted == "-":
        return sys.stdin.buffer.read(), None
    if not _ID.fullmatch(wanted):
        if not Path(wanted).is_file():
            raise fail(f"there is no file {wanted}, and it is no id of an event; `sodarouter events` lists them")
        return Path(wanted).read_bytes(), None
    path = config_path(context, config)
    with reading(path) as reader:
        stored = reader.event(wanted)
    if stored is None:
        raise fail(f"there is no event {wanted}; `sodarouter events` lists what there is")
    if stored.event.enriched:
        added = [f"{plugin} ({', '.join(names)})" for plugin, names in stored.event.enriched.items()]
        err.print(shown(f"plugins had added to it, for the `enriched` of a [[test]]: {', '.join(added)}"))
    return stored.event.raw, _own_key(load_table(path, "spool", Spool)) if wants_key else None


def _own_key(spool: Spool) -> str:
    """Drawn from the key that seals, so that nobody has to think of one, and of no use for anything else."""
    file = key_file(spool.path)
    if not spool.keys and not file.exists():
        raise fail(f"there is no key file {file}; give a --key")
    first, *_ = spool.keys or load_keys(file)
    return blake2b(first, digest_size=32, person=b"sodarouter name").hexdigest()


def _write(made: bytes, output: Path, force: bool) -> None:
    try:
        with output.open("wb" if force else "xb") as file:
            file.write(made)
    except FileExistsError:
        raise fail(f"{output} is there already; --force replaces it") from None
    except OSError as error:
        raise fail(f"{output} cannot be written: {(error.strerror or '').lower()}") from None
