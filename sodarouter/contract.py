"""What a plugin's hooks and types must be like, and what to tell the author of one that is not.

pluggy checks less and later: a misspelt hook is never called, an ``async`` observer never awaited.
"""

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from sodarouter import hookspecs
from sodarouter.address import LIVE_PATH
from sodarouter.destination import Destination
from sodarouter.errors import PluginError
from sodarouter.faults import suggestion
from sodarouter.http import HttpRoute
from sodarouter.plugin import API_VERSION
from sodarouter.source import SODA, SourceType
from sodarouter.verification import VerificationType
from sodarouter.verify import BuiltIn

OWN_PAGES = (LIVE_PATH, "/readyz")
OWN_API = "/api/"
OWN_VERIFICATIONS = frozenset(model.model_fields["type"].default for model in get_args(BuiltIn))
METHODS = ("GET", "POST", "PUT")
"""What senders may use."""
_PAGE = re.compile(r"/[A-Za-z0-9._~/-]*")

AWAITED = (*hookspecs.DELIVERING, "enrich")
"""The hooks that may be ``async``; implemented by an ordinary function, they run in threads."""

HOOKS = {name: function for name, function in vars(hookspecs).items() if hasattr(function, "sodarouter_spec")}


_VERSION = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")


def wanted_api(target: object) -> object:
    """What a plugin says it was written for, itself or the module that it is in; ``None``: it does not say."""
    module = sys.modules.get(str(getattr(target, "__module__", "")))
    return getattr(target, "sodarouter_api", getattr(module, "sodarouter_api", None))


def check_api(wanted: object, has: str = API_VERSION) -> None:
    """Looks whether a plugin can be used with this version of the contract.

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
    """Looks whether an implementation of a hook can be called as the router calls it.

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
    if name not in AWAITED and inspect.iscoroutinefunction(implementation):
        raise PluginError(f"{name} must not be async: only {', '.join(AWAITED)} are awaited")


def check_type(kind: object) -> None:
    """Looks whether a destination type can be used.

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
        if hook not in (*hookspecs.DELIVERING, "health") and is_hook(getattr(kind, hook, None)):
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
    _check_method(f"the destination type {name!r}", instance, "preview", "event", "delivery")
    _check_method(f"the destination type {name!r}", instance, "health")


def check_source(kind: object) -> None:
    """Looks whether a source type can be used.

    Raises:
        PluginError: It is no class that sources can be made of.
    """
    if not (isinstance(kind, type) and issubclass(kind, SourceType)):
        raise PluginError(f"source_types gives {kind!r}, which is no subclass of SourceType")
    name = getattr(kind, "type", None)
    if not isinstance(name, str) or not name:
        raise PluginError(f"the source {kind.__name__} needs a type, the word that router.toml names it by")
    if name == SODA:
        raise PluginError(f"the source type {SODA!r} is the router's own")
    methods = kind.methods
    if not isinstance(methods, tuple) or not methods or not set(methods) <= set(METHODS):
        raise PluginError(f"the methods of the source type {name!r} must be a tuple of {', '.join(METHODS)}")
    if kind.translate is SourceType.translate:
        raise PluginError(f"the source type {name!r} has no translate method")
    _check_method(f"the source type {name!r}", object.__new__(kind), "translate", "request")
    _check_method(f"the source type {name!r}", object.__new__(kind), "sample")


def check_verification(kind: object) -> str:
    """Gives the word that router.toml names it by.

    Raises:
        PluginError: It is no model that verifications can be made of.
    """
    if not (isinstance(kind, type) and issubclass(kind, VerificationType)):
        raise PluginError(f"verification_types gives {kind!r}, which is no subclass of VerificationType")
    field = kind.model_fields["type"]
    words = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    name = words[0] if len(words) == 1 else None
    if not isinstance(name, str) or not name or field.default != name:
        raise PluginError(
            f"the verification {kind.__name__} needs a type, the word that router.toml names it by: "
            'type: Literal["word"] = "word"'
        )
    if name in OWN_VERIFICATIONS:
        raise PluginError(f"the verification type {name!r} is the router's own")
    what = f"the verification type {name!r}"
    if not kind.__pydantic_complete__:
        raise PluginError(f"{what} names a type for one of its fields that is not defined where it stands")
    if kind.check is VerificationType.check and kind.check_head is VerificationType.check_head:
        raise PluginError(f"{what} has neither a check nor a check_head method: it would let everybody in")
    made = kind.model_construct(type=name)
    _check_method(what, made, "check", "request", "now")
    _check_method(what, made, "check_head", "headers", "client")
    _check_method(what, made, "sign", "body", "now")
    return name


def _check_method(what: str, made: object, name: str, *arguments: str) -> None:
    """Looks whether a method is an ordinary one that can be called with these arguments.

    Args:
        what: Whose method it is, in words.
        made: An instance.
        arguments: What it is called with.
    """
    method = getattr(made, name, None)
    if not inspect.isroutine(method):
        raise PluginError(f"the {name} of {what} must be a method")
    if any(check(method) for check in _LAZY):
        raise PluginError(f"the {name} of {what} must be an ordinary function: it is not awaited")
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError:
        called = f"with {' and '.join(arguments)}" if arguments else "without arguments"
        raise PluginError(f"the {name} of {what} is called {called}") from None


_LAZY = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def check_route(route: object) -> None:
    """Looks whether a page can be served.

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
