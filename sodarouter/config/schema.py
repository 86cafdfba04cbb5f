"""The JSON Schema (2020-12) of `router.toml`: what an editor completes and checks it by.

It says what each key alone may be. What only the whole configuration shows, `sodarouter check` tells.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any

from pydantic import ByteSize
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from sodarouter.address import Address
from sodarouter.config.sources import source_table
from sodarouter.config.tables import DestinationTable, File
from sodarouter.decide import Route
from sodarouter.options import Options, format_duration
from sodarouter.plugins import Plugins
from sodarouter.source import SODA

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_VALUES = ("default", "const", "enum", "examples", "description")
"""Keywords beneath which nothing is a schema."""

_Schema = dict[str, Any]


def file_schema(plugins: Plugins, options: Mapping[str, type[Options]]) -> _Schema:
    """Of a whole file, and of one that is included.

    Args:
        plugins: What they offer.
        options: Those of the plugins that have some, by their names.
    """
    kinds, senders = plugins.types, plugins.sources
    whole, table, route, source, *own = _schemas(
        [
            File,
            DestinationTable,
            Route,
            source_table(tuple(plugins.verifications.values())),
            *(kind.options_type for kind in kinds.values()),
            *options.values(),
            *(kind.options_type for kind in senders.values()),
        ]
    )
    after_types, after_options = len(kinds), len(kinds) + len(options)
    definitions = whole.pop("$defs")
    del whole["required"]
    whole["description"] = "The configuration of sodarouter, or a file that it includes."
    of_types = dict(zip(kinds, own, strict=False))
    properties = whole["properties"]
    properties["plugin"] |= {
        "properties": dict(zip(options, own[after_types:after_options], strict=True)),
        "additionalProperties": False,
    }
    properties["source"]["additionalProperties"] = _source(source, dict(zip(senders, own[after_options:], strict=True)))
    properties["destination"]["additionalProperties"] = {
        "oneOf": [_destination(name, keys, table) for name, keys in of_types.items()]
    }
    defaults = definitions["Defaults"]["properties"]
    defaults["destination"] = _partial(table, without="type") | {"description": "Keys of every destination."}
    defaults["type"] = {
        "type": "object",
        "description": "Keys and options of every destination of a type, by the type.",
        "properties": {
            name: _partial(_destination(name, keys, table), without="type") for name, keys in of_types.items()
        },
        "additionalProperties": False,
    }
    defaults["route"] = _partial(route, without="name") | {"description": "Keys of every route."}
    # what a table must have may be inherited; the sources are only in a file that inherits from no other
    required = _requirements(of_types, definitions["Route"])
    rule = {"if": {"required": ["source"], "not": {"required": ["defaults"]}}, "then": {"properties": required}}
    definitions["Route"] = _partial(definitions["Route"])
    return _complete({**whole, **rule}, definitions)


def options_schema(name: str, model: type[Options], *, of_type: bool) -> _Schema:
    """Of one table alone.

    Args:
        name: The destination type, or the plugin.
        model: Its options.
        of_type: Whether it is a destination type, whose tables have the core's keys too.
    """
    options, table = _schemas([model, DestinationTable])
    definitions = options.pop("$defs")
    schema = options
    if of_type:
        schema = _destination(name, options, table)
        schema["required"] = ["type", *options.get("required", ())]
    return _complete(schema, definitions)


def _complete(schema: _Schema, definitions: _Schema) -> _Schema:
    """A schema with those definitions that it refers to, by itself or through others."""
    used: _Schema = {}
    unread = [schema]
    while unread:
        for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(unread.pop())):
            if name not in used:
                used[name] = definitions[name]
                unread.append(definitions[name])
    return {"$schema": DIALECT, **schema, "$defs": used}


def _schemas(models: list[type[Options]]) -> list[_Schema]:
    """One for each model; the first has the definitions that all of them refer to, and those of the models themselves."""
    found, shared = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], schema_generator=_Written
    )
    definitions: _Schema = shared.get("$defs", {})
    for definition in definitions.values():
        _tidy(definition)
    names = [found[model, "validation"]["$ref"].rpartition("/")[2] for model in models]
    schemas = [dict(definitions[name]) for name in names]
    schemas[0]["$defs"] = definitions
    return schemas


def _destination(name: str, options: _Schema, table: _Schema) -> _Schema:
    """A ``[destination.NAME]`` table of one type."""
    kind = {"const": name, "description": table["properties"]["type"]["description"]}
    return {
        "title": name,
        "type": "object",
        "properties": {"type": kind} | options.get("properties", {}) | _without(table["properties"], "type"),
        "required": ["type"],
        "additionalProperties": False,
    }


def _source(table: _Schema, of_types: Mapping[str, _Schema]) -> _Schema:
    """A ``[source.NAME]`` table: of Soda's, which need not say so, or of a type that a plugin offers."""
    keys, kind = table["properties"], table["properties"]["type"]
    soda = table | {"properties": keys | {"type": _without(kind, "type") | {"const": SODA}}}
    others = [
        {
            "title": name,
            "type": "object",
            "properties": options.get("properties", {})
            | keys
            | {"type": _without(kind, "type", "default") | {"const": name}},
            "required": ["type", *table.get("required", ()), *options.get("required", ())],
            "additionalProperties": False,
        }
        for name, options in of_types.items()
    ]
    return {"oneOf": [soda, *others]} if others else soda


def _requirements(of_types: Mapping[str, _Schema], route: _Schema) -> _Schema:
    cases = [
        {"if": {"properties": {"type": {"const": name}}}, "then": {"required": options["required"]}}
        for name, options in of_types.items()
        if "required" in options
    ]
    return {
        "destination": {"additionalProperties": {"allOf": cases}} if cases else {},
        "route": {"items": {"required": route.get("required", [])}},
    }


def _partial(schema: _Schema, *, without: str = "") -> _Schema:
    return _without(schema, "required", "$defs") | {"properties": _without(schema["properties"], without)}


def _without(schema: _Schema, *keys: str) -> _Schema:
    return {key: value for key, value in schema.items() if key not in keys}


def _tidy(node: Any) -> None:
    """Takes out what is no keyword, and has each member of a union that a ``type`` tells apart ask for that."""
    if isinstance(node, list):
        for inner in node:
            _tidy(inner)
    if not isinstance(node, dict):
        return
    for key in ("gt", "ge", "lt", "le", "discriminator", "title"):
        node.pop(key, None)
    properties = node.get("properties")
    if isinstance(properties, dict) and "const" in properties.get("type", ()):
        node["required"] = ["type", *(key for key in node.get("required", ()) if key != "type")]
    for key, inner in node.items():
        # the keys in there are options, and may have any name
        _tidy([*inner.values()] if key == "properties" else inner if key not in _VALUES else None)


class _Written(GenerateJsonSchema):
    """Values as they are written in TOML: it has no null, and durations, sizes and addresses are text."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        default = _as_written(self.get_default_value(schema), inner)
        # beside a reference, keywords have no effect in older readers
        return inner if default is None or "$ref" in inner else inner | {"default": default}

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}  # a plugin's own kind of option: anything, for all that is known


def _as_written(value: object, schema: Any) -> Any:
    """A default as JSON; ``None``: there is none that could be written."""
    match value:
        case bool() | str():
            return value
        case ByteSize():
            return _size(value)
        case int() | float():
            return format_duration(value) if schema.get("type") == "string" else value
        case list():
            found = [_as_written(one, schema.get("items", {})) for one in value]
            return None if None in found else found
        case datetime():
            return value.isoformat()
        case Address() | PurePath():
            return str(value)
    return None


def _size(size: int) -> str | int:
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size and size % (1 << power) == 0:
            return f"{size >> power} {unit}"
    return size
