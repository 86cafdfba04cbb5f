"""Callback URLs, which are secrets, stand in the file encrypted: sealed before they are stored, unsealed for a delivery."""

from collections.abc import Sequence

import structlog

from sodarouter.seal import Sealer, Unsealable
from sodarouter.sparing import Sparing

log = structlog.get_logger()


class Seals:
    """Seals and unseals, and lives with a key that is lost.

    Args:
        keys: As `Sealer` takes them.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._sealer = Sealer(keys)
        self._sparing = Sparing()

    def seal(self, raw: bytes, callback: str | None, context: str) -> tuple[bytes, bytes | None]:
        """What to store of a body, and of what was cut out of it."""
        return self._sealer.seal(raw, callback, context.encode())

    def unseal(self, raw: bytes, sealed: bytes | None, context: str) -> bytes:
        """The body as it came; without its callback URLs if they cannot be had, which is logged."""
        if sealed is None:
            return raw
        try:
            return self._sealer.unseal(raw, sealed, context.encode())
        except Unsealable as error:
            self._sparing(
                log.error, "an event has lost its callback URL and goes on without it", event_id=context, why=str(error)
            )
            return raw
