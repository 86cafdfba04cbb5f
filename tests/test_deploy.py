"""The files of docs/deploy: they agree with one another and with the router, and do what their page says."""

import json
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest
from running import router_process
from support import payload

from sodarouter.address import Address
from sodarouter.config import load
from sodarouter.config.tables import Server
from sodarouter.options import parse_duration
from sodarouter.process import LAST_RESORT

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "docs/deploy"
STATE = Path("/var/lib/sodarouter")
SODA_WAITS = 10.0
"""Seconds; see the documentation of ``body_timeout``."""

CONFIG = load(DEPLOY / "router.toml").file


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit file, each with its values in their order."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / name).read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


SERVICE = unit("sodarouter.service")
SOCKET = unit("sodarouter.socket")


# -- systemd


def systemd_version() -> int:
    if shutil.which("systemd-analyze") is None:
        return 0
    told = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    return int(told.split()[1])


@pytest.mark.skipif(not systemd_version(), reason="there is no systemd-analyze")
def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    units = {name: (DEPLOY / name).read_text(encoding="utf-8") for name in ("sodarouter.service", "sodarouter.socket")}
    (program,) = SERVICE["ExecStart"]
    service = units["sodarouter.service"].replace(program.split()[0], sys.executable)
    if systemd_version() < 253:
        # as the file itself says
        older = re.search(r"# Before systemd 253 write: (.*), and (.*)", service)
        service = service.replace("Type=notify-reload", f"{older[1]}\n{older[2]}")
    for name, text in (units | {"sodarouter.service": service}).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    told = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / name for name in units)], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")


def test_systemd_waits_longer_for_the_end_than_the_router_takes() -> None:
    for server in (CONFIG.server, Server()):
        assert parse_duration(SERVICE["TimeoutStopSec"][0]) > 2 * server.stop_timeout + LAST_RESORT


def test_a_sender_that_comes_during_a_restart_does_not_give_up() -> None:
    """The intake stops within ``stop_timeout``, then the deliveries do; two seconds are left for the start."""
    assert 2 * CONFIG.server.stop_timeout + 2 <= SODA_WAITS
    assert CONFIG.server.body_timeout <= CONFIG.server.stop_timeout


def test_the_socket_unit_listens_where_the_router_does() -> None:
    assert list(map(Address.parse, SOCKET["ListenStream"])) == [*CONFIG.server.listen, *CONFIG.admin.listen]


def test_all_that_the_router_writes_is_in_its_state_directory() -> None:
    assert SERVICE["StateDirectory"] == [STATE.name]
    assert SERVICE["ProtectSystem"] == ["strict"]
    assert {CONFIG.spool.path.parent, *(Path(table["path"]).parent for table in CONFIG.destination.values())} == {STATE}


def test_the_secret_is_read_where_systemd_puts_it() -> None:
    text = (DEPLOY / "sodarouter.service").read_text(encoding="utf-8")
    (name,) = re.findall(r"^#LoadCredential=([\w-]+):", text, re.MULTILINE)
    read = re.search(r'"(/run/credentials/[^"]+)"', (DEPLOY / "router.toml").read_text(encoding="utf-8"))
    assert read[1] == f"/run/credentials/sodarouter.service/{name}"


def configure(folder: Path, text: str) -> None:
    """A configuration of this text, but with free ports, and its state below ``folder``."""
    text = re.sub(r'(\d+\.0\.0\.\d):\d+"', r'\1:0"', text).replace(str(STATE), str(folder))
    (folder / "router.toml").write_text(text, encoding="utf-8")


def test_the_configuration_runs_as_it_is(tmp_path: Path) -> None:
    configure(tmp_path, (DEPLOY / "router.toml").read_text(encoding="utf-8"))
    with router_process(tmp_path) as router:
        request = urllib.request.Request(f"{router.url}/webhooks/soda", payload("v3-incidentCreated"))
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
        assert router.end(signal.SIGTERM) == 0
    assert (tmp_path / "sodarouter.db").exists()


# -- the container

TEXT = re.sub(r"(?m)^#.*\n", "", (DEPLOY / "Containerfile").read_text(encoding="utf-8")).replace("\\\n", " ")
STAGES = [
    [line.split(maxsplit=1) for line in stage.splitlines() if line] for stage in re.split(r"(?m)^(?=FROM )", TEXT)[1:]
]
"""The instructions of the Containerfile, stage by stage: words and arguments."""
BUILD, FINAL = map(dict, STAGES)
RUNS = [rest for word, rest in STAGES[1] if word == "RUN"]


def container_config() -> str:
    """The configuration inside: the shipped one, as the Containerfile changes it."""
    ((old, new),) = (found.groups() for run in RUNS if (found := re.match(r"sed -i s/(.+)/(.+)/ ", run)))
    shipped = (DEPLOY / "router.toml").read_text(encoding="utf-8")
    assert shipped.count(old) == 1
    return shipped.replace(old, new)


def test_the_container_listens_where_it_says_and_needs_no_token(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text(container_config(), encoding="utf-8")
    file = load(tmp_path / "router.toml").file
    assert [str(address) for address in file.server.listen] == [f"0.0.0.0:{FINAL['EXPOSE']}"]
    assert all(address.is_local for address in file.admin.listen)


def test_the_container_keeps_the_spool_in_its_volume_as_an_ordinary_user() -> None:
    assert FINAL["VOLUME"] == str(CONFIG.spool.path.parent)
    user, group = FINAL["USER"].split(":")
    assert int(user) > 0
    assert f"install -d -m 700 -o {user} -g {group} {STATE}" in RUNS[-1]


def test_the_container_starts_the_router_with_no_shell_between() -> None:
    (program,) = json.loads(FINAL["ENTRYPOINT"])
    assert program in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert ["COPY", f"docs/deploy/router.toml {json.loads(FINAL['CMD'])[1]}"] in STAGES[1]
    assert json.loads(FINAL["CMD"])[0] == "--config"
    assert FINAL["STOPSIGNAL"] == signal.SIGTERM.name


def test_the_health_check_tells_a_router_that_lives_from_one_that_does_not(tmp_path: Path) -> None:
    python, *command = json.loads(FINAL["HEALTHCHECK"].partition("CMD ")[2])
    configure(tmp_path, container_config())
    with router_process(tmp_path) as router:
        port = router.ready["listen"][0].rpartition(":")[2]
        here = [sys.executable, *(part.replace(FINAL["EXPOSE"], port) for part in command)]
        assert python == "python"
        assert subprocess.run(here, timeout=30, check=False).returncode == 0
        router.end(signal.SIGKILL)
        assert subprocess.run(here, timeout=30, check=False, stderr=subprocess.DEVNULL).returncode != 0


def test_the_image_has_a_python_that_the_router_runs_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bases = {BUILD["FROM"].removesuffix(" AS build"), FINAL["FROM"]}
    (version,) = (re.fullmatch(r"python:(3\.\d+)-slim", base)[1] for base in bases)
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_every_constraint_is_a_name_and_a_version_and_is_there_once() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    names = [line.partition("==")[0].lower() for line in lines]
    assert len(set(names)) == len(names)


@pytest.mark.skipif(not (ROOT / "sodarouter").is_dir(), reason="the router's sources are not here to be built")
def test_what_the_build_copies_is_all_that_pip_needs(tmp_path: Path) -> None:
    for word, rest in STAGES[0]:
        *sources, target = rest.split() if word == "COPY" else [""]
        for source in filter(None, sources):
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, tmp_path / target)
    assert (tmp_path / "constraints.txt").exists()
    assert "pip install --no-cache-dir -c constraints.txt ." in BUILD["RUN"]
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, tmp_path]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    modules = {
        str(path.relative_to(root)) for root in (ROOT, ROOT / "plugins") for path in root.glob("sodarouter*/**/*.py")
    }
    assert modules <= set(zipfile.ZipFile(wheel).namelist())
