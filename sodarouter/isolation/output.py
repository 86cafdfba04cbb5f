"""What a destination's process logs and prints, told in the router's log."""

import logging
import math
from collections.abc import Iterable

import structlog
import trio
from pydantic_core import from_json

from sodarouter.failures import storable
from sodarouter.logs import LEVELS
from sodarouter.rate import Bucket, Rate
from sodarouter.redact import Redactor

CHUNK = 1 << 15
PAUSE = 0.05
"""Seconds between two full chunks: who floods waits, and the router does not."""
MAX_LINE = 1 << 16
"""Bytes of a line; a longer one is left out, as a secret that is cut in half would no longer be known as one."""
CONFESS = 10.0
"""Seconds between two lines that tell how many were left out."""
LINES = Rate.model_validate({"limit": "50/s", "burst": 1000})
"""How many lines are told of each process."""
_OWN = {"timestamp", "level", "message", "event", "destination", "exc_info", "stack_info", "self"}
"""The keys that the log gives its lines itself."""

log = structlog.get_logger()


class Output:
    """What one process writes to its standard output and error: lines of the log as JSON, and whatever is printed.

    Args:
        name: Of the destination.
    """

    def __init__(self, name: str, redact: Redactor) -> None:
        self._name = name
        self._redact = redact
        self._bucket = Bucket(LINES)
        self._left_out = 0
        self._confessed = -math.inf
        self._rest = b""
        self._overlong = False

    async def relay(self, stream: trio.abc.ReceiveStream) -> None:
        """Tells all that comes, to the end of the stream."""
        while chunk := await stream.receive_some(CHUNK):
            self._take(bytes(chunk))
            if len(chunk) == CHUNK:
                await trio.sleep(PAUSE)

    def end(self) -> None:
        """Tells what is left."""
        self._tell([self._rest])
        self._rest = b""
        if self._left_out:
            self._confess()

    def _take(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        lines = [self._rest + first, *others]
        self._rest = lines.pop()
        if lines and self._overlong:
            self._overlong = False
            lines = lines[1:]
        if self._overlong or len(self._rest) > MAX_LINE:
            self._left_out += not self._overlong
            self._rest, self._overlong = b"", True
        self._tell(lines)

    def _tell(self, lines: Iterable[bytes]) -> None:
        whole = [line for line in lines if line and not line.isspace()]
        said = [line for line in whole if len(line) <= MAX_LINE]
        now = trio.current_time()
        told = min(len(said), self._bucket.tokens(now))
        if self._left_out and now >= self._confessed + CONFESS:
            self._confess()
            self._confessed = now
        for line in said[:told]:
            self._bucket.take(now)
            self._log(line)
        self._left_out += len(whole) - told

    def _confess(self) -> None:
        log.warning("the destination's process said too much", destination=self._name, lines_left_out=self._left_out)
        self._left_out = 0

    def _log(self, line: bytes) -> None:
        try:
            found = from_json(line) if line.startswith(b"{") else None
        except ValueError:
            found = None
        if isinstance(found, dict) and found.get("level") in LEVELS and isinstance(found.get("message"), str):
            known = {key: value for key, value in found.items() if key not in _OWN}
            log.log(LEVELS[found["level"]], found["message"], destination=self._name, **known)
        else:
            text = storable(self._redact(line.decode(errors="replace")))
            log.log(logging.INFO, "the destination's process printed", destination=self._name, text=text)
