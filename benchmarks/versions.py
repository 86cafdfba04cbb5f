"""This version and one in another checkout, each running a part by itself, in turns: a round in a process of its own.

The benchmarks are those of this checkout for both, so what they use of the router has to be the same in both.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contenders import code_of, name_of
from benchmarks.figures import Figures
from benchmarks.running import ROOT
from benchmarks.scale import Scale

THIS = "this version"
ARGUMENTS = ("seconds", "connections", "histories", "load")
"""What of a scale is handed on, beside its name."""


class NotRun(Exception):
    """A part does not run with a version."""


def in_turns(part: str, scale: Scale, checkout: Path) -> Figures:
    """The figures of a part, each case of each of its sides compared with the same of the other version.

    There are none if it does not run with that one, and a note says why.
    """
    other = name_of(checkout)
    figures = Figures(other)
    for _ in range(max(scale.rounds, scale.starts)):
        for version, code in ((other, checkout), (THIS, ROOT)):
            try:
                found = one_round(part, scale, code)
            except NotRun as error:
                if version == THIS:
                    raise SystemExit(f"{part} did not run:\n{error}") from None
                figures.note(f"{other} cannot be compared with: {str(error).strip().splitlines()[-1]}")
                return figures
            for note in found["notes"]:
                figures.note(f"{version}: {note}")
            for one in found["figures"]:
                case = ", ".join(filter(None, [one["case"], one["side"]]))
                figures.add(case, version, {one["measure"]: one["median"]})
    return figures


def one_round(part: str, scale: Scale, checkout: Path) -> dict[str, Any]:
    """One round of a part with the code of a checkout.

    Raises:
        NotRun: With what it said.
    """
    command = [sys.executable, "-m", "benchmarks", part, "--rounds", "1", "--starts", "1"]
    command += [] if scale.name == "full" else [f"--{scale.name}"]
    for name in ARGUMENTS:
        value = getattr(scale, name)
        command += [f"--{name}", *map(str, value if isinstance(value, list | tuple) else (value,))]
    with tempfile.TemporaryDirectory() as folder:
        # the benchmarks of this checkout, and nothing else of it
        Path(folder, "benchmarks").symlink_to(ROOT / "benchmarks")
        code = os.pathsep.join([folder, code_of(checkout)])
        environment = os.environ | {"PYTHONPATH": code, "PYTHONSAFEPATH": "1"}
        command += ["--out", folder]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise NotRun(done.stderr)
        found: dict[str, Any] = json.loads(Path(folder, "figures.json").read_text(encoding="utf-8"))["parts"][0]
    return found
