"""Who takes part in the intake: the router, the bare server under it, and what one would use instead."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.running import HERE, ROUTER, free_port
from benchmarks.scale import Scale
from benchmarks.webhooks import HEADER, SECRET, alerts, webhooks

INTAKE = """
[server]
listen = ["127.0.0.1:{port}"]
{keys}
[admin]
listen = ["127.0.0.1:{admin}"]
[log]
level = "warning"
[source.soda]
path = "/webhooks/soda"
verify = [{{ type = "hmac", header = "{header}", secrets = ["{secret}"], prefix = "sha256=" }}]
"""
DELIVERED = """
[destination.log]
type = "file"
path = "events.jsonl"
[[route]]
to = ["log"]
"""


@dataclass(frozen=True)
class Contender:
    name: str
    command: Callable[[Path, int], list[str]]
    """Puts what it needs into a folder; gives the command that serves on a port of loopback."""
    requests: Callable[[int], Iterator[bytes]]
    """The requests that it is sent, with so many results each."""
    needs: tuple[str, ...] = ()
    """Programs, or Python modules, without which it cannot take part."""
    syncs: bool = False
    """Whether a slow disk makes a difference to it."""

    @property
    def missing(self) -> str:
        """Why it cannot take part, or nothing."""
        lacking = [name for name in self.needs if not shutil.which(name) and not find_spec(name)]
        return f"{self.name} is left out: {', '.join(lacking)} not installed" if lacking else ""


def configured(port: int, more: str = "", *, http: str = "lean", workers: int = 0) -> str:
    """A router.toml whose source takes the signed webhooks."""
    # older versions have but one, and no key for it
    keys = [f'http = "{http}"'] if http != "lean" else []
    keys += [f"workers = {workers}"] if workers else []
    told = {"port": port, "keys": "\n".join(keys), "admin": free_port(), "header": HEADER, "secret": SECRET}
    return INTAKE.format(**told) + more


def _router(folder: Path, port: int, *, more: str = "", http: str = "lean", workers: int = 0) -> list[str]:
    (folder / "router.toml").write_text(configured(port, more, http=http, workers=workers), encoding="utf-8")
    return [*ROUTER, "--config", "router.toml"]


def _bare(folder: Path, port: int) -> list[str]:
    return [sys.executable, str(HERE / "bare.py"), str(port)]


def _commits(folder: Path, port: int) -> list[str]:
    uvicorn = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "commits:app"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    return ["env", f"BENCHMARK_SECRET={SECRET}", *uvicorn, *options]


def _alertmanager(folder: Path, port: int) -> list[str]:
    (folder / "alertmanager.yml").write_text("route: { receiver: none }\nreceivers: [{ name: none }]\n")
    return [
        "prometheus-alertmanager",
        "--config.file=alertmanager.yml",
        f"--storage.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=error",
    ]


def _webhook(folder: Path, port: int) -> list[str]:
    rule = {
        "type": "payload-hmac-sha256",
        "secret": SECRET,
        "parameter": {"source": "header", "name": HEADER},
    }
    hook = {"id": "soda", "execute-command": "/bin/true", "trigger-rule": {"match": rule}}
    (folder / "hooks.json").write_text(json.dumps([hook]))
    return ["webhook", "-hooks", "hooks.json", "-ip", "127.0.0.1", "-port", str(port)]


def at(checkout: Path, contender: Contender) -> Contender:
    """A contender that is the router, as it is in another checkout."""

    def command(folder: Path, port: int) -> list[str]:
        return ["env", f"PYTHONPATH={code_of(checkout)}", *contender.command(folder, port)]

    return replace(contender, name=contender.name.replace("sodarouter", name_of(checkout), 1), command=command)


def name_of(checkout: Path) -> str:
    return f"sodarouter at {checkout.resolve().name}"


def code_of(checkout: Path) -> str:
    """Where Python finds the router of a checkout, before any other."""
    return os.pathsep.join(str(checkout.resolve() / part) for part in ("", "plugins"))


BARE = Contender("bare hypercorn-trio", _bare, partial(webhooks, "/"))
"""The yardstick: it reads the body and keeps nothing."""
ROUTED = Contender("sodarouter", _router, partial(webhooks, "/webhooks/soda"), syncs=True)
DELIVERING = Contender(
    "sodarouter, delivering", partial(_router, more=DELIVERED), partial(webhooks, "/webhooks/soda"), syncs=True
)
CONTENDERS = (
    BARE,
    ROUTED,
    Contender("sodarouter, 2 workers", partial(_router, workers=2), partial(webhooks, "/webhooks/soda"), syncs=True),
    DELIVERING,
    Contender(
        "sodarouter, on hypercorn", partial(_router, http="hypercorn"), partial(webhooks, "/webhooks/soda"), syncs=True
    ),
    Contender(
        "FastAPI, a commit each",
        _commits,
        partial(webhooks, "/webhooks/soda"),
        ("fastapi", "uvicorn", "uvloop", "httptools"),
        syncs=True,
    ),
    Contender(
        "Alertmanager, in memory", _alertmanager, partial(alerts, "/api/v2/alerts"), ("prometheus-alertmanager",)
    ),
    Contender("webhook, running true", _webhook, partial(webhooks, "/hooks/soda"), ("webhook",)),
)


def taking_part(scale: Scale, figures: Figures) -> list[Contender]:
    """Those that are asked for and can take part; of the others that are asked for, the figures say why not.

    Another version takes part wherever this one does, and the figures compare with it.
    """
    asked = [one for one in CONTENDERS if one.name.startswith(scale.only or "")]
    for one in asked:
        if one.missing:
            figures.note(one.missing)
    found = [one for one in asked if not one.missing]
    others = [at(scale.against, one) for one in found if one in (ROUTED, DELIVERING)] if scale.against else []
    if others:
        figures.against = others[0].name
    return [*found, *others]
