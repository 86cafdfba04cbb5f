"""What the commands print: tables for people, JSON for programs."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sodarouter.delivery import State
from sodarouter.errors import Fault
from sodarouter.options import format_duration

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_SPECIAL = r"\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
"""Characters that JSON leaves as they are: they end lines, give orders to a terminal, or turn round what follows."""
_CONTROLS = re.compile(rf"[\x00-\x1f{_SPECIAL}]+")

COLOURS = {
    State.DELIVERED: "green",
    State.DEAD: "red",
    State.PENDING: "yellow",
    State.LEASED: "cyan",
    State.DISCARDED: "dim",
}


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=2)
    sys.stdout.write(re.sub(f"[{_SPECIAL}]", lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def plain(value: object) -> Any:
    """A value as JSON types: dataclasses as objects, times as ISO 8601 in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A table, or a line that says why there is none.

    A row is one line however narrow the terminal is: an id that is folded in its column cannot be copied.
    """
    lines = list(rows)
    if not lines:
        out.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console = Console(highlight=False, width=100_000)
    with console.capture() as captured:
        console.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def print_faults(faults: Iterable[Fault]) -> None:
    for fault in faults:
        err.print(marked(fault))


def print_error(message: str) -> None:
    """What went wrong, on standard error."""
    err.print(f"[red]sodarouter:[/] {escape(message)}")


def marked(fault: Fault) -> str:
    """A fault with its place standing out."""
    hint = f"; {shown(fault.hint)}" if fault.hint else ""
    return f"[bold]{shown(fault.place)}[/]: {shown(fault.fault)}{hint}"


def shown(text: str) -> str:
    """Text from elsewhere, ready to print: on one line, and without what could do something to a terminal."""
    return escape(_CONTROLS.sub(" ", text))


def counted(count: int, thing: str) -> str:
    """``1 delivery``, ``1,204 deliveries``."""
    return f"{count:,} {thing if count == 1 else plural(thing)}"


def plural(thing: str) -> str:
    return re.sub("(?<![aeiou])y$", "ie", thing) + "s"


def state(value: State) -> str:
    colour = COLOURS.get(value)
    return f"[{colour}]{value.value}[/]" if colour else value.value


def moment(value: datetime | None) -> str:
    """A time for people, in their own time zone."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S") if value else ""


def until(value: datetime | None) -> str:
    """How long it is until then."""
    if value is None:
        return ""
    seconds = (value - datetime.now(UTC)).total_seconds()
    return f"in {format_duration(seconds)}" if seconds >= 1 else "now"
