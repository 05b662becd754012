"""Arrows point down only: what may import what, read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

FLOORS = [
    {"__main__"},
    {"cli"},
    {"doctor"},
    {"supervision", "server", "tasks", "logs", "addresses"},
    {"recovery", "client"},
    {"stages", "kills"},
    {"work"},
    {"lifecycle", "agents", "inputs"},
    {"reach", "seen"},
    {"tmux"},
    {"catalog", "panes", "health", "sleepers"},
    {"benches", "variables", "catalog_files"},
    {"jobs", "events"},
    {"models", "migrations"},
    {"config", "names"},
    {"yaml_lines"},
    {"errors", "clock", "faults", "states", "locks"},
]
"""Rooms of the house from the roof to the ground; an import goes to a lower floor."""

UPWARD = {("tower.jobs", "tasks.registry")}
"""The one arrow that points up: where the ledger wakes a worker."""

ONLY_FROM = {
    "tower.server": {"tower.cli.running"},
    "tasks": {"tower.cli.running", "tower.jobs"},
    "tower.tmux": {
        "tower.agents",
        "tower.doctor",
        "tower.inputs",
        "tower.reach",
        "tower.recovery",
        "tower.seen",
        "tower.kills",
        "tower.stages",
        "tower.work",
        "tasks.steps",
    },
}
"""Rooms that only these modules may enter from outside."""


def modules() -> dict[str, Path]:
    files = [*ROOT.glob("tower/**/*.py"), *ROOT.glob("tasks/*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


KNOWN = modules()


def imports(file: Path) -> Iterator[str]:
    """The modules of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name in KNOWN else node.module for name in whole]
        else:
            continue
        yield from (name for name in found if name.split(".")[0] in ("tower", "tasks"))


def room(module: str) -> str:
    first, *rest = module.split(".")
    return first if first == "tasks" else (rest[0] if rest else "")


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def test_every_module_has_its_floor() -> None:
    homeless = [module for module in KNOWN if room(module) and not any(room(module) in rooms for rooms in FLOORS)]
    assert homeless == []


def test_arrows_point_down_only() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, file in KNOWN.items()
        for target in imports(file)
        if room(target) not in ("", room(module))
        and (module, target) not in UPWARD
        and floor(module) >= floor(target)
    ]
    assert wrong == []


def test_some_rooms_have_few_doors() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, file in KNOWN.items()
        for target in imports(file)
        for closed, doors in ONLY_FROM.items()
        if f"{target}.".startswith(f"{closed}.") and not f"{module}.".startswith(f"{closed}.") and module not in doors
    ]
    assert wrong == []


def test_states_and_errors_import_nothing_of_ours() -> None:
    assert list(imports(KNOWN["tower.states"])) == []
    assert list(imports(KNOWN["tower.errors"])) == []
