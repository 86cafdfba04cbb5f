"""Doing something with many things at once: says how many they are, asks, shows how far it is, tells what came of it."""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from sodarouter.cli.acting import Acting, acting
from sodarouter.cli.app import fail
from sodarouter.cli.output import counted, err, out, plural, print_json, shown
from sodarouter.cli.progress import progress
from sodarouter.errors import SodarouterError
from sodarouter.operations import BATCH

Notes = Mapping[str, str]
"""By the id of each thing, what is to be said of it."""


@dataclass(frozen=True)
class Task:
    """What is done with things, in words."""

    thing: str
    """``dead letter``."""
    question: str
    done: str
    """``1 of 1`` …: ``will be tried again``."""
    would: str
    """In a dry run: ``would be tried again``."""
    key: str
    """What those with which it was done stand under in the JSON document."""
    note: str = ""
    """What stands before what is to be said of one with which it was done, if there is anything to be said."""


@dataclass
class Choice:
    """The things that a command is about, by their ids."""

    named: bool
    """Whether they were named one by one: then nobody is asked whether they are meant."""
    asked: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    """Of those with which it cannot be done, why."""
    groups: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many there are of each kind: two words, such as a destination and a cause."""

    def add(self, name: str, why_not: str, kind: tuple[str, str] = ("", "")) -> None:
        """Adds a thing; ``why_not`` is empty for one with which it can be done."""
        self.asked.append(name)
        self.groups[kind] += 1
        if why_not:
            self.left[name] = why_not

    @property
    def possible(self) -> list[str]:
        return [name for name in self.asked if name not in self.left]


def carry_out(
    path: Path,
    task: Task,
    choice: Choice,
    do: Callable[[Acting, Sequence[str]], tuple[Notes, Notes]],
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Does it with those with which it can be done, and tells what came of it.

    Args:
        do: Takes up to `BATCH` ids. Gives those with which it was done, and those with which it was not.

    Raises:
        typer.Exit: With status 1 when it could not be done with one of them, or was not wanted after all; with status 2
            when it has to be asked for and cannot.
    """
    # the oldest first: those that a destination wants in an order must not overtake one another
    possible = choice.possible if choice.named else choice.possible[::-1]
    if not choice.named and choice.asked:
        _tell_groups(task, choice, as_json=as_json)
    done: dict[str, str] = {}
    left = dict(choice.left)
    if dry_run:
        done = dict.fromkeys(possible, "")
    elif possible:
        if not choice.named and not yes:
            _confirm(task, len(possible))
        try:
            with acting(path) as doing:
                for batch in in_batches(possible, plural(task.thing)):
                    notes, others = do(doing, batch)
                    done |= notes
                    left |= others
        except (SodarouterError, KeyboardInterrupt) as error:
            before = f"; before that, {len(done):,} of {len(possible):,} {task.done}" if done else ""
            raise SodarouterError(f"{str(error) or 'it was interrupted'}{before}") from None
    if as_json:
        told = done if task.note else list(done)
        print_json({"dry_run": dry_run, "asked": choice.asked, task.key: told, f"not_{task.key}": left})
    elif not choice.asked:
        out.print(f"no {plural(task.thing)}")
    else:
        out.print(f"{len(done):,} of {len(choice.asked):,} {task.would if dry_run else task.done}")
        _tell(task, choice, done, left)
    if left:
        raise typer.Exit(1)


def in_batches(names: Sequence[str], what: str) -> Iterator[Sequence[str]]:
    """All of them, up to `BATCH` at a time; if they are more, with a progress bar."""
    if len(names) <= BATCH:
        yield names
        return
    with progress(what) as tell:
        for start in range(0, len(names), BATCH):
            tell(start, len(names))
            yield names[start : start + BATCH]


def confirm(question: str, otherwise: str) -> None:
    """Asks at the terminal.

    Args:
        otherwise: What to say when there is none.

    Raises:
        typer.Exit: With status 1 if the answer is no, with status 2 if there is nobody to answer.
    """
    if not (sys.stdin.isatty() and err.is_terminal):
        raise fail(f"{otherwise}; there is no terminal to ask at: add --yes to have it done", 2)
    if not typer.confirm(question, err=True):
        raise fail("nothing was done")


def _confirm(task: Task, count: int) -> None:
    confirm(task.question, f"{counted(count, task.thing)} {task.would}")


def _tell_groups(task: Task, choice: Choice, *, as_json: bool) -> None:
    where = err if as_json else out
    where.print(counted(len(choice.asked), task.thing))
    kinds: dict[str, list[str]] = defaultdict(list)
    for (first, second), count in choice.groups.most_common():
        kinds[first].append(f"{count:,} {second}")
    width = max(map(len, kinds))
    for first, counts in sorted(kinds.items()):
        where.print(shown(f"  {first:{width}}  {', '.join(counts)}"))


def _tell(task: Task, choice: Choice, done: Notes, left: Notes) -> None:
    """Those that were named one by one; of many only those of which there is something to say, and the same once."""
    notes = {name: f"{task.note}{note}" for name, note in done.items() if note}
    if choice.named:
        told = {**notes, **left}
        _print_each((name, told.get(name, "")) for name in choice.asked)
        return
    _print_each(notes.items())
    same: dict[str, list[str]] = defaultdict(list)
    for name, why in left.items():
        same[why].append(name)
    _print_each((names[0] if len(names) == 1 else counted(len(names), task.thing), why) for why, names in same.items())


def _print_each(told: Iterable[tuple[str, str]]) -> None:
    for name, note in told:
        out.print("  " + shown(f"{name}: {note}" if note else name))
