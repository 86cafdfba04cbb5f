"""The router's own commands, by their names: the module of one is imported when its name is typed."""

from collections.abc import Callable, ItemsView, Iterator, Mapping
from importlib import import_module
from typing import Any

MODULES = {
    "backtest": "backtest",
    "backup": "backup",
    "restore": "backup",
    "check": "check",
    "plugins": "check",
    "deliveries": "deliveries",
    "dead": "deliveries",
    "destinations": "destinations",
    "events": "events",
    "show": "events",
    "retry": "retry",
    "discard": "retry",
    "export": "export",
    "fixture": "fixture",
    "pause": "halt",
    "drain": "halt",
    "resume": "halt",
    "mute": "mute",
    "unmute": "mute",
    "orphans": "orphans",
    "reload": "reload",
    "replay": "replay",
    "route": "route",
    "schema": "schema",
    "simulate": "simulate",
    "store": "store",
    "why": "why",
    "why-not": "why",
    "quarantine": "quarantine",
    # it has that of `silence` too
    "silence": "silence_add",
    "plugin": "plugin",
}
"""The module in this package that adds each command to its root, in the order of the help."""


class OwnCommands(Mapping[str, Any]):
    """Imports and makes each when it is asked for: the router itself, and every other command, start without it.

    Args:
        made: Makes the commands that were imported so far.
    """

    def __init__(self, made: Callable[[], Mapping[str, Any]]) -> None:
        self._make = made
        self._made: Mapping[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            import_module(f"sodarouter.cli.{MODULES[name]}")
            self._made = self._make()
        return self._made[name]

    def items(self) -> ItemsView[str, Any]:
        # first, so that all are made together
        for module in MODULES.values():
            import_module(f"sodarouter.cli.{module}")
        return super().items()

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)
