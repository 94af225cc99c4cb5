"""Import paths of the version before still lead to the same modules, and say what they are called now."""

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import ebm_refine
from ebm_refine.utils.moved import MOVED


def test_every_old_name_leads_to_a_file_and_hides_none():
    package = Path(ebm_refine.__file__).parent

    def is_there(name: str) -> bool:
        place = package.joinpath(*name.split(".")[1:])
        return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()

    assert [new for new in MOVED.values() if not is_there(new)] == []
    assert [old for old in MOVED if is_there(old)] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ebm_refine.checkpoints", "ebm_refine.models.checkpoint"),
        ("ebm_refine.networks", "ebm_refine.models.networks"),
        ("ebm_refine.networks.dcgan", "ebm_refine.models.networks.dcgan"),
        ("ebm_refine.density_ratio", "ebm_refine.energies.density_ratio"),
        ("ebm_refine.targets", "ebm_refine.energies.targets"),
        ("ebm_refine.hub", "ebm_refine.models.hub"),
        ("ebm_refine.random", "ebm_refine.samplers.rng"),
        ("ebm_refine.samplers.driver", "ebm_refine.samplers.loop"),
        ("ebm_refine.questions.masks", "ebm_refine.tasks.masks"),
    ],
)
@pytest.mark.filterwarnings("ignore:ebm_refine:DeprecationWarning")
def test_an_old_name_is_the_module_itself_and_warns(old, new, monkeypatch):
    parent, _, name = old.rpartition(".")
    monkeypatch.delitem(sys.modules, old, raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = importlib.import_module(old)
    assert module is importlib.import_module(new)
    assert module.__name__ == module.__spec__.name == new
    said = [str(one.message) for one in caught if one.category is DeprecationWarning]
    assert f"{old} is now {new}; the old name goes with the next version" in said
    assert getattr(sys.modules[parent], name) is module


def test_names_of_modules_that_are_folders_now():
    from ebm_refine import evaluation
    from ebm_refine.evaluation import jobs, sweeps

    with pytest.warns(DeprecationWarning, match=r"ebm_refine.evaluation is now ebm_refine.evaluation.jobs"):
        assert evaluation.plan is jobs.plan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluation.sweeps is sweeps  # a file of the folder is no old name
        with pytest.raises(AttributeError, match=r"module 'ebm_refine.evaluation' has no attribute 'nothing'"):
            _ = evaluation.nothing


@pytest.mark.slow
def test_the_warning_is_of_the_line_that_imports_and_the_program_itself_gives_none(tmp_path):
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    old.write_text("import sys\nfrom ebm_refine.checkpoints import Checkpoint\n")
    new.write_text("import ebm_refine, ebm_refine.ui, ebm_refine.cli, ebm_refine.training.recipes.registry\n")
    done = subprocess.run([sys.executable, str(old)], capture_output=True, text=True)
    assert f"{old}:2: DeprecationWarning: ebm_refine.checkpoints is now ebm_refine.models.checkpoint" in done.stderr
    quiet = [sys.executable, "-W", "error::DeprecationWarning:ebm_refine", "-W", "error:ebm_refine", str(new)]
    done = subprocess.run(quiet, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
