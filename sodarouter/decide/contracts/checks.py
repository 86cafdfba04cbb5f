"""The checks of a contract in one form, whichever of Soda's languages they are written in.

There are three: contracts of v4 (``missing: {threshold: …}``), the older ones (``type: missing_count``, with the threshold
in the check itself), and SodaCL of v3, which agreements are written in (``missing_count(id) < 5``).
"""

from dataclasses import dataclass
from functools import cached_property

from sodarouter.decide.contracts.plain import Plain, Table
from sodarouter.decide.contracts.thresholds import Threshold, read_threshold, split_line, threshold_keys

_FAMILIES = ("missing", "invalid", "duplicate", "failed_rows", "row_count", "freshness")
_SQL = frozenset({"filter", "expression", "query", "keys_query", "rows_tested_query", "column_expression"})


@dataclass(frozen=True)
class Check:
    """One check: its type, and its other keys. ``place`` is a column, or a dataset of SodaCL; empty for the dataset."""

    place: str
    type: str
    body: Table

    @cached_property
    def family(self) -> str:
        """``missing`` for ``missing_count(id)`` and ``no_missing_values``; empty if it is none of those known."""
        plain = self.type.removeprefix("no_").replace(" ", "_")
        return next((family for family in _FAMILIES if plain.startswith(family)), "")

    @cached_property
    def threshold(self) -> Threshold | None:
        """``None`` if what it allows cannot be told."""
        return read_threshold(self.type, self.family, self.body)

    @cached_property
    def said(self) -> Table:
        """The keys of the threshold."""
        return {key: self.body[key] for key in threshold_keys(self.body) if key in self.body}

    @property
    def rest(self) -> Table:
        return {key: value for key, value in self.body.items() if key not in self.said}


def read_check(place: str, entry: Plain) -> Check:
    """Whatever stands in a list of checks."""
    if isinstance(entry, str):
        return Check(place, *split_line(entry))
    if not isinstance(entry, dict):
        return Check(place, "", {"value": entry})
    kind = entry.get("type")
    if isinstance(kind, str):
        return Check(place, kind, _spelt({key: value for key, value in entry.items() if key != "type"}))
    if len(entry) != 1:
        return Check(place, "", _spelt(entry))
    ((line, body),) = entry.items()
    name, said = split_line(line)
    if body is None:
        return Check(place, name, said)
    return Check(place, name, {**said, **_spelt(body if isinstance(body, dict) else {"value": body})})


def sql(text: str) -> str:
    """SQL without its indentation: blocks of YAML are indented in several ways."""
    return "\n".join(filter(None, map(str.strip, text.splitlines())))


def _spelt(table: Table) -> Table:
    """SodaCL has ``valid values`` where contracts have ``valid_values``."""
    spelt = {key.replace(" ", "_"): value for key, value in table.items()}
    return {key: sql(value) if key in _SQL and isinstance(value, str) else value for key, value in spelt.items()}
