"""What the figures were made with: versions, and the machine."""

import os
import platform
import shutil
import sqlite3
import subprocess
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.slow import sync_seconds

PACKAGES = (
    *("sodarouter", "hypercorn", "trio", "h11", "pydantic"),
    *("fastapi", "starlette", "uvicorn", "uvloop", "httptools"),
)
PROGRAMS = {"prometheus-alertmanager": "--version", "webhook": "-version"}


def made_with() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        sync = sync_seconds(Path(folder)) * 1000
    return {
        "versions": {
            "Python": platform.python_version(),
            "SQLite": sqlite3.sqlite_version,
            **dict(filter(all, ((name, _package(name)) for name in PACKAGES))),
            **dict(filter(all, ((name, _program(name, option)) for name, option in PROGRAMS.items()))),
        },
        "machine": {
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "load before": os.getloadavg()[0],
            "a sync of 4 KB, ms": round(sync, 3),
        },
    }


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _program(name: str, option: str) -> str:
    if not shutil.which(name):
        return ""
    said = subprocess.run([name, option], capture_output=True, text=True)
    words = (said.stdout or said.stderr).split()
    return next((word.rstrip(",") for word in words if word[:1].isdigit()), "")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
