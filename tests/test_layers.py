"""Imports only point down: values know only values, stations know no station, and plugins know the front door alone."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sodarouter

CORE = Path(sodarouter.__file__).parent

FLOORS: dict[int, str] = {
    0: """
       address batch blame body callback child collector cut delivery descriptions distributions errors event
       failures faults folders frozen http ids link metrics options outgoing plugin preview problem ready
       redact replies scaffold seal shape shares signature soda source sparing store verification view wake
       zones
       """,
    1: """
       anonymise breaker decide destination health lag observe parse rate settle simulate spool survey template verify vet
       """,
    2: "admit deciding hookspecs lane respond translate",
    3: "attempt backtest config contract enrich hindsight linkback linking logs operations plugins rehearsal telling trial",
    4: "api deliver isolation receive route serve systemd web",
    5: "daemon front lanes process reload stations testing upkeep workers",
    6: "__main__ cli",
}
"""The modules and packages of the core. Within floors 1 and 4 nothing imports its neighbour."""

FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
SEPARATE = {1, 4}


def python_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts]


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path, CORE.parent): path for path in python_files(CORE)}


def imports(path: Path, module: str) -> Iterator[str]:
    """Full names of what a file imports, also inside functions; of the core, the module that holds the name."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield inner if inner in MODULES else origin


GRAPH = {module: set(imports(path, module)) for module, path in MODULES.items()}
INSIDE = {module: sorted(name for name in names if name in MODULES) for module, names in GRAPH.items()}


def part(module: str) -> str:
    """The module or package of the table that a module belongs to; empty for the front door."""
    return module.removeprefix("sodarouter").removeprefix(".").partition(".")[0]


def test_every_module_has_its_floor():
    parts = {part(module) for module in MODULES} - {""}
    assert not parts - set(FLOOR), "give these a floor in FLOORS"
    assert not set(FLOOR) - parts, "these are gone; take them out of FLOORS"


@pytest.mark.parametrize("module", [module for module in MODULES if part(module)])
def test_imports_only_point_down(module):
    mine = part(module)
    for other in map(part, INSIDE[module]):
        if other == mine:
            continue
        assert other, f"{module} imports the front door, which is for plugins: import the module that holds the name"
        assert FLOOR[other] <= FLOOR[mine], f"{module} (floor {FLOOR[mine]}) imports {other} (floor {FLOOR[other]})"
        if FLOOR[mine] in SEPARATE:
            assert FLOOR[other] != FLOOR[mine], f"{module} imports its neighbour {other}"


def test_nothing_imports_in_a_circle():
    try:
        TopologicalSorter(INSIDE).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", [module for module in MODULES if FLOOR.get(part(module)) == 1])
def test_a_station_does_not_know_the_plugin_manager(module):
    """`destination` needs pluggy's marker, and gets it from `plugin`."""
    assert not {name.partition(".")[0] for name in GRAPH[module]} & {"pluggy"}


def test_the_core_imports_no_plugin():
    found = {name for names in GRAPH.values() for name in names if name.startswith("sodarouter_")}
    assert not found


BUILT_IN = [
    path
    for name in ("apprise", "email", "exec", "file", "forward", "prometheus")
    for root in (CORE.parent / "plugins", CORE.parent)  # in the checkout, and where a wheel puts them
    for path in (*root.glob(f"sodarouter_{name}.py"), *python_files(root / f"sodarouter_{name}"))
]


def test_all_built_in_plugins_are_looked_at():
    assert {
        next(part for part in path.with_suffix("").parts if part.startswith("sodarouter_")) for path in BUILT_IN
    } == {
        "sodarouter_apprise",
        "sodarouter_email",
        "sodarouter_exec",
        "sodarouter_file",
        "sodarouter_forward",
        "sodarouter_prometheus",
    }


@pytest.mark.parametrize("path", BUILT_IN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_built_in_plugin_knows_only_the_front_door(path):
    own = next(part for part in path.with_suffix("").parts if part.startswith("sodarouter_"))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    origins = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    core = {name for name in names | origins if name.partition(".")[0] == "sodarouter"}
    assert core <= {"sodarouter"}
    neighbours = {name.partition(".")[0] for name in names | origins if name.startswith("sodarouter_")}
    assert neighbours <= {own}
    taken = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "sodarouter"
        for alias in node.names
    }
    assert taken <= set(sodarouter.__all__), "the front door does not promise these"


def test_the_front_door_says_all_that_it_gives():
    given = {
        alias.asname or alias.name
        for node in ast.parse((CORE / "__init__.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert given == set(sodarouter.__all__)
