"""Toy models for tests: written down in closed form, or trained for a moment, which is enough to be loaded and looked at."""

from pathlib import Path

from ebm_refine.training.common.job import Job
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.pipelines.toy_model import ToyModel, toy_model
from ebm_refine.training.pipelines.train import make
from ebm_refine.training.recipes.toys import SETTINGS

MOMENT = {"steps": 4, "widths": (8, 8), "mcmc_steps": 2, "ratio_steps": 4}


def closed_form_folder(folder: Path) -> Path:
    """`toy-ring8-exact` and `toy-ring8-deficient`."""
    for name in ("toy-ring8-exact", "toy-ring8-deficient"):
        make(name, job_in(folder, name))
    return folder


def barely_trained_folder(folder: Path) -> Path:
    """A model of the moons of every family, and the two of closed form."""
    for family, settings in SETTINGS.items():
        name = f"toy-moons-{family}"
        toy_model(job_in(folder, name), ToyModel("moons", family, settings._replace(**MOMENT)))
    return closed_form_folder(folder)


def job_in(folder: Path, name: str, resume: bool = False) -> Job:
    return Job(None, None, 0, "cpu", Run(folder.parent / f"{folder.name}-runs" / name, resume=resume), folder / name)
