"""From a GAN recipe to a finished pair: train, train D alone, calibrate, report, save."""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ebm_refine.catalogue import load
from ebm_refine.data.images import load_images
from ebm_refine.energies.targets import REAL_RATIOS
from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.metrics.panel import projected
from ebm_refine.metrics.panel_rights import as_reference
from ebm_refine.metrics.panel_store import embedded_panel
from ebm_refine.models.checkpoint import Checkpoint, Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator, initialise
from ebm_refine.parameters import shorten
from ebm_refine.training.algorithms.discriminator_alone import train_discriminator_alone
from ebm_refine.training.algorithms.gan import GANRecipe, train_gan
from ebm_refine.training.algorithms.wgan import WGANRecipe, train_critic_alone, train_wgan
from ebm_refine.training.common.job import Job, origin, record
from ebm_refine.training.common.resumable import to_device
from ebm_refine.training.common.scores import generated, ratio_entries, score_summary

MEASURED = 2500


class GANPair(NamedTuple):
    """A pair of the DCGAN family. The kind of its algorithm tells the losses; `steps` of that counts batches.

    `generator` and `discriminator` are (architecture, arguments); `defaults` and `notes` go into the config. `begins_at` names
    an embedded pair of these networks, as which this one begins instead of at random weights. The state that ships is the one
    nearest to holdout images: in the data set's features, or, `chosen_by_panel`, on average over the kinds of its panel. What
    a single encoder does not respond to is left behind when it alone chooses.
    """

    name: str
    title: str
    dataset: str
    shape: list[int]
    generator: tuple[str, dict[str, Any]]
    discriminator: tuple[str, dict[str, Any]]
    algorithm: GANRecipe | WGANRecipe
    defaults: dict[str, Any]
    notes: tuple[str, ...] = ()
    begins_at: str | None = None
    chosen_by_panel: bool = False


def gan_pair(job: Job, recipe: GANPair) -> None:
    """Train a pair and write its checkpoint to `job.folder`; it begins as the job's own model where there is one.

    The generator that ships is the averaged one at its lowest distance from holdout images; the discriminator, or critic, is
    trained on alone against it. Raises InputError where the networks of the pair that it begins as are others.
    """
    algorithm = recipe.algorithm if job.steps is None else recipe.algorithm._replace(steps=job.steps)
    begins_at = job.model or (load(recipe.begins_at) if recipe.begins_at else None)
    notes = [*recipe.notes]
    if begins_at is not None:
        notes.append(f"Training began at the weights of `{begins_at.name}`, not at random ones.")
    extractor = features_for(recipe.dataset)
    train_set, holdout = (load_images(recipe.dataset, job.data, split).pixels for split in ("train", "holdout"))
    torch.manual_seed(job.seed)
    g, d = DCGANGenerator(**recipe.generator[1]), DCGANDiscriminator(**recipe.discriminator[1])
    initialise(g)
    initialise(d)
    if begins_at is not None:
        _begin(begins_at, {"generator": (*recipe.generator, g), "discriminator": (*recipe.discriminator, d)})

    def samples(network: DCGANGenerator) -> Tensor:
        return generated(network, MEASURED, job.seed, job.device)

    def in_features(network: DCGANGenerator) -> float:
        return frechet_distance(extractor(samples(network)), extractor.references["holdout"])

    over_kinds = _panel_distance(recipe.dataset, holdout) if recipe.chosen_by_panel else None

    def distance(network: DCGANGenerator) -> float:
        return over_kinds(samples(network)) if over_kinds else in_features(network)

    train: Any = train_wgan if isinstance(algorithm, WGANRecipe) else train_gan
    train_alone: Any = train_critic_alone if isinstance(algorithm, WGANRecipe) else train_discriminator_alone
    best = train(g, d, algorithm, train_set, job.run, job.seed, job.device, distance)
    g.load_state_dict(best["generator"])
    d.load_state_dict(best["discriminator"])
    # One folder a generator: where the first phase went on and another state is best, D starts anew against that one.
    alone_run = job.run.part(f"alone-{best['step']}")
    alone = train_alone(g, d, algorithm, train_set, holdout, alone_run, job.seed, job.device)
    for network in (g, d):
        to_device(network, "cpu", torch.contiguous_format)
        network.eval().requires_grad_(False)

    output = {"discriminator_output": "critic" if isinstance(algorithm, WGANRecipe) else "logit"}
    fakes = generated(g, len(holdout), job.seed + 1)
    entries, real_ratios = ratio_entries({"discriminator": d}, output, holdout, fakes)
    shown = {"train": train_set[: len(holdout)], "holdout": holdout, "generated": fakes}
    config = {
        "kind": "pair",
        "title": recipe.title,
        "prior": {"name": "normal", "dim": recipe.generator[1]["latent"]},
        "data": {"shape": recipe.shape, "range": [-1, 1], "dataset": recipe.dataset},
        **output,
        "defaults": recipe.defaults,
        **entries,
        **({"notes": notes} if notes else {}),
        "discriminator_scores": {name: score_summary(d, pixels) for name, pixels in shown.items()},
        "holdout_distance": {
            "value": in_features(g) if over_kinds else best["distance"],
            "num_images": MEASURED,
            **extractor.describe(),
        },
        "training": {
            **record(recipe.name, job, best["step"], f"batches of {algorithm.batch_size}", train_set),
            "steps_run": algorithm.steps,
            **({"panel_distance": best["distance"]} if over_kinds else {}),
            "alone": alone,
            **({"begins_at": origin(begins_at)} if begins_at else {}),
        },
    }
    parts = {"generator": Part(*recipe.generator, g), "discriminator": Part(*recipe.discriminator, d)}
    save_checkpoint(job.folder, config, parts, model_card({**config, "name": recipe.name}), {REAL_RATIOS: real_ratios})


def _panel_distance(dataset: str, holdout: Tensor) -> Callable[[Tensor], float]:
    """Samples (N, C, H, W) uint8 -> their mean Fréchet distance from the `holdout` images over the kinds of the panel."""
    panel = embedded_panel(dataset)
    references = {kind: as_reference(rows, "holdout") for kind, rows in projected(panel, holdout).items()}

    def mean_distance(samples: Tensor) -> float:
        found = projected(panel, samples)
        return statistics.mean(frechet_distance(found[kind], one) for kind, one in references.items())

    return mean_distance


def _begin(checkpoint: Checkpoint, networks: dict[str, tuple[str, dict[str, Any], nn.Module]]) -> None:
    """Give `networks`, by role, the checkpoint's weights. Raises InputError where they are of another shape."""
    for role, (architecture, arguments, network) in networks.items():
        part = checkpoint.config["parts"].get(role, {})
        if (part.get("architecture"), part.get("arguments")) != (architecture, arguments):
            raise InputError(f"the {role} is to begin as that of {checkpoint.name}, which is another network: {shorten(part)}")
        network.load_state_dict(checkpoint.networks[role].state_dict())
        network.requires_grad_(True)
