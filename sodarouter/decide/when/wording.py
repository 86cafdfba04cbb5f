"""What the CEL library says of an expression, in the words of this router: place, fault, hint."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sodarouter.faults import suggestion

FUNCTIONS = (
    *("contains", "endsWith", "matches", "size", "startsWith"),
    *("all", "exists", "exists_one", "filter", "has", "map"),
    *("bool", "double", "duration", "int", "string", "timestamp", "type", "uint"),
    *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getMonth"),
    *("getHours", "getMilliseconds", "getMinutes", "getSeconds"),
)
"""What an expression can call."""

MAX_SHOWN = 100
"""Characters of a value that a message shows."""

_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '\.?([^']*)'")
_UNDEFINED = re.compile(r"undefined field '([^']*)' not found in struct '(?:.*\.)?([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")
_SELECT = re.compile(r"expression of type '(.*)' cannot be the operand of a select operation")
_RANGE = re.compile(r"expression of type '(.*)' cannot be the range of a comprehension")
_SYNTAX = re.compile(r"Syntax error: (?:.*?(?:at|input):? )?('.*?')(?: expecting .*)?$")
_OPERATOR = re.compile(r"_?([^_A-Za-z@]+)_?|@?(in)")
_STATUS = re.compile(r"^[A-Z_]+: |(?: \[[A-Z_]+\])+$")
_TYPE = re.compile(r"sodarouter\.(\w+)|google\.protobuf\.(\w+)")


@dataclass(frozen=True)
class Names:
    """The names that a near miss is looked for in."""

    variables: tuple[str, ...]
    fields: Mapping[str, Mapping[str, str]]


def compile_fault(said: str, source: str, names: Names) -> str:
    """The fault of an expression that does not compile: ``line:column: fault; hint``.

    Of several errors it is the first that has a hint, as the others often only follow from it.
    """
    faults = [_fault(int(line), int(column), text, source, names) for line, column, text in _ERROR.findall(said)]
    told = next((fault for fault in faults if ";" in fault), faults[0] if faults else "")
    if told:
        return told
    if "recursion" in said:
        return "1:1: nests too deep; at most about 30 levels"
    return f"1:1: {run_fault(said)}"


def place(source: str, offset: int) -> str:
    """``line:column``, counted from 1, of an offset counted from 0."""
    before = source[:offset]
    return f"{before.count(chr(10)) + 1}:{offset - (before.rfind(chr(10)) + 1) + 1}"


def kind_name(name: str) -> str:
    """A kind in the words of an expression: ``list`` for ``LIST<DYN>``, ``person`` for ``sodarouter.person``."""
    return _type(name.partition("<")[0]).lower()


def missing_key(said: str) -> str | None:
    """The key that was asked of a map which does not have it, if it is that for which an expression has no answer."""
    found = _MISSING_KEY.search(said)
    return found[1] if found else None


def run_fault(said: str) -> str:
    """Why an expression could not be answered for an event."""
    if found := _NO_OVERLOAD.search(said):
        types = ", ".join(filter(None, (found["on"], found["types"])))
        return _unfit(found["function"], types)
    for pattern, told in _RUN:
        if found := pattern.search(said):
            # a key may be a text of the event
            return told.format(*(group[:MAX_SHOWN] for group in found.groups()))
    return _plain(said.splitlines()[0] if said else "")


_NO_OVERLOAD = re.compile(
    r"No matching overloads found : (?:\((?P<on>[^()]*)\)\.)?(?P<function>[^(]*)(?:\((?P<types>.*)\))?"
)
_MISSING_KEY = re.compile(r'[Kk]ey not found in map : "(.*)"')
_RUN = (
    (re.compile(r"Iteration budget exceeded"), "its loops take more than 10,000 steps"),
    (_MISSING_KEY, "there is no {0!r}"),
    (re.compile(r"Index error: index=(-?\d+) size=(\d+)"), "there is no entry {0} in a list of {1}"),
    (re.compile(r"Applying SELECT to non-message type"), "a field is asked of what has none, such as null"),
)


def _fault(line: int, column: int, said: str, source: str, names: Names) -> str:
    lines = source.splitlines() or [""]
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    column = max(1, column)
    hint = ""
    if found := _UNDECLARED.match(said):
        name = found[1].partition(".")[0]
        called = text[column - 1 : column] == "("
        column = _start(text, name, column)
        fault = f"no {'function' if called else 'name'} {name!r}"
        hint = suggestion(name, FUNCTIONS if called else names.variables)
    elif found := _UNDEFINED.match(said):
        name, owner = found[1], found[2]
        column = text.find(name, column - 1) + 1 or column
        fault = f"{_article(owner)} has no {name!r}"
        hint = suggestion(name, names.fields.get(owner, ()))
    elif found := _OVERLOAD.match(said):
        fault, hint, column = _overload(found[1], found[2], text, column)
    elif found := _SELECT.match(said):
        fault = f"{_article(_type(found[1]))} has no fields"
        hint = "ask its entries, with exists(x, …)" if found[1].startswith("list") else ""
    elif found := _RANGE.match(said):
        fault = f"{_article(_type(found[1]))} has no entries to ask"
    elif found := _SYNTAX.match(said):
        fault = "ends too early" if found[1] == "'<EOF>'" else f"syntax error at {found[1]}"
        if found[1][1:2] in ("'", '"'):
            fault = "a text that does not end"
    elif "recursion" in said:
        return "1:1: nests too deep; at most about 30 levels"
    else:
        fault = _plain(said)
    return f"{max(1, line)}:{column}: {fault}" + (f"; {hint}" if hint else "")


def _overload(function: str, types: str, text: str, column: int) -> tuple[str, str, int]:
    if function[:1].isalpha():
        column = _start(text, function, column)
    return _unfit(function, types), next(_hints(function, types), ""), column


def _unfit(function: str, types: str) -> str:
    of = f"({_type(types.strip('()'))})" if types else "these"
    if function in _UNFIT:
        return _UNFIT[function]
    if function == "_?_:_":
        return f"'? :' must have true or false before it and two of one kind behind it, not {of}"
    if function == "_[_]":
        return f"no [ ] for {of}"
    operator = _OPERATOR.fullmatch(function)
    return f"no {operator[1] or operator[2]!r} for {of}" if operator else f"no {function}() for {of}"


_UNFIT = {
    **{f"_{sign}_": f"'{sign}' is for true and false only" for sign in ("&&", "||")},
    "!_": "'!' is for true and false only",
    "<jump_condition>": "'? :' must have true or false before it",
    "<iter_range>": "only lists and maps have entries to ask",
}
"""What the library says without kinds when an expression is evaluated."""


_COMPARISONS = {f"_{sign}_" for sign in ("==", "!=", "<", "<=", ">", ">=")}


def _hints(function: str, types: str) -> Iterator[str]:
    if "string" in types and "null" in types:
        yield "a text that is not known is '', not null"
    if function == "_[_]" and "sodarouter." in types:
        yield "write a dot and the field's name"
    if function == "_+_" and ("string" in types or "list" in types):
        yield "texts and lists cannot be joined: compare their parts"
    if function not in _COMPARISONS:
        return
    if "timestamp" in types.lower() and "string" in types:
        yield "write timestamp('2025-01-31T00:00:00Z')"
    if {"int", "double"} <= set(re.findall(r"\w+", types)):
        yield "write both as whole numbers, or both with a fraction, such as 1.0"


def _start(text: str, name: str, column: int) -> int:
    """Where the name begins: the library tells the place of the sign behind it."""
    return text.rfind(name, 0, column - 1 + len(name)) + 1 or column


def _type(said: str) -> str:
    plain = _TYPE.sub(lambda found: found[1] or found[2].lower(), said)
    return plain.replace("null_type", "null").replace("int64", "int")


def _article(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


def _plain(said: str) -> str:
    """A text of the library's in one line, lower case and without its status words."""
    text = " ".join(_STATUS.sub("", said.strip()).split()).rstrip(".")
    return text[:1].lower() + text[1:]
