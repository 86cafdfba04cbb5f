"""What `check` warns of: each with its place, and what was perhaps meant."""

import pytest

from sodarouter.config.advice import advise
from sodarouter.config.tables import File
from sodarouter.options import Place

SOURCE = {"soda": {"path": "/soda", "verify": [{"type": "address", "allow": ["127.0.0.1"]}]}}
LOG = {"log": {"type": "file", "path": "log"}}


def advice(**tables: object) -> list[str]:
    """What is advised of a file that is otherwise in order."""
    document = {"spool": {}, "source": SOURCE, "destination": LOG, "route": [{"to": ["log"]}]} | tables
    return [str(fault) for fault in advise(File.model_validate(document, context=Place()))]


def matching(match: dict[str, object]) -> list[str]:
    return advice(route=[{"to": ["log"], "match": match}])


def test_of_a_file_in_order_nothing_is_said():
    assert advice() == []


@pytest.mark.parametrize(
    ("match", "told"),
    [
        ({"severity": "critcal"}, "severity: there is no severity 'critcal'; did you mean 'critical'?"),
        ({"severity": "x"}, "severity: there is no severity 'x'; one of low, medium, high, critical"),
        ({"status": ["reported", "resolvd"]}, "status: there is no status 'resolvd'; did you mean 'resolved'?"),
        ({"outcome": "failure"}, "outcome: there is no outcome 'failure'; did you mean 'fail'?"),
        ({"scope": "incident"}, "scope: there is no scope 'incident'; did you mean 'incidents'?"),
        ({"source": "sdoa"}, "source: there is no source 'sdoa'; did you mean 'soda'?"),
        (
            {"event": "incidentCreate"},
            "event: Soda documents no event 'incidentCreate'; did you mean 'incidentCreated'?",
        ),
        ({"not": {"severity": "lwo"}}, "not.severity: there is no severity 'lwo'; did you mean 'low'?"),
    ],
)
def test_a_word_that_can_never_match_is_told_with_what_is_near(match, told):
    assert matching(match) == [f"route[0].match.{told}"]


@pytest.mark.parametrize(
    "match",
    [
        {"severity": ["low", "major", "MINOR", "Critical"]},
        {"status": ["fixing", "opened", "in_progress", "inProgress", "investigating"]},
        {"outcome": ["fail", "failed", "notEvaluated", "warning", "excluded"]},
        {"scope": ["alert_notification", "agreements"], "source": "soda"},
        {"event": ["incident*", "validate", "contractPublished", "*Deletd", "[a-c]x", "x?"], "severity": "hi*"},
        {"dataset": "anything", "owner": "whoever", "attribute": {"x": "y"}},
    ],
)
def test_words_of_sodas_and_globs_are_as_good_as_any(match):
    assert matching(match) == []


def test_a_destination_that_nothing_goes_to_is_told():
    two = LOG | {"spare": {"type": "file", "path": "spare"}}
    assert advice(destination=two) == ["destination.spare: no route sends anything to it"]
    assert advice(destination=two, unrouted={"to": ["spare"]}) == []
    handed = {"log": LOG["log"] | {"fallback": "spare"}, "spare": two["spare"]}
    assert advice(destination=handed) == []


def test_a_route_that_no_event_reaches_is_told():
    behind = {"to": ["log"], "match": {"severity": "high"}}
    told = "no event comes this far: route[0] takes all and says stop = true"
    assert advice(route=[{"to": ["log"], "stop": True}, behind, behind]) == [f"route[1]: {told}", f"route[2]: {told}"]
    assert advice(route=[{"to": ["log"]}, behind]) == []
    assert advice(route=[behind | {"stop": True}, behind]) == []


def test_a_route_that_names_validate_is_reached_all_the_same():
    """A route without conditions does not take ``validate``, and so keeps it from nobody."""
    assert advice(route=[{"to": ["log"], "stop": True}, {"to": ["log"], "match": {"event": "validate"}}]) == []


def test_a_file_without_a_route_is_told_unless_all_goes_to_the_unrouted():
    assert advice(route=[]) == ["route: there is none: events are kept and go nowhere; add one: [[route]] with to"]
    assert advice(route=[], unrouted={"to": ["log"]}) == []


def test_a_source_without_verification_a_short_stop_and_a_plugin_that_is_not_there_are_told():
    unverified = "nothing is verified: whoever can reach it can send events; set verify before it faces the internet"
    assert advice(
        source={"soda": {"path": "/soda"}}, server={"stop_timeout": "1s"}, plugins={"disabled": ["promethius"]}
    ) == [
        f"source.soda: {unverified}",
        "server.stop_timeout: is shorter than body_timeout; a sender may be cut off when the router stops",
        "plugins.disabled: no plugin 'promethius' is installed; did you mean 'prometheus'?",
    ]
