"""A disk that takes its time: every sync of a process takes so many milliseconds longer."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static int slowly(const char *name, int file) {
    const char *milliseconds = getenv("BENCHMARK_SYNC");
    long more = milliseconds ? atol(milliseconds) : 0;
    struct timespec wait = {more / 1000, more % 1000 * 1000000};
    nanosleep(&wait, 0);
    return ((int (*)(int)) dlsym(RTLD_NEXT, name))(file);
}

int fsync(int file) { return slowly("fsync", file); }
int fdatasync(int file) { return slowly("fdatasync", file); }
"""
COMMIT = """
import sqlite3, time
database = sqlite3.connect("slow.db", isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA synchronous = FULL")
database.execute("CREATE TABLE IF NOT EXISTS t (x)")
started = time.perf_counter()
database.execute("INSERT INTO t VALUES (1)")
print(time.perf_counter() - started)
"""


def slow_disk(folder: Path, milliseconds: int) -> Mapping[str, str] | None:
    """The environment of a process whose syncs are slow, or nothing if they cannot be made slow here.

    That it works is tried on a commit: a SQLite that is linked into Python, say, would not be slowed down.
    """
    library = folder / "slow.so"
    if not library.exists() and not _compiled(folder, library):
        return None
    environment = {"LD_PRELOAD": str(library), "BENCHMARK_SYNC": str(milliseconds)}
    tried = subprocess.run(
        [sys.executable, "-c", COMMIT], cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    return environment if tried.returncode == 0 and float(tried.stdout) >= milliseconds / 1000 else None


def _compiled(folder: Path, library: Path) -> bool:
    compiler = shutil.which("cc")
    if not compiler or sys.platform != "linux":
        return False
    source = folder / "slow.c"
    source.write_text(SOURCE, encoding="ascii")
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    return subprocess.run(command, capture_output=True).returncode == 0


def sync_seconds(folder: Path, times: int = 30) -> float:
    """What a sync of 4 KB takes on the disk of a folder: the middle of some."""
    taken = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(times):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return sorted(taken)[times // 2]
