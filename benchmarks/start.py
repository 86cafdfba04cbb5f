"""How soon the router is ready, and how much memory it takes at rest, with the shipped configuration.

python benchmarks/start.py [--rounds 5]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHIPPED = Path(__file__).resolve().parent.parent / "router.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    seconds, megabytes = [], []
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            text = SHIPPED.read_text(encoding="utf-8").replace(":8080", ":0", 1).replace(":8081", ":0", 1)
            Path(folder, "router.toml").write_text(text, encoding="utf-8")
            begun = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "sodarouter", "--config", "router.toml"],
                cwd=folder,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stderr
            while '"ready"' not in process.stderr.readline():
                pass
            seconds.append(time.perf_counter() - begun)
            time.sleep(1)  # at rest: what the start still had to do is done
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            megabytes.append(int(resident.split()[1]) / 1024)
            process.terminate()
            process.wait(30)
    print(f"ready after {statistics.median(seconds):.2f} s, {statistics.median(megabytes):.0f} MiB resident at rest")


if __name__ == "__main__":
    main()
