"""The plugins that come with the router pass the checks that those of others are put to."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from aiosmtpd.handlers import Sink as Mailbox
from mailing import smtp_server

from sodarouter.plugins import Plugins, find
from sodarouter.testing import Mark, check_destination
from sodarouter.testing.installed import Tables, verify_plugin

TYPES = Plugins(find(), {}).types

EXPECTED = {
    "apprise": {
        # it shows the message, which the library then packs in the way of each service
        "What its preview shows is what arrives",
        # the library has no word for it
        "It waits as long as Retry-After asks",
        # it logs the URL that it could not reach; the router takes it out
        "Secrets of its options are in no reason, answer, log or repr",
    }
}
"""Warnings that are known, by type."""

BUSY = "It does not block the event loop"
"""Where this is a warning, a step took long, but not always: then it was the machine."""


@pytest.fixture
def mail_server() -> Iterator[int]:
    """The port of a server that takes every mail."""
    with smtp_server(Mailbox()) as port:
        yield port


@pytest.mark.parametrize("name", ["apprise", "exec", "file", "forward"])
async def test_a_destination_keeps_its_contract(name):
    if name == "apprise" and not find_spec("apprise"):
        pytest.skip("apprise is not installed")
    report = await check_destination(TYPES[name])
    report.raise_faults()
    assert {check.name for check in report.marked(Mark.WARNING)} <= {BUSY} | EXPECTED.get(name, set()), report
    skipped = {check.name for check in report.marked(Mark.SKIPPED)}
    assert "It behaves" not in skipped
    assert ("It bears whatever a server does" in skipped) == (name in {"exec", "file"})


async def test_mail_keeps_its_contract(mail_server):
    table = {
        "host": "127.0.0.1",
        "port": mail_server,
        "tls": "none",
        "from": "router@example.org",
        "to": ["a@example.org"],
    }
    report = await check_destination(TYPES["email"], table)
    report.raise_faults()
    assert {check.name for check in report.marked(Mark.WARNING)} <= {BUSY}, report


@pytest.mark.parametrize("name", ["apprise", "email", "exec", "file", "forward", "prometheus"])
async def test_the_plugin_as_it_is_installed_is_well(name, tmp_path):
    # what its destinations do is looked at above: here they are handed what they refuse
    tables = Tables({}, {kind: {"no-such-option": True} for kind in TYPES}, tmp_path)
    plugin, *_ = await verify_plugin(name, tables)
    assert [check for check in plugin.checks if check.mark is not Mark.OK] == []
