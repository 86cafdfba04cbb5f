"""``sodarouter plugin``: a new plugin works as it is written, and one that is installed can be verified."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from commandline import CANARY, process
from distributions import SitePackages
from running import router_process
from support import payload

from sodarouter.scaffold import WRITTEN, Kind, write_plugin
from sodarouter.testing import open_sink

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "pyproject.toml"


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What a command prints; whatever it says when it fails is the test's failure."""
    known = {**os.environ, **environment}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=known, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


NEW = {"chat-room": Kind.DESTINATION, "alarm": Kind.SOURCE, "weight": Kind.ENRICH}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there is a new plugin of each kind, as it is written."""
    folder = tmp_path_factory.mktemp("new")
    ran = process("plugin", "new", "chat-room", folder=folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "sodarouter-chat-room: 7 files written" in ran.stdout
    for name in ("alarm", "weight"):
        write_plugin(name, folder / f"sodarouter-{name}", NEW[name])
    return folder


@pytest.fixture(scope="module")
def site(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed them."""
    target = tmp_path_factory.mktemp("site")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--no-compile")
    run(sys.executable, "-m", "pip", "install", *offline, "--target", target, *written.iterdir(), cwd=written)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new plugins can be found, in this process and in others."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))


# new


@pytest.mark.parametrize("name", NEW)
def test_it_is_a_whole_distribution(written, name):
    folder, part = written / f"sodarouter-{name}", name.replace("-", "_")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {pattern.format(name=part, module=f"sodarouter_{part}") for pattern in WRITTEN}
    assert "$" not in "".join(path.read_text() for path in folder.rglob("*") if path.is_file())


def test_their_own_tests_pass(written):
    folders = [written / f"sodarouter-{name}" for name in NEW]
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    settings = ("-q", "-p", "no:cacheprovider", "-c", folders[0] / "pyproject.toml", "--import-mode=importlib")
    told = run(sys.executable, "-m", "pytest", *settings, *folders, cwd=written, PYTHONPATH=path)
    assert "10 passed" in told


def test_they_are_formatted_linted_and_typed_as_the_router_is(written, tmp_path):
    ruff = (sys.executable, "-m", "ruff")
    folders = [written / f"sodarouter-{name}" for name in NEW]
    for folder in folders:
        run(*ruff, "check", "--no-cache", "--config", CONFIG, ".", cwd=folder)
        run(*ruff, "format", "--no-cache", "--check", "--config", CONFIG, ".", cwd=folder)
    path = os.pathsep.join(map(str, [ROOT, ROOT / "plugins", *folders]))
    packages = [part for name in NEW for part in ("-p", f"sodarouter_{name.replace('-', '_')}")]
    tests = [test for folder in folders for test in (folder / "tests").glob("*.py")]
    mypy = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path)
    run(*mypy, *tests, cwd=written, MYPYPATH=path)
    run(*mypy, *packages, cwd=written, MYPYPATH=path)


@pytest.mark.parametrize("name", NEW)
def test_installed_it_is_verified(installed, sodarouter, name):
    ran = sodarouter("plugin", "verify", name, "--json")
    assert [check for check in ran.json["checks"] if check["result"] != "ok"] == []
    assert (ran.status, ran.json["ok"]) == (0, True)
    assert len(ran.json["checks"]) == ran.json["counts"]["ok"] > (30 if name == "chat-room" else 12)


@pytest.mark.parametrize("name", NEW)
def test_its_configuration_can_be_tried(installed, sodarouter, written, tmp_path, name):
    text = (written / f"sodarouter-{name}" / "router.toml").read_text()
    (tmp_path / "router.toml").write_text(text)
    ran = sodarouter("check")
    assert (ran.status, ran.err) == (0, "")


async def test_installed_it_receives_an_event(installed, tmp_path):
    async with open_sink() as sink:
        toml = f'[destination.team]\ntype = "chat-room"\nurl = "{sink.url}/hook"\n[[route]]\nto = ["team"]\n'
        with router_process(tmp_path, toml) as router:
            async with httpx2.AsyncClient(base_url=router.url, trust_env=False) as client:
                answer = await client.post("/webhooks/soda", content=payload("v4-2025-08-incidentCreated"))
                assert answer.status_code == 200
            await sink.until_requests(1)
    (request,) = sink.requests
    assert request.headers["idempotency-key"] == f"{answer.json()['id']}/team"
    assert json.loads(request.body)["text"].startswith("Soda: incidentCreated ")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Chat", "'Chat': a name is a word such as \"chat\" or \"chat-room\", in lower case; did you mean 'chat'?"),
        ("chat_room", "did you mean 'chat-room'?"),
        ("sodarouter-chat", "'sodarouter-chat': leave sodarouter- out; did you mean 'chat'?"),
        ("9", "'9': a name is a word"),
        ("file", "'file': sodarouter has a plugin of this name"),
        ("event", "'event': its class would have the name of something that it imports"),
        ("http", "'http': its class would have the name of something that it imports"),
    ],
)
def test_a_name_that_is_none_is_refused(sodarouter, tmp_path, name, told):
    ran = sodarouter("plugin", "new", name)
    assert ran.status == 1
    assert told in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(sodarouter, tmp_path):
    (tmp_path / "mine").mkdir()
    ran = sodarouter("plugin", "new", "chat", "--path", "mine")
    assert (ran.status, ran.err) == (1, "sodarouter: mine: is there already; name another folder with --path\n")
    assert list((tmp_path / "mine").iterdir()) == []


# verify


FAULTY = """
    from sodarouter import Destination, Options, hookimpl

    class FaultyOptions(Options):
        path: str

    class Faulty(Destination[FaultyOptions]):
        type = "faulty"

        async def deliver(self, event):
            raise KeyError(event.type)

    @hookimpl
    def destination_types():
        return [Faulty]

    @hookimpl
    def event_accepted(event):
        event.view.incident.title
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePackages:
    return SitePackages(tmp_path / "site", monkeypatch)


def test_what_is_wrong_is_told_line_by_line(sodarouter, packages, tmp_path):
    packages.install("faulty", {"faulty": "faulty"}, faulty=FAULTY)
    ran = sodarouter("plugin", "verify", "faulty")
    assert ran.status == 1
    for line in (
        "plugin faulty",
        "  ok       The router can load it, and call its hooks",
        "  warning  Its distribution is called sodarouter-…, so that people find it: it is called faulty",
        '  fault    Its distribution requires sodarouter: put "sodarouter" into the dependencies of its pyproject.toml',
        "destination type faulty",
        "  fault    Every option has a description: put a docstring under path",
        "  skipped  It behaves: it needs options, and has no example of its own",
        "faulty: not well: 19 checks, 3 faults, 3 warnings; 2 could not be checked",
    ):
        assert line in ran.out.splitlines()
    assert "event_accepted fails at the sample v3/validate: AttributeError" in ran.out
    (tmp_path / "options.toml").write_text('[destination.any]\ntype = "faulty"\npath = "x"\ntimeout = "1s"\n')
    ran = sodarouter("plugin", "verify", "faulty", "--options", "options.toml", "--json")
    assert (ran.status, ran.json["ok"]) == (1, False)
    texts = {check["check"]: check["text"] for check in ran.json["checks"]}
    name = "It takes, puts off or rejects every sample event, and fails at none"
    assert texts[name] == "at the sample v3/validate: KeyError: 'validate'"


LEAKY = """
    import sys
    from sodarouter import Destination, Options, Retry, Secret, hookimpl

    class LeakyOptions(Options):
        token: Secret

    class Leaky(Destination[LeakyOptions]):
        type = "leaky"

        async def deliver(self, event):
            print(self.options.token.get_secret_value())
            print(self.options.token.get_secret_value(), file=sys.stderr)
            raise ValueError(f"no such token: {self.options.token.get_secret_value()}")

    @hookimpl
    def destination_types():
        return [Leaky]
"""


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_secret_of_the_options_is_not_printed(sodarouter, packages, tmp_path, form):
    packages.install("sodarouter-leaky", {"leaky": "sodarouter_leaky"}, sodarouter_leaky=LEAKY)
    (tmp_path / "options.toml").write_text(f'[destination.any]\ntype = "leaky"\ntoken = "{CANARY}"\n')
    ran = sodarouter("plugin", "verify", "leaky", "--options", "options.toml", *form)
    assert "no such token: **********" in ran.out
    assert ran.err == ""


def test_a_plugin_that_cannot_be_loaded_is_a_fault(sodarouter, packages):
    packages.install("sodarouter-broken", {"broken": "sodarouter_broken"}, sodarouter_broken="import nowhere")
    ran = sodarouter("plugin", "verify", "broken")
    assert ran.status == 1
    assert "fault    The router can load it, and call its hooks: it cannot be imported: ModuleNotFoundError" in ran.out


def test_options_of_the_plugin_itself_may_be_given(sodarouter, tmp_path):
    (tmp_path / "options.toml").write_text("[plugin.prometheus]\npath = 3\n")
    ran = sodarouter("plugin", "verify", "prometheus", "--options", "options.toml")
    assert ran.status == 1
    assert "plugin.prometheus.path: " in ran.err
    (tmp_path / "options.toml").write_text('[plugin.prometheus]\npath = "/numbers"\n')
    assert sodarouter("plugin", "verify", "prometheus", "--options", "options.toml").status == 0


def test_a_plugin_that_is_not_installed_and_a_file_that_is_not_there_are_told(sodarouter):
    ran = sodarouter("plugin", "verify", "fiel")
    assert (ran.status, ran.err) == (1, "sodarouter: no plugin 'fiel' is installed; did you mean 'file'?\n")
    ran = sodarouter("plugin", "verify", "file", "--options", "nowhere.toml")
    assert (ran.status, "nowhere.toml: there is no such file" in ran.err) == (2, True)


# nothing is slower for it


def test_the_commands_start_without_the_kit(tmp_path):
    code = (
        "import sys, sodarouter.cli; print([name for name in sys.modules if 'testing' in name or 'scaffold' in name])"
    )
    found = run(sys.executable, "-c", code, cwd=tmp_path)
    assert "sodarouter.testing" not in found
    assert "sodarouter.scaffold" not in found
    code = "import sys, pytest_sodarouter; print([name for name in sys.modules if name.startswith('sodarouter')])"
    assert run(sys.executable, "-c", code, cwd=tmp_path).strip() == "[]"
