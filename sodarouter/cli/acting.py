"""Does what changes something: the running router is asked to; while none runs, it is done to the spool itself.

Which of the two it is says the spool's lock: an admin listener that answers may be that of another router.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio
from pydantic_core import from_json

from sodarouter.cli.app import fail
from sodarouter.cli.reading import reading
from sodarouter.config import destination_types, load_table, translators
from sodarouter.config.tables import Admin, Spool
from sodarouter.decide import NewSilence, Silence
from sodarouter.delivery import Halt, Loaded
from sodarouter.errors import SodarouterError, SpoolError
from sodarouter.operations import Operations, Readmitted
from sodarouter.spool import Lock, SqliteSpool

if TYPE_CHECKING:  # the other commands need not wait for an HTTP client
    from sodarouter.cli.client import AdminClient

T = TypeVar("T")


class Acting(Protocol):
    """As `sodarouter.operations.Operations`, for a command. Lists have up to `sodarouter.operations.BATCH` items."""

    @property
    def running(self) -> bool:
        """Whether a router runs, which then does what is due."""
        ...

    def retry(self, deliveries: Sequence[str]) -> list[str]: ...
    def discard(self, deliveries: Sequence[str]) -> list[str]: ...
    def begin_replay(self) -> int: ...
    def replay(self, number: int, events: Sequence[str], to: Sequence[str], *, after: float, every: float) -> int: ...
    def halt(self, destination: str, halt: Halt | None) -> None: ...
    def forget(self, destination: str, keys: Sequence[str]) -> list[str]: ...
    def silence(self, asked: NewSilence) -> Silence: ...
    def end_silence(self, silence: str) -> bool: ...
    def readmit(self, bodies: Sequence[str]) -> Readmitted: ...
    def dismiss(self, bodies: Sequence[str]) -> list[str]: ...
    def reload(self) -> Loaded: ...


@contextmanager
def acting(path: Path) -> Iterator[Acting]:
    """What does it, for a configuration. While it is the command itself, no router starts on this spool.

    Raises:
        SpoolError: There is no spool, or a process has it that does not listen where the configuration says.
    """
    from sodarouter.cli.client import admin_client

    with reading(path):
        pass  # it exists: locking it would make its folder
    spool = load_table(path, "spool", Spool)
    try:
        lock = Lock(spool.path)
    except SpoolError as held:
        with admin_client(load_table(path, "admin", Admin)) as client:
            try:
                client.knock()
            except SodarouterError as error:
                raise SpoolError(f"{held}; {error}") from None
            yield Asking(client)
        return
    try:
        yield Alone(path, spool)
    finally:
        lock.release()


def must_run(doing: Acting) -> None:
    """For a command that is to wait until something is delivered.

    Raises:
        typer.Exit: No router runs; the message says so.
    """
    if not doing.running:
        raise fail("no router runs, so nothing would be delivered; start it, or leave --wait out")


@dataclass(frozen=True)
class Asking:
    """Over the admin API of the router that runs."""

    client: "AdminClient"
    running = True

    def retry(self, deliveries: Sequence[str]) -> list[str]:
        return list(self._ask("deliveries/retry", deliveries=deliveries)["retried"])

    def discard(self, deliveries: Sequence[str]) -> list[str]:
        return list(self._ask("deliveries/discard", deliveries=deliveries)["discarded"])

    def begin_replay(self) -> int:
        return int(self._ask("replays")["replay"])

    def replay(self, number: int, events: Sequence[str], to: Sequence[str], *, after: float, every: float) -> int:
        return int(self._ask(f"replays/{number}", events=events, to=to, after=after, every=every)["planned"])

    def halt(self, destination: str, halt: Halt | None) -> None:
        self._ask(f"destinations/{destination}", halt=halt)

    def forget(self, destination: str, keys: Sequence[str]) -> list[str]:
        return list(self._ask(f"destinations/{destination}/forget", keys=keys)["forgotten"])

    def silence(self, asked: NewSilence) -> Silence:
        answer = self._ask("silences", **from_json(asked.dump()))
        starts, ends = (datetime.fromisoformat(answer[key]) for key in ("starts", "ends"))
        return Silence.made(asked, id=answer["id"], starts=starts, ends=ends)

    def end_silence(self, silence: str) -> bool:
        return bool(self._ask(f"silences/{silence}/end")["ended"])

    def readmit(self, bodies: Sequence[str]) -> Readmitted:
        return Readmitted(**self._ask("quarantine/retry", ids=bodies))

    def dismiss(self, bodies: Sequence[str]) -> list[str]:
        return list(self._ask("quarantine/discard", ids=bodies)["discarded"])

    def reload(self) -> Loaded:
        answer = self._ask("reload")
        return Loaded(answer["config"], faults=tuple(answer["faults"]))

    def _ask(self, page: str, **document: Any) -> Any:
        return self.client.post(f"/api/{page}", document)


@dataclass(frozen=True)
class Alone:
    """On a spool that no router has, while its lock is held."""

    path: Path
    spool: Spool
    running = False

    def retry(self, deliveries: Sequence[str]) -> list[str]:
        return self._do(lambda operations: operations.retry(deliveries))

    def discard(self, deliveries: Sequence[str]) -> list[str]:
        return self._do(lambda operations: operations.discard(deliveries))

    def begin_replay(self) -> int:
        return self._do(lambda operations: operations.begin_replay())

    def replay(self, number: int, events: Sequence[str], to: Sequence[str], *, after: float, every: float) -> int:
        return self._do(lambda operations: operations.replay(number, events, to, after=after, every=every))

    def halt(self, destination: str, halt: Halt | None) -> None:
        self._do(lambda operations: operations.halt(destination, halt))

    def forget(self, destination: str, keys: Sequence[str]) -> list[str]:
        return self._do(lambda operations: operations.forget(destination, keys))

    def silence(self, asked: NewSilence) -> Silence:
        return self._do(lambda operations: operations.silence(asked))

    def end_silence(self, silence: str) -> bool:
        return self._do(lambda operations: operations.end_silence(silence))

    def readmit(self, bodies: Sequence[str]) -> Readmitted:
        found = translators(self.path)
        return self._do(lambda operations: replace(operations, translator=found.get).readmit(bodies))

    def dismiss(self, bodies: Sequence[str]) -> list[str]:
        return self._do(lambda operations: operations.dismiss(bodies))

    def reload(self) -> Loaded:
        raise SodarouterError("no router runs on this spool: its next start reads the configuration anyway")

    def _do(self, work: Callable[[Operations], Awaitable[T]]) -> T:
        async def alone() -> T:
            spool = SqliteSpool(self.spool.path, self.spool.max_size, self.spool.max_backlog, self.spool.keys)
            try:
                names = destination_types(self.path)
                return await work(Operations(spool, spool.refused, lambda: names))
            finally:
                await spool.aclose()

        return trio.run(alone)
