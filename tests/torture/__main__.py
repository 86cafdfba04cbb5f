"""``python -m tests.torture``: a run from its first sender to its report."""

import argparse
import json
import random
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from . import account
from .course import ANY, Course
from .daemon import Broken
from .disk import disk
from .ledger import Ledger
from .printed import lines
from .report import Report
from .senders import Sender
from .sinks import open_sinks
from .verdict import judge, uid_in
from .victim import STEPS

SENDERS = 16


async def torture(folder: Path, asked: argparse.Namespace) -> Report:
    chance = random.Random(asked.seed)
    ledger = Ledger(partial(print, file=sys.stderr) if asked.verbose else lambda _: None)
    with disk(folder / "spool") as spool:
        async with open_sinks(ledger, random.Random(chance.random())) as sinks:
            course = Course(folder, spool, sinks.urls, ledger, chance, reload=asked.reload, workers=asked.workers)
            began = trio.current_time()
            stopping = trio.Event()
            async with trio.open_nursery() as senders:
                for _ in range(SENDERS):
                    one = Sender(ledger, random.Random(chance.random()), lambda: course.url, SENDERS / asked.rate)
                    senders.start_soon(one.run, stopping)
                await course.run(asked.seconds)
                stopping.set()
            ended = trio.current_time()
            sinks.heal()
            found = await course.finish(asked.drain)
            settled = trio.current_time()
        with course.lines.open("rb") as written:
            for line in written:
                if line.endswith(b"}\n"):  # a router that was killed may have left half a line
                    ledger.found("log", uid_in(line))
        kills = {step: course.kills[step] for step in (*STEPS, ANY)}
        report = Report(asked.seed, spool.kind, ended - began, settled - ended, kills, dict(course.counts))
        judge(report, ledger, found, account.dead_letters(course.config))
        if not report.good:
            shutil.copytree(spool.folder, folder / "spool-after-all")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture",
        description="Kills, fills up, reloads and refuses a router under load, and accounts for every event.",
        epilog="Exit status 1 if something was lost.",
    )
    time = parser.add_mutually_exclusive_group()
    time.add_argument("--seconds", type=float, default=15.0, help="under load; one whole round in any case")
    time.add_argument("--minutes", type=float, help="the same in minutes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--rate", type=float, default=100.0, help="bodies a second")
    parser.add_argument(
        "--drain", type=float, default=180.0, help="seconds after the load in which all must be settled"
    )
    parser.add_argument("--reload", action=argparse.BooleanOptionalAction, default=True, help="send SIGHUP too")
    parser.add_argument("--workers", type=int, default=0, help="intake processes, which are killed too")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report to a file too")
    parser.add_argument(
        "--verbose", action="store_true", help="tell on standard error what is being done to the router"
    )
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    asked = parser.parse_args()
    if asked.minutes is not None:
        asked.seconds = asked.minutes * 60
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    failures: list[BaseException] = []
    try:
        report = trio.run(torture, folder, asked)
    except* Broken as broken:
        failures.extend(broken.exceptions)
    if failures:
        sys.exit(f"torture with seed {asked.seed}: {_innermost(failures[0])}\n{folder} is kept")
    text = json.dumps(report.as_dict(), indent=2) if asked.json else "\n".join(lines(report))
    print(text)
    if asked.report:
        asked.report.write_text(text + "\n", encoding="utf-8")
    if not report.good:
        sys.exit(f"{folder} is kept")
    shutil.rmtree(folder)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    main()
