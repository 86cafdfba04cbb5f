"""What a destination keeps for itself from one delivery to the next."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import trio
from pydantic import JsonValue

from sodarouter.failures import plain
from sodarouter.options import LONGEST

EXPIRES = 90 * 86_400.0
"""Seconds for which an entry is kept that does not say."""
LONGEST_KEY = 256
"""Characters."""
LARGEST_VALUE = 16 * 1024
"""Bytes of a value as JSON."""
MOST_CHANGES = 64
"""Entries that one delivery may change."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A value as it is stored."""

    value: str
    """JSON."""
    expires: float
    """Unix time."""


class Store:
    """A small store of the destination's own: keys with JSON values, such as which ticket an incident became.

    What a delivery changes is seen by itself at once, and by others when the delivery's attempt is settled, however it
    ended: both are one transaction. So a crash in the middle of an attempt leaves the store as it was before it. Two
    deliveries that run at the same time do not see each other; ``order_by`` keeps those of one incident apart.

    Args:
        read: Gives what is stored under a key, as JSON.
        now: The Unix time from which on entries are kept for so long.
        is_secret: Whether a text holds what must not be stored.
    """

    def __init__(
        self,
        read: Callable[[str], Awaitable[str | None]],
        now: float,
        is_secret: Callable[[str], bool] = lambda text: False,
    ) -> None:
        self._read = read
        self._now = now
        self._is_secret = is_secret
        self._changes: dict[str, Kept | None] = {}
        self._sealed = False
        self._reading: trio.Lock | None = None

    async def get(self, key: str) -> JsonValue:
        """The value under a key; ``None`` if there is none, or it has expired."""
        key = _checked(key)
        if key in self._changes:
            await trio.lowlevel.checkpoint()
            change = self._changes[key]
            text = change.value if change else None
        else:
            # one at a time: the spool has others to answer, however many of them a plugin asks for at once
            self._reading = self._reading or trio.Lock()
            async with self._reading:
                text = await self._read(key)
        value: JsonValue = None if text is None else json.loads(text)
        return value

    def get_from_thread(self, key: str) -> JsonValue:
        """As `get`, for a ``deliver`` that is an ordinary function."""
        return trio.from_thread.run(self.get, key)

    def set(self, key: str, value: JsonValue, *, expires: float = EXPIRES) -> None:
        """Puts a value under a key, in place of the one that is there.

        Args:
            key: 256 characters at most.
            value: What JSON can say, in 16 KiB at most; none of the secrets of the configuration or of Soda's.
            expires: For how many seconds it is kept, for a hundred years at most.

        Raises:
            ValueError: One of these is not so, or 64 keys were changed already.
            RuntimeError: The attempt has ended.
        """
        key = _checked(key)
        if not isinstance(expires, int | float) or not 0 < expires < float("inf"):
            raise ValueError(f"store: an entry is kept for some seconds, not for {expires!r}")
        seconds = float(min(expires, LONGEST))
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            size = len(text.encode())
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"store: the value of {key!r} is not what JSON can say") from None
        if size > LARGEST_VALUE:
            raise ValueError(f"store: the value of {key!r} has {size:,} bytes, and {LARGEST_VALUE:,} are the most")
        if self._is_secret(key) or self._is_secret(text):
            raise ValueError("store: an entry holds a secret, and secrets are not stored")
        self._change(key, Kept(text, self._now + seconds))

    def delete(self, key: str) -> None:
        """Takes a key out, if it is there."""
        self._change(_checked(key), None)

    def _change(self, key: str, to: Kept | None) -> None:
        if self._sealed:
            # a thread whose time is over goes on, and what it does now is settled by nobody
            raise RuntimeError("store: the attempt has ended, and nothing more is stored of it")
        if key not in self._changes and len(self._changes) == MOST_CHANGES:
            raise ValueError(f"store: a delivery may change {MOST_CHANGES} entries")
        self._changes[key] = to

    def seal(self) -> Mapping[str, Kept | None]:
        """What was changed, to be settled; a key with ``None`` is to be taken out. Nothing can be changed afterwards."""
        self._sealed = True
        # a copy: a thread that has just looked whether it is sealed may still be about to change it
        return dict(self._changes)


def _checked(given: str) -> str:
    """The key as nothing but text: what fails in the spool fails for all whose work is in the same transaction."""
    key = plain(given) if isinstance(given, str) else ""
    if not 0 < len(key) <= LONGEST_KEY:
        raise ValueError(f"store: a key is a text of 1 to {LONGEST_KEY} characters")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise ValueError("store: a key is a text that can be written as UTF-8") from None
    return key
