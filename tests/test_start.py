"""What a start costs. Seconds differ from machine to machine; what is imported for nothing does not."""

import os
import re
import subprocess
import sys

import pytest
import typer
from commandline import COMMANDS
from running import router_process

from sodarouter.cli import app
from sodarouter.cli.own_commands import MODULES

SERVED = """
[destination.log]
type = "file"
path = "events.jsonl"
[destination.hook]
type = "forward"
url = "https://127.0.0.1:1/"
[[route]]
to = ["log", "hook"]
"""
NOT_TO_SERVE = {
    # the commands, and what only they do
    *(f"sodarouter.cli.{module}" for module in MODULES.values()),
    "sodarouter.anonymise",
    "sodarouter.backtest",
    "sodarouter.config.schema",
    "sodarouter.rehearsal",
    "sodarouter.scaffold",
    "sodarouter.simulate",
    "sodarouter.testing",
    "sodarouter.trial",
    "rich.markdown",
    "rich.progress",
    # what only some configurations and some events need
    "sodarouter.isolation",
    "sodarouter.template.compiled",
    "sodarouter.decide.when.cel",
    "cel_expr_python",
    "google.protobuf",
    "apprise",
    "cryptography",
    "jsonpath",
    "yaml",
}


def imported(log: str) -> set[str]:
    """What a Python that was told to be verbose says that it has imported."""
    return set(re.findall(r"(?m)^import '([\w.]+)' #", log))


def test_a_router_imports_nothing_that_it_does_not_need_to_serve(tmp_path):
    """A module that takes long to load, or much memory, is imported where it is first needed."""
    environment = os.environ | {"PYTHONVERBOSE": "1"}
    with router_process(tmp_path, SERVED, env=environment) as router:
        loaded = imported(router.log)
    assert {"sodarouter.daemon", "sodarouter_forward.options", "quart.app"} <= loaded
    assert not NOT_TO_SERVE & loaded


@pytest.mark.parametrize(("command", "modules"), [(["--version"], set()), (["reload", "--help"], {"reload"})])
def test_a_command_waits_for_no_other(command, modules):
    environment = os.environ | {"PYTHONVERBOSE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "sodarouter", *command], env=environment, capture_output=True, text=True, check=True
    )
    loaded = imported(done.stderr)
    assert {module for module in MODULES.values() if f"sodarouter.cli.{module}" in loaded} == modules
    assert not {"quart.app", "hypercorn.trio.run", "sodarouter.daemon", "cryptography"} & loaded


def test_every_command_has_its_name_in_the_list():
    assert COMMANDS, "all modules are imported for them"
    assert typer.main.get_command(app).imported.keys() == MODULES.keys()
