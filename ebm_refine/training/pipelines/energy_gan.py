"""From an autoencoder GAN's recipe to a finished pair: train, settle D's batch norms, calibrate, keep the curves, save."""

from typing import Any, NamedTuple

import torch

from ebm_refine.catalogue import load
from ebm_refine.data.images import load_images
from ebm_refine.energies.autoencoder_gan import ARCHITECTURE, CONTROLS, CURVES, ENERGIES, GENERATED, REAL, UNITS
from ebm_refine.energies.targets import REAL_RATIOS
from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.models.checkpoint import Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.autoencoder import AutoencoderDiscriminator
from ebm_refine.models.networks.dcgan import DCGANGenerator, initialise
from ebm_refine.parameters import shorten
from ebm_refine.training.algorithms.autoencoder_game import AutoencoderRecipe, settle, train_autoencoder_gan
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.common.resumable import to_device
from ebm_refine.training.common.scores import STORED_RATIOS, generated, ratio_entries, scores_of

# The published initial weights of EBGAN.
DEVIATION_G, DEVIATION_D = 0.02, 0.002
MEASURED = 1000


class AutoencoderPair(NamedTuple):
    """A pair whose D is an autoencoder; `steps` of its algorithm counts batches.

    `generator` is (architecture, arguments), `autoencoder` the arguments of D; `defaults` go into the config. `begins_at` names
    an embedded pair whose generator, of the same arguments, this one begins as, instead of at random weights.
    """

    name: str
    title: str
    dataset: str
    shape: list[int]
    generator: tuple[str, dict[str, Any]]
    autoencoder: dict[str, Any]
    algorithm: AutoencoderRecipe
    defaults: dict[str, Any]
    begins_at: str | None = None


def energy_gan(job: Job, recipe: AutoencoderPair) -> None:
    """Train a pair and write its checkpoint to `job.folder`.

    The generator that ships is the averaged one at its lowest holdout distance, D is as it stood then, with batch-norm
    statistics taken against that generator; it is not trained on, since a margin loss would only push that generator's
    samples up to the margin.
    """
    algorithm = recipe.algorithm if job.steps is None else recipe.algorithm._replace(steps=job.steps)
    extractor = features_for(recipe.dataset)
    train_set, holdout = (load_images(recipe.dataset, job.data, split).pixels for split in ("train", "holdout"))
    torch.manual_seed(job.seed)
    g, d = DCGANGenerator(**recipe.generator[1]), AutoencoderDiscriminator(**recipe.autoencoder)
    initialise(g, DEVIATION_G)
    initialise(d, DEVIATION_D)
    if recipe.begins_at is not None:
        _begin_at(recipe.begins_at, recipe.generator, g)

    def distance(network: DCGANGenerator) -> float:
        return frechet_distance(extractor(generated(network, MEASURED, job.seed, job.device)), extractor.references["holdout"])

    best, curves = train_autoencoder_gan(g, d, algorithm, train_set, job.run, job.seed, job.device, distance)
    g.load_state_dict(best["generator"])
    d.load_state_dict(best["discriminator"])
    settle(g, d, train_set, algorithm.batch_size, job.seed, job.device)
    for network in (g, d):
        to_device(network, "cpu", torch.contiguous_format)
        network.eval().requires_grad_(False)

    output = {"discriminator_output": "energy"}
    fakes = generated(g, len(holdout), job.seed + 1)
    entries, real_ratios = ratio_entries({"discriminator": d}, output, holdout, fakes)
    energies = {REAL: scores_of(d, holdout[-STORED_RATIOS:]), GENERATED: scores_of(d, fakes[-STORED_RATIOS:])}
    then = int((curves["step"] <= best["step"]).sum()) - 1
    control = {CONTROLS[algorithm.family]: float(curves["control"][then])} if then >= 0 else {}
    config = {
        "kind": "pair",
        "title": recipe.title,
        "prior": {"name": "normal", "dim": recipe.generator[1]["latent"]},
        "data": {"shape": recipe.shape, "range": [-1, 1], "dataset": recipe.dataset},
        **output,
        "defaults": recipe.defaults,
        **entries,
        "holdout_distance": {"value": best["distance"], "num_images": MEASURED, **extractor.describe()},
        "training": {
            **record(recipe.name, job, best["step"], f"batches of {algorithm.batch_size}", train_set),
            "steps_run": algorithm.steps,
            "settings": dict(algorithm._asdict()),
            **control,
            **({"generator began as": recipe.begins_at} if recipe.begins_at else {}),
        },
        "notes": notes(algorithm, recipe.autoencoder["error"], float(energies[REAL].mean()), float(energies[GENERATED].mean()))
        + ([f"The generator began as that of `{recipe.begins_at}`, not at random weights."] if recipe.begins_at else []),
    }
    parts = {"generator": Part(*recipe.generator, g), "discriminator": Part(ARCHITECTURE, recipe.autoencoder, d)}
    tables = {REAL_RATIOS: real_ratios, CURVES: curves, ENERGIES: energies}
    save_checkpoint(job.folder, config, parts, model_card({**config, "name": recipe.name}), tables)


def _begin_at(name: str, generator: tuple[str, dict[str, Any]], network: DCGANGenerator) -> None:
    """Give `network` the weights of the embedded generator. Raises InputError where that one is another network."""
    checkpoint = load(name)
    part = checkpoint.config["parts"].get("generator", {})
    if (part.get("architecture"), part.get("arguments")) != generator:
        raise InputError(f"the generator is to begin as that of {name}, which is another network: {shorten(part)}")
    network.load_state_dict(checkpoint.networks["generator"].state_dict())


def notes(recipe: AutoencoderRecipe, error: str, real: float, fake: float) -> list[str]:
    """What a card must say of an autoencoder as a discriminator."""
    pretrained = f"{recipe.pretraining_steps} batches of the autoencoder alone came before the game."
    steering = {
        "ebgan": f"The margin is {recipe.margin:g}, in that unit; it is fixed.",
        "ebgan-pt": f"The margin is {recipe.margin:g}, in that unit; it is fixed. The pulling-away term of the codes of "
        f"generated images is added to G's loss with weight {recipe.pulling_weight:.3g}.",
        "began": f"k is steered towards L(G(z)) = gamma L(x) at gamma = {recipe.gamma:g}, from 0 at rate 0.001, within [0, 1].",
        "magan": "The margin, in that unit, begins at the mean D of real images after pretraining and falls at an epoch's end "
        "where the rule says so.",
    }[recipe.family]
    return [
        f"The discriminator is an autoencoder and D(x), {UNITS[error]} (pixels in [-1, 1]), is an energy.",
        f"{pretrained} {steering}",
        f"At this state mean D is {real:.4g} of held-out real images and {fake:.4g} of generated ones.",
        "D is as it stood in the game; a margin loss has no minimum at the log ratio, so raw r = -D is an energy of its own "
        "scale, whose inverse temperature is beta, and only the calibrated ratio is fitted to be a log ratio.",
    ]
