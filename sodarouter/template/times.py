"""Filters for times. None of them reads the clock: the same event renders the same, whenever that is."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context

from sodarouter.options import format_duration
from sodarouter.zones import parse_zone


@pass_context
def ago(context: Context, time: datetime | None, since: datetime | None = None) -> str:
    """How long before the event was received, or before ``since``: ``3 hours ago``. Nothing gives nothing."""
    if time is None:
        return ""
    seconds = ((since or context["event"].received) - time).total_seconds()
    size = abs(seconds)
    if size < 60:
        return "just now"
    count, unit = next((int(size // each), unit) for unit, each, most in _UNITS if size < most)
    text = f"{count} {unit}{'s' * (count > 1)}"
    return f"{text} ago" if seconds > 0 else f"in {text}"


_UNITS = (("minute", 60, 3_600), ("hour", 3_600, 172_800), ("day", 86_400, float("inf")))
"""Each with its seconds, and those from which the next larger one says it better."""


def local(time: datetime | None, zone: str = "UTC", form: str = "%Y-%m-%d %H:%M %Z") -> str:
    """A time in a zone of the IANA's: ``2026-05-04 14:00 CEST``. Nothing gives nothing.

    Raises:
        ValueError: There is no such zone.
    """
    return "" if time is None else time.astimezone(parse_zone(zone)).strftime(form)


def duration(value: timedelta | float | None) -> str:
    """Seconds, or the difference of two times, in at most two units: ``1h 30m``. Nothing gives nothing."""
    if value is None:
        return ""
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    return ("-" if seconds < 0 else "") + format_duration(abs(seconds))


FILTERS: Mapping[str, Callable[..., Any]] = {"ago": ago, "duration": duration, "local": local}
