"""Which deliveries and events a command is about: the same options everywhere, and one way to write a time."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from inspect import Signature, signature
from typing import Annotated

import typer

from sodarouter import soda
from sodarouter.delivery import Cause, State
from sodarouter.faults import suggestion
from sodarouter.options import LONGEST, parse_duration
from sodarouter.spool import LARGEST, DeliveryFilter, EventFilter

WHICH = "Which"
"""The heading of these options in a command's help."""


def parse_time(text: str) -> datetime:
    """A moment, UTC: ISO 8601, in the local time zone if it names none, or how long ago.

    Raises:
        typer.BadParameter: It is written in another way, or too far away.
    """
    with _time_expected(text, ", 2026-11-23T22:00:00Z, or how long ago: 2h, 7d"):
        if re.match(r"\d+(\.\d+)?\s*[a-z]", text.strip()):
            return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
        return datetime.fromisoformat(text.strip()).astimezone(UTC)


def parse_moment(text: str) -> datetime:
    """A moment, UTC: as `parse_time` reads it, but no time ago.

    Raises:
        typer.BadParameter: It is written in another way, or too far away.
    """
    with _time_expected(text, " or 2026-11-23T22:00:00Z"):
        return datetime.fromisoformat(text.strip()).astimezone(UTC)


@contextmanager
def _time_expected(text: str, forms: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time; write 2026-11-23T22:00, 2026-11-23{forms}") from None


def parse_length(text: str) -> float:
    """Seconds, a hundred years at most.

    Raises:
        typer.BadParameter: It is written in another way, or is nothing, or too much.
    """
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not 0 < seconds <= LONGEST:
        raise typer.BadParameter("it must be more than nothing, and at most a hundred years")
    return seconds


DestinationOption = Annotated[
    str | None, typer.Option("--destination", "-d", metavar="NAME", help="To this one.", rich_help_panel=WHICH)
]
CauseOption = Annotated[
    Cause | None,
    typer.Option(
        "--cause", metavar="CAUSE", help=f"Given up for this reason: {', '.join(Cause)}.", rich_help_panel=WHICH
    ),
]
EventOption = Annotated[str | None, typer.Option("--event", metavar="ID", help="Of this event.", rich_help_panel=WHICH)]
TypeOption = Annotated[
    str | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="Of this event type.",
        autocompletion=lambda: list(soda.EVENT_TYPES),
        rich_help_panel=WHICH,
    ),
]
SourceOption = Annotated[
    str | None, typer.Option("--source", metavar="NAME", help="Taken in by this source.", rich_help_panel=WHICH)
]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        parser=parse_time,
        metavar="TIME",
        help="Taken in then or later: 2026-11-23T22:00, or how long ago, as 2h.",
        rich_help_panel=WHICH,
    ),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option("--until", parser=parse_time, metavar="TIME", help="Taken in before then.", rich_help_panel=WHICH),
]
ReplayOption = Annotated[
    int | None,
    typer.Option("--replay", metavar="NUMBER", min=1, max=LARGEST, help="Of this replay.", rich_help_panel=WHICH),
]
UnroutedOption = Annotated[
    bool, typer.Option("--unrouted", help="Events that no route matched.", rich_help_panel=WHICH)
]
WithheldOption = Annotated[
    bool,
    typer.Option(
        "--withheld", help="Events of which a silence or a window kept something back.", rich_help_panel=WHICH
    ),
]
StateOption = Annotated[State | None, typer.Option("--state", help="In this state.", rich_help_panel=WHICH)]


def delivery_filter(
    destination: DestinationOption = None,
    cause: CauseOption = None,
    event: EventOption = None,
    event_type: TypeOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    replay: ReplayOption = None,
) -> DeliveryFilter:
    return DeliveryFilter(
        destination=destination,
        cause=cause,
        event=event,
        event_type=event_type,
        source=source,
        since=since,
        until=until,
        replay=replay,
    )


def event_filter(
    event_type: TypeOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    unrouted: UnroutedOption = False,
    withheld: WithheldOption = False,
) -> EventFilter:
    return EventFilter(
        event_type=event_type, source=source, since=since, until=until, unrouted=unrouted, withheld=withheld
    )


def choosing(make: Callable[..., object]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options that ``make`` takes, and hands it what ``make`` gives, as its argument ``chosen``."""
    options = signature(make).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: object) -> None:
            command(chosen=make(**{name: given.pop(name) for name in options}), **given)

        own = [parameter for name, parameter in signature(command).parameters.items() if name != "chosen"]
        run.__signature__ = Signature([*own, *options.values()])  # type: ignore[attr-defined]  # typer reads it
        return run

    return decorate


def undocumented(event_type: str | None) -> str:
    """For an event type of which nothing was found: it may be a misspelling. Empty, or a clause that says so."""
    if event_type is None or event_type in soda.EVENT_TYPES:
        return ""
    hint = suggestion(event_type, soda.EVENT_TYPES)
    return f"; Soda documents no event type {event_type!r}" + (f"; {hint}" if hint else "")
