"""``sodarouter fixture``: of a stored event, of a file, and of standard input."""

import io
import json
import re
import sys

import pytest
from commandline import CANARY
from support import payload

INCIDENT = "v3-incidentCreated"


@pytest.fixture
def incident(sodarouter, spool) -> str:
    """The id of the stored incident."""
    (listed,) = [one for one in sodarouter("events", "--json").json if one["type"] == "incidentCreated"]
    return listed["id"]


def test_a_stored_event_becomes_one_that_can_be_shown(sodarouter, incident):
    ran = sodarouter("fixture", incident)
    assert ran.status == 0
    made = ran.json
    assert made["incident"]["severity"] == "critical"
    assert made["incident"]["number"] == 7
    assert "Orders" not in ran.out
    assert "soda.io" not in made["incident"]["lead"]["email"]
    assert made["incidentLinkCallbackUrl"].startswith("https://soda.invalid/")
    assert ran.err == "read it before you pass it on, then let a [[test]] take it as its file\n"


def test_the_events_of_one_spool_agree_and_no_other_does(sodarouter, spool, incident):
    first = sodarouter("fixture", incident).out
    assert sodarouter("fixture", incident).out == first
    (agreement,) = [one for one in sodarouter("events", "--json").json if one["type"] == "agreementCreated"]
    assert sodarouter("fixture", agreement["id"]).json["agreement"]["createdBy"]["email"].endswith(".example")
    secret = (spool / "var/sodarouter.db.key").read_text().strip()
    assert sodarouter("fixture", incident, "--key", secret).out != first
    (spool / "var/sodarouter.db.key").write_text(f"another-key-that-is-long-enough-{CANARY}")
    assert sodarouter("fixture", incident).out != first


def test_a_spool_whose_key_is_lost_wants_one_to_be_given(sodarouter, spool, incident):
    key = spool / "var/sodarouter.db.key"
    key.unlink()
    ran = sodarouter("fixture", incident)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"sodarouter: there is no key file {key}; give a --key\n"
    assert not key.exists()
    assert sodarouter("fixture", incident, "--key", "k").status == 0


def test_a_configured_key_serves_as_well(sodarouter, spool, incident):
    (spool / "var/sodarouter.db.key").unlink()
    with (spool / "router.toml").open("a") as file:
        file.write(f'[spool]\nkey = "a-key-that-is-long-enough-{CANARY}"\n')
    first = sodarouter("fixture", incident)
    assert first.status == 0
    assert sodarouter("fixture", incident).out == first.out


def test_a_file_needs_no_configuration_and_agrees_with_another_only_by_a_key(sodarouter, tmp_path):
    (tmp_path / "real.json").write_bytes(payload(INCIDENT))
    first, second = sodarouter("fixture", "real.json"), sodarouter("fixture", "real.json")
    assert first.out != second.out
    assert first.err.endswith("; with --key another one gets the same pseudonyms\n")
    given = [sodarouter("fixture", "real.json", "--key", "a secret") for _ in range(2)]
    assert given[0].out == given[1].out
    assert "--key" not in given[0].err


def test_standard_input_is_read(sodarouter, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(payload(INCIDENT))))
    assert sodarouter("fixture", "-").json["event"] == "incidentCreated"


def test_what_is_to_be_kept_is_kept(sodarouter, tmp_path):
    (tmp_path / "real.json").write_bytes(payload(INCIDENT))
    made = sodarouter("fixture", "real.json", "--keep", "bnm_*", "--keep", "sodaspark").json
    dataset = made["incident"]["checkResults"][0]["datasets"][0]
    assert (dataset["name"], dataset["datasource"]["name"]) == ("bnm_orders", "sodaspark")
    assert dataset["attributes"][0]["value"] != "Product"


def test_a_name_that_is_not_there_to_be_kept_is_warned_of(sodarouter, tmp_path):
    """Soda has the data source apart, so what a route matches as one name is none here."""
    (tmp_path / "real.json").write_bytes(payload(INCIDENT))
    ran = sodarouter("fixture", "real.json", "--keep", "sodaspark/*", "--keep", "bnm_*")
    assert ran.err.splitlines()[0] == "warning: --keep 'sodaspark/*' keeps nothing: no name in it is called so"
    assert "bnm_*" not in ran.err


def test_a_file_is_written_and_replaced_only_by_force(sodarouter, tmp_path):
    (tmp_path / "real.json").write_bytes(payload(INCIDENT))
    ran = sodarouter("fixture", "real.json", "--key", "k", "--output", "made.json")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == "made.json: read it before you pass it on, then let a [[test]] take it as its file\n"
    written = (tmp_path / "made.json").read_bytes()
    assert json.loads(written)["event"] == "incidentCreated"
    ran = sodarouter("fixture", "real.json", "--output", "made.json")
    assert (ran.status, ran.err) == (1, "sodarouter: made.json is there already; --force replaces it\n")
    assert (tmp_path / "made.json").read_bytes() == written
    assert sodarouter("fixture", "real.json", "--output", "made.json", "--force").status == 0
    assert (tmp_path / "made.json").read_bytes() != written
    ran = sodarouter("fixture", "real.json", "--output", "nowhere/made.json")
    assert (ran.status, ran.err) == (1, "sodarouter: nowhere/made.json cannot be written: no such file or directory\n")


def test_what_is_no_event_is_told(sodarouter, spool, tmp_path):
    ran = sodarouter("fixture", "rael.json")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == (
        "sodarouter: there is no file rael.json, and it is no id of an event; `sodarouter events` lists them\n"
    )
    missing = "01a20a8f-6a25-7000-82e8-487fb27062aa"
    ran = sodarouter("fixture", missing)
    assert ran.err == f"sodarouter: there is no event {missing}; `sodarouter events` lists what there is\n"
    (tmp_path / "broken.json").write_text('{"event": "checkEvaluation", "checkResults": 3}')
    ran = sodarouter("fixture", "broken.json")
    assert ran.status == 1
    assert re.match(r"sodarouter: broken\.json: in this checkEvaluation event, checkResults: must be", ran.err)
    ran = sodarouter("fixture", "broken.json", "--key", "")
    assert ran.status == 2
    assert ran.err.startswith("sodarouter: --key must not be empty")
