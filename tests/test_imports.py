"""Imports run one way only, as DESIGN.md lays down, and importing the package touches neither network nor data."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ebm_refine"

# room -> the rooms it may import from; a room may always import from itself and from the leaves below.
LEAVES = {"errors", "parameters", "files", "cancellation", "kinds"}
ALLOWED: dict[str, set[str]] = {
    "cancellation": set(),
    "errors": set(),
    "files": set(),
    "kinds": set(),
    "parameters": set(),
    "random": set(),
    "networks": set(),
    "points": {"networks"},
    "samplers": {"random"},
    "density_ratio": {"networks"},
    "settings": {"samplers", "density_ratio"},
    "devices": set(),
    "preparation": set(),
    "checkpoints": {"networks", "preparation"},
    "hub": {"checkpoints", "card"},
    "card": set(),
    "space": {"settings"},
    "catalogue": {"checkpoints", "settings", "hub"},
    "importing": {"checkpoints", "networks", "card"},
    "targets": {"checkpoints", "density_ratio", "devices", "networks", "random"},
    "metrics": {"checkpoints", "catalogue", "networks", "points"},
    "pipeline": {"catalogue", "checkpoints", "devices", "metrics", "render", "samplers", "settings", "targets"},
    "evaluation": {
        "checkpoints",
        "density_ratio",
        "devices",
        "kinds",
        "metrics",
        "pipeline",
        "render",
        "samplers",
        "settings",
        "sharding",
        "sweeps",
        "tables",
        "targets",
        "timing",
        "truncation",
    },
    "sharding": set(),
    "sweeps": {"render", "tables"},
    "tables": {"metrics", "samplers"},
    "timing": set(),
    "truncation": set(),
    "render": set(),
    "questions": {"random", "samplers"},
    "answers": {"checkpoints", "questions", "random", "samplers", "settings", "targets"},
    "training": {
        "devices",
        "catalogue",
        "networks",
        "samplers",
        "metrics",
        "checkpoints",
        "card",
        "density_ratio",
        "energy_gans",
        "points",
        "questions",
        "random",
        "targets",
    },
    "landscape": {"checkpoints", "targets"},
    "energy_gans": {"checkpoints", "networks"},
    "plane": set(),
    "experiments": {"points"},
    "ui": {
        "answers",
        "catalogue",
        "checkpoints",
        "energy_gans",
        "evaluation",
        "experiments",
        "landscape",
        "metrics",
        "pipeline",
        "plane",
        "points",
        "questions",
        "render",
        "samplers",
        "settings",
        "space",
        "sweeps",
        "tables",
        "targets",
        "timing",
        "training",
    },
}
EVERYTHING = {"cli", "__init__", "__main__"}


def imported_rooms(file: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ebm_refine":
            path = node.module.split(".")[1:]
            rooms |= {path[0]} if path else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ebm_refine.")}
    return rooms


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_one_way(file: Path):
    room = room_of(file)
    if room in EVERYTHING:
        return
    assert room in ALLOWED, f"{room} is a new room: say in ALLOWED what it may import"
    forbidden = imported_rooms(file) - ALLOWED[room] - LEAVES - {room}
    assert not forbidden, f"{file.name} must not import {forbidden}"


def test_of_the_app_only_the_laboratory_and_the_reader_of_data_import_training_and_only_once_they_are_asked():
    importing = {file.name for file in (PACKAGE / "ui").glob("*.py") if "training" in imported_rooms(file)}
    assert importing == {"copies.py", "laboratory_training.py"}
    for name in importing:
        module = ast.parse((PACKAGE / "ui" / name).read_text())
        eager = [node.module for node in module.body if isinstance(node, ast.ImportFrom) and node.module]
        assert eager
        assert not any(one.startswith("ebm_refine.training") for one in eager)


def test_imports_check_sees_a_forbidden_one(tmp_path: Path):
    file = tmp_path / "wrong.py"
    file.write_text("def f():\n    from ebm_refine.pipeline import refine\n    import ebm_refine.ui.page\n")
    assert imported_rooms(file) == {"pipeline", "ui"}


def test_imports_of_the_package_open_no_socket_and_read_no_model():
    code = (
        "import socket, builtins\n"
        "def refuse(*a, **k): raise AssertionError('network at import')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "import sys, ebm_refine\n"
        "assert not {'datasets', 'gradio', 'sklearn', 'arviz_stats'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)
