"""A secret in every place that takes one is found nowhere afterwards.

A router runs with a canary in each secret option, with destinations that send back whatever they get, with a plugin that
tells its secrets wherever it can (`leaky`), and with events whose callback URLs are canaries. Then all that it has left
behind is searched, in every spelling.
"""

import base64
import html
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import typer
from aiosmtpd.handlers import Sink as Mailbox
from aiosmtpd.smtp import SMTP, AuthResult
from canaries import (
    CALLBACKS,
    CONFIGURED,
    DESTINATIONS,
    EVENTS,
    MALFORMED,
    MISTAKES,
    SECRETS,
    VARIABLE,
    broken,
    find,
    places,
    taken,
    write_config,
)
from distributions import SitePackages
from mailing import smtp_server
from running import Process, router_process, until
from sink import Answer, Request, open_sink

from sodarouter.cli import app, main
from sodarouter.config import Config, load
from sodarouter.config.tables import DestinationTable, File
from sodarouter.delivery import State
from sodarouter.redact import REDACTED
from sodarouter.spool import DeliveryFilter, SqliteReader
from sodarouter.verify import sign

CUT = 8192
"""Characters of an answer that the destination type ``forward`` keeps."""

ALL = [*CONFIGURED, *CALLBACKS, "mistake"]


@dataclass(repr=False)
class Left:
    """What a router has left behind: bytes, by where they were."""

    config: Config
    texts: dict[str, bytes] = field(default_factory=dict)
    spool: dict[str, bytes] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)
    """Those that were run."""
    given: bytes = b""
    """What the sink got."""


def echoes(request: Request) -> list[Answer]:
    """What can be made of a request, to be sent back."""
    body = request.body.decode()
    asked = json.dumps({"target": request.target, "headers": request.headers})
    credentials = " ".join(
        request.headers.get(name, "") for name in ("authorization", "x-token", "proxy-authorization")
    )
    texts = [
        asked,
        body,
        html.escape(asked),
        html.escape(body),
        json.dumps({"asked": asked, "body": body}),
        repr((request.target, request.headers, request.body)),
        base64.b64encode(asked.encode()).decode(),
        # cut in the middle of a token
        "-" * (CUT - body.find("incident-link/") - 40) + body,
    ]
    answers = [Answer(500 if number % 2 else 400, body=text.encode()) for number, text in enumerate(texts)]
    return [*answers, Answer(raw=f"HTTP/1.1 500 {credentials}\r\nRetry-After: {credentials}\r\n\r\n".encode())]


@contextmanager
def mail_server() -> Iterator[int]:
    """The port of a server that refuses every login and repeats it."""

    def refuse(server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        plain = base64.b64encode(b"\0" + data.login + b"\0" + data.password).decode()
        return AuthResult(success=False, handled=False, message=f"535 5.7.8 {data.password.decode()} {plain} {data}")

    with smtp_server(Mailbox(), authenticator=refuse, auth_require_tls=False) as port:
        yield port


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder = tmp_path_factory.mktemp("canary")
    with pytest.MonkeyPatch.context() as patch, mail_server() as mail:
        site = SitePackages(folder / "site", patch)
        plugin = (Path(__file__).parent / "leaky.py").read_text(encoding="utf-8")
        site.install("sodarouter-leaky", {"leaky": "sodarouter_leaky:LeakyPlugin"}, sodarouter_leaky=plugin)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")]))
        patch.setenv(VARIABLE, SECRETS["source_standard"])
        patch.setenv("COLUMNS", "200")
        patch.chdir(folder)
        yield trio.run(leave, folder, mail)


async def leave(folder: Path, mail: int) -> Left:
    """Runs a router through all that may happen to it."""
    with trio.fail_after(300):  # only what hangs is to end by it
        async with open_sink() as sink:
            seen: Counter[str] = Counter()

            def echo(request: Request) -> Answer:
                if request.target == "/tickets":
                    return Answer(201, body=b'{"id": 7}')
                possible = echoes(request)
                seen[request.target] += 1
                return possible[seen[request.target] % len(possible)]

            sink.reply = echo
            path = write_config(folder, sink.url, mail)
            left = Left(load(path))
            with router_process(folder) as router:
                await _ask(router, left)
                await _settled(left.config.file.spool.path)
                _look(left)
                left.spool |= {f"running/{file.name}": file.read_bytes() for file in (folder / "var").iterdir()}
                assert await trio.to_thread.run_sync(router.end, signal.SIGTERM) == 0
                left.texts["log"] = router.log.encode()
            left.spool |= {f"stopped/{file.name}": file.read_bytes() for file in (folder / "var").iterdir()}
            left.texts |= {name: (folder / name).read_bytes() for name in ("events.jsonl", "payloads.jsonl")}
            left.given = repr(sink.requests).encode()
    return left


async def _ask(router: Process, left: Left) -> None:
    """Posts events and asks for pages, rightly and wrongly."""
    verify = left.config.sources[0].table.verify
    token = {"Authorization": f"Bearer {SECRETS['token']}"}
    hook = "/webhooks/soda"
    async with (
        httpx2.AsyncClient(base_url=router.url, trust_env=False) as server,
        httpx2.AsyncClient(base_url=f"http://{router.ready['admin'][0]}", trust_env=False) as admin,
    ):

        async def ask(client: httpx2.AsyncClient, method: str, path: str, **known: Any) -> int:
            answer = await client.request(method, path, **known)
            head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
            key = f"{len(left.texts)} {method} {path}"
            left.texts[key] = f"{answer.status_code} {answer.reason_phrase}\n{head}\n\n".encode() + answer.content
            return answer.status_code

        def signed(body: bytes, **other: str) -> dict[bytes, bytes]:
            headers = {**sign(verify, body, time.time()), **other}
            return {name.encode(): value.encode("latin-1") for name, value in headers.items()}

        for text in EVENTS:
            body = text.encode()
            assert await ask(server, "POST", hook, content=body, headers=signed(body)) == 200
            assert await ask(server, "POST", hook, content=body, headers=signed(body)) == 200, "it is a repeat"
        for text in MALFORMED:
            body = text.encode().replace(rb"\u2603", b"\xe2\x98")
            assert await ask(server, "POST", hook, content=body, headers=signed(body)) in {400, 422}
        for other in ("X-Token", "Authorization", "X-Soda-Signature", "webhook-signature", "webhook-timestamp"):
            wrong = signed(b"{}", **{other: "wrong"})
            assert await ask(server, "POST", hook, content=b"{}", headers=wrong) == 401
        assert await ask(server, "POST", hook, content=b"{}") == 401
        assert await ask(server, "GET", hook, headers=token) == 405
        assert await ask(server, "GET", "/readyz", headers=token) == 404
        assert await ask(admin, "GET", "/metrics") == 401
        assert await ask(admin, "GET", "/metrics", headers={"Authorization": f"Basic {SECRETS['token']}"}) == 401
        for page in ("/metrics", "/readyz", "/livez"):
            assert await ask(admin, "GET", page, headers=token) == 200
        assert await ask(admin, "GET", "/leaky", headers=token) == 500
        assert await ask(admin, "GET", "/nowhere", headers=token) == 404
        assert await ask(admin, "POST", "/api/deliveries/retry", headers=token, json={"deliveries": [3]}) == 422
        assert await ask(admin, "POST", "/api/deliveries/retry", headers=token, json={"deliveries": ["x/url"]}) == 200


async def _settled(spool: Path) -> None:
    reader = SqliteReader(spool)

    def settled() -> bool:
        found = reader.deliveries(limit=1000)
        ended = sum(delivery.state in {State.DELIVERED, State.DEAD} for delivery in found)
        # `validate` is delivered only where a route names it
        return ended == len(found) == (len(EVENTS) - 1) * len(DESTINATIONS)

    await until(settled)
    reader.close()


def _look(left: Left) -> None:
    """Runs every command that looks, on a configuration that is right and on all those that are wrong."""
    reader = SqliteReader(left.config.file.spool.path)
    events = [stored.event.id for stored in reader.events(limit=100)]
    shown = [*events]
    shown += [delivery.id for delivery in reader.deliveries(DeliveryFilter(event=shown[-1]), limit=1000)]
    shown += [refused.id for refused in reader.quarantined(limit=100)]
    reader.close()
    for mistake in MISTAKES:
        Path(f"{mistake}.toml").write_text(broken(left.config.path.read_text(encoding="utf-8"), mistake))
    Path("nothing.toml").write_text("", encoding="utf-8")  # without a route all is removed, and shown
    commands = [
        ["simulate", "incidentCreated", "--post", "soda"],
        ["events"],
        ["events", "--unrouted"],
        ["deliveries", "--limit", "1000"],
        ["dead", "--limit", "1000"],
        ["quarantine"],
        ["plugins"],
        ["schema"],
        ["schema", "leaky"],
        ["plugin", "verify", "leaky", "--options", "router.toml"],
        ["check"],
        ["destinations"],
        ["store", "events"],
        ["store", "events", "--forget", "none"],
        ["export", "--all"],
        ["quarantine", "export", "--all"],
        ["quarantine", "retry", "--all", "--yes"],
        ["retry", "--all", "--dry-run"],
        ["retry", "--all", "--yes"],
        ["discard", "--all", "--dry-run"],
        ["replay", "--all", "--dry-run"],
        ["replay", "--all", "--to", "events", "--yes"],
        ["pause", "events"],
        ["drain", "events"],
        ["resume", "events"],
        ["reload"],
        ["backup", "copy.db", "--force"],
        ["restore", "copy.db", "--yes"],
        ["backtest", "nothing.toml"],
        ["backtest", "nothing.toml", "--markdown"],
        *(["backtest", f"{mistake}.toml"] for mistake in MISTAKES),
        *(["show", name] for name in shown),
        *([command, name] for command in ("route", "why") for name in shown[:100] if "/" not in name),
        ["why-not", shown[0], "events"],
        ["orphans"],
        ["backtest", str(left.config.path), "--since", "30d"],
        ["silence", "add", "--match", "severity=low", "--for", "1h", "--reason", "a test", "--author", "ann"],
        ["silence", "add", "--all", "--dry-run"],
        ["silence", "--all"],
        ["mute", "soda", "1s"],
        ["unmute", "soda"],
        *(["fixture", name] for name in events),
        *(["fixture", name, "--keep", "*"] for name in events),
        *(["check", "--config", f"{mistake}.toml"] for mistake in MISTAKES),
    ]
    for command in commands:
        for arguments in (command, [*command, "--json"]):
            left.texts[" ".join(arguments)] = _printed(arguments)
    for mistake in MISTAKES:
        left.texts[f"started with a secret {mistake}"] = _printed(["--config", f"{mistake}.toml"])
        assert left.texts[f"started with a secret {mistake}"]
        assert b'"ok": false' in left.texts[f"check --config {mistake}.toml --json"]
    assert b'"kind": "removed"' in left.texts["backtest nothing.toml --json"]
    left.commands = {command[0] for command in commands}


def _printed(arguments: list[str]) -> bytes:
    """What a command prints on both its streams."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
        patch.setattr(sys, "argv", ["sodarouter", *arguments])
        # in a thread: one that runs a loop of its own cannot do so in this one
        with pytest.raises(SystemExit), ThreadPoolExecutor(1) as thread:
            thread.submit(main).result()
    return printed.getvalue().encode(errors="surrogateescape")


def test_every_option_that_takes_a_secret_holds_a_canary(left):
    """If this fails, an option is new: give it a secret in `canaries`."""
    plugins = left.config.plugins
    models = [File, DestinationTable, *(kind.options_type for kind in plugins.types.values())]
    models += [plugin.options_type for plugin in plugins.found if plugin.options_type]
    tables = [left.config.file, *(part for one in left.config.destinations for part in (one.table, one.options))]
    tables += [plugin.target.options for plugin in plugins.found if plugin.options_type]
    with_canary = {place for table in tables for place, secret in taken(table) if find(secret.encode(), ALL)}
    assert {place for model in models for place in places(model)} == with_canary
    assert {"/File.admin/Admin.token", "/ForwardOptions.sign/HmacSignature.secrets"} < with_canary


def test_every_command_was_run(left):
    """If this fails, a command is new: add it to those of `_look`."""
    assert left.commands == set(typer.main.get_command(app).commands)


def test_the_secrets_were_used(left):
    """Otherwise it would be no wonder that they are nowhere."""
    used = {"url_path", "url_query", "header", "basic", "bearer", "proxy", "outgoing", "apprise", "apprise_path"}
    assert find(left.given, CONFIGURED) >= used
    assert find(left.given, CALLBACKS) == {name for name in CALLBACKS if find("".join(EVENTS).encode(), [name])}
    log = left.texts["log"]
    for said in (b"Telling", b"a library has", b"535 5.7.8", b"answered 500", b"Exception in thread", b"UserWarning"):
        assert said in log
    assert log.count(REDACTED.encode()) > 100


def test_no_secret_of_the_configuration_is_in_anything_that_people_see(left):
    found = {where: find(data, [*CONFIGURED, "mistake"]) for where, data in left.texts.items()}
    assert {where: names for where, names in found.items() if names} == {}


def test_no_callback_url_is_in_anything_that_people_see(left):
    found = {where: find(data, CALLBACKS) for where, data in left.texts.items()}
    assert {where: names for where, names in found.items() if names} == {}


def test_no_secret_of_the_configuration_is_in_the_spool(left):
    assert {where.partition("/")[2] for where in left.spool} > {"sodarouter.db", "sodarouter.db-wal"}
    found = {where: find(data, CONFIGURED) for where, data in left.spool.items()}
    assert {where: names for where, names in found.items() if names} == {}


def test_no_callback_url_is_in_the_spool(left):
    found = {where: find(data, CALLBACKS) for where, data in left.spool.items()}
    assert {where: names for where, names in found.items() if names} == {}


@pytest.mark.parametrize("how", ["raises", "raises_a_group", "exits", "crash"])
def test_no_secret_is_in_what_a_router_says_that_does_not_start_or_ends_in_a_crash(left, tmp_path, how):
    config = left.config.path.read_text(encoding="utf-8").partition("[destination.")[0]
    config += f'[destination.leaky]\ntype = "leaky"\ntoken = {{ file = "leaky" }}\nat_start = "{how}"\n'
    path = left.config.path.with_name(f"{how}.toml")
    path.write_text(config.replace("[spool]", f'[spool]\npath = "{tmp_path}/spool"'), encoding="utf-8")
    command = [sys.executable, "-m", "sodarouter", "--config", str(path)]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    said = ended.stdout + ended.stderr
    assert ended.returncode != 0
    assert REDACTED.encode() in said
    assert find(said, ALL) == set()
