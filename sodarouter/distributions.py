"""The installed distributions that offer plugins, as far as they are known without importing anything of them."""

from importlib.metadata import EntryPoint, entry_points

OWN = "sodarouter"
"""The distribution that the router comes with."""


def plugin_entries() -> list[EntryPoint]:
    """An entry point for each plugin, in no order. Several may have the same name."""
    return list(entry_points(group="sodarouter"))


def distribution_of(entry: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that an entry point is of.

    One that is half installed or half removed may have entry points and no metadata: then they are ``unknown`` and ``?``.
    """
    metadata = entry.dist.metadata if entry.dist else None
    if not metadata or "Name" not in metadata or "Version" not in metadata:
        return "unknown", "?"
    return metadata["Name"], metadata["Version"]
