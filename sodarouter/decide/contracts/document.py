"""A contract taken apart: what it is about, its columns, its checks, and the rest."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sodarouter.decide.contracts.checks import Check, read_check, sql
from sodarouter.decide.contracts.plain import Plain, Table, read

_SUBJECT = frozenset({"dataset", "datasource", "data_source", "database", "schema"})
"""What together names the dataset; contracts of v4 have it all in ``dataset``."""
_SODACL = "checks for "


@dataclass
class Contract:
    subject: Table = field(default_factory=dict)
    columns: dict[str, Table] = field(default_factory=dict)
    """By name, in their order: all keys but name and checks."""
    checks: list[Check] = field(default_factory=list)
    rest: Table = field(default_factory=dict)


def read_contract(text: str) -> Contract:
    """Takes apart a contract as Soda sends it: YAML in a text.

    Raises:
        Unreadable: It is not YAML, or no table. A table of any shape is a contract.
    """
    contract = Contract()
    for key, value in read(text).items():
        if key in _SUBJECT:
            contract.subject[key] = value
        elif key == "columns":
            for name, column in _columns(value):
                contract.checks += _checks(name, column.pop("checks", None))
                contract.columns[name] = column
        elif key == "checks":
            contract.checks += _checks("", value)
        elif key.startswith(_SODACL):
            contract.checks += _checks(key.removeprefix(_SODACL), value)
        else:
            contract.rest[key] = sql(value) if key == "filter" and isinstance(value, str) else value
    return contract


def _columns(value: Plain) -> Iterator[tuple[str, Table]]:
    entries = value if isinstance(value, list) else [value]
    seen: dict[str, int] = {}
    for entry in entries:
        column: Table = dict(entry) if isinstance(entry, dict) else {"name": entry}
        name = column.pop("name", None)
        text = "(no name)" if isinstance(name, list | dict) or name in (None, "") else str(name)
        seen[text] = seen.get(text, 0) + 1
        # a name that comes twice is a mistake, but no reason to see only one of the two
        yield (text if seen[text] == 1 else f"{text} ({seen[text]})"), column


def _checks(place: str, value: Plain) -> list[Check]:
    if value is None:
        return []
    return [read_check(place, entry) for entry in (value if isinstance(value, list) else [value])]
