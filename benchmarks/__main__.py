"""All benchmarks, or some: prints a table of each, and writes the figures as JSON and a chart of each part.

    python -m benchmarks [--quick] [--out var/benchmarks] [PART ...]

They use loopback alone. In each round every side has its turn, so that a machine whose speed drifts treats them alike;
what counts is the ratio. docs/performance.md says what each part measures.
"""

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.contenders import CONTENDERS
from benchmarks.machine import made_with
from benchmarks.scale import FULL, QUICK, SHORTEST, Scale
from benchmarks.suite import PARTS, run
from benchmarks.tables import table

KNOBS = ("rounds", "starts", "seconds", "connections", "histories", "load", "against", "only")
"""What can be set by itself, whatever the form."""
WIDTH = 190
"""Of the tables, where the output is no terminal."""


def main() -> None:
    asked = arguments()
    knobs = {name: value for name, value in vars(asked).items() if name in KNOBS and value}
    scale: Scale = replace(asked.scale, **knobs)
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    folder: Path = asked.out
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "form": scale.name, **made_with()}
    for made_of in ("versions", "machine"):
        console.print(", ".join(f"{name} {value}" for name, value in found[made_of].items()), highlight=False)
    drawn = find_spec("pygal") is not None
    parts = found["parts"] = []
    for part, figures in run(asked.part, scale):
        console.print("", table(f"{part.name}: {part.title}", figures))
        for note in figures.notes:
            console.print(note, highlight=False)
        listed = list(figures.listed())
        about = {"name": part.name, "title": part.title, "against": figures.against}
        parts.append({**about, "notes": figures.notes, "figures": listed})
        # after each, so that a run that is broken off has not been for nothing
        (folder / "figures.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        if drawn:
            from benchmarks.charts import draw  # only where the extra is installed

            draw(folder / f"{part.name}.svg", part.title, part.drawn, figures)
    made = "figures.json and a chart of each part" if drawn else "figures.json; for charts, install pygal"
    console.print(f"\n{folder}: {made}", highlight=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.name for part in PARTS]
    parser.add_argument("part", nargs="*", help=f"{', '.join(names)}; all by default")
    parser.add_argument("--quick", dest="scale", action="store_const", const=QUICK, default=FULL, help="some minutes")
    parser.add_argument(
        "--shortest", dest="scale", action="store_const", const=SHORTEST, help="seconds: shows that all run, no more"
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--starts", type=int, help="rounds of what begins with a start")
    parser.add_argument("--seconds", type=float, help="of each load")
    parser.add_argument("--connections", type=int, nargs="+", help="of `intake` and `large`")
    parser.add_argument("--histories", type=int, nargs=2, metavar=("FEW", "MANY"), help="events of `history`")
    parser.add_argument("--load", type=float, metavar="SECONDS", help="of load in `memory`, such as 3600")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="of another version, to compare with")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="what the name of a server begins with that takes part in `intake`; may be repeated",
    )
    parser.add_argument("--out", type=Path, default=Path("var/benchmarks"), help="a folder (var/benchmarks)")
    asked = parser.parse_args()
    asked.only = tuple(asked.only or ())
    if asked.against and not (asked.against / "sodarouter/__init__.py").is_file():
        parser.error(f"{asked.against} is no checkout of sodarouter")
    if unknown := sorted(set(asked.part) - set(names)):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(names)}")
    servers = [one.name for one in CONTENDERS]
    if unknown := [name for name in asked.only if not any(server.startswith(name) for server in servers)]:
        there = ", ".join(map(repr, servers))
        parser.error(f"no server has a name that begins with {', '.join(map(repr, unknown))}; there are {there}")
    return asked


if __name__ == "__main__":
    main()
