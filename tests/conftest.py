"""The fixtures of the tests of the commands, and what all tests have."""

import logging
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import structlog
import trio
from commandline import CANARY, ROUTES, Command, Ran, fill
from hypothesis import settings
from rawhttp import Served

from sodarouter.cli import main
from sodarouter.serve.server import Http

# how long an example takes is the machine's affair, and what fails here fails for everybody
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The tests start some two hundred routers and commands: where no bytecode is kept, each of them would compile all that
    it imports, which is a third of its start."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("bytecode"))


@pytest.fixture(params=get_args(Http))
def http(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Http:
    """Has all of a test be served in one of the ways in which there is to serve."""
    monkeypatch.setattr(Served, "http", request.param)
    return request.param


@pytest.fixture(params=[*((http, 0) for http in get_args(Http)), ("lean", 1)], ids=[*get_args(Http), "workers"])
def intake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the routers of a test take in in each of the ways in which they can."""
    http, workers = request.param
    monkeypatch.setattr(Served, "http", http)
    monkeypatch.setattr(Served, "workers", workers)


@pytest.fixture
def sodarouter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in this process and in the folder of the test. Never a traceback, never a secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sodarouter", *arguments])
        capsys.readouterr()
        status: object = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
        assert isinstance(status, int)
        ran = Ran(status, *capsys.readouterr())
        assert "Traceback" not in ran.out + ran.err
        assert CANARY not in ran.out + ran.err
        return ran

    return run


@pytest.fixture
def own_log() -> Iterator[None]:
    """Lets a test set up the log, which is the process's, and puts back what was there."""
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``router.toml`` and the spool of a router that has run: six events, a repeat, a quarantined body."""
    folder = tmp_path_factory.mktemp("filled")
    # bound, but it does not listen: nobody else can open the port, and connections are refused
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        trio.run(fill, folder, ROUTES % refusing.getsockname()[1])
    return folder


@pytest.fixture
def spool(filled: Path, tmp_path: Path) -> Path:
    """A copy of `filled` in the folder of the test."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    return tmp_path
