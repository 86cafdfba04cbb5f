"""What a plugin's hooks and destination types must be like, and what to tell the author of one that is not.

pluggy checks less and later: a misspelt hook is never called, an ``async`` observer never awaited.
"""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from sodarouter import hookspecs
from sodarouter.destination import Destination
from sodarouter.errors import PluginError
from sodarouter.faults import suggestion
from sodarouter.http import HttpRoute
from sodarouter.plugin import API_VERSION

OWN_PAGES = ("/livez", "/readyz")
OWN_API = "/api/"
_PAGE = re.compile(r"/[A-Za-z0-9._~/-]*")

HOOKS = {name: function for name, function in vars(hookspecs).items() if hasattr(function, "sodarouter_spec")}


_VERSION = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")


def wanted_api(target: object) -> object:
    """What a plugin says it was written for, itself or the module that it is in; ``None``: it does not say."""
    module = sys.modules.get(str(getattr(target, "__module__", "")))
    return getattr(target, "sodarouter_api", getattr(module, "sodarouter_api", None))


def check_api(wanted: object, has: str = API_VERSION) -> None:
    """
    Args:
        wanted: From `wanted_api`.
        has: What the router has.

    Raises:
        PluginError: It was written for another version of the contract than this router keeps.
    """
    if wanted is None:
        return
    version = _VERSION.fullmatch(wanted) if isinstance(wanted, str) else None
    if version is None:
        raise PluginError(f"its sodarouter_api must be text such as {has!r}, not {wanted!r}")
    major, minor = map(int, has.split("."))
    if int(version[1]) == major and int(version[2]) <= minor:
        return
    upgrade = "the plugin" if int(version[1]) < major else "the router"
    raise PluginError(
        f"it was written for version {wanted} of the plugin API, and this router has {has}",
        f"upgrade {upgrade}, or put its name into [plugins] disabled",
    )


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
    if name != "deliver" and inspect.iscoroutinefunction(implementation):
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
        if hook not in ("deliver", "health") and is_hook(getattr(kind, hook, None)):
            raise PluginError(
                f"the destination type {name!r} implements {hook}, which only a plugin can; mark a function of the module"
            )
    # unlike the class's attribute, an instance's shows the arguments as they are called
    deliver = getattr(object.__new__(kind), "deliver", None)
    if not inspect.isroutine(deliver):
        raise PluginError(f"the destination type {name!r} has no deliver method")
    if not is_hook(deliver):
        raise PluginError(
            f"the deliver method of the destination type {name!r} comes from a class that is no Destination; "
            "mark it with @hookimpl"
        )
    try:
        check_hook("deliver", deliver)
    except PluginError as error:
        raise PluginError(f"the destination type {name!r}: {error}") from None
    _check_ordinary(kind, "preview", ("event", "delivery"))
    _check_ordinary(kind, "health", ())


def _check_ordinary(kind: type[Destination[Any]], name: str, arguments: Sequence[str]) -> None:
    what = f"the {name} of the destination type {kind.type!r}"
    method = getattr(object.__new__(kind), name, None)
    if not inspect.isroutine(method):
        raise PluginError(f"{what} must be a method")
    if any(check(method) for check in _LAZY):
        raise PluginError(f"{what} must be an ordinary function: it is not awaited")
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError:
        raise PluginError(f"{what} is called with {' and '.join(arguments) or 'nothing'}") from None


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
