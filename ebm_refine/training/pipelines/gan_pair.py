"""From a GAN recipe to a finished pair: train, train D alone, calibrate, report, save."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ebm_refine.data.images import load_images
from ebm_refine.energies.targets import REAL_RATIOS
from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.models.checkpoint import Checkpoint, Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator, initialise
from ebm_refine.parameters import shorten
from ebm_refine.training.algorithms.discriminator_alone import train_discriminator_alone
from ebm_refine.training.algorithms.gan import GANRecipe, train_gan
from ebm_refine.training.algorithms.wgan import WGANRecipe, train_critic_alone, train_wgan
from ebm_refine.training.common.job import Job, origin, record
from ebm_refine.training.common.resumable import place
from ebm_refine.training.common.scores import generated, ratio_entries, score_summary


def gan_pair(
    job: Job,
    *,
    name: str,
    title: str,
    dataset: str,
    shape: list[int],
    generator: tuple[str, dict[str, Any]],
    discriminator: tuple[str, dict[str, Any]],
    recipe: GANRecipe | WGANRecipe,
    defaults: dict[str, Any],
    notes: Sequence[str] = (),
    begins_at: Checkpoint | None = None,
) -> None:
    """Train a pair of the DCGAN family by `recipe`, whose kind tells the losses, and write its checkpoint to `job.folder`.

    The generator that ships is the averaged one at its lowest holdout distance; the discriminator, or critic, is trained on
    alone against it. `generator` and `discriminator` are (architecture, arguments); `defaults` and
    `notes` go into the config. `begins_at`, or the job's own model, is a pair of these networks, as which this one begins
    instead of at random weights. Raises InputError where its networks are others.
    """
    begins_at = job.model or begins_at
    if begins_at is not None:
        notes = [*notes, f"Training began at the weights of `{begins_at.name}`, not at random ones."]
    extractor = features_for(dataset)
    train_set, holdout = (load_images(dataset, job.data, split).pixels for split in ("train", "holdout"))
    torch.manual_seed(job.seed)
    g, d = DCGANGenerator(**generator[1]), DCGANDiscriminator(**discriminator[1])
    initialise(g)
    initialise(d)
    if begins_at is not None:
        _begin(begins_at, {"generator": (*generator, g), "discriminator": (*discriminator, d)})

    def distance(network: DCGANGenerator) -> float:
        return frechet_distance(extractor(generated(network, 2500, job.seed, job.device)), extractor.references["holdout"])

    train: Any = train_wgan if isinstance(recipe, WGANRecipe) else train_gan
    train_alone: Any = train_critic_alone if isinstance(recipe, WGANRecipe) else train_discriminator_alone
    best = train(g, d, recipe, train_set, job.run, job.seed, job.device, distance)
    g.load_state_dict(best["generator"])
    d.load_state_dict(best["discriminator"])
    # One folder a generator: where the first phase went on and another state is best, D starts anew against that one.
    alone_run = job.run.part(f"alone-{best['step']}")
    alone = train_alone(g, d, recipe, train_set, holdout, alone_run, job.seed, job.device)
    for network in (g, d):
        place(network, "cpu", torch.contiguous_format)
        network.eval().requires_grad_(False)

    output = {"discriminator_output": "critic" if isinstance(recipe, WGANRecipe) else "logit"}
    fakes = generated(g, len(holdout), job.seed + 1)
    entries, real_ratios = ratio_entries({"discriminator": d}, output, holdout, fakes)
    shown = {"train": train_set[: len(holdout)], "holdout": holdout, "generated": fakes}
    config = {
        "kind": "pair",
        "title": title,
        "prior": {"name": "normal", "dim": generator[1]["latent"]},
        "data": {"shape": shape, "range": [-1, 1], "dataset": dataset},
        **output,
        "defaults": defaults,
        **entries,
        **({"notes": list(notes)} if notes else {}),
        "discriminator_scores": {name: score_summary(d, pixels) for name, pixels in shown.items()},
        "holdout_distance": {
            "value": best["distance"],
            "num_images": 2500,
            **extractor.describe(),
        },
        "training": {
            **record(name, job, best["step"], f"batches of {recipe.batch_size}", train_set),
            "steps_run": recipe.steps,
            "alone": alone,
            **({"begins_at": origin(begins_at)} if begins_at else {}),
        },
    }
    parts = {"generator": Part(*generator, g), "discriminator": Part(*discriminator, d)}
    save_checkpoint(job.folder, config, parts, model_card({**config, "name": name}), {REAL_RATIOS: real_ratios})


def _begin(checkpoint: Checkpoint, networks: dict[str, tuple[str, dict[str, Any], nn.Module]]) -> None:
    """Give `networks`, by role, the checkpoint's weights. Raises InputError where they are of another shape."""
    for role, (architecture, arguments, network) in networks.items():
        part = checkpoint.config["parts"].get(role, {})
        if (part.get("architecture"), part.get("arguments")) != (architecture, arguments):
            raise InputError(f"the {role} is to begin as that of {checkpoint.name}, which is another network: {shorten(part)}")
        network.load_state_dict(checkpoint.networks[role].state_dict())
        network.requires_grad_(True)
