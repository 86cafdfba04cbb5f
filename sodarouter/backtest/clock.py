"""The day and the hour that a clock on the wall shows, for moments that mostly follow one another."""

from datetime import datetime, timedelta, tzinfo

_QUARTER = timedelta(minutes=15)
"""No clock is put forward or back in the middle of one."""


class Clock:
    """In a time zone, or in that of this machine. An hour that comes twice is counted as one; one that is left out does not
    come."""

    def __init__(self, zone: tzinfo | None) -> None:
        self._zone = zone
        self._begins: datetime | None = None
        self._found = "", 0

    def of(self, moment: datetime) -> tuple[str, int]:
        """The date, ISO 8601, and the hour."""
        if self._begins is None or not self._begins <= moment < self._begins + _QUARTER:
            self._begins = moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)
            local = moment.astimezone(self._zone)
            self._found = local.date().isoformat(), local.hour
        return self._found
