"""Installed from a wheel, in a folder far from the repository, it is the same program with the same models and tables."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from ebm_refine.catalogue import list_models
from ebm_refine.evaluation.tables import committed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
FOLDERS = ("ebm_refine", "checkpoints", "benchmarks/results")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that nothing of the build stays in the repository."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copyfile(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--target", str(folder), str(wheel))
    return folder


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--no-input", "--disable-pip-version-check"]
    done = subprocess.run([*command, *arguments[:1], "--no-index", *arguments[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def elsewhere(site: Path, folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_holds_all_files_of_the_package_and_its_data(wheel):
    names = set(ZipFile(wheel).namelist())
    package = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "ebm_refine").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {"ebm_refine/py.typed", "ebm_refine/ui/assets/article.md"} <= package
    assert package <= names
    data = {
        f"ebm_refine/installed/{file.relative_to(ROOT)}" for file in (ROOT / "checkpoints").rglob("*") if file.is_file()
    } | {f"ebm_refine/installed/results/{file.name}" for file in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert data <= names
    assert not [name for name in names if name.startswith(("checkpoints/", "benchmarks/", "tests/"))]


def test_models_tables_and_page_come_along(site, tmp_path):
    program = (
        "import json, ebm_refine\n"
        "from ebm_refine.evaluation.tables import committed\n"
        "from ebm_refine.ui import build\n"
        "from ebm_refine.ui.tabs.energy_gans import grid_search\n"
        "page = json.dumps(build().get_config_file(), default=str)\n"
        "pictures = len(list(grid_search.file().parent.glob('grid-search-*.png')))\n"
        "names = [model.name for model in ebm_refine.list_models()]\n"
        "print(json.dumps([ebm_refine.__file__, names, list(committed()), len(page), pictures]))\n"
    )
    place, models, tables, page, pictures = json.loads(elsewhere(site, tmp_path, sys.executable, "-c", program))
    assert Path(place).is_relative_to(site)
    assert models == [model.name for model in list_models()]
    assert tables == list(committed())
    assert page > 100_000
    assert pictures > 0


def test_the_console_script_is_the_module(site, tmp_path):
    module, script = [sys.executable, "-m", "ebm_refine"], [str(site / "bin" / "ebm-refine")]
    assert elsewhere(site, tmp_path, *module, "models") == elsewhere(site, tmp_path, *script, "models")
    command = ["refine", "--model", "toy-moons-gan", "--n-steps", "3", "--num-images", "20", "--out"]
    elsewhere(site, tmp_path, *module, *command, "one")
    elsewhere(site, tmp_path, *script, *command, "two")
    subprocess.run([*module, *command, str(tmp_path / "three")], cwd=ROOT, check=True, capture_output=True,
                   env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})  # fmt: skip
    for name in ("before.png", "after.png", "samples.npz", "settings.json", "metrics.json"):
        files = [(tmp_path / out / name).read_bytes() for out in ("one", "two", "three")]
        assert files[0] == files[1] == files[2]
    bad = subprocess.run([*script, "refine", "--model", "nowhere", "--out", "x"], capture_output=True, text=True, cwd=tmp_path,
                         env={**os.environ, "PYTHONPATH": str(site)})  # fmt: skip
    assert bad.returncode == 2
    assert bad.stderr.startswith("ebm_refine: model must be")
