"""What destinations and plugins say of themselves that is wrong: shown, contained, and no reason to be unready."""

from pathlib import Path

import pytest
import trio
from distributions import SitePackages
from prometheus_client.parser import text_string_to_metric_families
from running import running_router
from structlog.testing import capture_logs
from support import payload

from sodarouter.health import MAX_SAID, Checkup
from sodarouter.lag import monitored
from sodarouter.redact import REDACTED, Redactor


def failing(error: BaseException) -> str:
    raise error


@pytest.mark.parametrize(
    ("health", "shown"),
    [
        (lambda: None, ""),
        (lambda: "", ""),
        (lambda: "no token", "no token"),
        (lambda: " two\n lines ", "two lines"),
        (lambda: "with hunter2222", f"with {REDACTED}"),
        (lambda: "x" * 1000, "x" * MAX_SAID),
        (lambda: "\x1b[31m\udc80", "\ufffd[31m\\udc80"),
        (lambda: True, "its health check fails: TypeError: it must give text or None, not bool"),
        (lambda: failing(ValueError("hunter2222")), f"its health check fails: ValueError: {REDACTED}"),
        (lambda: failing(SystemExit(3)), "its health check fails: SystemExit: 3"),
        (lambda _: None, "its health check fails: TypeError: test_"),
    ],
)
async def test_what_is_said_is_one_line_without_secrets_and_what_cannot_answer_is_unwell(health, shown):
    found = await Checkup(Redactor(["hunter2222"]))("destination team", health)
    assert found == shown if "test_" not in shown else "missing 1 required positional argument" in found


async def test_a_check_that_fails_is_logged_once_for_each_kind_of_failure():
    checkup, failures = Checkup(str), [ValueError("a"), ValueError("a"), ValueError("b"), None, ValueError("b")]
    with capture_logs() as logs:
        for failure in failures:
            await checkup("plugin tickets", lambda failure=failure: failing(failure) if failure else None)
    assert [(line["of"], str(line["exc_info"])) for line in logs] == [
        ("plugin tickets", "a"),
        ("plugin tickets", "b"),
        ("plugin tickets", "b"),  # it was well in between
    ]


async def test_one_that_blocks_the_loop_is_named():
    clock = [0.0]

    def slow() -> None:
        clock[0] += 1

    with monitored(now=lambda: clock[0]) as monitor:
        task = trio.lowlevel.current_task()
        name = task.name
        await trio.lowlevel.checkpoint()  # steps are measured from the first that begins
        await Checkup(str)("destination team", slow)
        assert task.name == name
        await trio.lowlevel.checkpoint()
        assert monitor.lag().blocked == {"destination team": 1}


ILL = """
from sodarouter import Destination, Options, Plugin, hookimpl

class IllOptions(Options):
    wrong: str = ""

class Ill(Destination[IllOptions]):
    type = "ill"

    async def deliver(self): ...

    def health(self):
        if self.options.wrong == "raises":
            1 / 0
        return self.options.wrong

class Hypochondriac(Plugin):
    def __init__(self, options):
        pass

    @hookimpl
    def destination_types(self):
        return [Ill]

    @hookimpl
    def health(self):
        return "it has seen too much"
"""
TOML = """
[destination.well]
type = "ill"
[destination.sick]
type = "ill"
wrong = "no token"
[destination.worse]
type = "ill"
wrong = "raises"
[destination.mute]
type = "file"
path = "mute.jsonl"
[[route]]
to = ["well", "sick", "worse"]
"""


async def test_it_is_shown_and_neither_readiness_nor_deliveries_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = SitePackages(tmp_path / "site", monkeypatch)
    module = "from sodarouter import hookimpl\n\n@hookimpl\ndef health():\n    return None\n"
    site.install("acme-ill", {"ill": "acme_ill:Hypochondriac", "fine": "acme_fine"}, acme_ill=ILL, acme_fine=module)
    async with running_router(tmp_path, TOML) as router:
        await router.post(payload("v3-incidentCreated"))
        assert {one.state for one in await router.until_settled()} == {"delivered"}
        answer = await router.admin.get("/readyz")
        ready = answer.json()
        assert (answer.status_code, ready["ready"], ready["reasons"]) == (200, True, {})
        raised = "its health check fails: ZeroDivisionError: division by zero"
        told = {name: one["health"] for name, one in ready["destinations"].items() if not name.startswith("$")}
        assert told == {"well": None, "sick": "no token", "worse": raised, "mute": None}
        assert ready["plugins"] == {"ill": {"health": "it has seen too much"}, "fine": {"health": None}}
        families = {
            family.name: family for family in text_string_to_metric_families((await router.admin.get("/metrics")).text)
        }
        gauges = {next(iter(one.labels.values())): one.value for one in families["sodarouter_healthy"].samples}
        assert gauges == {"well": 1, "sick": 0, "worse": 0, "ill": 0, "fine": 1}
