"""A real Alertmanager, as the distribution's packages have it, on a free port of loopback."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


@contextmanager
def alertmanager(folder: Path, *, tells: str = "http://127.0.0.1:9/") -> Iterator[str]:
    """Starts one and gives its URL. It is killed at the end.

    Args:
        folder: For its files.
        tells: Where its webhook goes: of every alert at once, and each by itself.
    """
    assert PROGRAM is not None
    timing = {"group_wait": "1ms", "group_interval": "10ms", "repeat_interval": "1h"}
    config = {
        "route": {"receiver": "there", "group_by": ["..."], **timing},
        "receivers": [{"name": "there", "webhook_configs": [{"url": tells, "send_resolved": True}]}],
    }
    # JSON is YAML too
    (folder / "alertmanager.yml").write_text(json.dumps(config), encoding="utf-8")
    command = [
        PROGRAM,
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
        "--log.format=json",
    ]
    log = folder / "alertmanager.log"
    with log.open("wb") as to:
        popen = subprocess.Popen(command, stdout=to, stderr=to)
    try:
        yield f"http://{_address(popen, log)}"
    finally:
        popen.kill()
        popen.wait(30)


def _address(popen: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(3000):
        if found := re.search(r'"address":"(127\.0\.0\.1:[0-9]+)"', log.read_text(encoding="utf-8")):
            return found[1]
        if popen.poll() is not None:
            break
        time.sleep(0.01)  # the log of another process sets no event
    raise AssertionError(f"Alertmanager did not get ready:\n{log.read_text(encoding='utf-8')}")
