"""Train the energy of a joint model on alone, against the averaged generator that ships.

Beside a generator in training an energy has to tell data from what that generator made at every step; the average of them that
ships makes other images. As a pair's discriminator is trained on alone before its logit counts as a log ratio, the energy goes
on against the frozen generator, by contrastive divergence with persistent chains that begin at its images instead of noise (the
generator as initial sampler: Xie et al. 2018, arXiv 1609.09408), until such chains come no nearer to held-out data.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.catalogue import load
from ebm_refine.data.images import HUB_IDS, load_images, to_unit
from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.models.checkpoint import Checkpoint, Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.dcgan import DCGANGenerator
from ebm_refine.tasks.ood_detection import REFERENCE, REFERENCE_DIGITS, energies_of_sets
from ebm_refine.training.algorithms.contrastive_divergence import (
    LENGTHS,
    EnergyRecipe,
    ReplayBuffer,
    ends_by_length,
    energy_step,
    short_run_of,
    source_of,
)
from ebm_refine.training.algorithms.gan import epoch_batch
from ebm_refine.training.common.averages import follow
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.common.resumable import Run, to_device
from ebm_refine.training.common.stopping import Stopping, train_to_lowest

MEASURED = 1000
# Of the seeds of a model's random numbers these are nobody else's.
ALONE_SEED, MEASURE_SEED, BUFFER_SEED = 11, 12, 13
# With whose weights the energy goes on, by data set; others go on with their own. An energy that was trained beside a generator
# has learned to tell the two apart, which is easy, and is too steep for chains to follow: on digits they lead away from data.
BEGINS_AT = {"mnist": "mnist-ebm"}


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

    `train` (N, C, H, W) uint8; `distance` takes images (MEASURED, C, H, W) float32 in `chains.bounds`, on `device`. Chains of
    K = `chains.chain_steps` short-run steps go on from a replay buffer, or, a share `chains.fresh` of them, begin at G(z).
    `chains.rate` falls linearly to zero; the average of the weights is the result. Returns {"step", "steps_run",
    "refined_distance" of chains of K steps from G(z), "distances": [[steps, distance], ...] of longer ones, and means of the
    energies}. `run` is this phase's own; resumed, it gives the same bits. Raises InputError where nothing measured is finite.
    """
    for network in (generator, energy):
        to_device(network, device)
    generator.eval().requires_grad_(False)
    energy.train().requires_grad_(True)
    adam = torch.optim.Adam(energy.parameters(), lr=chains.rate, betas=(chains.beta1, 0.999))
    average = copy.deepcopy(energy).requires_grad_(False)
    latest: dict[str, Tensor] = {}

    @torch.no_grad()
    def made(count: int, source: torch.Generator) -> Tensor:
        return generator(torch.randn(count, generator.latent, generator=source, device=device))

    buffer = ReplayBuffer(chains.buffer, tuple(train.shape[1:]), chains.bounds, source_of(seed + BUFFER_SEED, 0, device), made)

    def update(step: int) -> None:
        source = source_of(seed + ALONE_SEED, step, device)
        adam.param_groups[0]["lr"] = chains.rate * (1 - step / stopping.steps)
        real = to_unit(epoch_batch(train, chains.batch_size, seed + ALONE_SEED, step)).to(device)
        latest.update(energy_step(energy, adam, buffer, chains, real, source))
        follow(average, energy, chains.average_decay or 0.0, step)

    def distances(network: nn.Module, lengths: Sequence[int]) -> list[list[float]]:
        source = source_of(seed + MEASURE_SEED, 0, device)
        start = made(MEASURED, source)
        return [[steps, distance(ends)] for steps, ends in ends_by_length(network, start, chains, source, lengths)]

    def measure() -> dict[str, float]:
        ((_, nearest),) = distances(average, (1,))
        return {"refined_distance": nearest, **{name: float(value) for name, value in latest.items()}}

    parts = {"energy": energy, "average": average, "adam": adam, "buffer": buffer}
    best = train_to_lowest(parts, "average", update, measure, stopping, run, "energy alone")
    energy.load_state_dict(best["weights"])
    by_length = distances(energy, LENGTHS)
    for network in (generator, energy):
        to_device(network, "cpu", torch.contiguous_format)
        network.eval().requires_grad_(False)
    return {"step": best["step"], "steps_run": best["steps_run"], **best["measured"], "distances": by_length}


def refined_distance(dataset: str) -> Callable[[Tensor], float]:
    """The Fréchet distance to held-out data of images (N, C, H, W) in [-1, 1], in the embedded features of `dataset`."""
    extractor = features_for(dataset)

    def distance(images: Tensor) -> float:
        pixels = images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu()
        return frechet_distance(extractor(pixels), extractor.references["holdout"])

    return distance


def energy_alone(job: Job) -> None:
    """Go on with the energy of a finished joint model, whose generator stays to the byte; `steps` counts batches."""
    checkpoint = _joint_of(job)
    dataset = checkpoint.config["data"]["dataset"]
    train, holdout = (load_images(dataset, job.data, split).pixels for split in ("train", "holdout"))
    # Prepared networks are for sampling; what is trained on is a copy of the stored ones.
    generator: Any = copy.deepcopy(checkpoint.networks["generator"])
    energy = copy.deepcopy(checkpoint.networks["energy"])
    if dataset in BEGINS_AT:
        energy.load_state_dict(load(BEGINS_AT[dataset]).networks["energy"].state_dict())
    chains, stopping = alone_settings(job)
    alone = train_energy_alone(
        generator, energy, chains, stopping, train, job.run, job.seed, job.device, refined_distance(dataset)
    )
    config = {name: value for name, value in checkpoint.config.items() if name not in ("format", "parts", "tables")}
    # What was measured or chosen with the older energy says nothing of this one.
    config = {name: value for name, value in config.items() if name not in ("metrics", "choice")}
    own = record("energy-alone", job, alone["step"], f"batches of {chains.batch_size}", train)
    config["training"] = {**config["training"], "energy_alone": {**own, **alone, "chains": dict(chains._asdict())}}
    n_steps, _ = min(alone["distances"], key=lambda entry: entry[1])
    config["defaults"] = {"method": "short-run", "short-run": short_run_of(chains, n_steps)}
    entry = checkpoint.config["parts"]["energy"]
    parts = {"energy": Part(entry["architecture"], entry["arguments"], energy)}
    tables = {REFERENCE: energies_of_sets(energy, to_unit(holdout[:REFERENCE_DIGITS]))}
    card = model_card({**config, "name": checkpoint.name})
    save_checkpoint(job.folder, config, parts, card, tables, previous=checkpoint)


def alone_settings(job: Job) -> tuple[EnergyRecipe, Stopping]:
    """As for an energy by itself, at a third of the rate: weights that are good already are adapted, not learned."""
    on_cpu = job.device == "cpu"
    steps = job.steps or (400 if on_cpu else 4000)
    chains = EnergyRecipe(epochs=1, batch_size=64, rate=3e-4, buffer=1024, fresh=0.1, average_decay=0.99, bf16_chains=on_cpu)
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
