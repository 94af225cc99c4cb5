"""Train models of points in the plane: vanilla GAN, WGAN-GP, an energy, and a GAN beside an energy; a ratio for a generator.

Small enough to watch: every loop tells how far it is (`training.common.updates.Watched`), and one of a run goes on from its
saved state to the same bits. A loop that diverges is stopped: its last Progress says so, and its networks are as they last were
good.

Vanilla: the non-saturating losses of Goodfellow et al. 2014 (arXiv 1406.2661). WGAN-GP: Gulrajani et al. 2017 (arXiv
1704.00028), with the small penalty of their toy experiments. The joint scheme is that of `training.joint`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.samplers.i_sir import select, shares
from ebm_refine.training.algorithms.contrastive_divergence import (
    EnergyRecipe,
    ReplayBuffer,
    contrastive_loss,
    run_chains,
    source_of,
    uniform,
)
from ebm_refine.training.algorithms.wgan import gradient_penalty
from ebm_refine.training.common.averages import follow
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.updates import Updates, Watched

TOLD, SAVE_EVERY = 200, 1000
# The regulariser of the laboratory's energies ends at 500 on either side: where they near that it alone still holds them.
MAX_NUMBER = 400.0
# Fresh points that a jump chooses among.
JUMPS = 16


class PlaneRecipe(NamedTuple):
    """Adam for every network, `critic_steps` of D for each of G; rates fall linearly to zero over the last half of the steps.

    `penalty` is the weight of the gradient penalty; 0 means the vanilla losses.
    """

    steps: int
    batch_size: int = 256
    rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.99)
    critic_steps: int = 1
    penalty: float = 0.0
    average_decay: float = 0.999


def train_gan(networks: dict[str, nn.Module], recipe: PlaneRecipe, data: Tensor, seed: int, run: Run | None = None) -> Watched:
    """Train "generator" and "discriminator" in place on `data` (N, 2); "average" follows the generator's weights.

    Gives a Progress every 200 steps and at the end; `run` saves it at every thousandth.
    """
    generator, discriminator = networks["generator"], networks["discriminator"]
    adam_g, adam_d = (_adam(network, recipe) for network in (generator, discriminator))
    parts = {**networks, "adam_g": adam_g, "adam_d": adam_d}

    def update(step: int) -> dict[str, Tensor]:
        source = source_of(seed, step + 1, "cpu")
        _set_rates((adam_g, adam_d), recipe, step)
        for _ in range(recipe.critic_steps):
            with torch.no_grad():
                fake = generator(_latents(generator, recipe.batch_size, source))
            real = _batch(data, recipe.batch_size, source)
            loss_d = _update(adam_d, _discriminator_loss(discriminator, real, fake, recipe.penalty, source))
        loss_g = _update(adam_g, _generator_loss(generator, discriminator, recipe, source))
        follow(networks["average"], generator, recipe.average_decay, step)
        return {"loss_d": loss_d, "loss_g": loss_g}

    return _watched(parts, recipe, update, run)


def train_energy(
    networks: dict[str, nn.Module],
    recipe: PlaneRecipe,
    chains: EnergyRecipe,
    data: Tensor,
    seed: int,
    run: Run | None = None,
) -> Watched:
    """Train "energy" in place on `data` (N, 2) by contrastive divergence; "average_energy" follows its weights.

    Chains persist, as many as a batch. In every step they make a jump and then the Langevin steps that `chains` describes:
    without jumps none would cross from mode to mode, and nothing would tie the weights of the modes to their energies.
    """
    energy = networks["energy"]
    adam = _adam(energy, recipe)
    buffer = ReplayBuffer(recipe.batch_size, (2,), chains.bounds, source_of(seed, 0, "cpu"))
    parts = {**networks, "adam": adam, "chains": buffer}

    def update(step: int) -> dict[str, Tensor]:
        source = source_of(seed, step + 1, "cpu")
        _set_rates((adam,), recipe, step)
        buffer.positions = run_chains(energy, jumped(energy, buffer.positions, chains.bounds, source), chains, source)
        loss, numbers = contrastive_loss(energy, _batch(data, recipe.batch_size, source), buffer.positions, chains.alpha)
        _update(adam, loss)
        follow(networks["average_energy"], energy, recipe.average_decay, step)
        return numbers

    return _watched(parts, recipe, update, run)


@torch.no_grad()
def jumped(energy: nn.Module, positions: Tensor, bounds: tuple[float, float], source: torch.Generator) -> Tensor:
    """One i-SIR move (`samplers.i_sir`) among each of `positions` (B, 2) and fresh uniform points; it keeps the law exp(-E)."""
    fresh = uniform((len(positions), JUMPS, 2), bounds, source)
    everyone = torch.cat([positions[:, None], fresh], dim=1)
    share = shares(-energy(everyone.flatten(0, 1)).reshape(len(positions), -1))
    return everyone[torch.arange(len(positions)), select(share, torch.rand(len(positions), generator=source))]


def train_joint(
    networks: dict[str, nn.Module],
    recipe: PlaneRecipe,
    chains: EnergyRecipe,
    data: Tensor,
    seed: int,
    run: Run | None = None,
) -> Watched:
    """Train "generator", "discriminator" and "energy" in place on `data` (N, 2); "average" and "average_energy" follow.

    Every step revises points G(z) by the Langevin steps that `chains` describes. E takes G(z) and revised points, half and
    half, as its negatives; D learns to tell data and revised points from G(z), and G to pass for them.
    """
    generator, discriminator, energy = (networks[name] for name in ("generator", "discriminator", "energy"))
    adam_g, adam_d, adam_e = (_adam(network, recipe) for network in (generator, discriminator, energy))
    parts = {**networks, "adam_g": adam_g, "adam_d": adam_d, "adam_e": adam_e}
    half = recipe.batch_size // 2

    def update(step: int) -> dict[str, Tensor]:
        source = source_of(seed, step + 1, "cpu")
        _set_rates((adam_g, adam_d, adam_e), recipe, step)
        real = _batch(data, recipe.batch_size, source)
        with torch.no_grad():
            fake = generator(_latents(generator, recipe.batch_size, source))
        revised = run_chains(energy, fake, chains, source)
        loss_e, numbers = contrastive_loss(energy, real, torch.cat([revised[:half], fake[half:]]), chains.alpha)
        _update(adam_e, loss_e)
        taken = torch.cat([real[:half], revised[half:]])
        loss_d = _update(adam_d, _discriminator_loss(discriminator, taken, fake, 0.0, source))
        loss_g = _update(adam_g, _generator_loss(generator, discriminator, recipe, source))
        follow(networks["average"], generator, recipe.average_decay, step)
        follow(networks["average_energy"], energy, recipe.average_decay, step)
        return {"loss_d": loss_d, "loss_g": loss_g, **numbers}

    return _watched(parts, recipe, update, run)


def train_ratio(
    networks: dict[str, nn.Module], recipe: PlaneRecipe, data: Tensor, seed: int, run: Run | None = None
) -> Watched:
    """Train the logit "ratio" in place to tell `data` (N, 2) from the frozen "generator": at its best log p_data / p_gen."""
    generator, ratio = networks["generator"], networks["ratio"]
    adam = _adam(ratio, recipe)
    parts = {"ratio": ratio, "adam": adam}

    def update(step: int) -> dict[str, Tensor]:
        source = source_of(seed, step + 1, "cpu")
        _set_rates((adam,), recipe, step)
        with torch.no_grad():
            fake = generator(_latents(generator, recipe.batch_size, source))
        loss = _update(adam, _discriminator_loss(ratio, _batch(data, recipe.batch_size, source), fake, 0.0, source) / 2)
        return {"cross_entropy": loss}

    return _watched(parts, recipe, update, run)


def _discriminator_loss(network: nn.Module, real: Tensor, fake: Tensor, penalty: float, source: torch.Generator) -> Tensor:
    on_real, on_fake = network(torch.cat([real, fake])).chunk(2)
    if penalty:
        return on_fake.mean() - on_real.mean() + penalty * gradient_penalty(network, real, fake, source)
    return F.softplus(-on_real).mean() + F.softplus(on_fake).mean()


def _generator_loss(generator: nn.Module, discriminator: nn.Module, recipe: PlaneRecipe, source: torch.Generator) -> Tensor:
    discriminator.requires_grad_(False)
    on_fake = discriminator(generator(_latents(generator, recipe.batch_size, source)))
    discriminator.requires_grad_(True)
    return -on_fake.mean() if recipe.penalty else F.softplus(-on_fake).mean()


def _latents(generator: nn.Module, count: int, source: torch.Generator) -> Tensor:
    return torch.randn(count, generator.latent, generator=source)  # type: ignore[call-overload]


def _batch(data: Tensor, size: int, source: torch.Generator) -> Tensor:
    return data[torch.randint(len(data), (size,), generator=source)]


def _adam(network: nn.Module, recipe: PlaneRecipe) -> torch.optim.Adam:
    # Networks this small spend their time in calls; the fused update is one.
    return torch.optim.Adam(network.parameters(), lr=recipe.rate, betas=recipe.betas, fused=True)


def _set_rates(optimizers: Iterable[torch.optim.Optimizer], recipe: PlaneRecipe, step: int) -> None:
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = recipe.rate * min(1.0, 2 * (1 - step / recipe.steps))


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _watched(
    parts: dict[str, Any], recipe: PlaneRecipe, update: Callable[[int], Mapping[str, Tensor | float]], run: Run | None
) -> Watched:
    return Watched(Updates(run, parts, recipe.steps, "points"), TOLD, update, _diverged, save_every=SAVE_EVERY)


def _diverged(numbers: dict[str, float]) -> str:
    """Why a run must stop, or nothing."""
    # False for what is not a number, too.
    lost = [(name, value) for name, value in numbers.items() if not abs(value) <= MAX_NUMBER]
    return f"{lost[0][0].replace('_', ' ')} is {lost[0][1]:.3g}" if lost else ""
