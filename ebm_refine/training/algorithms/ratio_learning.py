"""Refit the log ratio of a finished pair: a network of its own, or a head on D's frozen features, against the frozen generator.

A discriminator that was trained with its generator had to follow a moving target and to teach it; as a log ratio for the
generator that ships it is the weak part of every sampler (Ding et al. 2020, arXiv 1909.10670). Here a network does nothing but
that: logistic regression of training images against a pool of the generator's samples, stopped where the cross-entropy on
held-out images is lowest, then calibrated on them. The law that it estimates is that of uint8 images, so that it cannot tell
the two by their rounding.

The pair's own discriminator can be trained on in the same way. It stays the pair's discriminator, and gives the raw ratio.

Labels are not smoothed. With a share s of them flipped the optimum is no longer r but log((1-s) e^r + s) - log((1-s) + s e^r),
which levels off where |r| > log((1-s) / s): there, among the worst images, the gradient would vanish.
"""

import copy
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.data.images import HUB_IDS, Images, load_images, to_unit
from ebm_refine.energies.labels import label_count
from ebm_refine.energies.targets import REAL_RATIOS
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint, Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks import build
from ebm_refine.training.algorithms.discriminator_alone import conditional_samples
from ebm_refine.training.algorithms.gan import autocast_bf16
from ebm_refine.training.common.augment import Augmentation, augment
from ebm_refine.training.common.averages import follow
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.common.resumable import Run, to_device
from ebm_refine.training.common.scores import (
    UNLABELLED,
    Halves,
    Labels,
    calibrate_last_layer,
    generated,
    ratio_entries,
    scores_of,
)
from ebm_refine.training.common.stopping import Stopping, train_to_lowest

# Seeds of the samples that stop, calibrate and report (as those of a fresh pair), and of the pool that trains.
HOLDOUT_SEED, POOL_SEED = 1, 2
# Entries of a config that were measured with the network of before, and go with it.
MEASURED = ("metrics", "choice", "panel_choice", "evidence")


class RatioRecipe(NamedTuple):
    """AdamW with a rate that falls linearly to zero; the exponential average of the weights is the result.

    The rate rises over the first `warm_up` steps: Adam knows nothing of a trained network's gradients, and would spoil it.
    `penalty` weighs the squared gradient norm of r at real and generated images alike (Mescheder et al. 2018, R1 and R2), taken
    every `penalty_every` steps at as many times the weight (Karras et al. 2020). Training ends after `steps`, or once
    `patience` measurements in a row have not lowered the holdout cross-entropy.
    """

    steps: int
    batch_size: int = 64
    rate: float = 1e-3
    warm_up: int = 200
    weight_decay: float = 1e-2
    average_decay: float = 0.998
    shift: float = 0.125
    penalty: float = 0.002
    penalty_every: int = 4
    measure_every: int = 250
    patience: int = 6


def refitted_ratio(job: Job) -> None:
    """A small network of its own. `steps` counts batches of 64 real and 64 generated images."""
    shape = pair_of(job).config["data"]["shape"]
    arguments = {"widths": [32, 64, 88], "channels": shape[0], "hidden": 64}
    _refit(job, "ratio", "ratio", "ratio-network", arguments, RatioRecipe(steps=job.steps or 8000))


def refitted_head(job: Job) -> None:
    """A head on the frozen features of the pair's own discriminator. `steps` as for the network."""
    part = pair_of(job).config["parts"]["discriminator"]
    if part["architecture"] != "dcgan-discriminator":
        raise InputError(f"recipe 'ratio-head' needs a discriminator of the DCGAN family; got {part['architecture']!r}")
    _refit(job, "ratio-head", "ratio", "ratio-head", {**part["arguments"], "hidden": 64}, RatioRecipe(steps=job.steps or 4000))


def refitted_discriminator(job: Job) -> None:
    """The pair's own discriminator goes on alone against the frozen generator, then is calibrated anew. `steps` as above."""
    checkpoint = pair_of(job)
    output = checkpoint.config.get("discriminator_output", "logit")
    if output != "logit":
        raise InputError(f"recipe 'discriminator' needs one that gives a logit; that of {checkpoint.name} gives {output!r}")
    part = checkpoint.config["parts"]["discriminator"]
    recipe = RatioRecipe(steps=job.steps or 6000, rate=5e-4, penalty=0.0)
    _refit(job, "discriminator", "discriminator", part["architecture"], part["arguments"], recipe)


def train_ratio(
    network: nn.Module, recipe: RatioRecipe, train: Tensor, pool: Tensor, holdout: Tensor, fakes: Tensor, run: Run, seed: int,
    device: str,
) -> dict[str, Any]:  # fmt: skip
    """Fit `network`, in place, to log p_data - p_gen from `train` and `pool`, and leave it at its best averaged state.

    All images (N, C, H, W) uint8: `train`, `pool` are fitted to; `holdout`, `fakes` (equal in number) tell when to stop. Only
    parameters that require a gradient change. Returns {"step", "steps_run", "holdout_cross_entropy", "train_cross_entropy"}.
    `run` is resumed from its last measurement, and a resumed run equals an uninterrupted one to the bit.
    """
    torch.manual_seed(seed)
    to_device(network, device)
    network.eval()  # a frozen body's batch norms stay as they are
    average = copy.deepcopy(network).requires_grad_(False)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    adam = torch.optim.AdamW(trainable, lr=recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay)

    def update(step: int) -> None:
        adam.param_groups[0]["lr"] = recipe.rate * min(1.0, (step + 1) / recipe.warm_up) * (1 - step / recipe.steps)
        real = train[torch.randint(len(train), (recipe.batch_size,))]
        fake = pool[torch.randint(len(pool), (recipe.batch_size,))]
        images = augment(to_unit(torch.cat([real, fake])).to(device), Augmentation(mirror=True, shift=recipe.shift))
        penalised = recipe.penalty > 0 and step % recipe.penalty_every == 0
        # A penalty is a difference of small numbers, and is left in float32.
        with nullcontext() if penalised else autocast_bf16(device):
            r = network(images.requires_grad_(penalised)).float()
        on_real, on_fake = r.chunk(2)
        loss = (F.softplus(-on_real).mean() + F.softplus(on_fake).mean()) / 2
        if penalised:
            loss = loss + recipe.penalty * recipe.penalty_every * squared_gradient(r, images)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        follow(average, network, recipe.average_decay, step)

    def measure() -> dict[str, float]:
        seen = len(holdout)
        on_holdout = mean_cross_entropy(average, holdout, fakes, device)
        on_train = mean_cross_entropy(average, train[:seen], pool[:seen], device)
        return {"holdout_cross_entropy": on_holdout, "train_cross_entropy": on_train}

    stopping = Stopping(recipe.steps, recipe.measure_every, recipe.patience)
    parts = {"network": network, "average": average, "adam": adam}
    best = train_to_lowest(parts, "average", update, measure, stopping, run, "ratio")
    network.load_state_dict(best["weights"])
    return {"step": best["step"], "steps_run": best["steps_run"], **best["measured"]}


def squared_gradient(scores: Tensor, images: Tensor) -> Tensor:
    """Mean over images of the squared norm of each score's gradient to its image; differentiable once more."""
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def mean_cross_entropy(network: nn.Module, real: Tensor, fake: Tensor, device: str) -> float:
    """Mean of -log sigmoid(r) over real and -log sigmoid(-r) over fake (uint8); chance is log 2 = 0.693."""
    on_real, on_fake = scores_of(network, real, device), scores_of(network, fake, device)
    return float((F.softplus(-on_real).mean() + F.softplus(on_fake).mean()) / 2)


def pair_of(job: Job) -> Checkpoint:
    """The model that the job starts from. Raises InputError where it is no pair of images of a known data set."""
    checkpoint = job.model
    assert checkpoint is not None
    data = checkpoint.config["data"]
    if checkpoint.kind != "pair" or len(data["shape"]) != 3:
        raise InputError(f"a ratio is refitted to a pair that makes images; {checkpoint.name} is of kind {checkpoint.kind!r}")
    if data["dataset"] not in HUB_IDS:
        known = ", ".join(HUB_IDS)
        raise InputError(f"a ratio needs the pair's training images, of {known}; {checkpoint.name} is of {data['dataset']!r}")
    return checkpoint


class Sides(NamedTuple):
    """Real images and samples (N, C, H, W) uint8: `train` and `pool` are fitted to, `holdout` and `fakes` judge, N by N.

    `fake_labels` (N,) int64 are those of `fakes`, of a generator with classes.
    """

    train: Images
    pool: Tensor
    holdout: Images
    fakes: Tensor
    fake_labels: Tensor | None = None

    @property
    def judges(self) -> tuple[Tensor, Tensor]:
        """Real and generated images that stop and calibrate: half of those that judge. The other half reports."""
        half = len(self.fakes) // 2
        return self.holdout.pixels[:half], self.fakes[:half]


def sides_of(job: Job) -> Sides:
    """The pair's data and as many samples of its generator.

    Raises InputError where the data is of another shape or too little, or lacks labels that the pair needs.
    """
    checkpoint = pair_of(job)
    dataset, shape = checkpoint.config["data"]["dataset"], checkpoint.config["data"]["shape"]
    train, holdout = (load_images(dataset, job.data, split) for split in ("train", "holdout"))
    if list(train.pixels.shape[1:]) != shape:
        raise InputError(f"{checkpoint.name} makes images of {shape}, but {dataset} is read as {list(train.pixels.shape[1:])}")
    if len(holdout.pixels) < 2:
        found = len(train.pixels) + len(holdout.pixels)
        raise InputError(f"half of the images held out calibrate, half report, so it takes 20 or more to train on; got {found}")
    if classes := label_count(checkpoint.config):
        see_that_labels_fit(checkpoint.name, classes, holdout.labels)
    generator: Any = copy.deepcopy(checkpoint.prepared["generator"])
    to_device(generator, job.device)
    count, seeds = len(holdout.pixels), (job.seed + POOL_SEED, job.seed + HOLDOUT_SEED)
    if classes:
        pool, labelled = (
            conditional_samples(generator, size, seed, job.device)
            for size, seed in zip((len(train.pixels), count), seeds, strict=True)
        )
        return Sides(train, pool.pixels, holdout, labelled.pixels, labelled.labels)
    pool_pixels = generated(generator, len(train.pixels), seeds[0], job.device)
    return Sides(train, pool_pixels, holdout, generated(generator, count, seeds[1], job.device))


def see_that_labels_fit(name: str, classes: int, labels: Tensor | None) -> None:
    """Raises InputError where a model of so many classes has no use for the labels (N,) of its data."""
    if labels is None:
        raise InputError(f"{name} makes images of {classes} classes; its data needs a column 'label'")
    if len(strange := labels[(labels < 0) | (labels >= classes)]):
        raise InputError(f"{name} has classes 0 to {classes - 1}; its data has a label {int(strange[0])}")


def finish(
    job: Job, recipe: str, role: str, part: Part, last: nn.Linear | nn.Conv2d | None, sides: Sides, measured: dict[str, Any],
    unit: str, tables: dict[str, dict[str, Tensor]] | None = None,
) -> None:  # fmt: skip
    """Calibrate the trained network of `part` in place, report on all ratios, and write the checkpoint with it for `role`.

    `recipe` is the name under which it was trained; `role` is "ratio", whose network's layer `last` gives r (None: r needs no
    calibration), or "discriminator". `measured` goes into the training record, `tables` beside the weights.
    """
    checkpoint, (architecture, arguments, network) = pair_of(job), part
    to_device(network, "cpu", torch.contiguous_format)
    network.eval().requires_grad_(False)
    config = {name: value for name, value in checkpoint.config.items() if name not in ("format", "parts", "tables", *MEASURED)}
    if role == "ratio" and last is not None:
        fitting = Halves(*(scores_of(network, pixels) for pixels in sides.judges))
        measured["calibration"] = calibrate_last_layer(network, last, fitting)
    if role == "discriminator":  # what was fitted to the old one goes with it
        config = {name: value for name, value in config.items() if name not in ("calibration", "isotonic")}

    # Reported is what the stored half-precision weights say.
    networks = {name: one for name, one in checkpoint.networks.items() if name in ("discriminator", "ratio")}
    networks[role] = copy.deepcopy(network).half().float()
    labels = UNLABELLED if sides.fake_labels is None else Labels(sides.holdout.labels, sides.fake_labels)
    entries, table = ratio_entries(networks, config, sides.holdout.pixels, sides.fakes, labels)
    own = record(recipe, job, measured["step"], unit, sides.train.pixels)
    training = {**config.get("training", {}), "alone_further" if role == "discriminator" else "ratio": {**own, **measured}}
    config = {**config, **entries, "training": training}
    card = model_card({**config, "name": checkpoint.name})
    tables = {REAL_RATIOS: table, **(tables or {})}
    save_checkpoint(job.folder, config, {role: Part(architecture, arguments, network)}, card, tables, previous=checkpoint)
    for name, report in entries["ratio_report"].items():
        shown = ("cross_entropy", "z_statistic", "log_mean_weight", "effective_sample_share")
        job.run.log(phase="report", ratio=name, **{key: report[key] for key in shown})


def _refit(job: Job, name: str, role: str, architecture: str, arguments: dict[str, Any], recipe: RatioRecipe) -> None:
    """Train a network for `role`, "ratio" or "discriminator", by the recipe called `name`, and write the checkpoint with it."""
    checkpoint, sides = pair_of(job), sides_of(job)
    torch.manual_seed(job.seed)
    network: Any = build(architecture, arguments)
    if role == "discriminator":
        network.load_state_dict(checkpoint.networks["discriminator"].state_dict())
    if architecture == "ratio-head":
        discriminator: Any = checkpoint.networks["discriminator"]
        network.body.load_state_dict(discriminator.main[:-1].state_dict())
        network.body.requires_grad_(False)
    train = sides.train.pixels
    measured = train_ratio(network, recipe, train, sides.pool, *sides.judges, job.run, job.seed, job.device)
    last = network.last if role == "ratio" else None
    unit = f"batches of {recipe.batch_size} real and as many generated"
    finish(job, name, role, Part(architecture, arguments, network), last, sides, measured, unit)
