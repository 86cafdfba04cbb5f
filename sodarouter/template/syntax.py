"""What is done to a template between reading and compiling: its mistakes are found, and ticks are put into what repeats."""

from collections.abc import Collection, Iterator
from typing import TypeVar

from jinja2 import Template, TemplateSyntaxError, meta, nodes
from jinja2.visitor import NodeTransformer

from sodarouter.faults import suggestion
from sodarouter.template.guards import CONCAT, TICK, WEIGHED
from sodarouter.template.sandbox import Sandbox
from sodarouter.zones import parse_zone

_TAGS = (
    "autoescape block call elif else endautoescape endblock endcall endfilter endfor endif endmacro endset endwith filter "
    "for if macro raw set with"
)
_SPECIAL = {"self", "super", "caller", "varargs", "kwargs"}
_UNKNOWN_TAG = "Encountered unknown tag '"

NodeT = TypeVar("NodeT", bound=nodes.Node)


class TemplateFault(ValueError):
    """What is wrong with a template's source.

    Args:
        line: Where, from 1.
        fault: May quote the source.
        hint: Does not quote it.
    """

    def __init__(self, line: int, fault: str, hint: str = "") -> None:
        super().__init__(f"template, line {line}: {fault}" + (f"; {hint}" if hint else ""))
        self.line = line
        self.hint = hint


def compiled(source: str, environment: Sandbox, known: Collection[str]) -> Template:
    """Jinja's own template, with ticks in it.

    Args:
        source: What the operator wrote.
        environment: What it is compiled for.
        known: The names that it will see.

    Raises:
        TemplateFault: It is no template, or names what does not exist.
    """
    try:
        tree = environment.parse(source)
        for fault in _faults(tree, environment, known):
            raise fault
        ticking: nodes.Template = _Ticks().visit(tree)
        ticking.set_environment(environment)
        return environment.from_string(ticking)
    except TemplateSyntaxError as error:
        raise TemplateFault(error.lineno, *_told(error.message or "")) from None
    except (RecursionError, SyntaxError, MemoryError):  # the last two are of Python's own compiler
        raise TemplateFault(1, "it is nested too deeply") from None


def _told(message: str) -> tuple[str, str]:
    message = message.removesuffix(".")
    tag = message.removeprefix(_UNKNOWN_TAG).partition("'")[0] if message.startswith(_UNKNOWN_TAG) else ""
    return message[:1].lower() + message[1:], suggestion(tag, _TAGS.split()) if tag else ""


def _faults(tree: nodes.Template, environment: Sandbox, known: Collection[str]) -> Iterator[TemplateFault]:
    for elsewhere in (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends):
        for found in tree.find_all(elsewhere):
            yield TemplateFault(found.lineno, "there are no other templates that it could take from")
    for name, kind, line in (*_called(tree), *_named(tree)):
        names = environment.named(kind)
        if name not in getattr(environment, f"{kind}s"):
            yield TemplateFault(line, f"there is no {kind} {name!r}", suggestion(name, names))
    for zone in tree.find_all(nodes.Filter):
        if zone.name == "local" and zone.args and isinstance(zone.args[0], nodes.Const):
            try:
                parse_zone(zone.args[0].value)
            except ValueError as error:
                yield TemplateFault(zone.lineno, str(error))
    # where a name is set in one branch alone, nothing is said: it may be asked for in the same case
    given = {*known, *_SPECIAL, *environment.globals, *_set(tree)}
    for name in sorted(meta.find_undeclared_variables(tree) - given):
        line = next((found.lineno for found in tree.find_all(nodes.Name) if found.name == name), 1)
        hint = suggestion(name, known, otherwise=f"templates see {', '.join(sorted(known))}")
        yield TemplateFault(line, f"{name!r} is nothing that a template sees", hint)


def _called(tree: nodes.Template) -> Iterator[tuple[str, str, int]]:
    for found in tree.find_all(nodes.Filter):
        yield found.name, "filter", found.lineno
    for test in tree.find_all(nodes.Test):
        yield test.name, "test", test.lineno


def _named(tree: nodes.Template) -> Iterator[tuple[str, str, int]]:
    """The filters and tests that are the arguments of others, as in ``map("upper")``."""
    places = {"map": ("filter", 0), "select": ("test", 0), "reject": ("test", 0)}
    places |= {"selectattr": ("test", 1), "rejectattr": ("test", 1)}
    for found in tree.find_all(nodes.Filter):
        kind, index = places.get(found.name, ("", 0))
        argument = found.args[index] if kind and len(found.args) > index else None
        if isinstance(argument, nodes.Const) and isinstance(argument.value, str):
            yield argument.value, kind, found.lineno


def _set(tree: nodes.Template) -> Iterator[str]:
    yield from (name.name for name in tree.find_all(nodes.Name) if name.ctx != "load")
    yield from (macro.name for macro in tree.find_all(nodes.Macro))


class _Ticks(NodeTransformer):
    """Puts a tick into every loop and macro, and the budget round what makes lists and joins texts."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (Jinja's name)
        self.generic_visit(node)
        node.body.insert(0, _tick(node, node.body))
        if node.test is not None:
            # a loop that passes everything over has no body to tick in
            node.test = nodes.And(_filter(nodes.Const(0), TICK), node.test, lineno=node.lineno)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.body.insert(0, _tick(node, node.body))
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.body.insert(0, _tick(node, node.body))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), CONCAT)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(node, WEIGHED) if node.items else node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(node, WEIGHED) if node.items and node.ctx == "load" else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(node, WEIGHED) if node.items else node


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _tick(node: nodes.Node, body: list[nodes.Node]) -> nodes.Node:
    printed = sum(len(text.data) for part in body for text in part.find_all(nodes.TemplateData))
    return nodes.ExprStmt(_filter(nodes.Const(printed, lineno=node.lineno), TICK), lineno=node.lineno)
