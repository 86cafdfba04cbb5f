"""Makes the mail for one delivery."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address, HeaderRegistry, MessageIDHeader
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from importlib.resources import files

from sodarouter import Delivery, Event, Reject, Template
from sodarouter_email.addresses import parse_address, resolve
from sodarouter_email.options import EmailOptions

MAX_SUBJECT = 200

_headers = HeaderRegistry()
# as mere text, ids longer than a line would be folded into encoded words, which no mail client takes for ids
for _name in ("in-reply-to", "references"):
    _headers.map_to_type(_name, MessageIDHeader)  # type: ignore[arg-type]  # typeshed takes the mixins for no headers
_POLICY = SMTP.clone(header_factory=_headers, cte_type="7bit")


@cache
def built_in(name: str) -> Template:
    """The template of this name, compiled when it is first wanted: a router that sends no mail need not wait for it."""
    folder = files(__package__).joinpath("templates")
    parts = [folder.joinpath(part).read_text(encoding="utf-8") for part in ("common.j2", name)]
    return Template("".join(parts), html=name == HTML)


SUBJECT, TEXT, HTML = "subject.j2", "text.j2", "html.j2"


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as SMTP wants it."""

    sender: str
    recipients: tuple[str, ...]
    """Of the envelope: `to`, `cc` and `bcc`, each once."""
    content: bytes
    """Headers and body, with CRLF; 7-bit unless `international`."""
    international: bool
    """Whether an address has letters beyond ASCII before its ``@``, so that the server must speak SMTPUTF8."""


def compose(event: Event, delivery: Delivery, options: EmailOptions) -> Mail:
    """The mail for one delivery: the same recipients and the same Message-ID at each attempt.

    Raises:
        Reject: There is nobody to send it to, or a template fails.
    """
    to, cc, bcc = (
        list(resolve(entries, event.view, delivery.group, options.domains))
        for entries in (options.to, options.cc, options.bcc)
    )
    to, cc, bcc = _distinct(to or resolve(options.fallback_to, event.view), cc, bcc)
    if not (to or cc or bcc):
        raise Reject(f"no recipient: the event has no usable address for {', '.join(options.to)}")
    sender = parse_address(options.sender)
    reply_to = [parse_address(options.reply_to)] if options.reply_to else []

    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    for name, addresses in (("To", to), ("Cc", cc), ("Reply-To", reply_to)):
        if addresses:
            message[name] = addresses
    message["Subject"] = _one_line(_render(options.subject or built_in(SUBJECT), event, delivery))
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = f"<{_digest(delivery.id)}@{sender.domain}>"
    if root := _thread_root(event, sender.domain):
        message["In-Reply-To"] = message["References"] = root
    message["List-Id"] = f"<{re.sub(r'[^A-Za-z0-9-]+', '-', delivery.destination)}.sodarouter.{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "OOF, AutoReply"  # what Exchange heeds instead of Auto-Submitted
    message["X-Sodarouter-Event"] = _one_line(event.type)
    message["X-Sodarouter-Delivery"] = _one_line(delivery.id)

    message.set_content(_render(options.text or built_in(TEXT), event, delivery))
    html = options.html or (None if options.text else built_in(HTML))
    if html and (rendered := _render(html, event, delivery)).strip():
        message.add_alternative(rendered, subtype="html")
        # the library would draw one, and the mail would be another at each attempt
        message.set_boundary(f"={_digest(delivery.id, 'boundary')}=")

    recipients = tuple(address.addr_spec for address in (*to, *cc, *bcc))
    international = not all(address.addr_spec.isascii() for address in (sender, *reply_to, *to, *cc, *bcc))
    content = message.as_bytes(policy=_POLICY.clone(utf8=international))
    return Mail(sender.addr_spec, recipients, content, international)


def _thread_root(event: Event, domain: str) -> str | None:
    """The id that all mails about one incident answer to.

    No mail has it: mails overtake one another and not every recipient gets each of them, so none could be the first.
    Clients that go by References (Thunderbird, Apple Mail, mutt, Outlook) gather the children of a missing parent all the
    same. Gmail also wants the subject unchanged, so the built-in one has number and title, but neither status nor severity.
    """
    incident = event.view.incident
    if incident is None or not (identity := incident.id or incident.number):
        return None
    return f"<incident.{_digest(event.source, str(identity))}@{domain}>"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


# whatever a template prints: who has this address can write to the incident
_CALLBACK = re.compile(r"(/incident-link/)[^\s\"'<>]+")
# SMTP forbids NUL and some servers refuse the rest
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _render(template: Template, event: Event, delivery: Delivery) -> str:
    return _CONTROL.sub(" ", _CALLBACK.sub(r"\1**********", template.render(event, delivery)))


def _one_line(text: str) -> str:
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())
    return line if len(line) <= MAX_SUBJECT else line[: MAX_SUBJECT - 3] + "..."


def _distinct(*groups: Iterable[Address]) -> list[list[Address]]:
    """The groups without addresses that came before: servers would take them twice and readers get the mail twice."""
    seen: set[str] = set()
    distinct: list[list[Address]] = []
    for group in groups:
        distinct.append([])
        for address in group:
            if (key := address.addr_spec.lower()) not in seen:
                seen.add(key)
                distinct[-1].append(address)
    return distinct
