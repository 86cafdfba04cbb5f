"""What `check` warns of: each with its place, and what was perhaps meant."""

import pytest
from pydantic import ValidationError

from sodarouter.config.advice import advise
from sodarouter.config.tables import File
from sodarouter.options import Place

SOURCE = {"soda": {"path": "/soda", "verify": [{"type": "address", "allow": ["127.0.0.1"]}]}}
LOG = {"log": {"type": "file", "path": "log"}}


def advice(**tables: object) -> list[str]:
    """What is advised of a file that is otherwise in order."""
    document = {"spool": {}, "source": SOURCE, "destination": LOG, "route": [{"to": ["log"]}]} | tables
    file = File.model_validate(document, context=Place())
    return [str(fault) for fault in advise(file, file.team, ["catalog", "on.call"])]


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
        (
            {"enriched": {"catalgo": {"tier": "gold"}}},
            "enriched: no plugin adds 'catalgo.tier' to events; did you mean 'catalog'?",
        ),
        (
            {"not": {"enriched": {"x.y": "z"}}},
            "not.enriched: no plugin adds 'x.y' to events; one of catalog, on.call",
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
        {"enriched": {"catalog": {"tier": "gold"}, "on.call": {"name": "x"}}},
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
    assert advice(route=[{"to": ["log"]}, behind]) == ["route[1]: adds nothing: route[0] sends the same to log already"]
    assert advice(route=[behind | {"stop": True}, behind]) == [
        "route[1]: no event comes this far: route[0] takes all that this one matches and says stop = true"
    ]


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


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ({"event": "checkEvaluation", "severity": "high"}, "checkEvaluation has no severity"),
        ({"event": "contractPublished", "outcome": "fail"}, "contractPublished has no outcome"),
        ({"scope": "contracts", "tag": "pii"}, "contractPublished has no tag"),
        ({"event": "incidentCreated", "streak": ">=3"}, "incidentCreated has no streak"),
        ({"result": "recovery", "outcome": ["fail", "warn"]}, "the outcome of a recovery is pass"),
        ({"result": "*_fail*", "outcome": "passed"}, "the outcome of a *_fail* is error or fail"),
        ({"event": "checkEvaluation", "scope": "incidents"}, "no event has this scope and this type"),
        ({"dataset": "prod/a", "not": {"dataset": "prod/*"}}, "dataset wants what not.dataset forbids"),
        (
            {"severity": ["high", "low"], "not": {"severity": ["high", "l*"]}},
            "severity wants what not.severity forbids",
        ),
    ],
)
def test_a_route_that_can_never_match_is_told_with_why(match, why):
    assert matching(match) == [f"route[0]: can never match: {why}"]


@pytest.mark.parametrize(
    "match",
    [
        {"event": "*", "severity": "high"},
        {"event": "monitor*", "severity": "high"},
        {"event": ["checkEvaluation", "incident*"], "severity": "high"},
        {"owner": "ann@example.org", "not": {"owner": "bob@example.org"}},
        {"dataset": ["prod/a", "stage/a"], "not": {"dataset": "prod/*"}},
        {"contract": "breaking", "author": "ann@example.org"},
        {"result": "first_failure", "previous": "pass", "streak": ["1", ">=3"]},
        {"result": ["first_failure", "recovery"], "outcome": "error"},
        {"result": "recovery", "not": {"outcome": "fail"}},
    ],
)
def test_a_route_that_may_match_is_left_alone(match):
    assert matching(match) == []


def test_a_route_behind_one_that_stops_for_all_that_it_matches_is_told():
    stop = {"to": ["log"], "match": {"event": "incident*", "not": {"status": "resolved"}}, "stop": True}
    behind = {"event": "incidentCreated", "severity": "high", "not": {"status": ["resolved", "fixing"]}}
    told = "route[1]: no event comes this far: route[0] takes all that this one matches and says stop = true"
    assert advice(route=[stop, {"to": ["log"], "match": behind}]) == [told]
    for other in ({"event": "incidentCreated"}, {"event": "*", "not": {"status": "resolved"}}):
        assert advice(route=[stop, {"to": ["log"], "match": other}]) == []
    office = {"office": {"days": "mon-fri"}}
    assert advice(route=[stop | {"active": ["office"]}, {"to": ["log"], "match": behind}], window=office) == []


def test_two_destinations_that_are_one_place_are_told_if_an_event_may_go_to_both():
    both = {"log": {"type": "file", "path": "a"}, "twin": {"type": "file", "path": "a", "timeout": "5s"}}
    told = "destination.twin: is the same as destination.log, and events go to both: they arrive twice"
    hint = "; send them to one of the two"
    assert advice(destination=both, route=[{"to": ["log", "twin"]}]) == [told + hint]
    apart = [
        {"to": [name], "match": {"event": event}} for name, event in (("log", "validate"), ("twin", "incidentCreated"))
    ]
    assert advice(destination=both, route=apart) == []


def test_windows_and_teams_that_are_not_there_or_of_no_use_are_told():
    office = {"office": {"days": "mon-fri"}}
    assert advice(window=office) == [
        "window.office: no route names it; silences can: `sodarouter silence add --during`"
    ]
    muted = [{"to": ["log"], "active": ["office"], "mute": ["office"]}]
    assert advice(window=office, route=muted) == [
        "route[0]: sends nothing in the window office, which is both in active and in mute"
    ]
    assert advice(route=[{"to": ["log"], "each": "team", "match": {"team": "sales"}}]) == [
        "route[0].match.team: there is no team 'sales'; there are none",
        "route[0].each: there is no team; add one: [[team]] with name and match",
    ]
    teams = [{"name": "sales", "match": {"dataset": "s*"}}]
    assert advice(team=teams, route=[{"to": ["log"], "match": {"team": "slaes"}}]) == [
        "route[0].match.team: there is no team 'slaes'; did you mean 'sales'?"
    ]


def test_a_count_may_be_a_number():
    assert matching({"streak": 3}) == matching({"streak": [1, ">=3"]}) == []
    for wrong in (True, 2.5, -1, [None]):
        with pytest.raises(ValidationError, match=r'a count is written like 3, ">=3" or "<10"'):
            matching({"streak": wrong})
