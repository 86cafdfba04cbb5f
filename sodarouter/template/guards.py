"""Jinja's filters, held to the budget, and what stands in for the parts of the language that must be held to it too."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, pass_context, pass_eval_context
from jinja2.filters import make_attrgetter
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, markup_join, str_join

from sodarouter.template.budget import ITEM, current
from sodarouter.template.growth import FILTERS, TEXTUAL

TICK, CONCAT, WEIGHED = "(tick)", "(concat)", "(weighed)"
"""Names of filters that nobody can write."""


_CHOOSING = {"select", "reject", "selectattr", "rejectattr"}
"""They may go through everything and give nothing."""


def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Jinja's filter of this name, which an environment also holds in brackets."""
    if own := _OWN.get(name):
        return own
    growth, textual, inner = FILTERS.get(name), name in TEXTUAL, f"({name})"

    @pass_context
    def filtered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = current()
        if textual:
            for part in (value, *args, *kwargs.values()):
                budget.text(part)
        if name in _CHOOSING:
            value = budget.ticking(value)
        if growth:
            budget.allow(growth(budget, value, *args, **kwargs))
        return budget.weighed(_jinja(context, inner, value, args, kwargs))

    return filtered


def _jinja(context: Context, name: str, value: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    # past the environment's own method, which lets nobody have what stands in brackets
    return Environment.call_filter(context.environment, name, value, args, kwargs, context)


def _each(context: Context, values: Iterable[Any], attribute: str | int | None) -> Iterable[Any]:
    ticking = current().ticking(values)
    return ticking if attribute is None else map(make_attrgetter(context.environment, attribute), ticking)


@pass_context
def _join(context: Context, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> Any:
    parts = current().gathered(_each(context, value, attribute), len(d))
    return _jinja(context, "(join)", parts, [d], {})


@pass_context
def _sum(context: Context, value: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    # adding one list after another to the sum of those before copies the first of them again each time
    if isinstance(start, list | tuple):
        items, budget = list(start), current()
        for part in _each(context, value, attribute):
            budget.allow((len(items) + len(part)) * ITEM)
            items += part
        return budget.weighed(type(start)(items))
    return current().weighed(sum(_each(context, value, attribute), start))


_OWN: dict[str, Callable[..., Any]] = {"join": _join, "sum": _sum}


def _tick(characters: int) -> bool:
    """At the beginning of what a template can go round in, which prints so many characters that stand in it."""
    budget = current()
    budget.tick()
    budget.printed(characters)
    return True


@pass_eval_context
def _concat(eval_context: EvalContext, parts: list[Any]) -> str:
    """What ``~`` does."""
    budget = current()
    budget.allow(sum(budget.text(part) for part in parts))
    return (markup_join if eval_context.autoescape else str_join)(parts)


def _weighed(value: Any) -> Any:
    """Lists and their like, as they are written in a template."""
    return current().weighed(value)


INTERNAL: dict[str, Callable[..., Any]] = {TICK: _tick, CONCAT: _concat, WEIGHED: _weighed}
