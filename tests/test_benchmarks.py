"""The benchmarks run; what they measure is for people to judge, on a machine that has nothing else to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

if not BENCHMARKS.is_dir():
    pytest.skip("there are no benchmarks beside the tests", allow_module_level=True)


def test_ten_hostile_plugins_are_measured_beside_good_ones_and_none():
    """That it ends is the claim: every event had its 200, and arrived at the good destination."""
    command = [sys.executable, str(BENCHMARKS / "hostile.py"), "--rate", "20", "--seconds", "1", "--rounds", "1"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*command, "--found-out", "0"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for side in ("alone", "ten good", "ten hostile"):
        assert f"\n{side} " in done.stdout
