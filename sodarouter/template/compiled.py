"""Compiling templates, and rendering what came of it. Jinja2 is loaded with this module, which is when the first is made."""

import json
from collections.abc import Iterator, Mapping, Sequence
from traceback import walk_tb
from types import TracebackType
from typing import Any
from urllib.parse import quote

from jinja2 import ChainableUndefined, UndefinedError, nodes, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from sodarouter.delivery import Delivery
from sodarouter.errors import Reject
from sodarouter.event import Event
from sodarouter.template import markup, times
from sodarouter.template.budget import Exceeded, NoText, spending
from sodarouter.template.sandbox import Sandbox, printed
from sodarouter.template.syntax import compiled
from sodarouter.view import Team

MAX_OUTPUT = 1 << 20
"""Characters that one rendering may give."""


@pass_context
def _percent_encoded(context: Context, value: Any) -> Any:
    # what a macro gives has been encoded in it
    return value if isinstance(printed(context, value), Markup) else _encode(value)


def _encode(value: object) -> Markup:
    return Markup(quote(str(value), safe=""))  # noqa: S704 (nothing is left of it that HTML knows)


def _environment(*, escapes: bool = False, finalize: Any = None) -> Sandbox:
    environment = Sandbox(escapes=escapes, finalize=finalize)
    environment.add(times.FILTERS)
    environment.add(markup.FILTERS)
    return environment


_text = _environment()
_html = _environment(escapes=True)
_url = _environment(escapes=True, finalize=_percent_encoded)
_url.add({"urlencode": _encode})


def parse(source: str) -> nodes.Template:
    """What a template that can be compiled is made of."""
    return _text.parse(source)


class Compiled:
    """What a `sodarouter.template.Template` is compiled into.

    Args:
        source: What the operator wrote.
        more: Names that it sees beside `NAMES`.
        html: Whether what is inserted is escaped for HTML.
        url: Whether what is inserted is percent-encoded.

    Raises:
        ValueError: The source is not a template, or names what does not exist; the message has the line.
    """

    def __init__(self, source: str, more: Sequence[str], *, html: bool, url: bool) -> None:
        environment = _url if url else _html if html else _text
        self._template = compiled(source, environment, (*NAMES, *more))

    def render(self, event: Event, delivery: Delivery, more: Mapping[str, object]) -> str:
        """As `Template.render`."""
        context = self._template.new_context({**_seen(event, delivery), **more})
        try:
            with spending():
                return "".join(_capped(self._template.root_render_func(context)))
        except Exception as error:  # an expression can run into anything: AttributeError, RecursionError
            raise Reject(f"template{self._place(error.__traceback__)}: {_told(error)}") from error

    def _place(self, traceback: TracebackType | None) -> str:
        lines = [
            self._template.get_corresponding_lineno(line)
            for frame, line in walk_tb(traceback)
            if frame.f_globals.get("__jinja_template__") is self._template
        ]
        return f", line {lines[-1]}" if lines else ""


def _capped(parts: Iterator[str]) -> Iterator[str]:
    length = 0
    for part in parts:
        length += len(part)
        if length > MAX_OUTPUT:
            raise Exceeded(f"it gives more than {MAX_OUTPUT:,} characters")
        yield part


def _told(error: Exception) -> str:
    match error:
        case Exceeded() | UndefinedError() | NoText():
            return str(error)
        case RecursionError():
            return "it calls itself too often"
        case _:
            return f"{type(error).__name__}: {error}"


def _seen(event: Event, delivery: Delivery) -> dict[str, Any]:
    view = event.view
    return {
        "event": event,
        "delivery": delivery,
        "payload": json.loads(event.raw),
        "results": view.results,
        "incident": view.incident,
        "contract": view.contract,
        "agreement": view.agreement,
        "teams": view.teams,
        "enriched": _lenient(event.enriched),
        "team": _team(view.teams, delivery.group),
    }


NAMES = ("event", "delivery", "payload", "results", "incident", "contract", "agreement", "teams", "team", "enriched")
"""What a template sees."""


class _Added(dict[str, Any]):
    """What a plugin has added. What it has not is empty and no failure: a plugin that failed must cost no delivery."""

    def __missing__(self, name: str) -> Any:
        return ChainableUndefined(name=name)


def _lenient(value: Any) -> Any:
    match value:
        case Mapping():
            return _Added({name: _lenient(entry) for name, entry in value.items()})
        case list():
            return [_lenient(entry) for entry in value]
        case _:
            return value


def _team(teams: tuple[Team, ...], group: str | None) -> Team | None:
    return next((team for team in teams if team.name == group), teams[0] if teams else None)
