"""What the torture knows by itself: what was sent, how it was answered, and where it arrived.

The ledger asks the router nothing: at the end the router's own account is held against it.
"""

import json
import time
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count

import trio


class Mark(StrEnum):
    """What is to become of a body. It stands in the body, for the sinks to see."""

    PLAIN = "plain"
    """Every destination takes it, sooner or later."""
    REJECTED = "rejected"
    """The picky sink says never."""
    EXHAUSTED = "exhausted"
    """The picky sink fails as often as it is asked."""
    EXPIRED = "expired"
    """The picky sink asks for a longer wait than the delivery may take."""
    UNROUTED = "unrouted"
    """An event that no route matches."""
    MALFORMED = "malformed"
    """No event: it belongs in the quarantine."""


EVENT_TYPES = {Mark.UNROUTED: "incidentUpdated"}
"""By mark; what is routed is a ``checkEvaluation``."""

CALLBACK = "https://cloud.example/incident-link/{uid}/0123456789abcdef"
"""A callback URL, which the spool seals and destinations are handed."""
SEALED = "**********"
CLOCK = 10
"""Characters that every line of a story begins with: the seconds since the start."""
BEYOND = 3
"""Things done to the router after the last that happened to a body, which its story still tells."""


@dataclass
class Sent:
    """One body, which may have been sent several times."""

    uid: str
    source: str
    mark: Mark
    body: bytes
    event: str = ""
    """The id in its 200; empty as long as it has none."""
    refused: int = 0
    """The status that says the body is no good."""
    story: list[str] = field(default_factory=list)

    @property
    def stored(self) -> bytes:
        """What the spool shows of it."""
        return self.body.replace(CALLBACK.format(uid=self.uid).encode(), SEALED.encode())

    @property
    def answered(self) -> bool:
        """Whether there is nothing left to send it again for."""
        return bool(self.event or self.refused)


class Ledger:
    """
    Args:
        tell: Told what is done to the router, as it is done.
    """

    def __init__(self, tell: Callable[[str], None] = lambda _: None) -> None:
        self.sent: dict[str, Sent] = {}
        self.arrived: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """By destination, how often each body was taken."""
        self.statuses: Counter[int] = Counter()
        self.unanswered = 0
        """Requests whose connection broke or could not be made."""
        self.repeats = 0
        """Bodies sent again although they had their 200."""
        self.doubled: set[str] = set()
        """Those of them that got another id than before: their duplicate was not known as one."""
        self.course: list[str] = []
        """What was done to the router, for the stories."""
        self._told = tell
        self._began = time.monotonic()
        self._numbers = count(1)
        self._changed = trio.Event()

    def write(self, source: str, mark: Mark, filler: int = 0, *, callback: bool = False) -> Sent:
        """A new body.

        Args:
            source: Where it will be sent.
            mark: What is to become of it.
            filler: Bytes that it is made larger by.
            callback: Whether there is a callback URL in it.
        """
        uid = f"t-{next(self._numbers):07}"
        payload = {
            "event": EVENT_TYPES.get(mark, "checkEvaluation"),
            "torture": {"uid": uid, "mark": mark},
            "checkResults": [
                {
                    "id": uid,
                    "name": "No missing values",
                    "definition": "checks for orders:\n" + "#" * filler,
                    "datasets": [{"name": "orders", "owners": [{"type": "user", "email": "owner@example.com"}]}],
                    "evaluationStatus": "fail",
                }
            ],
        }
        if callback:
            payload["incidentLinkCallbackUrl"] = CALLBACK.format(uid=uid)
        body = json.dumps(payload).encode()
        sent = Sent(uid, source, mark, body[:-1] if mark is Mark.MALFORMED else body)
        self.sent[uid] = sent
        return sent

    def accepted(self, sent: Sent, event: str) -> None:
        """It was answered 200 with this id."""
        self.statuses[200] += 1
        if sent.event and sent.event != event:
            self.doubled.add(sent.uid)
        sent.event = event
        self._tell(sent, f"answered 200, event {event}")

    def refused(self, sent: Sent, status: int) -> None:
        """It was answered with another status."""
        self.statuses[status] += 1
        if 400 <= status < 500:
            sent.refused = status
        self._tell(sent, f"answered {status}")

    def failed(self, sent: Sent, why: str) -> None:
        """It was not answered."""
        self.unanswered += 1
        self._tell(sent, f"not answered: {why}")

    def asked(self, destination: str, uid: str, body: bytes, said: str, *, taken: bool) -> None:
        """A destination was handed a body; ``said`` is what it made of it. Other bytes than those sent do not count."""
        altered = body != self.sent[uid].body
        if taken and not altered:
            self.arrived[destination][uid] += 1
        self._tell(self.sent[uid], f"{destination} {said}" + ", but other bytes than were sent" * altered)

    def found(self, destination: str, uid: str) -> None:
        """A body was found at a destination when all was over."""
        self.arrived[destination][uid] += 1

    def _tell(self, sent: Sent, what: str) -> None:
        sent.story.append(f"{self._clock()} {what}")
        self._changed.set()
        self._changed = trio.Event()

    def done(self, what: str) -> None:
        """Something was done to the router."""
        self.course.append(f"{self._clock()} {what}")
        self._told(self.course[-1])

    def _clock(self) -> str:
        return f"{time.monotonic() - self._began:{CLOCK}.3f}"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once what the ledger knows meets the condition."""
        while not condition():
            await self._changed.wait()

    def story(self, sent: Sent) -> list[str]:
        """What happened to a body and, meanwhile and a little beyond, to the router."""
        after = bisect_right(self.course, sent.story[-1]) + BEYOND
        meanwhile = self.course[max(bisect_left(self.course, sent.story[0]) - 1, 0) : after]
        return [
            f"{sent.mark} body {sent.uid} of {len(sent.body):,} bytes for source {sent.source}",
            *sorted([*sent.story, *meanwhile], key=lambda line: line[:CLOCK]),
        ]
