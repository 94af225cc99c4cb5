"""Train the energy of a joint model on alone, against the averaged generator that ships.

Beside a generator in training an energy has to tell data from what that generator made at every step; the average of them that
ships makes other images. As a pair's discriminator is trained on alone before its logit counts as a log ratio, the energy goes
on against the frozen generator, in the same contrastive divergence, until its chains from G(z) come no nearer to held-out data:
so that what a chain of K steps does to such an image is what was taught (Nijkamp et al. 2019, arXiv 1904.09770).
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.data.images import HUB_IDS, load_images, to_unit
from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.models.checkpoint import Checkpoint, Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.dcgan import DCGANGenerator
from ebm_refine.tasks.ood_detection import REFERENCE, REFERENCE_DIGITS, energies_of_sets
from ebm_refine.training.algorithms.contrastive_divergence import EnergyRecipe, contrastive_loss, run_chains, source_of
from ebm_refine.training.algorithms.gan import autocast_bf16, epoch_batch
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.common.resumable import Run, to_device
from ebm_refine.training.common.stopping import Stopping, train_to_lowest

MEASURED = 1000
# Of the seeds of a model's random numbers these are nobody else's.
ALONE_SEED, MEASURE_SEED = 11, 12


def train_energy_alone(
    generator: DCGANGenerator,
    energy: nn.Module,
    chains: EnergyRecipe,
    stopping: Stopping,
    train: Tensor,
    run: Run,
    seed: int,
    device: str,
    distance: Callable[[Tensor], float],
) -> dict[str, Any]:
    """Train `energy` in place against the frozen `generator` and leave it where `distance` of its chains' ends was lowest.

    `train` (N, C, H, W) uint8; `distance` takes images (MEASURED, C, H, W) float32 in `chains.bounds`, on `device`. Half of the
    negatives are images as generated, half are where K = `chains.chain_steps` short-run steps lead from them. `chains.rate`
    falls linearly to zero. Returns {"step", "steps_run", "refined_distance", and means of the energies}. `run` is this phase's
    own; resumed, it gives the same bits. Raises InputError where nothing that was measured is finite.
    """
    for network in (generator, energy):
        to_device(network, device)
    generator.eval().requires_grad_(False)
    energy.train().requires_grad_(True)
    adam = torch.optim.Adam(energy.parameters(), lr=chains.rate, betas=(chains.beta1, 0.999))
    half = chains.batch_size // 2
    latest: dict[str, Tensor] = {}

    def made(count: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            plain = generator(torch.randn(count, generator.latent, generator=source, device=device))
        with autocast_bf16(device):
            return plain, run_chains(energy, plain, chains, source)

    def update(step: int) -> None:
        source = source_of(seed + ALONE_SEED, step, device)
        adam.param_groups[0]["lr"] = chains.rate * (1 - step / stopping.steps)
        real = to_unit(epoch_batch(train, chains.batch_size, seed + ALONE_SEED, step)).to(device)
        plain, revised = made(chains.batch_size, source)
        noisy = real + chains.input_noise * torch.randn(real.shape, generator=source, device=device)
        negatives = torch.cat([revised[:half], plain[half:]])
        loss, numbers = contrastive_loss(energy, noisy.clamp_(*chains.bounds), negatives, chains.alpha)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(energy.parameters(), chains.max_norm)
        adam.step()
        latest.update(numbers)

    def measure() -> dict[str, float]:
        _, revised = made(MEASURED, source_of(seed + MEASURE_SEED, 0, device))
        return {"refined_distance": distance(revised), **{name: float(value) for name, value in latest.items()}}

    parts = {"energy": energy, "adam": adam}
    best = train_to_lowest(parts, "energy", update, measure, stopping, run, "energy alone")
    energy.load_state_dict(best["weights"])
    for network in (generator, energy):
        to_device(network, "cpu", torch.contiguous_format)
        network.eval().requires_grad_(False)
    return {"step": best["step"], "steps_run": best["steps_run"], **best["measured"]}


def refined_distance(dataset: str) -> Callable[[Tensor], float]:
    """The Fréchet distance to held-out data of images (N, C, H, W) in [-1, 1], in the embedded features of `dataset`."""
    extractor = features_for(dataset)

    def distance(images: Tensor) -> float:
        pixels = images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu()
        return frechet_distance(extractor(pixels), extractor.references["holdout"])

    return distance


def chains_of(recipe: EnergyRecipe) -> dict[str, Any]:
    """The settings by which such chains are sampled: those by which they were taught."""
    return {"eps": recipe.eps, "temperature": recipe.temperature, "clip": recipe.clip, "n_steps": recipe.chain_steps}


def energy_alone(job: Job) -> None:
    """Go on with the energy of a finished joint model, whose generator stays to the byte; `steps` counts batches."""
    checkpoint = _joint_of(job)
    dataset = checkpoint.config["data"]["dataset"]
    train, holdout = (load_images(dataset, job.data, split).pixels for split in ("train", "holdout"))
    # Prepared networks are for sampling; what is trained on is a copy of the stored ones.
    generator: Any = copy.deepcopy(checkpoint.networks["generator"])
    energy = copy.deepcopy(checkpoint.networks["energy"])
    chains, stopping = alone_settings(job)
    alone = train_energy_alone(
        generator, energy, chains, stopping, train, job.run, job.seed, job.device, refined_distance(dataset)
    )
    config = {name: value for name, value in checkpoint.config.items() if name not in ("format", "parts", "tables")}
    # What was measured or chosen with the older energy says nothing of this one.
    config = {name: value for name, value in config.items() if name not in ("metrics", "choice")}
    own = record("energy-alone", job, alone["step"], f"batches of {chains.batch_size}", train)
    config["training"] = {**config["training"], "energy_alone": {**own, **alone, "chains": dict(chains._asdict())}}
    config["defaults"] = {"method": "short-run", "short-run": chains_of(chains)}
    entry = checkpoint.config["parts"]["energy"]
    parts = {"energy": Part(entry["architecture"], entry["arguments"], energy)}
    tables = {REFERENCE: energies_of_sets(energy, to_unit(holdout[:REFERENCE_DIGITS]))}
    card = model_card({**config, "name": checkpoint.name})
    save_checkpoint(job.folder, config, parts, card, tables, previous=checkpoint)


def alone_settings(job: Job) -> tuple[EnergyRecipe, Stopping]:
    """alpha is 1, as beside the generator: see `mnist._joint_chains`. On a CPU chains are a third as long as published."""
    steps = job.steps or (1000 if job.device == "cpu" else 20_000)
    chains = EnergyRecipe(epochs=1, batch_size=64, rate=1e-3, alpha=1.0, chain_steps=20 if job.device == "cpu" else 60)
    return chains, Stopping(steps, every=max(1, steps // 10), patience=10)


def _joint_of(job: Job) -> Checkpoint:
    checkpoint = job.model
    assert checkpoint is not None
    data = checkpoint.config["data"]
    if checkpoint.kind != "joint" or data["dataset"] not in HUB_IDS:
        raise InputError(
            f"an energy goes on alone beside the generator of a joint model of images; {checkpoint.name} is of kind "
            f"{checkpoint.kind!r}, of {data['dataset']!r}"
        )
    return checkpoint
