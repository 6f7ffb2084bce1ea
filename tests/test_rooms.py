"""The structure of the package: which room may import which, checked against the imports."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ae_cli"
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text()

# In order: a room may import only from itself and from the rooms before it.
ROOMS = (
    *("errors", "results", "config", "files", "processes"),
    *("figures", "page", "data", "models", "latents", "analysis", "export", "training", "sweeps"),
    *("cli", "python", "estimator", "__init__", "__main__"),
)
# Its import statements are only for type checkers; at runtime it imports lazily.
FACE = "ae_cli"

LONGEST_FUNCTION = 80  # lines, with its signature
MODULES = {
    ".".join(("ae_cli", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in PACKAGE.rglob("*.py")
}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(module: str, path: Path) -> set[str]:
    """The package's own modules that a module imports anywhere, even only for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
        elif isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    return {name for name in found if name in MODULES} - {module}


GRAPH = {module: imports(module, path) for module, path in MODULES.items()}


def test_every_module_is_in_a_room():
    assert {room_of(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_room_imports_no_later_room(module):
    allowed = ROOMS[: ROOMS.index(room_of(module)) + 1]
    wrong = {name for name in GRAPH[module] if room_of(name) not in allowed}
    assert wrong == set()


def test_no_imports_are_circular():
    """Includes imports inside functions and those for type checkers."""
    TopologicalSorter(GRAPH).prepare()  # raises CycleError


def test_the_imports_are_found():
    """Check the tests themselves: these imports must be found."""
    assert "ae_cli.models.mlp" in GRAPH["ae_cli.models"]
    assert "ae_cli.figures" in GRAPH["ae_cli.latents.reconstruct"]  # inside a function
    assert "ae_cli.latents.infer" in GRAPH["ae_cli.latents.table"]  # for type checkers
    assert "ae_cli.data.load" in GRAPH[FACE]


def test_contributing_lists_every_room_in_order():
    listed = re.findall(r"^\| `(\w+)(?:/|\.py)?` \|", CONTRIBUTING, re.M)
    assert listed == [room for room in ROOMS if room in listed]
    assert {*listed, "__init__", "__main__"} == set(ROOMS)


def test_only_models_and_the_fused_step_know_about_layers():
    """No other module flattens images for a model, counts linear layers or removes a sigmoid."""
    known = re.compile(r"nn\.Linear|nn\.Sigmoid|\.(en|de)coder\[|\.flatten\(1\)|MultilayerPercep")
    for path in MODULES.values():
        inside = path.is_relative_to(PACKAGE / "models") or path.name == "fused.py"
        if not inside:
            assert known.search(path.read_text()) is None, path


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_functions_are_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_the_library_does_not_depend_on_the_command_line():
    """Only the listed rooms may print, or use Typer or Rich."""
    for module, path in MODULES.items():
        if room_of(module) in ("cli", "python", "__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", module
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
                text = " ".join([getattr(node, "module", None) or "", *names])
                assert not re.search(r"\b(typer|rich)\b", text), module
