"""The checked tree of an expression: what CEL allows and this router does not, as it could cost without bound.

The library bounds the steps of loops, 10,000, and how deep an expression nests. It does not bound how large the values grow
that an expression builds, what a comparison of two large values costs, or a regular expression with counted repetitions.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

MAX_PARTS = 10_000
"""Parts that an expression may have when each name that it binds is written out: `[x].map(a, [a, a]).map(a, [a, a])` …
doubles with every link, and comparing what it gives would take as long."""

MAX_PATTERN = 500
"""Signs of a regular expression."""

MAX_COUNTED = 100
"""What the counts in a regular expression, `{n}`, may come to: the time that each letter of a text costs grows with it."""

Fields = Mapping[int, list[int | bytes]]
"""The fields of a protobuf message by their numbers: each a list, as any may be repeated."""


@dataclass(frozen=True)
class Node:
    """One node of the tree. ``name`` is that of the variable, field or function; for a constant its text, if it is one."""

    id: int
    kind: str
    name: str
    parts: tuple["Node", ...] = ()


@dataclass(frozen=True)
class Found:
    """What is not allowed, and where in the source it stands, counted from 0."""

    offset: int
    fault: str


class Tree:
    """The tree of a compiled expression, from what the library writes of it: a ``cel.expr.CheckedExpr`` in an ``Any``."""

    def __init__(self, serialized: bytes) -> None:
        checked = _read(_bytes(_read(serialized), 2))
        self._types = {_int(entry, 1): _type(_read(_bytes(entry, 2))) for entry in _entries(checked, 3)}
        source = _read(_bytes(checked, 5))
        self._offsets = {_int(entry, 1): _int(entry, 2) for entry in _entries(source, 4)}
        self._root = _node(_read(_bytes(checked, 4)))

    def not_allowed(self, is_pattern: Callable[[str], str], nullable: frozenset[str]) -> Iterator[Found]:
        """All that is not allowed.

        Args:
            is_pattern: Says what is wrong with a regular expression; empty if nothing is.
            nullable: The objects that can be null.
        """
        for node in _walk(self._root):
            match node:
                case Node(kind="call", name="_+_", parts=(first, _)) if not first.name.startswith("@"):
                    fault = self._joins(node)
                case Node(kind="call", name="matches", parts=(*_, pattern)):
                    fault = _pattern(pattern, is_pattern)
                case Node(kind="call", name="_==_" | "_!=_" | "@in", parts=(one, other)):
                    fault = self._compares(self._type(one), self._type(other), nullable)
                case Node(kind="has", parts=(one,)) if self._type(one).startswith("object "):
                    fault = f"has() is true of every field: compare {node.name} with what it is when it is not known"
                case _:
                    continue
            if fault:
                yield Found(self._offsets.get(node.id, 0), fault)
        if _weight(self._root, {}) > MAX_PARTS:
            yield Found(0, f"builds more than {MAX_PARTS:,} parts")

    @property
    def added(self) -> frozenset[str]:
        """The names that it asks of what plugins have added: those of plugins, and of what is in that."""
        return frozenset(name for node in _walk(self._root) for name in _added(node))

    @property
    def power(self) -> int:
        """How its work grows with the number of results: 1 for a loop over them, 2 for one that makes a list of them.

        A loop inside another one adds to it. `map` and `filter` copy what they have at every step in this library.
        """
        return self._power(self._root)

    def _power(self, node: Node) -> int:
        if node.kind != "loop" or self._type(node.parts[0]) != "list object result":
            return max(map(self._power, node.parts), default=0)
        ranged, *others = node.parts
        own = 2 if _builds(node) else 1
        return max(self._power(ranged), own + max(map(self._power, others)))

    def _type(self, node: Node) -> str:
        return self._types.get(node.id, "dyn")

    def _joins(self, node: Node) -> str:
        kind = self._type(node)
        if kind == "dyn":
            return "no '+' for what may not be numbers; write double(…) around each"
        if kind in {"string", "bytes"} or kind.startswith("list"):
            return "no '+'; texts and lists cannot be joined: compare their parts"
        return ""

    def _compares(self, one: str, other: str, nullable: frozenset[str]) -> str:
        kinds = {kind.removeprefix("list ").removeprefix("object ") for kind in (one, other) if "object " in kind}
        if "null" in (one, other):
            never = kinds - nullable
            return f"a {never.pop()} is never null: compare one of its fields with ''" if never else ""
        return f"a whole {kinds.pop()} cannot be compared: compare one of its fields" if kinds else ""


def _pattern(pattern: Node, is_pattern: Callable[[str], str]) -> str:
    if pattern.kind != "text":
        return "the pattern of matches() must be written out"
    counts = [
        (group, max(int(least), int(most or 0)))
        for group, least, most in re.findall(r"(\)?)\{(\d{1,6})(?:,(\d{0,6}))?\}", pattern.name)
    ]
    counted = sum(count for group, count in counts if not group) or 1
    for group, count in counts:
        # a group may hold all others
        counted *= max(1, count) if group else 1
    if len(pattern.name) > MAX_PATTERN or counted > MAX_COUNTED:
        return f"the pattern of matches() is too large: at most {MAX_PATTERN} signs, and {{{MAX_COUNTED}}} in all"
    return is_pattern(pattern.name)


def _builds(loop: Node) -> bool:
    step = loop.parts[3]
    return any(part.name == "_+_" and part.parts[1].kind == "list" for part in (step, *step.parts))


def _added(node: Node) -> list[str]:
    """The names by which a node leads from ``enriched`` to what it stands for; none if it does not begin there."""
    names: list[str] = []
    while True:
        match node:
            case (
                Node(kind="field" | "has", name=name, parts=(of,))
                | Node(kind="call", name="_[_]", parts=(of, Node(kind="text", name=name)))
            ):
                names.append(name)
                node = of
            case Node(kind="name", name="enriched"):
                return names
            case _:
                return []


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts:
        yield from _walk(part)


def _weight(node: Node, bound: Mapping[str, int]) -> int:
    """The parts of a node when each name that a loop binds stands for the range that it is bound from."""
    if node.kind == "name":
        return bound.get(node.name, 1)
    if node.kind == "loop":
        ranged, *others = node.parts
        each = _weight(ranged, bound)
        return each + sum(_weight(part, {**bound, node.name: each}) for part in others)
    return sum(_weight(part, bound) for part in node.parts) or 1


def _node(fields: Fields) -> Node:
    number = _int(fields, 2)
    (kind,) = fields.keys() - {2}
    inner = _read(_bytes(fields, kind))
    match kind:
        case 3:
            text = 6 in inner
            return Node(number, "text" if text else "constant", _text(inner, 6) if text else "")
        case 4:
            return Node(number, "name", _text(inner, 1))
        case 5:
            return Node(number, "has" if 3 in inner else "field", _text(inner, 2), tuple(_nodes(inner, 1)))
        case 6:
            return Node(number, "call", _text(inner, 2), (*_nodes(inner, 1), *_nodes(inner, 3)))
        case 7:
            return Node(number, "list", "", tuple(_nodes(inner, 1)))
        case 8:
            entries = list(_entries(inner, 2))
            return Node(number, "map", _text(inner, 1), tuple(n for e in entries for f in (3, 4) for n in _nodes(e, f)))
        case _:
            # range, start, condition, step, result
            return Node(number, "loop", _text(inner, 1), tuple(n for f in (2, 4, 5, 6, 7) for n in _nodes(inner, f)))


def _nodes(fields: Fields, number: int) -> Iterator[Node]:
    return (_node(entry) for entry in _entries(fields, number))


_PRIMITIVE = ("dyn", "bool", "int", "uint", "double", "string", "bytes")
_WELL_KNOWN = ("dyn", "dyn", "timestamp", "duration")


def _type(fields: Fields) -> str:
    """A type in words: ``list`` and ``object`` with what they are of."""
    (kind,) = fields.keys() or {1}
    match kind:
        case 2:
            return "null"
        case 3 | 4:
            return _PRIMITIVE[_int(fields, kind)]
        case 5:
            return _WELL_KNOWN[_int(fields, kind)]
        case 6:
            return f"list {_type(_read(_bytes(_read(_bytes(fields, 6)), 1)))}"
        case 7:
            return "map"
        case 9:
            return f"object {_text(fields, 9).rpartition('.')[2]}"
        case _:
            return "dyn"


def _entries(fields: Fields, number: int) -> Iterator[Fields]:
    return (_read(entry) for entry in fields.get(number, []) if isinstance(entry, bytes))


def _int(fields: Fields, number: int) -> int:
    value = fields.get(number, [0])[-1]
    return value if isinstance(value, int) else 0


def _bytes(fields: Fields, number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    return value if isinstance(value, bytes) else b""


def _text(fields: Fields, number: int) -> str:
    return _bytes(fields, number).decode(errors="replace")


def _read(message: bytes) -> Fields:
    """The fields of a message in the wire format of protobuf."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | bytes
        match tag & 7:
            case 0:
                value, at = _varint(message, at)
            case 2:
                length, at = _varint(message, at)
                value, at = message[at : at + length], at + length
            case wire:
                length = 8 if wire == 1 else 4
                value, at = message[at : at + length], at + length
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
