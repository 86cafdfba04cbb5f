"""Identifiers that sort by the time they were made."""

import os
import threading
import time

_AT_ONCE = 512
"""Random bytes that the system is asked for: to ask takes longer than to copy them."""


class _Clock:
    """Hands out milliseconds and a counter so that ids made in one process never run backwards, and something random."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._random = b""

    def tick(self) -> tuple[int, int]:
        """Two numbers: one of 60 bits, Unix milliseconds in the upper 48, a counter in the lower 12; one of 64, random."""
        with self._lock:
            self._last = max(self._last + 1, (time.time_ns() // 1_000_000) << 12)
            if not self._random:
                self._random = os.urandom(_AT_ONCE)
            random, self._random = self._random[:8], self._random[8:]
            return self._last, int.from_bytes(random)

    def forget(self) -> None:
        """Hands out nothing random that another process may hand out too."""
        self._random = b""


_clock = _Clock()
os.register_at_fork(after_in_child=_clock.forget)


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7), 36 characters, greater than every one made before it.

    Time-ordered ids are appended to the end of an index instead of being scattered over it.
    """
    ticks, random = _clock.tick()
    value = (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62
    value |= random & (1 << 62) - 1
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
