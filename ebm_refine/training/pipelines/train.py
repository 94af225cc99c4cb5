"""Train a recipe to its finished checkpoint, on CPU or GPU, resumable: what `python -m ebm_refine train RECIPE` does."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ebm_refine.data.images import source_fingerprint
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.parameters import Parameter, shorten
from ebm_refine.training.algorithms.energy_against_frozen_generator import energy_alone
from ebm_refine.training.algorithms.feature_ratio import feature_ratio
from ebm_refine.training.algorithms.ratio_learning import refitted_discriminator, refitted_head, refitted_ratio
from ebm_refine.training.common.job import Job
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.pipelines.belief_net import BeliefNet, belief_net
from ebm_refine.training.pipelines.closed_form import ClosedForm, closed_form
from ebm_refine.training.pipelines.conditional_pair import ConditionalPair, conditional_pair
from ebm_refine.training.pipelines.energy_gan import AutoencoderPair, energy_gan
from ebm_refine.training.pipelines.energy_training import ImageEnergy, energy_model
from ebm_refine.training.pipelines.evaluator_training import (
    ClassifierFeatures,
    ContrastiveFeatures,
    classifier_features,
    contrastive_features,
)
from ebm_refine.training.pipelines.gan_pair import GANPair, gan_pair
from ebm_refine.training.pipelines.joint_model import JointModel, joint_model
from ebm_refine.training.pipelines.linear_ratio import linear_ratio
from ebm_refine.training.pipelines.panel_training import EvidencePanel, evidence_panel
from ebm_refine.training.pipelines.ratio_refits import ratio_refits
from ebm_refine.training.pipelines.toy_model import ToyModel, toy_model
from ebm_refine.training.recipes.by_device import for_device
from ebm_refine.training.recipes.registry import RECIPES

STEPS = Parameter("steps", "int", None, 1, 100_000_000)
SEED = Parameter("seed", "int", 0, 0, 2**32 - 1)

# Fields of recipes that go into a checkpoint's config and card alone.
WORDS = ("name", "title", "label_names", "defaults", "notes")

# What makes a checkpoint of a recipe, by the recipe's kind.
PIPELINES: dict[type, Callable[[Job, Any], None]] = {
    AutoencoderPair: energy_gan,
    BeliefNet: belief_net,
    ClassifierFeatures: classifier_features,
    ClosedForm: closed_form,
    ConditionalPair: conditional_pair,
    ContrastiveFeatures: contrastive_features,
    EvidencePanel: evidence_panel,
    GANPair: gan_pair,
    ImageEnergy: energy_model,
    JointModel: joint_model,
    ToyModel: toy_model,
}


def make(name: str, job: Job) -> None:
    """Run the recipe `name` to its finished checkpoint, `job.folder`."""
    recipe = for_device(RECIPES[name], job.device)
    PIPELINES[type(recipe)](job, recipe)


def pair_goes_on(job: Job) -> None:
    """A finished pair begins its own recipe anew at the weights that it has, both networks'; `steps` as there.

    Raises InputError where another recipe, or none, made it.
    """
    assert job.model is not None
    name = job.model.config.get("training", {}).get("recipe")
    pairs = [pair for pair in RECIPES if isinstance(for_device(RECIPES[pair], job.device), GANPair)]
    if name not in pairs:
        raise InputError(f"recipe 'pair' goes on with a pair of {', '.join(pairs)}; {job.model.name} is of {shorten(name)}")
    make(name, job)


# What begins at a finished model (`--model`) and writes that one anew.
FROM_MODEL: dict[str, Callable[[Job], None]] = {
    "pair": pair_goes_on,
    "ratio": refitted_ratio,
    "ratio-head": refitted_head,
    "feature-ratio": feature_ratio,
    "linear-ratio": linear_ratio,
    "ratio-refits": ratio_refits,
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

    Raises InputError for an unknown recipe or bad input, and where `runs` holds a run of another recipe, other settings, seed,
    length, data or model, or one that was not asked to be resumed.
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
        **(settings_of(for_device(RECIPES[recipe], device)) if recipe in RECIPES else {}),
    }
    folder = runs / (recipe if model is None else f"{recipe}-{name}")
    run = Run(folder, resume=resume, identity=identity, version=_version())
    job = Job(data, steps, seed, device, run, out / name, model)
    if recipe in RECIPES:
        make(recipe, job)
    else:
        FROM_MODEL[recipe](job)
    return job.folder


def settings_of(recipe: Any, path: str = "") -> dict[str, str]:
    """Every setting that a recipe's weights depend on, as text, by its path, such as "algorithm.rate_d"."""
    settings: dict[str, str] = {}
    for field in (field for field in recipe._fields if field not in WORDS):
        value = getattr(recipe, field)
        if hasattr(value, "_fields"):
            settings |= settings_of(value, f"{path}{field}.")
        else:
            settings[path + field] = repr(value)
    return settings


def _version() -> str:
    """Of the code that trains, and of PyTorch, on which the bits depend too."""
    try:
        return f"ebm-refine {version('ebm-refine')}, torch {torch.__version__}"
    except PackageNotFoundError:  # run from a folder that was never installed
        return f"ebm-refine, torch {torch.__version__}"
