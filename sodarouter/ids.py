"""Identifiers that sort by the time they were made."""

import os
import threading
import time


class _Clock:
    """Hands out milliseconds and a counter so that ids made in one process never run backwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def tick(self) -> int:
        """A 60-bit number: Unix milliseconds in the upper 48 bits, a counter in the lower 12."""
        with self._lock:
            self._last = max(self._last + 1, (time.time_ns() // 1_000_000) << 12)
            return self._last


_clock = _Clock()


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7), 36 characters, greater than every one made before it.

    Time-ordered ids are appended to the end of an index instead of being scattered over it.
    """
    ticks = _clock.tick()
    value = (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62
    value |= int.from_bytes(os.urandom(8)) & (1 << 62) - 1
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
