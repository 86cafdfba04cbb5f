"""What the tests of the commands share: how a command is run, and a spool for it to look at."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio
import typer
from running import OUTGOING, running_router
from support import payload

from sodarouter.cli import app

CANARY = "canary-3f9d"
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"


def _commands(group: Any, *above: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield " ".join([*above, name]), command
        if hasattr(command, "commands"):
            yield from _commands(command, *above, name)


COMMANDS: dict[str, Any] = dict(_commands(typer.main.get_command(app)))
"""Click's commands by what is typed for them, such as ``quarantine retry``."""


@dataclass
class Ran:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]


async def run_beside(command: Command, *arguments: str) -> Ran:
    """Runs it in a thread, so that what serves it in this loop can answer; and it may run a loop of its own."""
    return await trio.to_thread.run_sync(partial(command, *arguments))


def process(*arguments: str, folder: Path, **known: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sodarouter", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, **known)


def free_ports(count: int) -> list[int]:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in opened]
    finally:
        for one in opened:
            one.close()


def listening(server: int, admin: int) -> str:
    """The tables of a ``router.toml`` that the commands can reach its listeners by."""
    return f'[server]\nlisten = ["127.0.0.1:{server}"]\n[admin]\nlisten = ["127.0.0.1:{admin}"]\n{OUTGOING}'


ROUTES = """
[destination.log]
type = "file"
path = "events.jsonl"
[destination.closed]
type = "forward"
url = "http://127.0.0.1:%d/"
retry = { max_attempts = 1 }
[[route]]
name = "failures"
match = { event = "checkEvaluation", outcome = "fail" }
to = ["log"]
[[route]]
match = { severity = "critical" }
to = ["closed", "log"]
"""

TWO_RESULTS = {
    "event": "checkEvaluation",
    "checkResults": [
        {"id": "1", "name": "rows", "outcome": "pass"},
        {"id": "2", "name": "nulls [red]\x1b[31m\u202e\nhere", "outcome": "fail", "datasets": [{"name": "orders"}]},
    ],
}


async def fill(folder: Path, toml: str) -> None:
    """Runs a router that takes in six events, one of them twice, and a body that goes to quarantine."""
    async with running_router(folder, toml) as router:
        incident = json.loads(payload("v3-incidentCreated"))
        incident["incident"] |= {"severity": "critical", "title": "Orders are late", "number": 7}
        incident["incidentLinkCallbackUrl"] = f"https://cloud.soda.io/callback/{CANARY}"
        bodies = [json.dumps(TWO_RESULTS), json.dumps(incident), payload("v3-agreementCreated")]
        for body in (*bodies, payload("v4-2025-08-contractPublished"), '{"event": "validate"}', '{"event": "new"}'):
            await router.post(body.encode() if isinstance(body, str) else body)
        await router.post(json.dumps(incident).encode())
        await router.post(b'{"event": "checkEvaluation", "checkResults": 3}')
        await router.until_settled()


def without(folder: Path, destination: str) -> None:
    """Takes a destination out of ``router.toml``."""
    text = (folder / "router.toml").read_text()
    (folder / "router.toml").write_text(text.replace(f"[destination.{destination}]", "[destination.renamed]"))
