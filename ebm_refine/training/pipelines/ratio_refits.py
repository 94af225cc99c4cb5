"""Refit the head of a finished ratio to resampled images, so that a run can show how far r is decided by them.

Each refit begins at first weights of its own and is trained, stopped and calibrated as the ratio itself was, on training images
and samples drawn with replacement (the bootstrap; Efron 1979, "Bootstrap methods: another look at the jackknife"). The ratio
and all that was measured with it stay as they are. Refits of a linear head come with it (`train linear-ratio`).
"""

from typing import Any

import torch
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.ratio import FeatureRatio
from ebm_refine.models.refits import REFITS, refits_table
from ebm_refine.training.algorithms.feature_ratio import BODIES, HeadRecipe, Rows, on_frozen_body, rows_of, train_head
from ebm_refine.training.algorithms.ratio_learning import pair_of, sides_of
from ebm_refine.training.common.job import Job
from ebm_refine.training.common.resumable import Run, to_device
from ebm_refine.training.common.scores import Halves, calibrate_last_layer

REFITTED = 3
# Added to the job's seed and the number of the refit, so that none shares its first weights with the ratio.
REFIT_SEED = 1000


def ratio_refits(job: Job) -> None:
    """REFITTED further heads for a ratio with hidden layers on frozen features; `steps` counts each one's batches."""
    checkpoint = pair_of(job)
    network = with_hidden_layers(checkpoint)
    trained = checkpoint.config.get("training", {}).get("ratio")
    trained = trained if isinstance(trained, dict) else {}
    recipe = HeadRecipe(steps=job.steps or length_of(checkpoint.name, trained))
    mirror = BODIES[checkpoint.config["data"]["dataset"]].mirror
    rows = rows_of(network, sides_of(job), job.device, mirror=mirror)
    made = []
    for number in range(REFITTED):
        seed = job.seed + REFIT_SEED + number
        resampled = rows.resampled(torch.Generator().manual_seed(seed), mirror=mirror)
        made.append(refit(checkpoint, resampled, recipe, job.run.part(f"refit-{number}"), seed, job.device))
    to_device(network, "cpu", torch.contiguous_format)

    record = {"count": REFITTED, "steps": recipe.steps, "seed": job.seed}
    training = {**checkpoint.config["training"], "ratio": {**trained, "refits": record}}
    config = {**checkpoint.config, "training": training}
    card = model_card({**config, "name": checkpoint.name})
    config = {name: value for name, value in config.items() if name not in ("format", "parts", "tables")}
    save_checkpoint(job.folder, config, {}, card, {REFITS: refits_table(network, made)}, previous=checkpoint)


def length_of(name: str, trained: dict[str, Any]) -> int:
    """The batches that the ratio of the model `name` was trained for, by its record. Raises InputError where that says none."""
    steps = trained.get("steps_run")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise InputError(f"the config of {name} does not say for how many batches its ratio was trained; give --steps")
    return steps


def with_hidden_layers(checkpoint: Checkpoint) -> FeatureRatio:
    """The checkpoint's ratio. Raises InputError where that is no head with hidden layers on frozen features."""
    network = checkpoint.networks.get("ratio")
    if not isinstance(network, FeatureRatio):
        needed = "recipe 'ratio-refits' needs a ratio on frozen features (train feature-ratio)"
        raise InputError(f"{needed}; {checkpoint.name} has none")
    if len(network.head) == 2:
        raise InputError(f"the ratio of {checkpoint.name} is linear: its refits come with it (train linear-ratio)")
    return network


def refit(checkpoint: Checkpoint, rows: Rows, recipe: HeadRecipe, run: Run, seed: int, device: str) -> dict[str, Tensor]:
    """One head, trained on `rows` from weights that `seed` draws, and calibrated; its weights float16 by their names."""
    torch.manual_seed(seed)
    network = on_frozen_body(checkpoint.config["parts"]["ratio"]["arguments"], with_hidden_layers(checkpoint).body)
    train_head(network, recipe, rows, run=run, seed=seed, device=device)
    with torch.no_grad():
        judged = Halves(*(network.of_features(side).double().cpu() for side in (rows.holdout_real, rows.holdout_fake)))
    calibrate_last_layer(network, network.last, judged)
    state = {name: value.cpu() for name, value in network.state_dict().items() if name.startswith(("head.", "last."))}
    return {name: value.half() for name, value in state.items() if value.is_floating_point()}
