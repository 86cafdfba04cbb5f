"""Reads the files that `[teams]` names: tables of teams that somebody else may keep, a data catalogue say."""

import csv
import io
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
    rows = csv.DictReader(io.StringIO(text, newline=""))
    columns = [name.strip() for name in rows.fieldnames or ()]
    rows.fieldnames = columns
    wrong = list(_columns(columns))
    for fault, hint in wrong:
        found.tell(Fault(f"{name}:1", fault, hint))
    if wrong:
        return
    for row in rows:
        where = f"{name}:{rows.line_num}"
        if None in row or None in row.values():
            found.tell(Fault(where, f"must have as many cells as the first line: {len(columns)}"))
            continue
        table = _table({column: cell.strip() for column, cell in row.items()})
        if not table["match"]:
            found.tell(Fault(where, "does not say which datasets", 'fill in a column, such as dataset; "*" is any'))
            continue
        try:
            yield TeamTable.model_validate(table)
        except ValidationError as error:
            for one in faults(error, TeamTable, table):
                found.tell(replace(one, place=f"{where}: {one.place}"))


def _columns(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the first line: fault and hint."""
    for name in names:
        if name not in COLUMNS and not name.startswith(_ATTRIBUTE):
            otherwise = f"the columns are {', '.join(COLUMNS)} and {_ATTRIBUTE}NAME"
            yield f"there is no column {name!r}", suggestion(name, COLUMNS, otherwise=otherwise)
    if "team" not in names:
        yield "the column team is missing", ""


def _table(row: Mapping[str, str]) -> dict[str, Any]:
    """A row as a `[[team]]` table has it. An empty cell says nothing."""
    match: dict[str, Any] = {name: _several(row[name]) for name in _MATCHED if row.get(name)}
    attributes = {name.removeprefix(_ATTRIBUTE): cell for name, cell in row.items() if name.startswith(_ATTRIBUTE)}
    if asked := {name: _several(cell) for name, cell in attributes.items() if cell}:
        match["attribute"] = asked
    table: dict[str, Any] = {name: row[name] for name in ("channel", "runbook") if row.get(name)}
    if row.get("recipients"):
        table["recipients"] = _several(row["recipients"])
    return {"name": row["team"], "match": match, **table}


def _several(cell: str) -> list[str]:
    return [value.strip() for value in cell.split(SEPARATOR) if value.strip()]
