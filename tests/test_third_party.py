"""A stranger's plugin: the tutorial's own, built, installed beside the router into a fresh environment, and run there."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributions import SitePackages
from support import make_event, payload

import sodarouter
from sodarouter.plugins import DeliverHook, Plugins, find

ABOVE = Path(__file__).resolve().parents
DOCS = next((path for folder in ABOVE if (path := folder / "docs" / "plugins.md").is_file()), None)
ROOT = next((folder for folder in ABOVE if (folder / "sodarouter" / "__init__.py").is_file()), None)
"""The checkout; ``None`` where the suite runs by itself against an installed router."""

if DOCS is None:
    pytest.skip("there is no docs/plugins.md above, and it has the plugin to build", allow_module_level=True)

BUILT_IN = {"apprise", "email", "exec", "file", "forward", "prometheus"}
PATIENCE = 60.0
"""Seconds after which the daemon is taken to hang."""


def docs() -> str:
    """The tutorial, and behind it the reference."""
    pages = sorted(DOCS.with_suffix("").glob("*.md"))
    return "\n".join(page.read_text(encoding="utf-8") for page in (DOCS, *pages))


def files() -> dict[str, list[str]]:
    """The tutorial's blocks that begin with a file's name, in their order."""
    found: dict[str, list[str]] = {}
    for name, block in re.findall(r"^```\w+\n# (\S+\.\w+)\n(.*?)^```$", docs(), re.MULTILINE | re.DOTALL):
        found.setdefault(name, []).append(block)
    return found


# the docs


def test_every_python_block_of_the_docs_is_complete():
    blocks = re.findall(r"^```python\n(.*?)^```$", docs(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        ast.parse(block)


async def test_the_five_lines_are_a_plugin(tmp_path, monkeypatch, capsys):
    site = SitePackages(tmp_path / "site", monkeypatch)
    site.install("sodarouter-notes", {"notes": "sodarouter_notes"}, sodarouter_notes=files()["sodarouter_notes.py"][0])
    plugins = Plugins(find(), {})
    assert plugins.faults() == []
    deliver = DeliverHook(plugins.types["notes"]("x", sodarouter.Options()))
    event = make_event("v4-2025-08-incidentCreated")
    await deliver(event, None, None)
    assert event.view.url in capsys.readouterr().out


async def test_the_sample_plugin_with_a_page_serves_it(tmp_path, monkeypatch):
    site = SitePackages(tmp_path / "site", monkeypatch)
    (source,) = files()["sodarouter_health.py"]
    site.install("sodarouter-health", {"health": "sodarouter_health:Health"}, sodarouter_health=source)
    plugins = Plugins(find(), {})
    assert plugins.faults() == []
    (route,) = [route for name, route in plugins.routes if name == "health"]

    async def stats() -> sodarouter.Stats:
        return sodarouter.Stats({"team": sodarouter.Queue(pending=2, dead=1)})

    answer = await route.handler(sodarouter.HttpRequest("GET", "/queues", {}, {}, b"", stats))
    assert (route.path, answer.body) == ("/queues", "team 2 waiting, 1 dead\n")


# the fresh environment


def run(*command: object, cwd: Path) -> str:
    """What a command prints; whatever it says when it fails is the test's failure."""
    # the checkout must not be found in another way than by being installed
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source tree that a reader of the tutorial has at its end."""
    folder = tmp_path_factory.mktemp("sodarouter-notes")
    for name, blocks in files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(blocks[-1], encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def environment(tutorial: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the router, its dependencies and the tutorial's plugin, all from wheels."""
    if ROOT is None:
        pytest.skip("the router's sources are not here to be built")
    folder = tmp_path_factory.mktemp("fresh")
    wheels = folder / "wheels"
    # by way of the source distribution, so that this one too is known to be whole
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", wheels, ROOT, cwd=folder)
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", wheels, tutorial, cwd=folder)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    # what is imported is compiled then; most of it never is
    pip(folder / "env", "install", "--no-compile", *sorted(wheels.glob("*.whl")))
    return folder / "env"


def pip(environment: Path, *arguments: object) -> None:
    run(sys.executable, "-m", "pip", "--python", environment / "bin" / "python", *arguments, cwd=environment)


@pytest.fixture(scope="session", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, environment: Path) -> Path:
    """The environment's commands, with the router installed in one of two ways."""
    if request.param == "editable":
        pip(environment, "install", "--no-deps", "--editable", ROOT)
    return environment / "bin"


def test_the_plugins_are_found(installed, tmp_path):
    listed = json.loads(run(installed / "sodarouter", "plugins", "--json", cwd=tmp_path))
    by_name = {plugin["name"]: plugin for plugin in listed}
    assert set(by_name) == BUILT_IN | {"notes"}
    assert not any(plugin["fault"] for plugin in listed)
    assert {name for name, plugin in by_name.items() if plugin["distribution"] == "sodarouter"} == BUILT_IN
    notes = by_name["notes"]
    assert (notes["distribution"], notes["version"], notes["destinations"]) == ("sodarouter-notes", "0.1.0", ["notes"])


def test_the_installed_router_comes_from_where_it_should(installed, request, tmp_path):
    code = "import sodarouter, sodarouter_file, sodarouter_email; print(sodarouter.__file__, sodarouter_file.__file__)"
    places = run(installed / "python", "-c", code, cwd=tmp_path).split()
    editable = "editable" in request.node.name
    assert all(place.startswith(str(ROOT if editable else installed.parent)) for place in places)


def test_type_checkers_see_the_front_door(installed, tutorial, tmp_path):
    """The tutorial's plugin and its test, strictly; and a mistake is one."""
    mypy = (
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        installed / "python",
        "--cache-dir",
        tmp_path,
    )
    run(
        *mypy,
        *(tutorial / name for name in files() if name.endswith(".py")),
        cwd=tutorial,
    )
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import sodarouter\nsodarouter.Retry(1)\n", encoding="utf-8")
    done = subprocess.run([*map(str, mypy), str(wrong)], cwd=tmp_path, capture_output=True, text=True)
    assert 'Argument 1 to "Retry" has incompatible type "int"; expected "str"' in done.stdout


def test_the_tutorial_s_own_test_passes(tutorial):
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_notes.py", cwd=tutorial)


class Daemon:
    """The router as a process of its own; its log is read line by line."""

    def __init__(self, command: Path, config: Path) -> None:
        self.process = subprocess.Popen(
            [command, "--config", config.name], cwd=config.parent, stderr=subprocess.PIPE, text=True
        )
        # reading blocks: if what is waited for never comes, the log must end
        self._last_resort = threading.Timer(PATIENCE, self.process.kill)
        self._last_resort.start()
        self.seen: list[str] = []

    def wait_for(self, message: str) -> dict[str, object]:
        """The next line of the log with that message."""
        for line in self.process.stderr:
            self.seen.append(line)
            if (logged := json.loads(line)).get("message") == message:
                return logged
        pytest.fail(f"the router ended without {message!r}:\n{''.join(self.seen)}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status."""
        self.process.send_signal(how)
        for _ in self.process.stderr:
            pass
        return self.process.wait()

    def close(self) -> None:
        self.stop(signal.SIGKILL)
        self._last_resort.cancel()
        self.process.stderr.close()


@pytest.fixture
def daemon(installed: Path, tutorial: Path, tmp_path: Path) -> Iterator[Daemon]:
    """The tutorial's router.toml, on ports of its own and with every delivery logged."""
    own = '[server]\nlisten = ["127.0.0.1:0"]\n[admin]\nlisten = ["unix:admin.sock"]\n[log]\nlevel = "debug"\n'
    config = tmp_path / "router.toml"
    config.write_text(own + (tutorial / "router.toml").read_text(encoding="utf-8"), encoding="utf-8")
    daemon = Daemon(installed / "sodarouter", config)
    yield daemon
    daemon.close()


def test_both_instances_of_the_plugin_receive_an_event(daemon, tmp_path):
    (address,) = daemon.wait_for("ready")["listen"]
    request = urllib.request.Request(f"http://{address}/webhooks/soda", payload("v4-2025-08-incidentCreated"))
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        event = json.load(answer)["id"]
    settled = [daemon.wait_for("delivered") for _ in range(2)]
    assert {(line["event_id"], line["destination"], line["outcome"]) for line in settled} == {
        (event, "team", "delivered"),
        (event, "incidents", "delivered"),
    }
    assert daemon.stop() == 0
    incident = make_event("v4-2025-08-incidentCreated").view.incident
    assert (tmp_path / "team.md").read_text().endswith(" incidentCreated\n")
    assert (tmp_path / "incidents.md").read_text() == f"- {incident.severity}: {incident.title} ({incident.url})\n"
