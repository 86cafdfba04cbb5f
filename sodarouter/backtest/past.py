"""What the memory said of each event of the past."""

from collections.abc import Callable, Iterable, Mapping

from sodarouter.decide.memory import ContractMemory, Memory, memory_keys, parse_state, recall
from sodarouter.spool import StoredEvent

MOST = 200_000
"""Checks and incidents that are remembered, those that were heard of last."""
_CONTENTS = 256
"""Characters of a contract that take as much room as one of these."""


class Past:
    """What the memory said of events, asked in the order in which they came.

    It is stored with each decision. For events that were decided before that was so, or not yet, it is gathered from the
    events themselves.

    Args:
        earlier: The events before the first that is asked about, oldest first: gone through if it comes to that.
        most: `MOST`.
    """

    def __init__(self, earlier: Callable[[], Iterable[StoredEvent]] = tuple, most: int = MOST) -> None:
        self._earlier = earlier
        self._most = most
        self._warm = False
        self._known: dict[bytes, Memory] = {}
        self._room = 0

    def of(self, stored: StoredEvent) -> Mapping[bytes, Memory]:
        """As `sodarouter.decide.State.memory` has it."""
        if stored.state is not None:
            return parse_state(stored.event, stored.state)
        self._warm_up()
        return {key: self._known[key] for key in memory_keys(stored.event) if key in self._known}

    def learn(self, after: Mapping[bytes, Memory]) -> None:
        """Told what is to be remembered after an event."""
        for key, memory in after.items():
            self._room += _room(memory) - _room(self._known.pop(key, None))
            self._known[key] = memory
        while self._room > self._most:
            self._room -= _room(self._known.pop(next(iter(self._known))))

    def _warm_up(self) -> None:
        if self._warm:
            return
        self._warm = True
        since, self._known, self._room = self._known, {}, 0
        for stored in self._earlier():
            self.learn(recall(stored.event, self.of(stored)).after)
        self.learn(since)


def _room(memory: Memory | None) -> int:
    if isinstance(memory, ContractMemory):
        return 1 + len(memory.contents or "") // _CONTENTS
    return 0 if memory is None else 1
