"""Asks destinations and plugins whether they are well, each by itself: one that cannot answer is unwell."""

from collections.abc import Callable

import structlog
import trio

from sodarouter.failures import describe, kind_of, plain, storable

MAX_SAID = 500
"""Characters of what one says that is wrong."""

FAILS = "its health check fails"
"""Begins what is shown of one that cannot say how it is."""

log = structlog.get_logger()


class Checkup:
    """Calls the ``health`` of others. Never raises.

    Args:
        redact: Takes secrets out of what they say.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._last: dict[str, str] = {}

    async def __call__(self, owner: str, health: Callable[[], object]) -> str:
        """What is wrong, in one line; empty: nothing is.

        Args:
            owner: Whose it is: ``destination NAME`` or ``plugin NAME``.
            health: Gives text, or ``None`` or an empty one.
        """
        task = trio.lowlevel.current_task()
        name, task.name = task.name, owner
        try:
            said = self._ask(owner, health)
            # a step ends here: if it took too long, its name tells whose it was
            await trio.lowlevel.checkpoint()
        finally:
            task.name = name
        return storable(" ".join(self._redact(said).split()))[:MAX_SAID]

    def _ask(self, owner: str, health: Callable[[], object]) -> str:
        try:
            said = health()
            if said is None or isinstance(said, str):
                self._last.pop(owner, None)
                return "" if said is None else plain(said)
            raise TypeError(f"it must give text or None, not {kind_of(said)}")  # noqa: TRY301 (told as any other)
        except BaseException as error:  # it is not async, so none of it can be trio's
            what = describe(error)
            if self._last.get(owner) != what:  # once, not at every look
                self._last[owner] = what
                log.error("a health check failed", of=owner, exc_info=error)
            return f"{FAILS}: {what}"
