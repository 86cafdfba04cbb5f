"""Makes the message for one delivery."""

from dataclasses import replace
from functools import cache
from importlib.resources import files

from sodarouter import Delivery, Event, Reject, Template, TextTemplate, View
from sodarouter_apprise.options import AppriseOptions
from sodarouter_apprise.service import Message, NotifyType

MAX_TITLE = 200


@cache
def built_in(name: str) -> TextTemplate:
    """The template of this name, compiled when it is first wanted: a router without such a destination need not wait."""
    folder = files(__package__).joinpath("templates")
    return Template("".join(folder.joinpath(part).read_text(encoding="utf-8") for part in ("words.j2", name)))


TITLE, BODY = "title.j2", "body.j2"


def compose(event: Event, delivery: Delivery, options: AppriseOptions) -> Message:
    """The message for one delivery.

    Raises:
        Reject: A template fails, or nothing comes of them.
    """
    # whatever a template prints: who has the callback URL can write to the incident
    shown = replace(event, raw=event.raw_redacted)
    title = " ".join((options.title or built_in(TITLE)).render(shown, delivery).split())
    if options.html is not None:
        body, body_format = options.html.render(shown, delivery).strip(), "html"
    elif options.body is not None:
        body, body_format = options.body.render(shown, delivery).strip(), options.body_format
    else:
        body, body_format = _lines(built_in(BODY).render(shown, delivery)), "text"
    if not (title or body):
        raise Reject("title and body are empty, and Apprise sends no empty message")
    cut = title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 3] + "..."
    return Message(cut, body, body_format, options.notify_type or notify_type(event.view))


def _lines(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.strip())


def notify_type(view: View) -> NotifyType:
    """The nearest of Apprise's four words."""
    if incident := view.incident:
        if incident.status == "resolved":
            return "success"
        return "failure" if incident.severity in ("high", "critical") else "warning"
    outcomes = {result.outcome for result in view.results}
    if not outcomes:
        return "info"
    if outcomes & {"fail", "error"}:
        return "failure"
    return "success" if outcomes <= {"pass", "excluded"} else "warning"
