"""The recipes behind the embedded checkpoints: `python -m ebm_refine train RECIPE`; on CPU or GPU, resumable.

To add a recipe: a function of a Job in the file of its data set or family, and a row in RECIPES, or in FROM_MODEL where it goes
on from a finished model (`--model`) and writes that one anew.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ebm_refine.data.images import source_fingerprint
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.parameters import Parameter, shorten
from ebm_refine.toy2d.datasets import DATASETS, FAMILIES, law
from ebm_refine.training.algorithms.energy_against_frozen_generator import energy_alone
from ebm_refine.training.algorithms.feature_ratio import feature_ratio
from ebm_refine.training.algorithms.ratio_learning import refitted_discriminator, refitted_head, refitted_ratio
from ebm_refine.training.common.job import Job
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.recipes.celeba import celeba_dcgan, celeba_features
from ebm_refine.training.recipes.cifar10 import cifar10_cgan, cifar10_dcgan, cifar10_features, cifar10_wgan_gp
from ebm_refine.training.recipes.closed_form import closed_form
from ebm_refine.training.recipes.mnist import (
    mnist_cgan,
    mnist_dbn,
    mnist_ebm,
    mnist_features,
    mnist_gan,
    mnist_gan_ebm,
    mnist_jem,
)
from ebm_refine.training.recipes.mnist_energy_gans import mnist_began, mnist_ebgan, mnist_ebgan_pt, mnist_magan
from ebm_refine.training.recipes.panels import celeba_panel, cifar10_panel, mnist_panel
from ebm_refine.training.recipes.toys import toy

STEPS = Parameter("steps", "int", None, 1, 100_000_000)
SEED = Parameter("seed", "int", 0, 0, 2**32 - 1)

RECIPES: dict[str, Callable[[Job], None]] = {
    "cifar10-features": cifar10_features,
    "cifar10-cgan": cifar10_cgan,
    "cifar10-dcgan": cifar10_dcgan,
    "cifar10-wgan-gp": cifar10_wgan_gp,
    "celeba-features": celeba_features,
    "celeba-dcgan": celeba_dcgan,
    "mnist-features": mnist_features,
    "mnist-ebm": mnist_ebm,
    "mnist-jem": mnist_jem,
    "mnist-cgan": mnist_cgan,
    "mnist-gan": mnist_gan,
    "mnist-gan-ebm": mnist_gan_ebm,
    "mnist-dbn": mnist_dbn,
    "mnist-ebgan": mnist_ebgan,
    "mnist-ebgan-pt": mnist_ebgan_pt,
    "mnist-began": mnist_began,
    "mnist-magan": mnist_magan,
    "cifar10-panel": cifar10_panel,
    "mnist-panel": mnist_panel,
    "celeba-panel": celeba_panel,
    **{f"toy-{dataset}-{family}": toy(dataset, family) for dataset in DATASETS for family in FAMILIES},
    **{f"toy-{dataset}-exact": closed_form(dataset, "exact") for dataset in DATASETS},
    **{f"toy-{dataset}-deficient": closed_form(dataset, "deficient") for dataset in DATASETS if law(dataset).num_modes > 1},
}
PAIRS = {"cifar10-dcgan": cifar10_dcgan, "cifar10-wgan-gp": cifar10_wgan_gp, "celeba-dcgan": celeba_dcgan}


def pair_goes_on(job: Job) -> None:
    """A finished pair begins its own recipe anew at the weights that it has, both networks'; `steps` as there.

    Raises InputError where another recipe, or none, made it.
    """
    assert job.model is not None
    recipe = job.model.config.get("training", {}).get("recipe")
    if recipe not in PAIRS:
        raise InputError(f"recipe 'pair' goes on with a pair of {', '.join(PAIRS)}; {job.model.name} is of {shorten(recipe)}")
    PAIRS[recipe](job)


FROM_MODEL: dict[str, Callable[[Job], None]] = {
    "pair": pair_goes_on,
    "ratio": refitted_ratio,
    "ratio-head": refitted_head,
    "feature-ratio": feature_ratio,
    "discriminator": refitted_discriminator,
    "energy-alone": energy_alone,
}


def train(
    recipe: str,
    *,
    data: str | None,
    model: Checkpoint | None,
    steps: Any,
    seed: Any,
    device: str,
    runs: Path,
    out: Path,
    resume: bool,
) -> Path:
    """Run a recipe to its finished checkpoint, `out/RECIPE` or, of a recipe that starts from a model, `out/MODEL`.

    Raises InputError for an unknown recipe or bad input, and where `runs` holds a run of another recipe, seed, length, data or
    model, or one that was not asked to be resumed.
    """
    if recipe not in {**RECIPES, **FROM_MODEL}:
        raise InputError(f"recipe must be one of {', '.join((*RECIPES, *FROM_MODEL))}; got {shorten(recipe)}")
    if recipe in RECIPES and model is not None:
        raise InputError(f"recipe {recipe!r} starts from no model; leave --model out (got {shorten(model.name)})")
    if recipe in FROM_MODEL and model is None:
        raise InputError(f"recipe {recipe!r} starts from a model: name one with --model")
    name = recipe if model is None else Path(model.name).name
    steps, seed = STEPS.parse(steps), SEED.parse(seed)
    identity = {
        "recipe": recipe,
        "seed": seed,
        "steps": steps,
        "data": source_fingerprint(data),
        "model": None if model is None else dict(model.hashes),
        "device": device.partition(":")[0],
    }
    folder = runs / (recipe if model is None else f"{recipe}-{name}")
    run = Run(folder, resume=resume, identity=identity, version=_version())
    job = Job(data, steps, seed, device, run, out / name, model)
    {**RECIPES, **FROM_MODEL}[recipe](job)
    return job.folder


def _version() -> str:
    """Of the code that trains, and of PyTorch, on which the bits depend too."""
    try:
        return f"ebm-refine {version('ebm-refine')}, torch {torch.__version__}"
    except PackageNotFoundError:  # run from a folder that was never installed
        return f"ebm-refine, torch {torch.__version__}"
