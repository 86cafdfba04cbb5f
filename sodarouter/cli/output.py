"""What the commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from sodarouter.delivery import State
from sodarouter.errors import Fault
from sodarouter.options import format_duration

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

COLOURS = {State.DELIVERED: "green", State.DEAD: "red", State.PENDING: "yellow", State.LEASED: "cyan"}


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    json.dump(plain(value), sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


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
    """A table, or a line that says why there is none. On a terminal it fits the width; elsewhere nothing is cut."""
    lines = list(rows)
    if not lines:
        out.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        # an id that is folded cannot be copied
        table.add_column(name, no_wrap=name == "id", overflow="fold")
    for line in lines:
        table.add_row(*line)
    console = Console(highlight=False) if out.is_terminal else Console(highlight=False, width=10_000)
    console.print(table)


def print_faults(faults: Iterable[Fault]) -> None:
    for fault in faults:
        err.print(str(fault), markup=False)


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
