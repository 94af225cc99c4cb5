"""From a class-conditional recipe to a finished pair: train, train D alone, calibrate, report, save."""

from typing import Any, NamedTuple

import torch

from ebm_refine.catalogue import load
from ebm_refine.data.images import load_images
from ebm_refine.energies.targets import REAL_RATIOS
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.models.checkpoint import Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks import build
from ebm_refine.training.algorithms.conditional_gan import (
    AloneRecipe,
    ConditionalGANRecipe,
    first_of,
    initialise,
    train_conditional_discriminator_alone,
    train_conditional_gan,
)
from ebm_refine.training.algorithms.discriminator_alone import conditional_samples
from ebm_refine.training.common.job import Job, origin, record
from ebm_refine.training.common.resumable import to_device
from ebm_refine.training.common.scores import Labels, ratio_entries, score_summary

MEASURED_IMAGES = 2500


class ConditionalPair(NamedTuple):
    """A class-conditional pair, trained by `algorithm`, whose `steps` counts updates of G, and its D by `alone`.

    `generator` and `discriminator` are (architecture, arguments); `defaults` go into the config. `begins_at` names an embedded
    unconditional pair, with whose weights this one begins instead of random ones.
    """

    name: str
    title: str
    dataset: str
    shape: list[int]
    label_names: list[str]
    generator: tuple[str, dict[str, Any]]
    discriminator: tuple[str, dict[str, Any]]
    algorithm: ConditionalGANRecipe
    alone: AloneRecipe
    defaults: dict[str, Any]
    begins_at: str | None = None


def conditional_pair(job: Job, recipe: ConditionalPair) -> None:
    """Train a pair and write its checkpoint to `job.folder`.

    The generator that ships is the average of the lowest holdout distance; D is trained on alone against it.
    """
    algorithm = recipe.algorithm if job.steps is None else recipe.algorithm._replace(steps=job.steps)
    begins_at = load(recipe.begins_at) if recipe.begins_at else None
    extractor = features_for(recipe.dataset)
    train, holdout = (load_images(recipe.dataset, job.data, split) for split in ("train", "holdout"))
    torch.manual_seed(job.seed)
    g: Any = build(*recipe.generator)
    d: Any = build(*recipe.discriminator)
    for role, network in (("generator", g), ("discriminator", d)):
        initialise(network)
        if begins_at is not None:
            network.begin_as(begins_at.networks[role])

    def distance(network: Any) -> float:
        samples = conditional_samples(network, MEASURED_IMAGES, job.seed, job.device)
        return frechet_distance(extractor(samples.pixels), extractor.references["holdout"])

    best = train_conditional_gan(g, d, algorithm, train, job.run, job.seed, job.device, distance)
    g.load_state_dict(best["generator"])
    d.load_state_dict(best["discriminator"])
    # One folder a generator: where the first phase went on and another state is best, D starts anew against that one.
    alone_run = job.run.part(f"alone-{best['step']}")
    outcome = train_conditional_discriminator_alone(g, d, recipe.alone, train, holdout, alone_run, job.seed, job.device)
    for network in (g, d):
        to_device(network, "cpu", torch.contiguous_format)
        network.eval().requires_grad_(False)

    output = {"discriminator_output": "logit"}
    fakes = conditional_samples(g, len(holdout.pixels), job.seed + 1)
    labels = Labels(holdout.labels, fakes.labels)
    entries, real_ratios = ratio_entries({"discriminator": d}, output, holdout.pixels, fakes.pixels, labels)
    shown = {"train": first_of(train, len(holdout.pixels)), "holdout": holdout, "generated": fakes}
    config = {
        "kind": "pair",
        "title": recipe.title,
        "prior": {"name": "normal", "dim": recipe.generator[1]["latent"]},
        "labels": {"count": recipe.generator[1]["classes"], "names": recipe.label_names},
        "data": {"shape": recipe.shape, "range": [-1, 1], "dataset": recipe.dataset},
        **output,
        "defaults": recipe.defaults,
        **entries,
        "discriminator_scores": {name: score_summary(d, *images) for name, images in shown.items()},
        "holdout_distance": {"value": best["distance"], "num_images": MEASURED_IMAGES, **extractor.describe()},
        "training": {
            **record(recipe.name, job, best["step"], _unit(algorithm), train.pixels),
            "steps_run": algorithm.steps,
            "average_decay": best["decay"],
            "alone": outcome,
            **({"begins_at": origin(begins_at)} if begins_at else {}),
        },
    }
    parts = {"generator": Part(*recipe.generator, g), "discriminator": Part(*recipe.discriminator, d)}
    save_checkpoint(job.folder, config, parts, model_card({**config, "name": recipe.name}), {REAL_RATIOS: real_ratios})


def _unit(algorithm: ConditionalGANRecipe) -> str:
    """What one step of the record is."""
    batches = f"batches of {algorithm.batch_size}"
    return batches if algorithm.d_steps == 1 else f"{algorithm.d_steps} {batches}"
