"""From a joint recipe to a finished model: train a generator with an energy, choose a state by holdout distance, save both."""

from typing import Any, NamedTuple

import torch

from ebm_refine.data.images import load_images, to_unit
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.models import networks
from ebm_refine.models.checkpoint import Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator, initialise
from ebm_refine.tasks.ood_detection import REFERENCE, REFERENCE_DIGITS, energies_of_sets
from ebm_refine.training.algorithms.contrastive_divergence import EnergyRecipe, short_run_of
from ebm_refine.training.algorithms.gan import GANRecipe
from ebm_refine.training.algorithms.joint import JointNetworks, train_joint
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.common.resumable import to_device
from ebm_refine.training.common.scores import generated
from ebm_refine.training.pipelines.energy_training import cold_note

MEASURED = 2500


class JointModel(NamedTuple):
    """A GAN and an energy whose `chains` revise what it makes; networks are (architecture, arguments).

    `steps` of the GAN's algorithm counts batches; of `chains` count K, their step, and the energy's rate and alpha.
    """

    name: str
    title: str
    dataset: str
    shape: list[int]
    generator: tuple[str, dict[str, Any]]
    discriminator: tuple[str, dict[str, Any]]
    energy: tuple[str, dict[str, Any]]
    algorithm: GANRecipe
    chains: EnergyRecipe


def joint_model(job: Job, recipe: JointModel) -> None:
    """Train a generator with an energy and save both, at the averaged generator's lowest holdout distance."""
    algorithm = recipe.algorithm if job.steps is None else recipe.algorithm._replace(steps=job.steps)
    generator, energy, chains, dataset = recipe.generator, recipe.energy, recipe.chains, recipe.dataset
    extractor = features_for(dataset)
    train_set = load_images(dataset, job.data, "train").pixels
    torch.manual_seed(job.seed)
    nets = JointNetworks(DCGANGenerator(**generator[1]), DCGANDiscriminator(**recipe.discriminator[1]), networks.build(*energy))
    initialise(nets.generator)
    initialise(nets.discriminator)

    def distance(network: DCGANGenerator) -> float:
        return frechet_distance(extractor(generated(network, MEASURED, job.seed, job.device)), extractor.references["holdout"])

    best = train_joint(nets, algorithm, chains, train_set, job.run, job.seed, job.device, distance)
    nets.generator.load_state_dict(best["generator"])
    nets.energy.load_state_dict(best["energy"])
    for network in (nets.generator, nets.energy):
        to_device(network, "cpu", torch.contiguous_format)
        network.eval().requires_grad_(False)
    config = {
        "kind": "joint",
        "title": recipe.title,
        "prior": {"name": "normal", "dim": generator[1]["latent"]},
        "data": {"shape": recipe.shape, "range": [-1, 1], "dataset": dataset},
        "defaults": {"method": "short-run", "short-run": short_run_of(chains, chains.chain_steps)},
        "holdout_distance": {"value": best["distance"], "num_images": MEASURED, **extractor.describe()},
        "training": {
            **record(recipe.name, job, best["step"], f"batches of {algorithm.batch_size}", train_set),
            "steps_run": algorithm.steps,
            "chains": dict(chains._asdict()),
        },
        "notes": [
            cold_note(chains),
            "The energy was trained beside the generator as it was at each step; the generator that ships is their average.",
        ],
    }
    parts = {"generator": Part(*generator, nets.generator), "energy": Part(*energy, nets.energy)}
    digits = to_unit(load_images(dataset, job.data, "holdout").pixels[:REFERENCE_DIGITS])
    tables = {REFERENCE: energies_of_sets(nets.energy, digits)}
    save_checkpoint(job.folder, config, parts, model_card({**config, "name": recipe.name}), tables)
