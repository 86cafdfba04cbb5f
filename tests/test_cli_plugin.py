"""``sodarouter plugin``: a new plugin works as it is written, and one that is installed can be verified."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import trio
from commandline import CANARY, process
from distributions import SitePackages
from running import router_process
from support import payload

from sodarouter.scaffold import WRITTEN
from sodarouter.testing import open_sink

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "pyproject.toml"


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What a command prints; whatever it says when it fails is the test's failure."""
    known = {**os.environ, **environment}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=known, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new plugin, as it is written."""
    folder = tmp_path_factory.mktemp("new")
    ran = process("plugin", "new", "chat-room", folder=folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "sodarouter-chat-room: 7 files written" in ran.stdout
    return folder / "sodarouter-chat-room"


@pytest.fixture(scope="module")
def installed(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed it."""
    target = tmp_path_factory.mktemp("site")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet")
    run(sys.executable, "-m", "pip", "install", *offline, "--target", target, written, cwd=written)
    return target


def beside(site: Path) -> str:
    """A ``PYTHONPATH`` with it."""
    return os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])


# new


def test_it_is_a_whole_distribution(written):
    files = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert files == {name.format(name="chat_room", module="sodarouter_chat_room") for name in WRITTEN}
    assert "$" not in "".join(path.read_text() for path in written.rglob("*") if path.is_file())


def test_its_own_tests_pass(written):
    path = os.pathsep.join([str(written), os.environ.get("PYTHONPATH", "")])
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=written, PYTHONPATH=path)


def test_it_is_formatted_linted_and_typed_as_the_router_is(written, tmp_path):
    ruff = (sys.executable, "-m", "ruff")
    run(*ruff, "check", "--no-cache", "--config", CONFIG, ".", cwd=written)
    run(*ruff, "format", "--no-cache", "--check", "--config", CONFIG, ".", cwd=written)
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    run(sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, ".", cwd=written, MYPYPATH=path)


async def test_installed_it_is_verified_and_receives_an_event(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", beside(installed))
    ran = await trio.to_thread.run_sync(lambda: process("plugin", "verify", "chat-room", "--json", folder=tmp_path))
    told = json.loads(ran.stdout)
    assert (ran.returncode, told["ok"]) == (0, True)
    assert [check for check in told["checks"] if check["result"] != "ok"] == []
    assert len(told["checks"]) == told["counts"]["ok"] > 30
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
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePackages:
    return SitePackages(tmp_path / "site", monkeypatch)


def test_what_is_wrong_is_told_line_by_line(sodarouter, site, tmp_path):
    site.install("faulty", {"faulty": "faulty"}, faulty=FAULTY)
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
        "faulty: not well: 16 checks, 3 faults, 2 warnings; 2 could not be checked",
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
def test_a_secret_of_the_options_is_not_printed(sodarouter, site, tmp_path, form):
    site.install("sodarouter-leaky", {"leaky": "sodarouter_leaky"}, sodarouter_leaky=LEAKY)
    (tmp_path / "options.toml").write_text(f'[destination.any]\ntype = "leaky"\ntoken = "{CANARY}"\n')
    ran = sodarouter("plugin", "verify", "leaky", "--options", "options.toml", *form)
    assert "no such token: **********" in ran.out
    assert ran.err == ""


def test_a_plugin_that_cannot_be_loaded_is_a_fault(sodarouter, site):
    site.install("sodarouter-broken", {"broken": "sodarouter_broken"}, sodarouter_broken="import nowhere")
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
