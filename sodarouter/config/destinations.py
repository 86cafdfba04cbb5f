"""`[destination.NAME]`: the core's keys and those of a type, each validated by whom they belong to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sodarouter.config.document import Document, Found, named_tables
from sodarouter.config.tables import DestinationTable
from sodarouter.errors import Fault
from sodarouter.faults import dotted, suggestion, without_type
from sodarouter.options import Given, Options
from sodarouter.outgoing import Outgoing
from sodarouter.plugins import AnyDestination, installed


@dataclass(frozen=True)
class ConfiguredDestination:
    """A destination with the core's keys and its own, ready to be made."""

    name: str
    kind: type[AnyDestination]
    table: DestinationTable
    options: Options
    outgoing: Outgoing
    """What holds for its requests, as for those of all others."""
    given: Given = field(compare=False, repr=False)
    """What its options were made of."""

    @property
    def isolated(self) -> bool:
        """Whether it runs in processes of its own."""
        return self.table.isolation == "process"

    @property
    def concurrency(self) -> int:
        # each attempt at once is a process of its own, which is for the operator to want
        return self.table.concurrency or (1 if self.isolated else self.kind.default_concurrency)

    @property
    def batch_size(self) -> int:
        """0 if its type takes one delivery at a time."""
        return (self.table.batch_size or self.kind.batch_size) if _takes_batches(self.kind) else 0


def configured(
    document: Document, types: Mapping[str, type[AnyDestination]], outgoing: Outgoing, found: Found
) -> Iterator[ConfiguredDestination]:
    """The destinations of a file. The faults of those that cannot be made are added.

    Args:
        types: The destination types that there are.
        outgoing: What holds for the requests of all.
    """
    for name, table in named_tables(document.table, "destination").items():
        keys = ("destination", name)
        kind = _kind(table, types, dotted(keys), document, found)
        if kind is None:
            continue  # without its type nothing more can be said of a table
        core = {key: value for key, value in table.items() if key in DestinationTable.model_fields}
        own = {key: value for key, value in table.items() if key not in core}
        if "batch_size" in table and not _takes_batches(kind):
            place = f"{dotted(keys)}.batch_size"
            fault = Fault(place, f"has no effect: {kind.type!r} takes one delivery at a time", "leave it out")
            found.add(fault, document.origins)
        made = found.validated(DestinationTable, core, document, *keys)
        by_itself = replace(document, place=document.place.apart())
        options = found.validated(kind.options_type, own, by_itself, *keys, also=DestinationTable.model_fields)
        if made is not None and options is not None:
            yield ConfiguredDestination(name, kind, made, options, outgoing, Given.at(by_itself.place, own))


def _takes_batches(kind: type[AnyDestination]) -> bool:
    return hasattr(kind, "deliver_batch")


def _kind(
    table: Mapping[str, Any],
    types: Mapping[str, type[AnyDestination]],
    place: str,
    document: Document,
    found: Found,
) -> type[AnyDestination] | None:
    offered = sorted(types)
    if "type" not in table:
        found.add(without_type(place, table, offered), document.origins)
        return None
    name = table["type"]
    if not isinstance(name, str):
        found.add(Fault(f"{place}.type", "must be text", f"one of {', '.join(offered)}"), document.origins)
        return None
    if name not in types:
        unusable = f"the plugin {name} is installed, but disabled or broken"
        hint = unusable if name in installed() else suggestion(name, offered, otherwise="is its package installed?")
        found.add(Fault(f"{place}.type", f"no plugin offers {name!r}", hint), document.origins)
    return types.get(name)
