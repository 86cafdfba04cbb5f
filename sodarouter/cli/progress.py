"""A progress bar, for whoever sits at a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sodarouter.cli.output import err


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Gives what is to be told how far it is, and of how much if that is known. It is gone at the end."""
    if not err.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import Progress  # the other commands need not wait for its import

    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
