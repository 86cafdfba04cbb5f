"""What a plugin's hooks and destination types must be like, and what to tell the author of one that is not.

pluggy checks less and later: a misspelt hook is never called, an ``async`` observer never awaited.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any

from sodarouter import hookspecs
from sodarouter.destination import Destination
from sodarouter.errors import PluginError
from sodarouter.faults import suggestion
from sodarouter.http import HttpRoute

OWN_PAGES = ("/livez", "/readyz")
OWN_API = "/api/"
_PAGE = re.compile(r"/[A-Za-z0-9._~/-]*")

HOOKS = {name: function for name, function in vars(hookspecs).items() if hasattr(function, "sodarouter_spec")}


def check_hook(name: str, implementation: Callable[..., Any]) -> None:
    """
    Args:
        name: The hook that is implemented.
        implementation: As it will be called: bound, if it is a method.

    Raises:
        PluginError: The router cannot call it, or would call it in vain.
    """
    if name not in HOOKS:
        hint = suggestion(name, HOOKS, otherwise=f"the hooks are {', '.join(HOOKS)}")
        raise PluginError(f"it implements {name!r}, which is no hook; {hint}")
    offered = inspect.signature(HOOKS[name]).parameters
    for parameter in inspect.signature(implementation).parameters.values():
        if parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            continue
        if parameter.name not in offered:
            has = f"it has {', '.join(offered)}" if offered else "it has none"
            raise PluginError(f"{name} asks for the argument {parameter.name!r}, which this hook does not have; {has}")
        if parameter.kind is parameter.KEYWORD_ONLY:
            raise PluginError(f"{name} takes {parameter.name!r} by keyword only, but hooks are called by position")
    if inspect.isgeneratorfunction(implementation) or inspect.isasyncgenfunction(implementation):
        raise PluginError(f"{name} must not yield")
    if name not in hookspecs.DELIVERING and inspect.iscoroutinefunction(implementation):
        raise PluginError(f"{name} must not be async: only deliver is awaited")


def check_type(kind: object) -> None:
    """
    Raises:
        PluginError: It is no class that destinations can be made of.
    """
    if not (isinstance(kind, type) and issubclass(kind, Destination)):
        raise PluginError(f"destination_types gives {kind!r}, which is no subclass of Destination")
    name = getattr(kind, "type", None)
    if not isinstance(name, str) or not name:
        raise PluginError(f"the destination {kind.__name__} needs a type, the word that router.toml names it by")
    if kind.__eq__ is not object.__eq__:
        raise PluginError(f"the destination type {name!r} must not define __eq__; a dataclass does without eq=False")
    for hook in HOOKS:
        if hook not in hookspecs.DELIVERING and is_hook(getattr(kind, hook, None)):
            raise PluginError(
                f"the destination type {name!r} implements {hook}, which only a plugin can; mark a function of the module"
            )
    # unlike the class's attribute, an instance's shows the arguments as they are called
    instance = object.__new__(kind)
    methods = {
        hook: method for hook in hookspecs.DELIVERING if inspect.isroutine(method := getattr(instance, hook, None))
    }
    if not methods:
        raise PluginError(f"the destination type {name!r} has no deliver method")
    for hook, method in methods.items():
        if not is_hook(method):
            raise PluginError(
                f"the {hook} method of the destination type {name!r} comes from a class that is no Destination; "
                "mark it with @hookimpl"
            )
        try:
            check_hook(hook, method)
        except PluginError as error:
            raise PluginError(f"the destination type {name!r}: {error}") from None
    if not isinstance(kind.batch_size, int) or kind.batch_size < 1:
        raise PluginError(f"the batch_size of the destination type {name!r} must be a number of at least 1")
    _check_preview(name, getattr(instance, "preview", None))


def _check_preview(name: str, preview: object) -> None:
    if not inspect.isroutine(preview):
        raise PluginError(f"the preview of the destination type {name!r} must be a method")
    if any(check(preview) for check in _LAZY):
        raise PluginError(
            f"the preview of the destination type {name!r} must be an ordinary function: it is not awaited"
        )
    try:
        inspect.signature(preview).bind(object(), object())
    except TypeError:
        raise PluginError(f"the preview of the destination type {name!r} is called with event and delivery") from None


_LAZY = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def check_route(route: object) -> None:
    """
    Raises:
        PluginError: It is no page, or one of the router's own.
    """
    if not isinstance(route, HttpRoute):
        raise PluginError(f"http_routes gives {route!r}, which is no HttpRoute")
    if not _PAGE.fullmatch(route.path):
        raise PluginError(f"the page {route.path!r} must be a path such as '/metrics'")
    if route.path in OWN_PAGES or route.path.startswith(OWN_API):
        raise PluginError(f"the page {route.path} is the router's own")


def is_hook(candidate: object) -> bool:
    """Whether it is marked with ``@hookimpl``."""
    return callable(candidate) and hasattr(candidate, "sodarouter_impl")
