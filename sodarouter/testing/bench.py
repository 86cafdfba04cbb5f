"""The bench that a destination is checked on: its options, a server to post to, and an ear for what gets out."""

import logging
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any

from pydantic import ValidationError
from structlog.testing import capture_logs

from sodarouter.config.tables import DestinationTable
from sodarouter.event import Event
from sodarouter.lag import LagMonitor
from sodarouter.options import Place
from sodarouter.plugins import AnyDestination
from sodarouter.redact import Redactor, without_callback
from sodarouter.testing.form import holds_secret
from sodarouter.testing.router import FakeRouter
from sodarouter.testing.samples import sample
from sodarouter.testing.sink import Answer, Sink

Given = Mapping[str, Any] | Callable[[str], Mapping[str, Any]]
"""The keys of a destination's table. ``{sink}`` in a text is the URL of the server, ``{address}`` the same without its
scheme, ``{host}`` only its host and port, and ``{folder}`` a new folder. Or a function from that URL to the keys."""

Chosen = tuple[str, Mapping[str, object]]
"""What `sample` makes an event of."""

NAME = "checked"
MOST = 200
"""Lines of the log that are looked at."""
LONGEST = 5000
"""Characters that are looked at of each."""


@dataclass
class Bench:
    """Makes routers with the destination in them."""

    kind: type[AnyDestination]
    given: Given
    folder: Path
    sink: Sink
    taken: Answer
    """What the server answers to what it takes."""
    monitor: LagMonitor
    heard: "Heard"
    start: Path
    """Where relative paths start."""
    token: str = field(default_factory=lambda: f"canary-{token_hex(8)}")
    """Stands in every URL and in the secrets that were not given."""
    shown: list[str] = field(default_factory=list)
    """What the router keeps of attempts, and shows."""
    _folders: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.talks = callable(self.given) or any(word in str(self.given) for word in ("{sink}", "{address}", "{host}"))
        """Whether it is told of the server."""
        self.chooses_scheme = callable(self.given) or "{sink}" in str(self.given)
        """Whether it is told by a URL, which may be one of https."""
        self.redact = Redactor([self.token])
        """For what is told of it: a fault may quote a secret."""
        self.chosen: Chosen = ("incidentCreated", {})
        """The event that is sent where one is enough."""
        self.asks = self.talks
        """Whether it asks the server for something when it is handed that event."""
        self.filled: list[str] = []
        """Options that were given a secret."""
        self.table()

    @property
    def asked(self) -> tuple[int, int]:
        """How often the server was asked for something, to be compared with another time."""
        return self.sink.connections, len(self.sink.requests)

    def event(self, number: int | None = None) -> Event:
        """One that the destination does something with.

        Args:
            number: Makes it the event of another incident than with other numbers, if it is one of an incident.
        """
        kind, settings = self.chosen
        event = sample(kind, settings)
        if number is None or event.view.incident is None or event.view.incident.id is None:
            return event
        return sample(kind, {**settings, "incident.id": f"{event.view.incident.id}-{number}"})

    def url(self, base: str = "") -> str:
        return f"{base or self.sink.url}/{self.token}"

    def table(self, base: str = "", **core: Any) -> dict[str, Any]:
        """The table with new folders, and with keys of the router's own.

        Args:
            base: The server, as a URL without a path; by default the one that stands ready.
            core: Keys that every destination has.
        """
        url = self.url(base)
        folder = self.folder / str(next(self._folders))
        folder.mkdir()
        given = self.given(url) if callable(self.given) else self.given
        address = url.partition("://")[2]
        host = address.partition("/")[0]
        words = {"{sink}": url, "{address}": address, "{host}": host, "{folder}": str(folder)}
        made: dict[str, Any] = {"breaker": "off", "retry": {"delays": ["1h", "1h"]}, "timeout": "10s"}
        # the router's own keys are those of the checks
        own = filled({key: value for key, value in given.items() if key not in DestinationTable.model_fields}, words)
        return {**own, **self._secrets(own), **made, **core, "type": self.kind}

    def router(self, base: str = "", **core: Any) -> FakeRouter:
        """A router with the destination in it, which keeps faults."""
        table = self.table(base, **core)
        return FakeRouter(destinations={NAME: table}, folder=self.start, keep_faults=True)

    def _secrets(self, own: Mapping[str, Any]) -> dict[str, str]:
        """A canary for each secret option that has no value, where the options then still hold."""
        found: dict[str, str] = {}
        for name, info in self.kind.options_type.model_fields.items():
            key = info.alias or name
            if key in own or not holds_secret(info):
                continue
            tried = {**own, **found, key: f"{self.token}-{key}"}
            try:
                self.kind.options_type.model_validate(tried, context=Place(self.start))
            except ValidationError:
                continue
            found[key] = tried[key]
        self.filled = sorted(found)
        return found


def finder(secrets: frozenset[str]) -> Callable[[str], bool]:
    """Whether a text has one of the secrets in it, in any form that the router knows them by."""
    hidden = Redactor(secrets)
    return lambda text: hidden(text) != without_callback(text)


@contextmanager
def new_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sodarouter-") as name:
        yield Path(name)


class _Ear(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.DEBUG)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@dataclass
class Heard:
    """What is logged, by structlog and by the standard library."""

    _lines: list[Any] = field(default_factory=list)
    _records: list[logging.LogRecord] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """The beginning of it: who says something says it at every event."""
        records = (record.getMessage() for record in self._records[:MOST])
        return [text[:LONGEST] for text in (*map(_line, self._lines[:MOST]), *records)]

    def fault(self, words: str) -> str:
        """What the router tells as a plugin's fault in a line with these words; empty if there is none."""
        return next((str(line.get("fault")) for line in self._lines if words in str(line["event"])), "")

    def of(self, words: str) -> str:
        """The first line of the router's own whose message has these words; empty if there is none."""
        return next((_line(line) for line in self._lines if words in str(line["event"])), "")

    @classmethod
    @contextmanager
    def listening(cls) -> "Iterator[Heard]":
        """Hears all that is logged in the block, and lets nothing of it out."""
        with capture_logs() as lines:
            heard = cls(lines)
            handler = _Ear(heard._records)
            logging.getLogger().addHandler(handler)
            try:
                yield heard
            finally:
                logging.getLogger().removeHandler(handler)


def _line(line: Mapping[str, Any]) -> str:
    """One line of the log as text, with the traceback of what it tells of."""
    error = line.get("exc_info")
    trace = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
    return f"{dict(line)}\n{trace}"


def filled(value: Any, words: Mapping[str, str]) -> Any:
    """A table with words in its texts replaced."""
    match value:
        case str():
            for word, text in words.items():
                value = value.replace(word, text)
            return value
        case Mapping():
            return {key: filled(inner, words) for key, inner in value.items()}
        case list() | tuple():
            return [filled(inner, words) for inner in value]
    return value
