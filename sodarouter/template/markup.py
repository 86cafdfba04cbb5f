"""Filters for what is shown: links, excerpts, and the escaping that each place needs."""

import re
from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import Any
from urllib.parse import quote

from jinja2 import pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup, escape

from sodarouter.faults import suggestion
from sodarouter.view import Agreement, Contract, Dataset, Incident, Link, Person, Result, Team

Subject = Agreement | Contract | Dataset | Incident | Link | Person | Result | Team | str | None


def slack(text: object) -> str:
    """For Slack: ``&``, ``<`` and ``>`` are escaped, so that a name such as ``<!channel>`` pings nobody."""
    return _plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#+\-=.!|<>~$&])")


def markdown(text: object) -> str:
    """For Markdown: whatever could mean something there is escaped, and means itself."""
    return _PUNCTUATION.sub(r"\\\1", _plain(text))


def excerpt(text: str | None, lines: int = 12, width: int = 200) -> str:
    """The beginning of a definition or another text of several lines, without their common indent.

    Args:
        text: ``None`` gives nothing.
        lines: How many are shown; how many are not is said in one more.
        width: How many characters of each line are shown.
    """
    found = dedent(_plain(text or "").expandtabs(4)).strip("\n").rstrip().splitlines()
    shown = [line if len(line) <= width else f"{line[:width]} … {len(line) - width} more" for line in found[:lines]]
    left = len(found) - lines
    if left > 0:
        shown.append(f"… {left} more line{'s' * (left > 1)}")
    return "\n".join(shown)


@pass_eval_context
def link(context: EvalContext, subject: Subject, markup: str = "", text: str = "") -> str:
    """A link to the page in Soda Cloud of an incident, a result, a dataset or an agreement, or to a URL.

    Args:
        subject: Without a URL that begins with http, as a contract is, it is its text alone; ``None`` gives nothing.
        markup: ``slack``, ``markdown``, ``html`` or ``text``; by default ``html`` in HTML and ``text`` elsewhere.
        text: What is shown instead of its own name.

    Raises:
        ValueError: There is no such markup.
    """
    markup = markup or ("html" if context.autoescape else "text")
    if markup not in _MARKUPS:
        hint = suggestion(markup, _MARKUPS, otherwise=f"one of {', '.join(_MARKUPS)}")
        raise ValueError(f"there is no markup {markup!r}; {hint}")
    if subject is None:
        return ""
    url = url_of(subject)
    shown = " ".join((_plain(text) or name_of(subject)).split())
    made = _linked(markup, quote(url, safe=_URL), shown) if url else _alone(markup, shown)
    return Markup(made) if markup == "html" and context.autoescape else made  # noqa: S704 (its parts are escaped)


_MARKUPS = ("slack", "markdown", "html", "text")
_URL = "%/:?#@!$&'*+,;=-._~[]"
"""The signs of a URL that may stand in it: neither brackets nor bars, which would end the link."""


def _linked(markup: str, url: str, text: str) -> str:
    match markup:
        case "slack":
            return f"<{slack(url)}|{slack(text)}>"
        case "markdown":
            return f"[{markdown(text)}]({url})"
        case "html":
            return f'<a href="{escape(url)}">{escape(text)}</a>'
        case _:
            return f"{text} ({url})" if text != url else url


def _alone(markup: str, text: str) -> str:
    match markup:
        case "slack":
            return slack(text)
        case "markdown":
            return markdown(text)
        case "html":
            return str(escape(text))
        case _:
            return text


def url_of(subject: Subject) -> str:
    """A web address; empty if there is none: nothing else may be clicked."""
    url = (
        subject if isinstance(subject, str) else getattr(subject, "runbook" if isinstance(subject, Team) else "url", "")
    )
    return url if url and re.match("https?://", url) else ""


def name_of(subject: Subject) -> str:
    """What people call it."""
    match subject:
        case Incident(number=number, title=title):
            return " ".join(filter(None, (f"INC-{number}" if number is not None else "", title))) or "Incident"
        case Result(name=name, id=id):
            return name or id or "unnamed check"
        case Dataset(label=label, name=name, id=id):
            return name or label or id or "unnamed dataset"
        case Agreement(label=label, id=id):
            return label or id or "Agreement"
        case Contract(dataset=dataset):
            return dataset or "Contract"
        case Link(name=name, url=url):
            return name or url or ""
        case Person(email=email, name=name, id=id):
            return email or name or id or ""
        case Team(name=name):
            return name
        case _:
            return str(subject or "")


def _plain(text: object) -> str:
    """Without the markup of what a template has already made HTML of."""
    return text.unescape() if isinstance(text, Markup) else str(text)


FILTERS: Mapping[str, Callable[..., Any]] = {"excerpt": excerpt, "link": link, "markdown": markdown, "slack": slack}
