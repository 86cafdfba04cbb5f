"""Loss of power: what was answered with a 200 is there afterwards, whatever was not synced is lost, kept or torn.

`power` says how; the record is made once, of a real router, and replayed from many places.
"""

import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cached_property
from itertools import count, pairwise
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from power.record import SPOOL, record
from power.recovery import Recovered, recover
from power.storage import Storage
from power.trace import ABOVE, HERE, Answer, Create, Operation, Remove, Sync, Write

CUTS = 60
"""Places in the record at which the power fails in `test_what_was_answered_is_there_at_every_kind_of_sync`, beside those
that are seldom. For a longer look make it and `EXAMPLES` thousands."""
EXAMPLES = 60
MEMORY = Path("/dev/shm")
WAL = f"{SPOOL}-wal"


class Replay:
    """A record, from any place of which the power can fail."""

    def __init__(self, operations: list[Operation], folder: Path) -> None:
        self.operations = operations
        self.first = next(place for place, operation in enumerate(operations) if isinstance(operation, Answer))
        """The first 200."""
        self.moved = operations.index(Sync(SPOOL), self.first)
        """The first time that the database had what was in the -wal."""
        self._folder = folder
        self._numbers = count()

    def until(self, place: int) -> Storage:
        """The disk before this operation."""
        storage = Storage()
        for operation in self.operations[:place]:
            storage.apply(operation)
        return storage

    def recover(self, files: dict[str, bytes]) -> Recovered:
        folder = self._folder / str(next(self._numbers))
        found = trio.run(recover, folder, files, SPOOL)
        shutil.rmtree(folder)
        return found

    @cached_property
    def whole(self) -> Recovered:
        """What is there when all of the record is."""
        return self.recover(self.until(len(self.operations)).synced())

    def holds(self, found: Recovered) -> bool:
        """Whether it is what was stored up to some commit, and can be read: no gap, and the key that it is sealed with."""
        events = self.whole.events[: len(found.events)]
        return found.events == events and (found.key == self.whole.key or not events)


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"strace cannot be used here: {tried.stderr.strip()}")
    operations = trio.run(record, tmp_path_factory.mktemp("recorded"))
    # in memory if possible: these disks have failed already, and need not be waited for
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Replay(operations, Path(folder))


def test_the_record_holds_every_kind_of_change(replay: Replay) -> None:
    """Without these the other tests would prove little."""
    operations, first = replay.operations, replay.first
    assert {Create(SPOOL), Create(f"{SPOOL}-journal"), Create(WAL)} <= set(operations[:first])
    heads = [one for one in operations[replay.moved :] if isinstance(one, Write) and (one.name, one.offset) == (WAL, 0)]
    assert heads, "the -wal is not begun anew after it was moved into the database"
    assert operations[-1] == Remove(WAL), "the -wal is not deleted when the router stops"
    commits = [place for place, operation in enumerate(operations) if operation == Sync(WAL)]
    answers = [sum(isinstance(one, Answer) for one in operations[before:after]) for before, after in pairwise(commits)]
    assert max(answers) > 1, "no two events share a commit"


def test_what_was_answered_is_there_at_every_kind_of_sync(replay: Replay) -> None:
    """Just before and just after one: when most is at stake, and when all must be safe."""
    syncs = [place for place, operation in enumerate(replay.operations) if isinstance(operation, Sync)]
    seldom = {place for place in syncs if replay.operations[place] != Sync(WAL)}
    often = [place for place in syncs if place not in seldom]
    for sync in sorted(seldom.union(often[:: max(2 * len(often) // CUTS, 1)])):
        for place in (sync, sync + 1):
            storage = replay.until(place)
            found = replay.recover(storage.left(random.Random(place)))
            assert storage.answered <= set(found.events), f"lost at operation {place}"
            assert replay.holds(found)


def test_without_its_syncs_the_same_record_loses_events(replay: Replay) -> None:
    """What a router would lose that answers before the disk has it: the other tests can tell the difference."""
    storage = Storage()
    for operation in replay.operations[: replay.moved]:
        if operation != Sync(WAL):
            storage.apply(operation)
    assert not storage.answered & set(replay.recover(storage.synced()).events)


@settings(max_examples=EXAMPLES)
@given(where=st.integers(0, 999_999), seed=st.integers(0, 2**32))
def test_a_shared_commit_is_as_safe_as_one_of_its_own(replay: Replay, where: int, seed: int) -> None:
    """Power may fail anywhere. What was synced is there, and what more is there are the next events, without a gap."""
    storage = replay.until(where * (len(replay.operations) + 1) // 1_000_000)
    least = replay.recover(storage.synced())
    found = replay.recover(storage.left(random.Random(seed)))
    assert storage.answered <= set(least.events)
    assert set(least.events) <= set(found.events)
    assert least.settled <= found.settled, "what was settled is to be done again"
    assert replay.holds(found)


def test_the_spool_s_own_folder_is_there_after_the_first_answer(replay: Replay) -> None:
    before = replay.operations[: replay.first]
    assert Sync(ABOVE) in before[before.index(Create(HERE)) :]
