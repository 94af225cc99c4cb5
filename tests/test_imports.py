"""Imports run one way only, as docs/design.md lays down, and importing the package touches neither network nor data."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ebm_refine"

# A file imports from its own folder and from those before it; names in one row do not import from one another.
ORDER = (
    ("errors",),
    ("parameters",),
    ("utils",),
    ("samplers",),
    ("models",),
    ("energies",),
    ("settings",),
    ("catalogue",),
    ("data", "toy2d", "render"),
    ("metrics",),
    ("result",),
    ("pipeline",),
    ("tasks",),
    ("evaluation",),
    ("training",),
    ("ui", "cli"),
)
TIER = {name: tier for tier, names in enumerate(ORDER) for name in names}
# The package's face, and what starts it.
FACE = {"__init__", "__main__"}


def imported_layers(file: Path) -> set[str]:
    """The first names under `ebm_refine` that a file imports, anywhere in it."""
    layers = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ebm_refine":
            path = node.module.split(".")[1:]
            layers |= {path[0]} if path else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            layers |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ebm_refine.")}
    return layers


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_one_way(file: Path):
    layer = layer_of(file)
    if layer in FACE:
        return
    assert layer in TIER, f"{layer} is new: give it a place in ORDER"
    imported = imported_layers(file) - {layer}
    assert imported <= TIER.keys()
    forbidden = {name for name in imported if TIER[name] >= TIER[layer]}
    assert not forbidden, f"{file.name} must not import {forbidden}"


def test_of_the_page_only_one_file_imports_training_and_only_once_they_are_asked():
    importing = {
        str(file.relative_to(PACKAGE)) for file in (PACKAGE / "ui").rglob("*.py") if "training" in imported_layers(file)
    }
    assert importing == {"ui/tabs/toy2d/training.py"}
    for name in importing:
        module = ast.parse((PACKAGE / name).read_text())
        eager = [node.module for node in module.body if isinstance(node, ast.ImportFrom) and node.module]
        assert eager
        assert not any(one.startswith("ebm_refine.training") for one in eager)


def test_no_file_name_occurs_twice_outside_the_tabs():
    names = Counter(file.name for file in FILES if file.name != "__init__.py" and "tabs" not in file.parts)
    assert not [name for name, count in names.items() if count > 1]


def test_no_file_is_long():
    assert not [f"{file.name}: {lines}" for file in FILES if (lines := file.read_text().count("\n")) > 320]


def test_few_modules_stand_at_the_root():
    assert len(list(PACKAGE.glob("*.py"))) <= 10
    assert len(list((PACKAGE / "ui").glob("*.py"))) <= 3


def test_imports_check_sees_a_forbidden_one(tmp_path: Path):
    file = tmp_path / "wrong.py"
    file.write_text("def f():\n    from ebm_refine.pipeline import refine\n    import ebm_refine.ui.app\n")
    assert imported_layers(file) == {"pipeline", "ui"}


def test_imports_of_the_package_open_no_socket_and_read_no_model():
    code = (
        "import socket, builtins\n"
        "def refuse(*a, **k): raise AssertionError('network at import')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "import sys, ebm_refine\n"
        "assert not {'datasets', 'gradio', 'sklearn', 'arviz_stats'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)
