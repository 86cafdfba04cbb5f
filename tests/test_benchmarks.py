"""The benchmarks run, and give figures; what these are is for people to judge, on a machine that has nothing else to do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

if not (ROOT / "benchmarks").is_dir():
    pytest.skip("there are no benchmarks beside the tests", allow_module_level=True)

BARE = "bare hypercorn-trio"
SIDES = {
    "intake": {BARE, "sodarouter", "sodarouter, delivering"},
    "large": {BARE, "sodarouter, delivering"},
    "end-to-end": {"1 destination", "2 destinations"},
    "backlog": {"50 deliveries", "200 deliveries"},
    "history": {"100 events", "300 events"},
    "yielding": {"nothing waits", "50 wait"},
    "isolation": {"alone", "hangs"},
    "hostile": {"alone", "ten good", "ten hostile"},
    "memory": {BARE, "sodarouter, delivering", "sodarouter, a destination is down"},
    "decide": {"20 routes"},
    "backtest": {"20 routes, 3 changed", "1,000 routes, all changed"},
    "processes": {"none", "process"},
}
"""The sides that each part has wherever it runs; others come to them where they are installed."""
FEWER = ["--only", "bare", "--only", "sodarouter, delivering"]


class Ran(NamedTuple):
    written: list[dict[str, Any]]
    printed: str
    pictures: dict[str, str]


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Ran:
    """All parts, run by one process, and what they left behind. All servers have their turn in one part; that is enough."""
    folder = tmp_path_factory.mktemp("ran")
    some = [part for part in SIDES if part != "intake"]
    done = [
        benchmarks("intake", "--shortest", "--out", str(folder / "intake")),
        benchmarks(*some, "--shortest", *FEWER, "--out", str(folder / "some")),
    ]
    assert [one.stderr for one in done if one.returncode] == []
    written = [json.loads((folder / name / "figures.json").read_text(encoding="utf-8")) for name in ("intake", "some")]
    pictures = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*/*.svg")}
    return Ran(written, "".join(one.stdout for one in done), pictures)


def test_what_it_ran_with_is_written_beside_the_figures(ran):
    for written in ran.written:
        assert {"Python", "hypercorn", "trio"} <= set(written["versions"])
        assert written["machine"]["cores"]


@pytest.mark.parametrize("part", SIDES)
def test_a_part_gives_figures_for_every_side(part, ran):
    (found,) = (one for written in ran.written for one in written["parts"] if one["name"] == part)
    assert found["figures"]
    assert SIDES[part] <= {figure["side"] for figure in found["figures"]}
    assert all(len(figure["values"]) == 1 for figure in found["figures"])
    compared = [figure for figure in found["figures"] if figure["side"] == found["against"]]
    assert compared
    assert all(figure["ratio"] is None for figure in compared)
    for side in SIDES[part]:
        assert side in ran.printed
    assert ran.pictures[part].startswith("<svg")


def test_another_version_takes_part_beside_the_others_or_in_turns(tmp_path):
    other = f"sodarouter at {ROOT.name}"
    compared = ["--only", "sodarouter, delivering", "--connections", "2", "--against", str(ROOT)]
    done = benchmarks("intake", "decide", "--shortest", *compared, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    beside, in_turns = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["parts"]
    assert {figure["side"] for figure in beside["figures"]} == {"sodarouter, delivering", f"{other}, delivering"}
    assert {figure["side"] for figure in in_turns["figures"]} == {other, "this version"}
    assert (beside["against"], in_turns["against"]) == (f"{other}, delivering", other)


def test_a_part_that_another_version_does_not_run_is_left_out_with_a_line_and_the_next_one_runs(tmp_path):
    (tmp_path / "sodarouter").mkdir()
    (tmp_path / "sodarouter/__init__.py").write_text("raise ImportError('older than that')")
    done = benchmarks("decide", "processes", "--shortest", "--against", str(tmp_path), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "out/figures.json").read_text(encoding="utf-8"))["parts"]
    line = f"sodarouter at {tmp_path.name} cannot be compared with: ImportError: older than that"
    assert [(part["figures"], part["notes"]) for part in parts] == [([], [line])] * 2


def test_what_is_no_checkout_is_not_compared_with(tmp_path):
    done = benchmarks("intake", "--against", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path} is no checkout of sodarouter" in done.stderr


def test_a_disk_is_slow_or_it_is_said_that_it_cannot_be(tmp_path):
    done = benchmarks("slow-disk", "--shortest", *FEWER, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["parts"]
    assert found["figures"] or any("cannot be made slow" in note for note in found["notes"])


def test_who_is_not_installed_is_left_out_with_a_line(tmp_path):
    """None of the programs that the distribution may have is on this path."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": str(tmp_path)}
    command = [
        sys.executable,
        "-c",
        "from benchmarks.contenders import CONTENDERS\nfor one in CONTENDERS: print(one.missing)",
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "webhook, running true is left out: webhook not installed" in done.stdout
    assert "sodarouter is left out" not in done.stdout


def test_a_part_that_there_is_not_is_named_with_those_that_there_are():
    done = benchmarks("intakes")
    assert done.returncode == 2
    assert "no part intakes; there are intake, large" in done.stderr


def test_a_server_that_there_is_not_is_named_with_those_that_there_are():
    done = benchmarks("intake", "--only", "sodarouter", "--only", "soda router")
    assert done.returncode == 2
    assert "no server has a name that begins with 'soda router'; there are 'bare hypercorn-trio', " in done.stderr
