"""Windows of time: days, hours and dates as people name them, in a time zone of their own.

Hours are those that a clock on the wall shows. So where clocks are put forward, the hour that is left out is in no window,
and where they are put back, the hour that comes twice is in it twice.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sodarouter.faults import suggestion
from sodarouter.options import LISTED_SCHEMA, Options
from sodarouter.zones import parse_zone

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY_NUMBERS = {name: number for number, day in enumerate(_DAYS) for name in (day, day[:3])}
_HOURS = re.compile(r"(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)")
_DATE = re.compile(r"(?:(\d{4})-)?(\d\d)-(\d\d)")
_MINUTES = 24 * 60
_ONE_DAY = timedelta(days=1)
_LEAP_YEAR = 2000

_TODAY, _YESTERDAY = 1, 2
"""Whose window a minute of the day is in: that of the day itself, and that of the day before, which went over midnight."""


def parse_days(text: str) -> frozenset[int]:
    """The weekdays, Monday is 0, of ``"mon"``, ``"mon-fri"`` or ``"Friday-Monday"``.

    Raises:
        ValueError: It is not written so.
    """
    names = [name.strip().lower() for name in text.split("-")]
    for name in names:
        if name not in _DAY_NUMBERS:
            hint = suggestion(name, _DAY_NUMBERS, otherwise='days are written like "mon", "mon-fri" or "sunday"')
            raise ValueError(f"{name!r} is no day of the week; {hint}")
    if len(names) > 2:
        raise ValueError(f'days are written like "mon", "mon-fri" or "sunday", not {text!r}')
    first, last = _DAY_NUMBERS[names[0]], _DAY_NUMBERS[names[-1]]
    return frozenset((first + step) % 7 for step in range((last - first) % 7 + 1))


def parse_hours(text: str) -> tuple[int, int]:
    """The minute of the day at which ``"09:00-18:00"`` begins, and that at which it is over: beyond 1440, if it goes over
    midnight.

    Raises:
        ValueError: It is not written so.
    """
    found = _HOURS.fullmatch(text.strip())
    if not found:
        raise ValueError(f'hours are written like "09:00-18:00" or "22:00-06:00", not {text!r}')
    first_hour, first_minute, last_hour, last_minute = map(int, found.groups())
    first, last = first_hour * 60 + first_minute, last_hour * 60 + last_minute
    if max(first_minute, last_minute) > 59 or first >= _MINUTES or last > _MINUTES:
        raise ValueError(f"{text!r} has a time that no day has; a day begins at 00:00 and ends at 24:00")
    if first == last:
        raise ValueError(f"{text!r} ends when it begins; for a whole day, leave hours out")
    return first, last if last > first else last + _MINUTES


@dataclass(frozen=True)
class DateRange:
    """From one date to another, both included; of every year if ``yearly``, when they stand for days of a leap year."""

    first: date
    last: date
    yearly: bool


def parse_dates(text: str) -> DateRange:
    """``"2026-12-24"``, ``"12-25"`` of every year, or two of one kind with ``..`` between them.

    Raises:
        ValueError: It is not written so, or there is no such date.
    """
    parts = [_DATE.fullmatch(part.strip()) for part in text.split("..")]
    found = [part for part in parts if part]
    if len(found) != len(parts) or len(found) > 2 or len({bool(part[1]) for part in found}) > 1:
        raise ValueError(
            f'dates are written like "2026-12-24", "12-25" for every year, or "2026-12-24..2027-01-02", not {text!r}'
        )
    try:
        days = [date(int(part[1] or _LEAP_YEAR), int(part[2]), int(part[3])) for part in found]
    except ValueError:
        raise ValueError(f"{text!r} is a date that no calendar has") from None
    first, last, yearly = days[0], days[-1], not found[0][1]
    if last < first and not yearly:
        raise ValueError(f"{text!r} ends before it begins")
    return DateRange(first, last, yearly)


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def _as_list(value: object) -> object:
    """A list of texts; one text is a list of one, and a date of TOML is as good as its text."""
    values = value if isinstance(value, list) else [value]
    texts = [one.isoformat() if type(one) is date else one for one in values]
    return texts if all(isinstance(one, str) for one in texts) else value


_LISTED = BeforeValidator(_as_list)
Days = Annotated[list[Annotated[str, _checked(parse_days)]], Field(min_length=1), _LISTED, LISTED_SCHEMA]
Hours = Annotated[list[Annotated[str, _checked(parse_hours)]], Field(min_length=1), _LISTED, LISTED_SCHEMA]
Dates = Annotated[list[Annotated[str, _checked(parse_dates)]], Field(min_length=1), _LISTED, LISTED_SCHEMA]


class Window(Options):
    """`[window.NAME]`: times that recur. All keys that are given must hold, and of a list one entry."""

    days: Days | None = None
    """Days of the week: `"mon"`, `"mon-fri"`, `"fri-mon"`."""
    hours: Hours | None = None
    """Hours of the day: `"09:00-18:00"`, the end not included; `"22:00-06:00"` belongs to the day on which it begins."""
    dates: Dates | None = None
    """Dates: `"2026-12-24"`, `"2026-12-24..2027-01-02"`, or `"12-25"` for every year."""
    timezone: Annotated[str, _checked(parse_zone)] = "UTC"
    """The time zone in which they are meant, such as `"Europe/Berlin"`."""

    @model_validator(mode="after")
    def _something(self) -> "Window":
        if not (self.days or self.hours or self.dates):
            raise ValueError("needs days, hours or dates; without any of them it would be always")
        return self

    def describe(self) -> str:
        """For people: ``mon-fri 09:00-18:00 Europe/Berlin``."""
        return " ".join([*(", ".join(texts) for texts in (self.days, self.hours, self.dates) if texts), self.timezone])


class Times:
    """The moments of a window, compiled once when the configuration is loaded."""

    def __init__(self, window: Window) -> None:
        self.text = window.describe()
        """What people are told of it."""
        self._zone = parse_zone(window.timezone)
        weekdays = {day for text in window.days or ["mon-sun"] for day in parse_days(text)}
        self._weekdays = tuple(day in weekdays for day in range(7))
        self._minutes = _minutes(map(parse_hours, window.hours or ["00:00-24:00"]))
        dates = list(map(parse_dates, window.dates or ()))
        self._any_date = not dates
        self._yearly = frozenset(day for one in dates if one.yearly for day in _of_every_year(one))
        self._ranges = tuple((one.first.toordinal(), one.last.toordinal()) for one in dates if not one.yearly)

    def contains(self, moment: datetime) -> bool:
        """Whether the window is open.

        Args:
            moment: With a time zone, whichever it is.

        Raises:
            ValueError: The moment has no time zone.
        """
        if moment.tzinfo is None:
            raise ValueError("the moment has no time zone")
        local = moment.astimezone(self._zone)
        whose = self._minutes[local.hour * 60 + local.minute]
        if not whose:
            return False
        return bool(whose & _TODAY and self._on(local)) or bool(whose & _YESTERDAY and self._on(local - _ONE_DAY))

    def _on(self, day: datetime) -> bool:
        if not self._weekdays[day.weekday()]:
            return False
        if self._any_date or (day.month, day.day) in self._yearly:
            return True
        number = day.toordinal()
        return any(first <= number <= last for first, last in self._ranges)


def _minutes(hours: Iterable[tuple[int, int]]) -> bytes:
    """For each minute of the day, whose windows it is in."""
    minutes = bytearray(_MINUTES)
    for first, end in hours:
        for minute in range(first, end):
            minutes[minute % _MINUTES] |= _TODAY if minute < _MINUTES else _YESTERDAY
    return bytes(minutes)


def _of_every_year(dates: DateRange) -> Iterator[tuple[int, int]]:
    """Month and day, from the first to the last; round the end of the year, if the last comes before the first."""
    last = dates.last if dates.last >= dates.first else dates.last.replace(year=_LEAP_YEAR + 1)
    for number in range(dates.first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(number)
        yield day.month, day.day
