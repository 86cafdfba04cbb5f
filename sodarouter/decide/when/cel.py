"""CEL as this router has it: the variables, the checks and the evaluation, over Google's C++ library.

Imported when the first expression is compiled, and not before: the library takes 12 MiB. An expression is checked against
the fields of the document, each with its kind, and evaluated on plain dicts, which need no conversion into messages.
"""

import threading
from collections.abc import Mapping
from functools import cache

from cel_expr_python import cel
from google.protobuf import struct_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from sodarouter.decide.when.document import FIELDS, NULLABLE, VARIABLES, Document
from sodarouter.decide.when.tree import Tree
from sodarouter.decide.when.wording import Names, compile_fault, kind_name, missing_key, place, run_fault

_PACKAGE = "sodarouter"
_SIMPLE = {
    "text": FieldDescriptorProto.TYPE_STRING,
    "file": FieldDescriptorProto.TYPE_STRING,
    "whole": FieldDescriptorProto.TYPE_INT64,
    "truth": FieldDescriptorProto.TYPE_BOOL,
}
_KNOWN = {"time": "Timestamp", "any": "Value", "named": "Struct"}

MAX_WORK = 1_000_000
"""How far the work of an expression may grow with the results: their number, to the power of the loops over them.

At this number a loop over the results that is asked of each of 1,000 takes 0.7 s, and a `filter` of 1,000 takes 17 MB.
"""

MAX_SHARED = 100
"""Results, of which a list is still made in the memory of the document: that is only given back with the document."""

_lock = threading.Lock()
"""Held while something is compiled: the library makes some of its parts when they are first needed."""


class _Asked(threading.local):
    """The result that is asked. The library converts all results once; which one is meant is told by a function."""

    index = 0

    def __init__(self) -> None:
        self.thread = object()
        """Stands for the thread, whose number may be given to another one after it."""


_asked = _Asked()

_kept = cache(int)
"""A number that is never freed: the library never gives back what a function gave it."""


def _schema() -> DescriptorPool:
    file = FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    pool = DescriptorPool()
    for known in (struct_pb2, timestamp_pb2):
        file.dependency.append(known.DESCRIPTOR.name)
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            one, _, several = kind.partition(" ")
            label = FieldDescriptorProto.LABEL_REPEATED if several else FieldDescriptorProto.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            if one in _SIMPLE:
                made.type = _SIMPLE[one]
            else:
                made.type = FieldDescriptorProto.TYPE_MESSAGE
                made.type_name = f".google.protobuf.{_KNOWN[one]}" if one in _KNOWN else f".{_PACKAGE}.{one}"
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _variable(kind: str) -> cel.Type:
    one, _, several = kind.partition(" ")
    made = cel.Type.Map(cel.Type.STRING, cel.Type.DYN) if one == "named" else cel.Type(f"{_PACKAGE}.{one}")
    return cel.Type.List(made) if several else made


_pool = _schema()
_variables = {name: _variable(kind) for name, kind in VARIABLES.items()}
_of_event = cel.NewEnv(_pool, variables=_variables)
_of_result = cel.NewEnv(_pool, variables={**_variables, "result": _variable("result")})
_runtime = cel.NewEnv(
    variables=dict.fromkeys(VARIABLES, cel.Type.DYN),
    functions=[
        cel.FunctionDecl("asked", [cel.Overload("asked", cel.Type.INT, [], impl=lambda: _asked.index)]),
    ],
)
_patterns = cel.NewEnv(variables={"pattern": cel.Type.STRING}).compile("''.matches(pattern)")
_names = Names((*VARIABLES, "result"), FIELDS)


class Program:
    """A compiled expression. Threads may share it.

    Raises:
        ValueError: It cannot be used; the message has the place.
    """

    def __init__(self, source: str) -> None:
        with _lock:
            checked, self.on_result = _check(source)
            kind = checked.return_type()
            if kind not in (cel.Type.BOOL, cel.Type.DYN):
                raise ValueError(f"1:1: gives {kind_name(kind.name())}, not true or false")
            tree = Tree(checked.serialize())
            for found in tree.not_allowed(_pattern_fault, frozenset(NULLABLE)):
                raise ValueError(f"{place(source, found.offset)}: {found.fault}")
            self._power = tree.power + (tree.power > 0 and self.on_result)
            self._added = tree.added
            self._fresh = tree.power > 1 and not self.on_result
            # a comment at the end must not swallow the bracket
            written = f"[results[asked()]].map(result,\n{source}\n)[0]" if self.on_result else source
            try:
                self._expression = _runtime.compile(written)
                self._evaluate(_runtime.Activation({}))
            except RuntimeError as error:
                raise ValueError(compile_fault(str(error), source, _names)) from None

    def ask(self, document: Mapping[str, object], index: int = 0) -> bool | str:
        """The answer for a document, or for one of its results; a text says why there is none."""
        results = document.get("results")
        count = len(results) if isinstance(results, list) else 0
        if count**self._power > MAX_WORK:
            return f"{count:,} results are more than its loops can go through"
        _asked.index = _kept(index)
        try:
            value = self._evaluate(_prepared(document, fresh=self._fresh and count > MAX_SHARED))
        except RuntimeError as error:
            return self._failed(str(error))
        kind = value.type()
        if kind == cel.Type.BOOL:
            return value.plain_value() is True
        # only of these two is the value asked for: the library would free null once too often
        if kind == cel.Type.ERROR:
            return self._failed(str(value.plain_value()))
        return f"gives {kind_name(kind.name())}, not true or false"

    def _failed(self, said: str) -> bool | str:
        # what no plugin has added is nothing that goes wrong: the expression then is not true
        return False if missing_key(said) in self._added else run_fault(said)

    def _evaluate(self, activation: cel.Activation) -> cel.Value:
        return self._expression.eval(activation)


def _check(source: str) -> tuple[cel.Expression, bool]:
    """The expression, checked, and whether it needs a result."""
    try:
        return _of_event.compile(source), False
    except RuntimeError:
        try:
            return _of_result.compile(source), True
        except RuntimeError as error:
            raise ValueError(compile_fault(str(error), source, _names)) from None


def _pattern_fault(pattern: str) -> str:
    value = _patterns.eval(data={"pattern": pattern})
    return "" if value.type() == cel.Type.BOOL else run_fault(str(value.plain_value()))


def _prepared(document: Mapping[str, object], *, fresh: bool) -> cel.Activation:
    """The document as the library wants it: converted once, variable by variable, when an expression first uses it."""
    if fresh or not isinstance(document, Document):
        return _runtime.Activation(document)
    # the library can call a function only in the thread that made the activation
    prepared = document.prepared
    if prepared is None or prepared[0] is not _asked.thread:
        document.prepared = prepared = (_asked.thread, _runtime.Activation(document))
    return prepared[1]
