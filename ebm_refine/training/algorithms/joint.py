"""A GAN and an energy trained together: chains of the energy revise what the generator makes, and teach its discriminator.

In every step K short-run steps lead from G(z) to revised images, as in the cooperative training of Xie et al. 2018
(arXiv 1609.09408). D learns to tell data and revised images, half and half, from G(z); G learns to pass for them, as in any
GAN; the energy falls on data and rises on G(z) and on revised images, half and half, so that chains find no holes beside them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.data.images import load_images, to_unit
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.models import networks
from ebm_refine.models.checkpoint import Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator, initialise
from ebm_refine.tasks.ood_detection import REFERENCE, REFERENCE_DIGITS, energies_of_sets
from ebm_refine.training.algorithms.contrastive_divergence import EnergyRecipe, contrastive_loss, run_chains, source_of
from ebm_refine.training.algorithms.gan import (
    GANRecipe,
    add_spectral_norm,
    begin,
    epoch_batch,
    falling_rate,
    set_rates,
    train_to_best,
)
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.common.resumable import Run, place
from ebm_refine.training.common.scores import generated
from ebm_refine.training.pipelines.energy_training import cold_note

MEASURED = 2500


class JointNetworks(NamedTuple):
    generator: DCGANGenerator
    discriminator: nn.Module
    energy: nn.Module


def train_joint(
    nets: JointNetworks,
    recipe: GANRecipe,
    chains: EnergyRecipe,
    train: Tensor,
    run: Run,
    seed: int,
    device: str,
    distance: Callable[[DCGANGenerator], float],
) -> dict[str, Any]:
    """Train all three in place on `train` (N, C, H, W) uint8; `chains` gives K, their step, and the energy's rate and alpha.

    `distance(generator)` is the holdout distance of its samples. Returns what `train_to_best` does, "energy" among it.
    """
    begin(nets, seed, device)
    add_spectral_norm(nets.discriminator)
    betas = (recipe.beta1, 0.999)
    adam_g = torch.optim.Adam(nets.generator.parameters(), lr=recipe.rate_g, betas=betas)
    adam_d = torch.optim.Adam(nets.discriminator.parameters(), lr=recipe.rate_d, betas=betas)
    adam_e = torch.optim.Adam(nets.energy.parameters(), lr=chains.rate, betas=(chains.beta1, 0.999))
    rates: dict[torch.optim.Optimizer, float] = {adam_g: recipe.rate_g, adam_d: recipe.rate_d, adam_e: chains.rate}
    half = recipe.batch_size // 2

    def update(step: int) -> dict[str, Tensor]:
        source = source_of(seed, step + 1, device)
        real = to_unit(epoch_batch(train, recipe.batch_size, seed, step)).to(device)
        set_rates(rates, falling_rate(step, recipe.steps, recipe.falling_share))
        fake = nets.generator(torch.randn(recipe.batch_size, nets.generator.latent).to(device))
        plain = fake.detach()
        revised = run_chains(nets.energy, plain, chains, source)
        noisy = real + chains.input_noise * torch.randn(real.shape, generator=source, device=device)
        negatives = torch.cat([revised[:half], plain[half:]])
        loss_e, numbers = contrastive_loss(nets.energy, noisy.clamp_(*chains.bounds), negatives, chains.alpha)
        _step(adam_e, loss_e, nets.energy, chains.max_norm)

        on_good, on_fake = nets.discriminator(torch.cat([real[:half], revised[half:], plain])).chunk(2)
        loss_d = F.softplus(-on_good).mean() + F.softplus(on_fake).mean()
        _step(adam_d, loss_d)

        nets.discriminator.requires_grad_(False)
        loss_g = F.softplus(-nets.discriminator(fake)).mean()
        _step(adam_g, loss_g)
        nets.discriminator.requires_grad_(True)
        return {"loss_d": loss_d, "loss_g": loss_g, **numbers}

    parts = {**nets._asdict(), "adam_g": adam_g, "adam_d": adam_d, "adam_e": adam_e}
    return train_to_best(parts, update, recipe, run, device, distance)


def _step(adam: torch.optim.Optimizer, loss: Tensor, clipped: nn.Module | None = None, max_norm: float = 0.0) -> None:
    adam.zero_grad(set_to_none=True)
    loss.backward()
    if clipped is not None:
        nn.utils.clip_grad_norm_(clipped.parameters(), max_norm)
    adam.step()


def joint_model(
    job: Job,
    *,
    name: str,
    title: str,
    dataset: str,
    shape: list[int],
    generator: tuple[str, dict[str, Any]],
    discriminator: tuple[str, dict[str, Any]],
    energy: tuple[str, dict[str, Any]],
    recipe: GANRecipe,
    chains: EnergyRecipe,
) -> None:
    """Train a generator with an energy and save both, at the averaged generator's lowest holdout distance."""
    extractor = features_for(dataset)
    train_set = load_images(dataset, job.data, "train").pixels
    torch.manual_seed(job.seed)
    nets = JointNetworks(DCGANGenerator(**generator[1]), DCGANDiscriminator(**discriminator[1]), networks.build(*energy))
    initialise(nets.generator)
    initialise(nets.discriminator)

    def distance(network: DCGANGenerator) -> float:
        return frechet_distance(extractor(generated(network, MEASURED, job.seed, job.device)), extractor.references["holdout"])

    best = train_joint(nets, recipe, chains, train_set, job.run, job.seed, job.device, distance)
    nets.generator.load_state_dict(best["generator"])
    nets.energy.load_state_dict(best["energy"])
    for network in (nets.generator, nets.energy):
        place(network, "cpu", torch.contiguous_format)
        network.eval().requires_grad_(False)
    sampler = {"eps": chains.eps, "temperature": chains.temperature, "clip": chains.clip, "n_steps": chains.chain_steps}
    config = {
        "kind": "joint",
        "title": title,
        "prior": {"name": "normal", "dim": generator[1]["latent"]},
        "data": {"shape": shape, "range": [-1, 1], "dataset": dataset},
        "defaults": {"method": "short-run", "short-run": sampler},
        "holdout_distance": {"value": best["distance"], "num_images": MEASURED, **extractor.describe()},
        "training": {
            **record(name, job, best["step"], f"batches of {recipe.batch_size}", train_set),
            "steps_run": recipe.steps,
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
    save_checkpoint(job.folder, config, parts, model_card({**config, "name": name}), tables)
