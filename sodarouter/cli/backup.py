"""``sodarouter backup`` and ``sodarouter restore``: a copy of the spool, and back."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sodarouter.cli.app import ACT, ConfigOption, JsonOption, YesOption, app, config_path, fail
from sodarouter.cli.output import err, moment, out, print_json, shown
from sodarouter.config import load_table
from sodarouter.config.tables import Spool
from sodarouter.spool import LINK, ROUTE, Contents, Lock, Progress, back_up, copied, put_back

_FILES = ("", "-wal", "-shm", "-journal", ".lock", ".key")
"""What belongs to a spool, by what its name ends in."""


@app.command(rich_help_panel=ACT)
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy is to be.")],
    config: ConfigOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy the spool to a file, as it is at one moment. The router may run meanwhile.

    The copy is checked before it gets its name, so FILE is there whole or not at all. `sodarouter restore` puts it back.

    For example: `sodarouter backup /backup/sodarouter.db --force`
    """
    path = _spool_path(config_path(context, config), file)
    if file.is_dir():
        raise fail(f"{file} is a folder; name a file in it", 2)
    if not path.exists():
        raise fail(f"there is no spool at {path}; it is made when the router first starts")
    if file.exists() and not force:
        raise fail(f"{file} is there already; --force replaces it")
    with _progress() as progress:
        contents = back_up(path, file, progress)
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file.absolute()), "bytes": size, **_plain(contents)})
    else:
        out.print(shown(f"{file}: {_held(contents)}; {size:,} bytes, checked"))


@app.command(rich_help_panel=ACT)
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `sodarouter backup` has made.")],
    config: ConfigOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put a backup in the place of the spool, which is kept under another name. No router may run on it.

    The backup is checked, what it holds is told, and then it asks. Where nobody can be asked it wants `--yes` to replace
    a spool.

    For example: `sodarouter restore /backup/sodarouter.db`
    """
    path = _spool_path(config_path(context, config), file)
    if not file.is_file():
        raise fail(f"there is no file {file}")
    asks = sys.stdin.isatty() and not yes
    with ExitStack() as stack:
        stack.callback(Lock(path).release)
        if path.exists() and not yes and not asks:
            raise fail(f"it would replace the spool {path}; --yes says that it may", 2)
        with _progress() as progress:
            copy = stack.enter_context(copied(file, path, progress))
        told = err if as_json else out
        for line in _told(file, copy.contents):
            told.print(shown(line))
        if path.exists():
            told.print(shown(f"What is at {path} is kept under another name, with all that came in since."))
        if asks:
            typer.confirm("Restore it?", abort=True, err=True)
        kept = put_back(copy, path)
    if as_json:
        print_json({"spool": str(path), "kept": kept and str(kept), **_plain(copy.contents)})
    else:
        out.print(shown(f"{path} is restored" + (f"; what was there is {kept}" if kept else "")))


def _spool_path(config: Path, file: Path) -> Path:
    path = load_table(config, "spool", Spool).path
    if file.resolve() in {path.with_name(path.name + suffix).resolve() for suffix in _FILES}:
        raise fail(f"{file} belongs to the spool itself; name another", 2)
    return path


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, and nothing elsewhere."""
    if not err.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bar(*columns, console=err, transient=True) as bar:
        task = bar.add_task("copying", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description="copying" if done < total else "checking")

        yield progress


def _told(file: Path, contents: Contents) -> Iterator[str]:
    """What a backup is, and what comes of it."""
    origin = contents.origin
    yield f"{file}" + (f", made {moment(origin.made)} of {origin.spool} on {origin.host}:" if origin else ":")
    yield f"  {_held(contents)}" + (f", the newest of {moment(contents.newest)}" if contents.newest else "")
    waiting = {name: queue for name, queue in contents.queues.items() if queue.pending or queue.leased}
    if not waiting:
        yield "At its next start the router has nothing of this left to do."
        return
    yield "At its next start the router goes on with"
    for name, queue in waiting.items():
        what = {ROUTE: "to decide", LINK: "links to put onto incidents"}.get(name, f"for {name}")
        yield f"  {queue.pending:,} {what}" + (f", and {queue.leased:,} that were under way" if queue.leased else "")
    yield "Of these, what was delivered after the backup was made is delivered again, with the same idempotency key."


def _held(contents: Contents) -> str:
    queues = contents.queues.values()
    counts = (
        (contents.events, "event", "events"),
        (sum(queue.pending + queue.leased for queue in queues), "delivery waiting", "deliveries waiting"),
        (sum(queue.dead for queue in queues), "dead letter", "dead letters"),
        (contents.quarantined, "body in quarantine", "bodies in quarantine"),
    )
    return ", ".join(f"{count:,} {one if count == 1 else many}" for count, one, many in counts)


def _plain(contents: Contents) -> dict[str, Any]:
    queues = {
        name: {"pending": queue.pending, "leased": queue.leased, "dead": queue.dead}
        for name, queue in contents.queues.items()
    }
    return {
        "origin": contents.origin,
        "version": contents.version,
        "events": contents.events,
        "newest": contents.newest,
        "queues": queues,
        "quarantined": contents.quarantined,
    }
