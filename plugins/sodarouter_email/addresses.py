"""Mail addresses: how they are written in the options, and which people of an event they stand for."""

import re
from collections.abc import Callable, Iterable, Iterator
from email.headerregistry import Address
from typing import Annotated

from pydantic import AfterValidator

from sodarouter import View

# Narrower than RFC 5321, which allows quoted local parts with spaces and brackets in them: nobody has one, and smtplib
# mistakes them. The standard library's own parser raises IndexError for some texts.
_ATOM = r"[^\s\"<>()\[\],;:\\@.]+"
_ADDRESS = rf"(?P<user>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>{_ATOM}(?:\.{_ATOM})*)"
_BARE = re.compile(_ADDRESS)
_NAMED = re.compile(rf'"?(?P<name>[^"<>]*?)"?\s*<{_ADDRESS}>')


def parse_address(text: str) -> Address:
    """An address from ``ann@example.org`` or ``Ann Example <ann@example.org>``; the domain comes out in ASCII.

    Raises:
        ValueError: It is not exactly one address.
    """
    match = _BARE.fullmatch(text.strip(" ")) or _NAMED.fullmatch(text.strip(" "))
    try:
        if match and len(match["user"]) <= 64 and len(text) <= 400 and text.isprintable():
            name = match.groupdict().get("name", "")
            return Address(name, match["user"], match["domain"].encode("idna").decode())
    except UnicodeError:  # the domain is none
        pass
    raise ValueError(f"{text[:100]!r} is not a mail address such as ann@example.org or Ann <ann@example.org>")


def _mailbox(text: str) -> str:
    parse_address(text)
    return text


def _recipient(text: str) -> str:
    if text.startswith("$"):
        if text not in _PEOPLE:
            raise ValueError(f"{text!r} is none of {', '.join(_PEOPLE)}")
        return text
    return _mailbox(text)


Mailbox = Annotated[str, AfterValidator(_mailbox)]
"""An option that is one address."""

Recipient = Annotated[str, AfterValidator(_recipient)]
"""An option that is one address, or stands for people: ``$owners`` and its like."""


def resolve(
    recipients: Iterable[str], view: View, group: str | None = None, domains: Iterable[str] | None = None
) -> Iterator[Address]:
    """The addresses that ``recipients`` stand for in one event.

    People without an address (a group has none) and addresses that are malformed are passed over.

    Args:
        recipients: Valid values of `Recipient`.
        view: Where the people are.
        group: As in `Delivery.group`.
        domains: Which domains an address that comes from the event may have; ``None``: any.
    """
    for recipient in recipients:
        if recipient not in _PEOPLE:
            yield parse_address(recipient)
            continue
        for mailbox in _PEOPLE[recipient](view, group):
            try:
                address = parse_address(mailbox or "")
            except ValueError:
                continue
            # a team's addresses are the operator's own
            if recipient == "$team" or domains is None or address.domain.lower() in map(str.lower, domains):
                yield address


Mailboxes = Iterator[str | None]


def _owners(view: View, group: str | None) -> Mailboxes:
    return (owner.email for result in view.results for dataset in result.datasets for owner in dataset.owners)


def _owner(view: View, group: str | None) -> Mailboxes:
    owners = (owner for result in view.results for dataset in result.datasets for owner in dataset.owners)
    return (owner.email for owner in owners if group and group in (owner.email, owner.name, owner.id))


def _team(view: View, group: str | None) -> Mailboxes:
    named = [team for team in view.teams if team.name == group]
    return (mailbox for team in named or view.teams for mailbox in team.recipients)


def _author(view: View, group: str | None) -> Mailboxes:
    return (subject.author.email for subject in (view.contract, view.agreement) if subject and subject.author)


def _reporter(view: View, group: str | None) -> Mailboxes:
    return (incident.reporter.email for incident in (view.incident,) if incident and incident.reporter)


def _lead(view: View, group: str | None) -> Mailboxes:
    return (incident.lead.email for incident in (view.incident,) if incident and incident.lead)


_PEOPLE: dict[str, Callable[[View, str | None], Mailboxes]] = {
    "$owners": _owners,
    "$owner": _owner,
    "$team": _team,
    "$reporter": _reporter,
    "$lead": _lead,
    "$author": _author,
}
