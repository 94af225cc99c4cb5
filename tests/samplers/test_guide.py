"""docs/adding-a-sampler.md: its sampler works everywhere by one file and one line, and the battery of laws sees it broken."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import laws
import pytest
from zscores import LIMIT

from ebm_refine.samplers.method import Method

ROOT = Path(__file__).parent.parent.parent
FILE = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-sampler.md").read_text(), re.DOTALL).group(1)
ACCEPTANCE = "accepted = draws.uniform().log() < (state.energy - energy) / temperature"


def method_of(source: str) -> Method:
    module = ModuleType("random_walk")
    exec(compile(source, "docs/adding-a-sampler.md", "exec"), module.__dict__)
    return module.METHOD


@pytest.mark.slow
def test_the_guides_sampler_has_its_law() -> None:
    found = laws.scores(method_of(FILE))
    assert all(abs(z) <= LIMIT for z in found.values()), found


@pytest.mark.parametrize(
    "fault",
    [
        ACCEPTANCE.replace("state.energy - energy", "energy - state.energy"),
        "accepted = torch.ones(len(energy), dtype=torch.bool)",
        ACCEPTANCE.replace("< (", "< 0.5 * ("),
        ACCEPTANCE.replace(" / temperature", ""),
    ],
    ids=["sign flipped", "everything accepted", "half the energy", "no temperature"],
)
@pytest.mark.slow
def test_the_battery_alone_sees_the_guides_sampler_broken(fault: str) -> None:
    assert FILE.count(ACCEPTANCE) == 1
    found = laws.scores(method_of(FILE.replace(ACCEPTANCE, fault)))
    assert not all(abs(z) <= LIMIT for z in found.values()), found


EVERYWHERE = """
import json, sys
from ebm_refine.cli import main
from ebm_refine.ui.api.refine import models, refinable_models
from ebm_refine.ui.components.controls import _method_choices

model, out = sys.argv[1:]
chosen = ["--model", model, "--out", out]
assert main(["refine", *chosen, "--method", "random-walk", "--eps", "0.1", "--n-steps", "4", "--num-images", "4"]) == 0
settings = json.load(open(out + "/settings.json"))
assert (settings["method"], settings["n_steps"]) == ("random-walk", 4)
(listed,) = [one for one in models() if one["name"] == model]
assert listed["methods"]["random-walk"]["title"] == "Random-walk Metropolis"
assert ("Random-walk Metropolis", "random-walk") in _method_choices(refinable_models()[model])
assert main(["evaluate", "--model", model, "--methods", "random-walk", "--budget", "3", "--num-images", "500",
             "--seeds", "0", "--out", out + "/table"]) == 0
assert "random-walk" in open(out + "/table/results.json").read()
"""


@pytest.mark.slow
def test_one_file_and_one_line_make_it_work_everywhere(tmp_path: Path) -> None:
    """In a scratch copy of the package: command line, API, page and `evaluate --budget`."""
    shutil.copytree(ROOT / "ebm_refine", tmp_path / "ebm_refine", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    (tmp_path / "ebm_refine" / "samplers" / "random_walk.py").write_text(FILE)
    registry = tmp_path / "ebm_refine" / "samplers" / "__init__.py"
    text = registry.read_text().replace("    rejection,\n", "    random_walk,\n    rejection,\n")
    registry.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", EVERYWHERE, "toy-moons-gan", str(tmp_path / "out")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
