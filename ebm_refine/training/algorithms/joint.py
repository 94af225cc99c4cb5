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

from ebm_refine.data.images import to_unit
from ebm_refine.models.networks.dcgan import DCGANGenerator
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
from ebm_refine.training.common.resumable import Run


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
