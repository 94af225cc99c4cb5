"""Refit the log ratio of a finished pair as a logistic regression on a classifier's features and the pixels averaged to 8x8.

A network with hidden layers, given pixels, tells every generated image from every real one by the generator's own traits, which
no choice among its images can mend. A linear one cannot, and weighs brightness, colour and layout beside content.
"""

from typing import Any

import torch

from ebm_refine.catalogue import load
from ebm_refine.models.checkpoint import Part
from ebm_refine.models.networks import build
from ebm_refine.training.algorithms.feature_ratio import BODIES, HeadRecipe, train_head
from ebm_refine.training.algorithms.ratio_learning import finish, pair_of, sides_of
from ebm_refine.training.common.job import Job

# The models whose ratio has the body of `BODIES`. It was trained on real images alone, and knows no generator.
BODY_OF = {"cifar10": "cifar10-dcgan", "mnist": "mnist-gan", "celeba": "celeba-dcgan"}
SIDE = 8


def linear_ratio(job: Job) -> None:
    """A linear head on an embedded body's features and SIDE x SIDE pixels; `steps` counts batches of 256 a side."""
    dataset = pair_of(job).config["data"]["dataset"]
    sides, body, source = sides_of(job), BODIES[dataset], load(BODY_OF[dataset])
    arguments = {"body": body.architecture, "arguments": body.arguments, "hidden": 0, "dropout": 0.0, "pixels": SIDE}
    network: Any = build("feature-ratio", arguments)
    seeing: Any = source.networks["ratio"]
    network.body.load_state_dict(seeing.body.state_dict())
    network.eval().requires_grad_(False)

    recipe = HeadRecipe(steps=job.steps or 3000, weight_decay=0.1, patience=12)
    torch.manual_seed(job.seed)
    measured = train_head(network, recipe, sides, mirror=body.mirror, run=job.run, seed=job.seed, device=job.device)
    unit = f"batches of {recipe.batch_size} real and as many generated"
    origin = {"body_of": f"{source.name}, ratio {source.hashes['ratio'][:12]}"}
    finish(job, "ratio", Part("feature-ratio", arguments, network), network.last, sides, {**measured, **origin}, unit)
