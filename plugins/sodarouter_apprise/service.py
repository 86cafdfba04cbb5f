"""Apprise, as this plugin uses it: quiet, without retries of its own, and in the thread that calls it.

It is imported when a destination of this type is configured, not before: it brings some 250 services, and takes more
than half a second and 24 MiB.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from sodarouter import Retry

if TYPE_CHECKING:
    from apprise import Apprise

REDACTED = "**********"

_NOWHERE = logging.NullHandler()

_SCHEME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)://", re.IGNORECASE)
_ROUTERS_OWN = ("retry", "wait", "optional")
"""What in a URL would have Apprise try again by itself, or call a failure a success."""


NotifyType = Literal["info", "success", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as Apprise wants it."""

    title: str
    body: str
    body_format: str
    """``text``, ``markdown`` or ``html``."""
    notify_type: NotifyType


def scheme(url: str) -> str:
    """The word that a URL begins with, which names the service; empty if there is none."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def load(url: str) -> "Apprise":
    """What sends to the one service that a URL names.

    Raises:
        ValueError: It cannot be used, or Apprise is not installed. The message says nothing of the URL.
    """
    try:
        import apprise
        from apprise.plugins import N_MGR, url_to_dict
    except ImportError as error:
        raise ValueError(f"needs the package {error.name}; pip install 'sodarouter[apprise]'") from None
    _quieten()
    if not scheme(url):
        raise ValueError("must be a URL of Apprise, which begins with the name of a service, such as mailtos://")
    parts = url_to_dict(url)
    if not parts:
        raise ValueError(_why_not(scheme(url), N_MGR.schemas()))
    if own := [name for name in _ROUTERS_OWN if name in parts]:
        raise ValueError(f"leave {own[0]} out of the URL: trying again is the router's, and so is giving up")
    # a service refuses what is too long for it, today and tomorrow
    parts.setdefault("overflow", "truncate")
    # without a limit of its own, for which it would share a few threads between all destinations
    asset = apprise.AppriseAsset(
        app_id="sodarouter",
        app_desc="sodarouter",
        http_redirects=False,
        async_mode=False,
        service_timeout=0,
        storage_mode="memory",
    )
    try:
        service = apprise.Apprise.instantiate(parts, asset=asset, suppress_exceptions=False)
    except Exception:  # each service has its own, and quotes the URL in it
        service = None
    if service is None:
        raise ValueError(_why_not(scheme(url), N_MGR.schemas()))
    return apprise.Apprise(service, asset=asset)


def _why_not(name: str, known: Any) -> str:
    if name in known:
        return f"Apprise cannot use this {name}:// URL: a part is missing or malformed, or the service needs another package"
    near = get_close_matches(name, known, 1)
    return "Apprise has no service with this scheme" + (f"; did you mean {near[0]}://?" if near else "")


def _quieten() -> None:
    """Apprise logs a failure at each attempt, and quotes URLs: what it says is kept with the attempt instead."""
    log = logging.getLogger("apprise")
    log.propagate = False
    log.setLevel(logging.WARNING)
    log.addHandler(_NOWHERE)


def send(service: "Apprise", message: Message, hide: frozenset[str]) -> None:
    """Sends one message, now, and once.

    Args:
        hide: What is not to be said of the URL.

    Raises:
        Retry: The service did not take it. Apprise does not tell for how long.
    """
    result = service.notify(
        body=message.body, title=message.title, notify_type=message.notify_type, body_format=message.body_format
    )
    if not result:
        said = [_without(hide, entry.message) for entry in result.logs()]
        raise Retry(said[-1] if said else "not taken, and Apprise does not say why", response="\n".join(said))


def secrets(url: str) -> frozenset[str]:
    """What of a URL may be a secret: any part of it, as each service has its own form, with tokens for hosts."""
    return frozenset(part for text in (url, *_parts(url)) for part in (text, unquote(text)) if len(part) >= 4)


def _parts(url: str) -> Iterator[str]:
    rest = url.partition("://")[2]
    yield rest
    target, _, query = rest.partition("?")
    yield from re.split(r"[/:@]", target)
    yield from (pair.partition("=")[2] for pair in query.split("&"))


def _without(hide: frozenset[str], text: str) -> str:
    for secret in sorted(hide, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text
