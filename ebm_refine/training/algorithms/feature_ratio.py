"""Refit the log ratio in the feature space of a network of its own, which was taught to see and never saw a generated image.

What tells this generator's images from real ones pixel by pixel is mostly the generator's handwriting, in good samples as in
bad ones: a ratio fitted to images follows it, and samplers follow the ratio. Features that were learned to tell what an image
shows hardly see it, so that the ratio of their laws speaks of content (Ding, Wang and Welch 2020, "Subsampling generative
adversarial networks", arXiv 1909.10670, density ratio estimation in feature space).

The body is a classifier of the data set's labels, or, where it has none, a contrastive encoder. It is trained here, from first
weights of its own, on training images alone. The head is a small network on its frozen features, a logistic regression that
dropout and weight decay hold back, stopped where the cross-entropy on held-out images is lowest.
"""

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.data.images import to_unit
from ebm_refine.models.checkpoint import Part
from ebm_refine.models.networks import build
from ebm_refine.models.networks.ratio import FeatureRatio
from ebm_refine.training.algorithms.classifier import ClassifierRecipe, train_classifier
from ebm_refine.training.algorithms.ratio_learning import Sides, finish, pair_of, sides_of
from ebm_refine.training.algorithms.simclr import ContrastiveRecipe, train_encoder
from ebm_refine.training.common.averages import follow
from ebm_refine.training.common.job import Job
from ebm_refine.training.common.resumable import Run, to_device
from ebm_refine.training.common.stopping import Stopping, train_to_lowest

# Added to the job's seed for the body, so that it shares no initial weights with an extractor of the same seed.
BODY_SEED = 100
CHUNK = 500


class Body(NamedTuple):
    """What looks at a data set's images: architecture, its arguments, and its length in epochs (classifier) or batches.

    `mirror`: whether an image's mirror image is as good a one.
    """

    architecture: str
    arguments: dict[str, Any]
    length: int
    mirror: bool = True


# On a CPU; a GPU trains four times as long.
BODIES = {
    "cifar10": Body("resnet-classifier", {"in_channels": 3, "widths": [32, 64, 96], "classes": 10}, 12),
    "mnist": Body("resnet-classifier", {"in_channels": 1, "widths": [16, 32, 48], "classes": 10}, 6, mirror=False),
    "celeba": Body("contrastive-encoder", {"in_channels": 3, "widths": [24, 32, 48, 64, 64]}, 800),
}


class Rows(NamedTuple):
    """Features (N, d) of real and of generated images: those that are fitted to, then those that stop and calibrate."""

    real: Tensor
    fake: Tensor
    holdout_real: Tensor
    holdout_fake: Tensor

    def resampled(self, source: torch.Generator, *, mirror: bool) -> "Rows":
        """The same with the images that are fitted to drawn with replacement; with `mirror` each with its mirror image."""

        def drawn(rows: Tensor) -> Tensor:
            count = len(rows) // 2 if mirror else len(rows)
            chosen = torch.randint(count, (count,), generator=source).to(rows.device)
            return rows[torch.cat([chosen, chosen + count])] if mirror else rows[chosen]

        return self._replace(real=drawn(self.real), fake=drawn(self.fake))


class HeadRecipe(NamedTuple):
    """AdamW with a rate that falls linearly to zero; the average of the weights is the result. `batch_size` a side."""

    steps: int
    batch_size: int = 256
    rate: float = 1e-3
    weight_decay: float = 1e-2
    average_decay: float = 0.99
    measure_every: int = 250
    patience: int = 8


def feature_ratio(job: Job) -> None:
    """A head on features that a body of its own learned from the training images; `steps` counts the head's batches."""
    dataset = pair_of(job).config["data"]["dataset"]
    sides, body = sides_of(job), BODIES[dataset]
    torch.manual_seed(job.seed + BODY_SEED)
    arguments = {"body": body.architecture, "arguments": body.arguments}
    learned: Any = build(body.architecture, body.arguments)
    body_record = _train_body(learned, body, sides, job)

    torch.manual_seed(job.seed)
    network = on_frozen_body(arguments, learned)
    recipe = HeadRecipe(steps=job.steps or 8000)
    rows = rows_of(network, sides, job.device, mirror=body.mirror)
    measured = train_head(network, recipe, rows, run=job.run, seed=job.seed, device=job.device)
    unit = f"batches of {recipe.batch_size} real and as many generated"
    measured["body"] = body_record
    finish(job, "feature-ratio", "ratio", Part("feature-ratio", arguments, network), network.last, sides, measured, unit)


def on_frozen_body(arguments: dict[str, Any], learned: nn.Module) -> Any:
    """A `FeatureRatio` of these arguments, frozen: its body has the weights of `learned`, its head first ones of its own."""
    network: Any = build("feature-ratio", arguments)
    weights = {name: value for name, value in learned.state_dict().items() if not name.startswith("head.")}
    network.body.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def rows_of(network: FeatureRatio, sides: Sides, device: str, *, mirror: bool) -> Rows:
    """What the head of `network` sees of the images; `mirror` adds every image's mirror image to those that are fitted to."""
    to_device(network, device)
    fitted = (features_of(network, pixels, device, mirror=mirror) for pixels in (sides.train.pixels, sides.pool))
    return Rows(*fitted, *(features_of(network, pixels, device) for pixels in sides.judges))


def train_head(network: FeatureRatio, recipe: HeadRecipe, rows: Rows, *, run: Run, seed: int, device: str) -> dict[str, Any]:
    """Fit the layers behind `network.body`, in place, and leave them at their best averaged state.

    Returns {"step", "steps_run", "holdout_cross_entropy", "train_cross_entropy"}. `run` is resumed from its last measurement,
    to the same bits.
    """
    to_device(network, device)
    real, fake = rows.real, rows.fake
    on_holdout = (rows.holdout_real, rows.holdout_fake)
    on_train = [side[: len(rows.holdout_real)] for side in (real, fake)]

    torch.manual_seed(seed)
    head: Any = nn.ModuleDict({"head": network.head, "last": network.last})
    head.requires_grad_(True)
    norm = head["head"][0]
    norm.reset_running_stats()
    norm.running_mean.copy_(real.mean(0))
    norm.running_var.copy_(real.var(0))
    average = copy.deepcopy(head).eval().requires_grad_(False)
    adam = torch.optim.AdamW(head.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)

    def scores(layers: Any, rows: Tensor) -> Tensor:
        return layers["last"](layers["head"](rows)).squeeze(1)

    def update(step: int) -> None:
        head.train()
        norm.eval()
        adam.param_groups[0]["lr"] = recipe.rate * (1 - step / recipe.steps)
        a, b = (rows[torch.randint(len(rows), (recipe.batch_size,))] for rows in (real, fake))
        loss = (F.softplus(-scores(head, a)).mean() + F.softplus(scores(head, b)).mean()) / 2
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        follow(average, head, recipe.average_decay, step)

    @torch.no_grad()
    def cross_entropy(a: Tensor, b: Tensor) -> float:
        return float((F.softplus(-scores(average, a)).mean() + F.softplus(scores(average, b)).mean()) / 2)

    def measure() -> dict[str, float]:
        return {"holdout_cross_entropy": cross_entropy(*on_holdout), "train_cross_entropy": cross_entropy(*on_train)}

    stopping = Stopping(recipe.steps, recipe.measure_every, recipe.patience)
    best = train_to_lowest({"head": head, "average": average, "adam": adam}, "average", update, measure, stopping, run, "ratio")
    head.load_state_dict(best["weights"])
    head.eval().requires_grad_(False)
    return {"step": best["step"], "steps_run": best["steps_run"], **best["measured"]}


@torch.no_grad()
def features_of(network: FeatureRatio, pixels: Tensor, device: str, *, mirror: bool = False) -> Tensor:
    """The body's features (N, d), on the device, of images (N, C, H, W) uint8; `mirror` adds those of the mirror images."""
    sides = (pixels, pixels.flip(3)) if mirror else (pixels,)
    return torch.cat([network.features(to_unit(part).to(device)).float() for side in sides for part in side.split(CHUNK)])


def _train_body(network: Any, body: Body, sides: Sides, job: Job) -> dict[str, Any]:
    """Train `network` in place in a run of its own beside the head's; returns what the card tells of it."""
    run = job.run.part("body")
    length, seed = body.length * (1 if job.device == "cpu" else 4), job.seed + BODY_SEED
    if body.architecture == "contrastive-encoder":
        measured = train_encoder(network, ContrastiveRecipe(steps=length), sides.train.pixels, run, seed, job.device)
        return {"contrastive_batches": length, **measured}
    recipe = ClassifierRecipe(epochs=length, flip=body.mirror)
    measured = train_classifier(network, recipe, sides.train, sides.holdout, run, seed, job.device)
    return {"epochs": length, **measured}
