"""The ledger, held against the router's own account."""

from collections import Counter
from collections.abc import Collection, Iterator

from sodarouter.delivery import State
from sodarouter.spool import delivery_id

from .account import Account
from .config import DESTINATIONS
from .ledger import Ledger, Mark, Sent
from .report import Lost, Report


def judge(report: Report, ledger: Ledger, found: Account, shown: Collection[str]) -> None:
    """Fills a report in.

    Args:
        report: With what the run itself knows.
        ledger: What was sent, answered and taken.
        found: The spool, after the end.
        shown: The ids of the dead letters that an operator is shown.
    """
    events: dict[str, list[str]] = {}
    for event, raw in found.events.items():
        events.setdefault(uid_in(raw), []).append(event)
    report.sent = len(ledger.sent)
    report.repeats = ledger.repeats
    report.refused = {str(status): count for status, count in sorted(ledger.statuses.items()) if status != 200}
    report.unanswered = ledger.unanswered
    report.duplicates = {name: sum(n - 1 for n in ledger.arrived[name].values()) for name in DESTINATIONS}
    report.unsettled = found.unsettled
    report.stored_twice = sorted(ledger.doubled | {uid for uid, stored in events.items() if len(stored) > 1})
    verdict = _Verdict(report, ledger, found, shown)
    for sent in ledger.sent.values():
        report.unanswered_and_stored += not sent.answered and sent.uid in events
        report.lost.extend(Lost(sent.event, fault, ledger.story(sent)) for fault in verdict.on(sent))
    report.dead = dict(verdict.died)


def uid_in(body: bytes) -> str:
    """Which body this is, also if it is not whole."""
    return body.partition(b'"uid":')[2].partition(b'"')[2].partition(b'"')[0].decode()


class _Verdict:
    def __init__(self, report: Report, ledger: Ledger, found: Account, shown: Collection[str]) -> None:
        self.died: Counter[str] = Counter()
        self._report = report
        self._ledger = ledger
        self._found = found
        self._shown = shown

    def on(self, sent: Sent) -> Iterator[str]:
        """What cannot be accounted for; counts what can."""
        if sent.event:
            self._report.acknowledged += 1
            yield from self._acknowledged(sent)
        if sent.refused:
            yield from self._refused(sent)

    def _refused(self, sent: Sent) -> Iterator[str]:
        if sent.mark is not Mark.MALFORMED:
            yield f"an event, and answered {sent.refused}"
        elif sent.body not in self._found.quarantined:
            yield f"answered {sent.refused}, and not in the quarantine"
        else:
            self._report.quarantined += 1

    def _acknowledged(self, sent: Sent) -> Iterator[str]:
        if sent.event not in self._found.events:
            yield "not in the spool"
        elif self._found.events[sent.event] != sent.stored:
            yield "not stored as it was sent"
        elif sent.event in self._found.undecided:
            yield "not decided"
        elif sent.mark is not Mark.UNROUTED:
            self._report.owed += len(DESTINATIONS)
            for name in DESTINATIONS:
                yield from self._delivery(sent, name)
        elif sent.event not in self._found.unrouted:
            yield "not listed as unrouted"
        else:
            self._report.unrouted += 1

    def _delivery(self, sent: Sent, name: str) -> Iterator[str]:
        key = sent.event, name
        state = self._found.states.get(key, "not planned")
        if state == State.DELIVERED and self._ledger.arrived[name][sent.uid]:
            self._report.delivered += 1
        elif state == State.DELIVERED:
            yield f"delivered to {name}, which never took it"
        elif state == State.DEAD and delivery_id(*key) in self._shown:
            self.died[self._found.causes.get(key, "for no cause")] += 1
            self._report.dead_unasked += name != "picky" or sent.mark is Mark.PLAIN
        else:
            yield f"{state} for {name}"
