"""One configuration of several files: each is validated by itself, then the included ones are added to the main one."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from sodarouter.config.document import Document, Found, table_at
from sodarouter.config.include import INCLUDABLE
from sodarouter.config.origins import Origins
from sodarouter.config.tables import File
from sodarouter.errors import Fault
from sodarouter.faults import dotted, nearest


def merge(documents: Sequence[Document], found: Found) -> tuple[File, Origins]:
    """The whole configuration, and where each of its parts stands. Lists are appended in the order of the files.

    Args:
        documents: The main file first.
        found: Gets the faults. What can be judged beside broken tables is judged all the same.
    """
    main, *included = documents
    for document in included:
        _keep_includable(document, main, found)
    files = [_validated(document, found) for document in documents]
    origins = Origins(main.name)
    added: dict[str, Any] = {}
    for document, file in zip(documents, files, strict=True):
        for key in _ADDED:
            value = getattr(file, key)
            before = added.setdefault(key, type(value)())
            if isinstance(value, list):
                for number in range(len(value)):
                    origins.put(dotted([key, len(before) + number]), document.origins, dotted([key, number]))
                added[key] = [*before, *value]
            else:
                new = {name: inner for name, inner in value.items() if name not in before}
                for name in new:
                    origins.put(dotted([key, name]), document.origins, dotted([key, name]))
                added[key] = before | new
    _tell_twins(documents, found)
    return files[0].model_copy(update=added), origins


_ADDED = [key for key in INCLUDABLE if key != "defaults"]
"""What one file adds to that of another. Defaults hold in their own file, and are laid before."""


def _keep_includable(document: Document, main: Document, found: Found) -> None:
    for key in [key for key in document.table if key in File.model_fields and key not in INCLUDABLE]:
        del document.table[key]
        found.add(Fault(key, "an included file cannot have it", f"put it into {main.name}"), document.origins)


def _validated(document: Document, found: Found) -> File:
    """The tables of a file, without those that are broken."""
    # the default path of the spool too starts at the folder of the file, so the table is always validated
    table = {"spool": {}} | document.table
    unsure = {nearest(key, File.model_fields) for key in table if key not in File.model_fields}
    try:
        file = File.model_validate(table, context=document.place)
    except ValidationError as error:
        found.blame(error, File, table, document)
        # what can be judged beside what is broken is judged all the same, so that as much as can be is told at once
        places = [detail["loc"] for detail in error.errors(include_input=False)]
        unsure |= {str(place[0]) for place in places}
        file = _rest(table, places, document)
    found.unsure |= unsure
    if "include" in unsure:
        found.unsure.update(INCLUDABLE)
    return file


def _rest(table: Mapping[str, Any], places: Iterable[tuple[str | int, ...]], document: Document) -> File:
    """What of a file can be used: all but the keys at these places; or, where these cannot be missing, but their tables."""
    known = {key: deepcopy(inner) for key, inner in table.items() if key in File.model_fields}
    whole = {key: inner for key, inner in known.items() if key not in {place[0] for place in places}}
    for place in places:
        *above, key = place
        if isinstance(inner := _found(known, above), dict):  # from a list nothing is taken: what follows would move up
            inner.pop(key, None)
    try:
        return File.model_validate({"spool": {}} | known, context=document.place)
    except ValidationError:
        return File.model_validate({"spool": {}} | whole, context=document.place)


def _found(table: object, place: Iterable[str | int]) -> object:
    for step in place:
        try:
            table = table[step]  # type: ignore[index]  # what cannot be indexed has nothing there
        except (LookupError, TypeError):
            return None
    return table


def _tell_twins(documents: Sequence[Document], found: Found) -> None:
    for key in _ADDED:
        owners: dict[str, str] = {}
        for document in documents:
            for name in table_at(document.table, key):
                if name in owners:
                    fault = Fault(dotted([key, name]), f"{owners[name]} has one of this name too", "rename one of them")
                    found.add(fault, document.origins)
                owners.setdefault(name, document.name)
