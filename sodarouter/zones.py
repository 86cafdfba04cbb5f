"""Time zones by the names that people write."""

from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from sodarouter.faults import suggestion


@lru_cache(maxsize=64)
def parse_zone(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        ValueError: There is none of this name; the message says which is near.
    """
    try:
        return ZoneInfo(name)
    except (OSError, LookupError, ValueError, TypeError):  # a template may give what is no text
        known = available_timezones()
        hint = suggestion(str(name), known, otherwise='time zones are named like "Europe/Berlin"')
        raise ValueError(
            f"there is no time zone {name!r}; {hint if known else 'this machine has no time zone data: install tzdata'}"
        ) from None
