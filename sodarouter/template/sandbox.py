"""The environment of all templates: Jinja's sandbox, narrowed to what has an end."""

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from datetime import time as time_of_day
from types import BuiltinMethodType, MethodType
from typing import Any

from jinja2 import StrictUndefined, Undefined, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import BlockReference, Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Cycler, Joiner, Namespace, missing

from sodarouter.event import Event
from sodarouter.faults import suggestion
from sodarouter.template.budget import current
from sodarouter.template.growth import METHODS, formatted
from sodarouter.template.guards import INTERNAL, guarded

_TEXT = """
    capitalize casefold center count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace
    istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit
    rstrip split splitlines startswith strip swapcase title upper zfill
    """
_TIME = "astimezone ctime date isoformat isoweekday strftime time timestamp timetz weekday"
_CALLABLE: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT.split()),
    bytes: frozenset({"decode", "endswith", "startswith"}),
    Mapping: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    date: frozenset(_TIME.split()),
    time_of_day: frozenset({"isoformat", "strftime"}),
    timedelta: frozenset({"total_seconds"}),
    float: frozenset({"is_integer"}),
    Event: frozenset({"as_dict"}),
    Cycler: frozenset({"next", "reset"}),
    LoopContext: frozenset({"changed", "cycle"}),
}
"""What a template may call, by what it belongs to. Much else has no end that a template could be held to."""

_MAKERS: tuple[object, ...] = (safe_range, dict, Namespace, Cycler, Joiner)
_LONGEST_INTEGER = 40_000
"""Bits: more than the digits that Python prints."""


class _Undefined(StrictUndefined):
    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        name, owner = self._undefined_name, self._undefined_obj
        if self._undefined_hint:
            return self._undefined_hint
        if owner is missing:
            return f"{name!r} is undefined"
        if owner is None:
            return f"{name!r} of none: the event does not have what stands before it"
        known = owner if isinstance(owner, Mapping) else [one for one in dir(owner) if not one.startswith("_")]
        hint = suggestion(name, [one for one in known if isinstance(one, str)]) if isinstance(name, str) else ""
        kind = "list" if isinstance(owner, tuple) else type(owner).__name__
        return f"{'an' if kind[0] in 'AEIOaeio' else 'a'} {kind} has no {name!r}" + (f"; {hint}" if hint else "")


class Sandbox(ImmutableSandboxedEnvironment):
    """Templates see what they are given, call what has an end, and make nothing that is too large."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *, escapes: bool = False, finalize: Any = None) -> None:
        super().__init__(
            undefined=_Undefined,
            autoescape=escapes,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            finalize=finalize or printed,
            # nothing is computed when the configuration is loaded, where no budget stops it
            optimized=False,
        )
        self.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "default": str}
        del self.globals["lipsum"]
        own = {"random", "pprint"}  # not the same each time; takes as long as it likes
        self.filters = {
            **{f"({name})": function for name, function in self.filters.items()},
            **{name: guarded(name, function) for name, function in self.filters.items() if name not in own},
            **INTERNAL,
        }

    def add(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        """Gives templates more filters."""
        self.filters |= {f"({name})": function for name, function in filters.items()}
        self.filters |= {name: guarded(name, function) for name, function in filters.items()}

    def named(self, kind: str) -> list[str]:
        """The names that a template can write: of filters or of tests."""
        return [name for name in getattr(self, f"{kind}s") if re.fullmatch(r"\w+", name)]

    def call_filter(self, name: str, *args: Any, **kwargs: Any) -> Any:
        # `map` takes whatever text is the name of a filter
        if not re.fullmatch(r"\w+", name):
            raise SecurityError(f"there is no filter {name!r}")
        return super().call_filter(name, *args, **kwargs)

    def is_safe_callable(self, obj: Any) -> bool:
        match obj:
            case Undefined() | Macro() | LoopContext() | BlockReference() | Joiner():
                return True
            case BuiltinMethodType() | MethodType():
                return any(isinstance(obj.__self__, kind) and obj.__name__ in _CALLABLE[kind] for kind in _CALLABLE)
            case _:
                return any(obj is maker for maker in _MAKERS)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        budget = current()
        if isinstance(__obj, BuiltinMethodType | MethodType) and isinstance(__obj.__self__, str | date):
            if __obj.__name__ == "join" and isinstance(__obj.__self__, str) and args:
                args = (budget.gathered(args[0], len(__obj.__self__)), *args[1:])
            if growth := METHODS.get(__obj.__name__):
                # inside loops and blocks, Jinja passes on what is set there
                own = {name: value for name, value in kwargs.items() if not name.startswith("_")}
                budget.allow(growth(budget, __obj.__self__, *args, **own))
        return budget.weighed(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = current()
        both = isinstance(left, int) and isinstance(right, int)
        match operator:
            case "**" if both:
                _as_integer(left.bit_length() * max(right, 1))
            case "*" if both:
                _as_integer(left.bit_length() + right.bit_length())
            case "*" if isinstance(left, int) or isinstance(right, int):
                many, one = (left, right) if isinstance(left, int) else (right, left)
                budget.allow(budget.weigh(one) * max(many, 0))
            case "+" if not both:
                budget.allow(budget.weigh(left) + budget.weigh(right))
            case "%" if isinstance(left, str | bytes):
                budget.allow(formatted(budget, left, right))
        return super().call_binop(context, operator, left, right)


def _as_integer(bits: int) -> None:
    if bits > _LONGEST_INTEGER:
        raise OverflowError("a number that long is none that can be printed")


@pass_context
def printed(context: Context, value: Any) -> Any:
    """What is printed, once it is known to be a text and not too long."""
    budget = current()
    budget.printed(len(value) if isinstance(value, str) else budget.text(value))
    return value
