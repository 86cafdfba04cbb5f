"""Shapes: tells whether JSON is as pydantic's models want it, without making the models.

Making them takes longer than all the rest of reading a body, and hardly anybody asks for them.
"""

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import CoreSchema, SchemaValidator, core_schema


def shape(models: Mapping[str, type[BaseModel]], discriminator: str) -> Callable[[object], bool]:
    """What says of JSON types whether one of the models would accept them.

    Args:
        models: By the value of the discriminator that each stands for. They take fields that they do not know.
        discriminator: The member of the JSON object that tells which it is.

    Raises:
        TypeError: A field is of a type for which there is no shape here.
    """
    choices = {value: _object(model) for value, model in models.items()}
    return SchemaValidator(core_schema.tagged_union_schema(choices, discriminator)).isinstance_python


def _object(model: type[BaseModel]) -> CoreSchema:
    fields: dict[str, core_schema.TypedDictField] = {}
    for name, field in model.model_fields.items():
        schema = _schema(field.annotation)
        if schema is not None:
            fields[field.alias or name] = core_schema.typed_dict_field(schema, required=field.is_required())
    return core_schema.typed_dict_schema(fields)


def _schema(kind: Any) -> CoreSchema | None:
    """``None`` for what may be anything: as a field it need not even be looked for."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is object:
        return None
    if kind is str:
        return core_schema.str_schema()
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _object(kind)
    if origin is Annotated:
        return _schema(args[0])
    if origin in {Union, UnionType}:
        choices = [schema for one in args if one is not NoneType and (schema := _schema(one))]
        schema = choices[0] if len(choices) == 1 else core_schema.union_schema(list(choices))
        return core_schema.nullable_schema(schema) if NoneType in args else schema
    if origin is list:
        # one fault is enough: the models are asked for the others
        return core_schema.list_schema(_schema(args[0]), fail_fast=True)
    if origin is dict:
        return core_schema.dict_schema(core_schema.str_schema(), _schema(args[1]))
    if origin is Literal:
        return core_schema.literal_schema(list(args))
    raise TypeError(f"{kind} has no shape here")
