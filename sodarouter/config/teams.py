"""Reads the files that `[teams]` names: tables of teams that somebody else may keep, a data catalogue say."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli
from pydantic import Field, ValidationError

from sodarouter.config.document import Document, Found
from sodarouter.decide import TeamTable
from sodarouter.errors import Fault
from sodarouter.faults import faults, suggestion
from sodarouter.options import Options

SEPARATOR = ";"
"""Between several values in a cell."""
_MATCHED = ("dataset", "datasource", "owner", "tag")
COLUMNS = ("team", *_MATCHED, "channel", "recipients", "runbook")
"""The columns of a CSV file; ``attribute.NAME`` are further ones."""
_ATTRIBUTE = "attribute."


class _Tables(Options):
    """What a TOML file of teams holds."""

    team: list[TeamTable] = Field(default=[])


@dataclass(frozen=True)
class TeamsFile:
    """A file of teams that was read."""

    path: Path
    name: str
    """How faults call it."""
    content: bytes
    teams: tuple[TeamTable, ...]


def read_teams(paths: Sequence[Path], main: Document, found: Found) -> list[TeamsFile]:
    """Reads files of teams; what is wrong with them is added to the faults, each with its file."""
    return [one for number, path in enumerate(paths) if (one := _read(number, path, main, found))]


def _read(number: int, path: Path, main: Document, found: Found) -> TeamsFile | None:
    folder = main.place.folder
    name = str(path.relative_to(folder) if folder in path.parents else path)
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "").lower() if isinstance(error, OSError) else "it is not UTF-8"
        found.add(Fault(f"teams.files[{number}]", f"{name} cannot be read: {why}"), main.origins)
        return None
    read = _csv if path.suffix.lower() == ".csv" else _toml
    return TeamsFile(path, name, content, tuple(read(name, text, found)))


def _toml(name: str, text: str, found: Found) -> Iterator[TeamTable]:
    document: dict[str, Any] = {}
    try:
        document = tomli.loads(text)
        yield from _Tables.model_validate(document).team
    except tomli.TOMLDecodeError as error:
        said = error.msg[:1].lower() + error.msg[1:]
        found.tell(Fault(f"{name}:{error.lineno}:{error.colno}", f"is not TOML: {said}"))
    except ValidationError as error:
        for fault in faults(error, _Tables, document):
            found.tell(replace(fault, place=f"{name}: {fault.place}"))


def _csv(name: str, text: str, found: Found) -> Iterator[TeamTable]:
    # strict, as a quote that is missing would otherwise make one cell of all that follows
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [cell.strip() for cell in next(rows, [])]
        wrong = [Fault(f"{name}:1", fault, hint) for fault, hint in _columns(columns)]
        for fault in wrong:
            found.tell(fault)
        for row in () if wrong else rows:
            if any(map(str.strip, row)):  # spreadsheets leave lines of nothing but commas
                yield from _row(f"{name}:{rows.line_num}", columns, [cell.strip() for cell in row], found)
    except csv.Error as error:
        found.tell(Fault(f"{name}:{rows.line_num}", f"is not CSV: {error}"))


def _columns(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the first line: fault and hint."""
    if len(names) == 1 and (between := next((sign for sign in ";\t" if sign in names[0]), None)):
        yield f"the columns have {between!r} between them", "write commas: a cell with a comma in it is in quotes"
        return
    for name, count in Counter(names).items():
        if name not in COLUMNS and not (name.startswith(_ATTRIBUTE) and name != _ATTRIBUTE):
            otherwise = f"the columns are {', '.join(COLUMNS)} and {_ATTRIBUTE}NAME"
            yield f"there is no column {name!r}", suggestion(name, COLUMNS, otherwise=otherwise)
        elif count > 1:
            yield f"the column {name!r} is there {count} times", ""
    if "team" not in names:
        yield "the column team is missing", ""


def _row(where: str, columns: Sequence[str], cells: Sequence[str], found: Found) -> Iterator[TeamTable]:
    if len(cells) != len(columns):
        counted = f"{len(cells)} cell{'s' * (len(cells) != 1)}, and the first line has {len(columns)}"
        found.tell(Fault(where, f"has {counted}", 'a cell with a comma in it is written "in quotes"'))
        return
    row = dict(zip(columns, cells, strict=True))
    table = _table(row)
    if not row["team"]:
        found.tell(Fault(where, "does not say which team"))
    elif not table["match"]:
        found.tell(Fault(where, "does not say which datasets", 'fill in a column, such as dataset; "*" is any'))
    else:
        try:
            yield TeamTable.model_validate(table)
        except ValidationError as error:
            for one in faults(error, TeamTable, table):
                found.tell(replace(one, place=f"{where}: {one.place}"))


def _table(row: Mapping[str, str]) -> dict[str, Any]:
    """A row as a `[[team]]` table has it. An empty cell says nothing."""
    said = {name: values for name, cell in row.items() if (values := _several(cell))}
    match: dict[str, Any] = {name: said[name] for name in _MATCHED if name in said}
    if asked := {name.removeprefix(_ATTRIBUTE): said[name] for name in said if name.startswith(_ATTRIBUTE)}:
        match["attribute"] = asked
    table: dict[str, Any] = {name: row[name] for name in ("channel", "runbook") if row.get(name)}
    if "recipients" in said:
        table["recipients"] = said["recipients"]
    return {"name": row["team"], "match": match, **table}


def _several(cell: str) -> list[str]:
    return [value.strip() for value in cell.split(SEPARATOR) if value.strip()]
