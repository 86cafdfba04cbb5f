"""Windows of time: what they say, when they are open, and that daylight saving time does not confuse them."""

from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sodarouter.decide.windows import Times, Window
from sodarouter.faults import faults

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def window(**keys: Any) -> Window:
    return Window.model_validate(keys)


def open_at(moment: str | datetime, **keys: Any) -> bool:
    """A moment that is written without an offset is one on the window's own clock."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(keys.get("timezone", "UTC")))
    return Times(window(**keys)).contains(moment)


def told(**keys: Any) -> list[str]:
    """The faults, as `check` prints them."""
    with pytest.raises(ValidationError) as raised:
        window(**keys)
    return [str(fault) for fault in faults(raised.value, Window, keys, "window", "office")]


@pytest.mark.parametrize(
    ("days", "open_on"),
    [
        ("mon-fri", "mon tue wed thu fri"),
        (["Monday - FRIDAY"], "mon tue wed thu fri"),
        ("fri-mon", "fri sat sun mon"),
        (["mon", "sunday", "mon-tue"], "mon tue sun"),
        ("wed-wed", "wed"),
        ("tue-mon", "mon tue wed thu fri sat sun"),
    ],
)
def test_days_are_names_and_ranges_that_may_go_round_the_week(days: Any, open_on: str) -> None:
    monday = datetime(2026, 6, 1, tzinfo=UTC)
    week = [monday + timedelta(days=number) for number in range(7)]
    assert {f"{day:%a}".lower() for day in week if open_at(day, days=days)} == set(open_on.split())


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-06-01T08:59:59.999999", False),
        ("2026-06-01T09:00", True),
        ("2026-06-01T17:59:59.999999", True),
        ("2026-06-01T18:00", False),
        ("2026-06-01T22:30", True),
        ("2026-06-01T23:59:59", True),
        ("2026-06-02T00:00", False),
    ],
)
def test_hours_begin_with_their_first_minute_and_end_before_their_last(moment: str, is_open: bool) -> None:
    assert open_at(moment, hours=["9:00-18:00", "22:30 - 24:00"]) == is_open


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin() -> None:
    friday_night = {"days": "fri", "hours": "22:00-06:00"}
    assert open_at("2026-06-05T22:00", **friday_night)
    assert open_at("2026-06-06T05:59", **friday_night)
    assert not open_at("2026-06-06T06:00", **friday_night)
    assert not open_at("2026-06-06T22:00", **friday_night)
    assert not open_at("2026-06-05T05:00", **friday_night)
    assert open_at("2027-01-01T03:00", dates="2026-12-31", hours="22:00-06:00")
    assert not open_at("2026-12-31T03:00", dates="2026-12-31", hours="22:00-06:00")
    assert open_at("2027-01-01T03:00", dates="12-31", hours="22:00-06:00")


@pytest.mark.parametrize(
    ("day", "is_open"),
    [
        ("2026-12-23", False),
        ("2026-12-24", True),
        ("2027-01-02", True),
        ("2027-01-03", False),
        ("2025-05-01", True),
        ("2031-05-01", True),
        ("2028-02-29", True),
        ("2027-02-28", False),
        ("2027-03-01", False),
        ("2029-07-30", True),
        ("2029-11-01", False),
        ("2029-10-31", True),
        ("2026-08-15", True),
    ],
)
def test_dates_are_single_ranges_or_of_every_year(day: str, is_open: bool) -> None:
    dates = ["2026-12-24..2027-01-02", "05-01", "02-29", "07-30..10-31"]
    assert open_at(f"{day}T12:00", dates=dates) == is_open


@pytest.mark.parametrize(
    ("day", "is_open"), [("12-23", False), ("12-24", True), ("12-31", True), ("01-06", True), ("01-07", False)]
)
def test_dates_of_every_year_may_go_over_its_end(day: str, is_open: bool) -> None:
    for year in (1999, 2024, 2026):
        assert open_at(f"{year}-{day}T12:00", dates="12-24..01-06") == is_open


def test_a_date_of_toml_is_as_good_as_its_text() -> None:
    assert window(dates=[date(2026, 12, 24), "12-25"]) == window(dates=["2026-12-24", "12-25"])
    assert window(dates=date(2026, 12, 24)) == window(dates="2026-12-24")


def test_all_keys_must_hold() -> None:
    both = {"days": "mon-fri", "dates": "12-25", "hours": "10:00-11:00"}
    assert open_at("2026-12-25T10:30", **both)
    assert not open_at("2026-12-25T11:30", **both)
    assert not open_at("2027-12-25T10:30", **both)
    assert not open_at("2026-12-28T10:30", **both)


@pytest.mark.parametrize(
    ("utc", "on_the_clock", "is_open"),
    [
        # clocks go from 01:59 to 03:00
        ("2026-03-29T00:59", "01:59", False),
        ("2026-03-29T01:00", "03:00", False),
        # and from 02:59 back to 02:00
        ("2026-10-25T00:00", "02:00", True),
        ("2026-10-25T00:59", "02:59", True),
        ("2026-10-25T01:00", "02:00", True),
        ("2026-10-25T01:59", "02:59", True),
        ("2026-10-25T02:00", "03:00", False),
    ],
)
def test_in_berlin_the_hour_left_out_is_in_no_window_and_the_double_one_is_twice(
    utc: str, on_the_clock: str, is_open: bool
) -> None:
    moment = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert f"{moment.astimezone(ZoneInfo(BERLIN)):%H:%M}" == on_the_clock
    assert open_at(moment, hours="02:00-03:00", timezone=BERLIN) == is_open


@pytest.mark.parametrize(
    ("utc", "is_open"),
    [
        # clocks go from 01:59 to 03:00
        ("2026-03-08T06:59", True),
        ("2026-03-08T07:00", False),
        # and from 01:59 back to 01:00
        ("2026-11-01T05:30", True),
        ("2026-11-01T06:30", True),
        ("2026-11-01T07:29", True),
        ("2026-11-01T07:30", False),
    ],
)
def test_in_new_york_a_window_ends_by_the_clock_on_the_wall(utc: str, is_open: bool) -> None:
    moment = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert open_at(moment, hours="22:00-02:30", timezone=NEW_YORK) == is_open


@pytest.mark.parametrize(("zone", "day"), [(BERLIN, "2026-03-29"), (NEW_YORK, "2026-03-08")])
def test_a_window_that_lies_in_the_hour_left_out_does_not_open_that_day(zone: str, day: str) -> None:
    midnight = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    minutes = [midnight + timedelta(minutes=minute) for minute in range(23 * 60)]
    times = Times(window(hours="02:00-03:00", timezone=zone))
    assert not any(map(times.contains, minutes))
    assert times.contains(minutes[60] + timedelta(days=1))


def test_the_time_zone_of_the_moment_makes_no_difference() -> None:
    moment = datetime(2026, 6, 5, 23, 30, tzinfo=UTC)
    times = Times(window(days="sat", hours="01:00-02:00", timezone=BERLIN))
    assert times.contains(moment)
    assert times.contains(moment.astimezone(ZoneInfo(NEW_YORK)))


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Times(window(days="mon")).contains(datetime(2026, 6, 1))  # noqa: DTZ001 (that is the point)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"days": "mon-fri", "hours": ["09:00-18:00"], "timezone": BERLIN}, "mon-fri 09:00-18:00 Europe/Berlin"),
        ({"days": ["sat", "sun"]}, "sat, sun UTC"),
        ({"hours": "22:00-06:00", "dates": ["12-24..12-26", "2027-01-01"]}, "22:00-06:00 12-24..12-26, 2027-01-01 UTC"),
    ],
)
def test_a_window_can_be_told_to_people(keys: dict[str, Any], text: str) -> None:
    assert window(**keys).describe() == text


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({}, "window.office: needs days, hours or dates; without any of them it would be always"),
        ({"days": []}, "window.office.days: must not be empty"),
        ({"days": 1}, "window.office.days: must be a list"),
        ({"days": ["mon", "tus"]}, "window.office.days[1]: 'tus' is no day of the week; did you mean 'tue'?"),
        ({"days": "x"}, '\'x\' is no day of the week; days are written like "mon", "mon-fri" or "sunday"'),
        ({"days": "mon-wed-fri"}, 'days are written like "mon", "mon-fri" or "sunday", not \'mon-wed-fri\''),
        ({"hours": "9-18"}, 'hours are written like "09:00-18:00" or "22:00-06:00", not \'9-18\''),
        ({"hours": "24:00-06:00"}, "'24:00-06:00' has a time that no day has; a day begins at 00:00 and ends at 24:00"),
        ({"hours": "09:00-24:01"}, "has a time that no day has"),
        ({"hours": "09:60-10:00"}, "has a time that no day has"),
        ({"hours": "09:00-09:00"}, "'09:00-09:00' ends when it begins; for a whole day, leave hours out"),
        ({"dates": "24.12.2026"}, "dates are written like"),
        ({"dates": "12-24..2026-12-26"}, "dates are written like"),
        ({"dates": "02-30"}, "'02-30' is a date that no calendar has"),
        ({"dates": "2026-02-29"}, "'2026-02-29' is a date that no calendar has"),
        ({"dates": "2027-01-02..2026-12-24"}, "'2027-01-02..2026-12-24' ends before it begins"),
        (
            {"days": "mon", "timezone": "Europe/Berln"},
            "window.office.timezone: there is no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?",
        ),
        ({"days": "mon", "timezone": "../etc/passwd"}, "there is no time zone '../etc/passwd'"),
        ({"days": "mon", "timezone": "\0"}, "there is no time zone"),
        ({"days": "mon", "timezone": ""}, 'time zones are named like "Europe/Berlin"'),
        ({"days": "mon", "time_zone": "UTC"}, "window.office.time_zone: unknown key; did you mean 'timezone'?"),
    ],
)
def test_what_is_no_window_is_told_with_its_place_and_a_hint(keys: dict[str, Any], text: str) -> None:
    (fault,) = told(**keys)
    assert text in fault


DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
day_names = st.sampled_from(DAY_NAMES)
times_of_day = st.integers(0, 24 * 60 - 1)
hour_ranges = st.tuples(times_of_day, times_of_day).filter(lambda pair: pair[0] != pair[1])
days_2026 = st.dates(date(2026, 1, 1), date(2026, 12, 31))
# half of them in the nights on which a clock is changed
moments = st.one_of(
    st.integers(0, 368 * 24 * 60).map(lambda minute: datetime(2025, 12, 30, tzinfo=UTC) + timedelta(minutes=minute)),
    st.tuples(
        st.sampled_from([datetime(2026, *day, tzinfo=UTC) for day in ((3, 29), (10, 25), (3, 8), (11, 1))]),
        st.integers(-12 * 60, 20 * 60),
    ).map(lambda pair: pair[0] + timedelta(minutes=pair[1])),
)


def clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def naive(
    moment: datetime,
    zone: str,
    days: list[tuple[str, str]],
    hours: list[tuple[int, int]],
    dates: list[tuple[date, date, bool]],
) -> bool:
    """What the rules mean, in the fewest words: go through the minutes of yesterday's windows and of today's."""

    def is_day(day: date) -> bool:
        twice = DAY_NAMES * 2
        on_weekday = not days or any(
            DAY_NAMES[day.weekday()] in twice[start : twice.index(last, start) + 1]
            for first, last in days
            for start in [twice.index(first)]
        )
        on_date = not dates or any(
            first <= day <= last
            if not yearly
            else (
                (first.month, first.day) <= (day.month, day.day) <= (last.month, last.day)
                if (first.month, first.day) <= (last.month, last.day)
                else (day.month, day.day) >= (first.month, first.day) or (day.month, day.day) <= (last.month, last.day)
            )
            for first, last, yearly in dates
        )
        return on_weekday and on_date

    wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, second=0, microsecond=0)
    for day in (wall.date() - timedelta(days=1), wall.date()):
        if not is_day(day):
            continue
        for first, end in hours or [(0, 24 * 60)]:
            minute = first
            while True:
                if datetime(day.year, day.month, day.day) + timedelta(minutes=minute) == wall:  # noqa: DTZ001 (wall time)
                    return True
                minute += 1
                if minute % (24 * 60) == end % (24 * 60):
                    break
    return False


@given(
    moment=moments,
    zone=st.sampled_from([BERLIN, NEW_YORK, "UTC", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    days=st.lists(st.tuples(day_names, day_names), max_size=2),
    hours=st.lists(hour_ranges, max_size=3),
    dates=st.lists(st.tuples(days_2026, days_2026, st.booleans()), max_size=2),
)
@example(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), BERLIN, [("sun", "sun")], [(120, 180)], [])
@settings(max_examples=150)
def test_a_window_agrees_with_a_walk_through_its_minutes(
    moment: datetime,
    zone: str,
    days: list[tuple[str, str]],
    hours: list[tuple[int, int]],
    dates: list[tuple[date, date, bool]],
) -> None:
    dates = [
        (first, last, yearly) if yearly or first <= last else (last, first, yearly) for first, last, yearly in dates
    ]
    keys: dict[str, Any] = {
        "days": [f"{first}-{last}" for first, last in days],
        "hours": [f"{clock(first)}-{clock(end)}" for first, end in hours],
        "dates": [f"{first:%m-%d}..{last:%m-%d}" if yearly else f"{first}..{last}" for first, last, yearly in dates],
    }
    given_keys = {key: value for key, value in keys.items() if value} or {"hours": "00:00-24:00"}
    times = Times(window(**given_keys, timezone=zone))
    assert times.contains(moment) == naive(moment, zone, days, hours, dates)


def test_time_zones_that_the_system_lacks_come_with_the_router() -> None:
    """Images such as debian:slim have none, and others lack the older names."""
    assert files("tzdata").joinpath("zoneinfo", "Europe", "Berlin").is_file()
