"""Links that destinations make of incidents, one of which is put onto the incident in Soda."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

LONGEST_URL = 2_000
LONGEST_TEXT = 200
"""Characters of what is shown of a link; the rest is cut off."""


@dataclass(frozen=True, slots=True)
class IncidentLink:
    """What a destination made of an incident, to be shown with it in Soda: a ticket, a page, a thread.

    A ``deliver`` that returns one says with it that the event was taken.
    """

    url: str
    """``https://…`` or ``http://…``, 2,000 characters at most."""
    text: str = ""
    """What it is called, such as ``OPS-17``; without one it is called by the destination's name."""


def usable(link: IncidentLink, destination: str) -> IncidentLink:
    """The link as it is put onto the incident.

    Raises:
        ValueError: It cannot be.
    """
    if not isinstance(link.url, str) or not isinstance(link.text, str):
        raise ValueError("its url and its text must be texts")  # noqa: TRY004 (one kind of fault, told alike)
    # first: what comes then takes time for each character
    if len(link.url) > LONGEST_URL:
        raise ValueError(f"its url may have {LONGEST_URL:,} characters, not {len(link.url):,}")
    try:
        url = urlsplit(link.url)
        host = url.hostname
    except ValueError:
        host = None
    if host is None or url.scheme not in ("http", "https") or not link.url.isprintable() or " " in link.url:
        raise ValueError("its url must begin with http:// or https:// and a host, and have no spaces")
    if url.username is not None or url.password is not None:
        raise ValueError("its url must not hold a user or a password")
    # surrogates cannot be stored
    text = " ".join(link.text.encode(errors="replace").decode().split())[:LONGEST_TEXT]
    return IncidentLink(link.url.encode(errors="replace").decode(), text or destination)


def choose(made: Sequence[str], awaited: Collection[str], prefer: Sequence[str]) -> str | None:
    """Whose link is put onto the incident now; ``None``: nobody's yet.

    Args:
        made: The destinations that have made one, the first to do so first.
        awaited: Those that may still make one.
        prefer: The destinations whose links are preferred, the best first; all others come after these.
    """
    rank = {name: place for place, name in enumerate(prefer)}
    last = len(prefer)
    best = min(made, key=lambda name: rank.get(name, last), default=None)
    if best is None or any(rank.get(name, last) < rank.get(best, last) for name in awaited):
        return None
    return best
