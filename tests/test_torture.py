"""The torture: a short run of it, and that its verdict would catch a router that loses something."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from torture.account import Account
from torture.config import DESTINATIONS
from torture.ledger import Ledger, Mark, Sent
from torture.report import Report
from torture.verdict import judge
from torture.victim import STEPS

from sodarouter.delivery import Cause

ROOT = Path(__file__).resolve().parent.parent
SEED = 20_260_504
PATIENCE = 280
"""Seconds that a short run may take on a machine that has much else to do."""


def test_nothing_is_lost_however_the_router_dies(tmp_path: Path) -> None:
    """Every step between receive and settle, a full disk, failing writes and reloads, each once, under load."""
    file = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.torture", "--seconds", "1", "--seed", str(SEED), "--json", "--report", file]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            told, _ = run.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGINT)  # it has a router to end, and a disk to give back
            told, _ = run.communicate()
    assert run.returncode == 0, told
    report = json.loads(file.read_text(encoding="utf-8"))
    assert (report["lost"], report["unsettled"], report["stored_twice"]) == ([], 0, [])
    assert all(report["kills"][step] for step in STEPS)
    assert all(report["counts"][what] for what in ("full disks", "full starts", "failing writes", "stops"))
    assert report["acknowledged"] > 0
    assert report["delivered"] + sum(report["dead"].values()) == report["owed"]
    assert report["dead"].keys() <= set(Cause)
    assert report["dead_unasked"] == 0


class Case:
    """A run that went well: one plain event, delivered everywhere."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.sent = self.ledger.write("signed", Mark.PLAIN, callback=True)
        self.ledger.accepted(self.sent, "e1")
        for name in DESTINATIONS:
            self.take(name)
        self.found = Account(
            events={"e1": self.sent.stored},
            unrouted=set(),
            undecided=set(),
            deciding=set(),
            states={("e1", name): "delivered" for name in DESTINATIONS},
            causes={},
            quarantined=set(),
        )
        self.shown: set[str] = set()
        """The dead letters that an operator sees."""

    def take(self, name: str, more: bytes = b"") -> None:
        """The event arrives at a destination."""
        self.ledger.asked(name, self.sent.uid, self.sent.body + more, "took it", taken=True)

    def refuse(self) -> Sent:
        """One more body, which is no event."""
        sent = self.ledger.write("signed", Mark.MALFORMED)
        self.ledger.refused(sent, 400)
        return sent

    def report(self) -> Report:
        report = Report(seed=0, disk="", seconds=0, draining=0, kills={}, counts={})
        judge(report, self.ledger, self.found, self.shown)
        return report


@pytest.fixture
def case() -> Case:
    return Case()


def lost(case: Case) -> list[str]:
    report = case.report()
    assert not report.good
    return [one.what for one in report.lost]


def test_what_is_at_its_sinks_is_delivered(case: Case) -> None:
    report = case.report()
    assert (report.good, report.acknowledged, report.owed, report.delivered) == (True, 1, 5, 5)


def test_an_acknowledged_event_that_is_not_in_the_spool_is_lost(case: Case) -> None:
    del case.found.events["e1"]
    assert lost(case) == ["not in the spool"]


def test_an_event_with_other_bytes_is_lost(case: Case) -> None:
    case.found.events["e1"] += b" "
    assert lost(case) == ["not stored as it was sent"]


def test_an_event_that_waits_for_its_decision_is_lost(case: Case) -> None:
    case.found.undecided.add("e1")
    assert lost(case) == ["not decided"]


def test_a_delivery_that_its_sink_never_took_is_lost(case: Case) -> None:
    case.ledger.arrived["good"].clear()
    assert lost(case) == ["delivered to good, which never took it"]


def test_a_delivery_of_other_bytes_is_lost(case: Case) -> None:
    case.ledger.arrived["good"].clear()
    case.take("good", more=b" ")
    assert lost(case) == ["delivered to good, which never took it"]


@pytest.mark.parametrize("state", ["pending", "leased", "discarded", "dead"])
def test_a_delivery_in_any_other_state_is_lost(case: Case, state: str) -> None:
    """Also a dead one that no operator is shown."""
    case.found.states["e1", "good"] = state
    assert lost(case) == [f"{state} for good"]


def test_a_delivery_that_was_not_planned_is_lost(case: Case) -> None:
    del case.found.states["e1", "flaky"]
    assert lost(case) == ["not planned for flaky"]


def test_a_dead_letter_that_an_operator_is_shown_is_accounted_for(case: Case) -> None:
    case.found.states["e1", "picky"] = "dead"
    case.found.causes["e1", "picky"] = "exhausted"
    case.shown.add("e1/picky")
    report = case.report()
    assert (report.good, report.dead, report.delivered) == (True, {"exhausted": 1}, 4)
    assert report.dead_unasked == 1, "no sink had refused this body"


def test_a_body_that_became_two_events_is_told(case: Case) -> None:
    case.found.events["e2"] = case.sent.stored
    report = case.report()
    assert (report.good, report.stored_twice) == (False, [case.sent.uid])


def test_what_a_destination_took_again_is_a_duplicate_and_no_loss(case: Case) -> None:
    case.take("flaky")
    report = case.report()
    assert (report.good, report.duplicates["flaky"], report.duplicates["good"]) == (True, 1, 0)


def test_a_refused_body_belongs_in_the_quarantine(case: Case) -> None:
    sent = case.refuse()
    assert lost(case) == ["answered 400, and not in the quarantine"]
    case.found.quarantined.add(sent.body)
    report = case.report()
    assert (report.good, report.quarantined) == (True, 1)


def test_a_body_that_was_not_answered_may_be_there_or_not(case: Case) -> None:
    absent, present = (case.ledger.write("signed", Mark.UNROUTED) for _ in range(2))
    for sent in (absent, present):
        case.ledger.failed(sent, "ReadError")
    case.found.events["e2"] = present.stored
    report = case.report()
    assert (report.good, report.unanswered, report.unanswered_and_stored) == (True, 2, 1)


def test_what_is_lost_has_its_story(case: Case) -> None:
    case.ledger.done("-- SIGKILL: settled")
    case.found.states["e1", "good"] = "pending"
    (one,) = case.report().lost
    assert one.story[0] == f"plain body {case.sent.uid} of {len(case.sent.body):,} bytes for source signed"
    assert [line.split(maxsplit=1)[1] for line in one.story[1:]] == [
        "answered 200, event e1",
        *(f"{name} took it" for name in DESTINATIONS),
        "-- SIGKILL: settled",
    ]


def test_a_victim_wants_a_step_that_there_is() -> None:
    command = [sys.executable, "-m", "tests.torture.victim", "--die-at", "nowhere:1", "--", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "'nowhere:1' is no step and passage" in done.stderr
