"""`router.toml`: its tables, how it is read, and what can be wrong with it."""

from sodarouter.config.destinations import ConfiguredDestination
from sodarouter.config.load import Config, destination_types, load, load_table, source_names, translators
from sodarouter.config.plugged import load_plugin, plugins_of
from sodarouter.config.routing import load_routing
from sodarouter.config.sources import ConfiguredSource

__all__ = [
    "Config",
    "ConfiguredDestination",
    "ConfiguredSource",
    "destination_types",
    "load",
    "load_plugin",
    "load_routing",
    "load_table",
    "plugins_of",
    "source_names",
    "translators",
]
