"""Watches what destinations do when they are called, which the router itself would tell only in words."""

from collections.abc import Callable
from typing import Any

import trio

from sodarouter.errors import Reject, Retry
from sodarouter.lane import Lane


class Watch:
    """What the calls of some lanes came to.

    Args:
        began: Called whenever a ``deliver`` or a ``deliver_batch`` begins.
    """

    def __init__(self, began: Callable[[], None]) -> None:
        self._began = began
        self.begun = 0
        """How many deliveries have begun."""
        self.faults: list[BaseException] = []
        self.swallowed: list[str] = []

    def over(self, lane: Lane) -> Callable[..., Any]:
        """The lane's call, which is watched."""
        call = lane.call

        def count(args: tuple[Any, ...]) -> int:
            return len(args[0]) if lane.batch else 1

        def threaded(*args: Any, **known: Any) -> Any:
            trio.from_thread.run_sync(self._begin, count(args))
            try:
                return call(*args, **known)
            except BaseException as error:
                self._note(error)
                raise

        async def awaited(*args: Any, **known: Any) -> Any:
            self._begin(count(args))
            passed = False
            try:
                work = call(*args, **known)
                return await work if work is not None else None
            except BaseException as error:
                passed = _group(error).split(trio.Cancelled)[0] is not None
                self._note(error)
                raise
            finally:
                if not passed and trio.current_effective_deadline() <= trio.current_time():
                    self.swallowed.append(lane.name)

        return threaded if lane.threaded else awaited

    def _begin(self, count: int) -> None:
        self.begun += count
        self._began()

    def _note(self, error: BaseException) -> None:
        if _group(error).split((Retry, Reject, trio.Cancelled))[1] is not None:
            self.faults.append(error)


def _group(error: BaseException) -> BaseExceptionGroup[BaseException]:
    return error if isinstance(error, BaseExceptionGroup) else BaseExceptionGroup("", [error])
