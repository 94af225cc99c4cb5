"""Train generators of points in the plane: vanilla GAN, WGAN-GP, a GAN with an energy; and a ratio for a generator.

Small enough to watch: every loop says how far it is (`training.common.updates.Watched`), and one of a run goes on from its
saved state to the same bits. A loop that diverges is stopped: its last Progress says so, and its networks are as they last were
good.

Vanilla: the non-saturating losses of Goodfellow et al. 2014 (arXiv 1406.2661), on points with noise of many levels, on which D
is conditioned (Wang et al. 2022, "Diffusion-GAN", arXiv 2206.02262): only wide noise keeps the weights of modes equal. WGAN-GP:
Gulrajani et al. 2017 (arXiv 1704.00028), with the small penalty of their toy experiments. With an energy: vanilla, and the
cooperative training of Xie et al. 2018 (arXiv 1609.09408), in which the generator also learns from its own samples as the
energy revised them.
"""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.training.algorithms.contrastive_divergence import EnergyRecipe, run_chains, source_of
from ebm_refine.training.algorithms.plane_energy import energy_update, plane_chains
from ebm_refine.training.algorithms.plane_loop import (
    Blur,
    NoiseLevels,
    PlaneRecipe,
    adam_of,
    batch_of,
    set_rates,
    update_of,
    watched,
)
from ebm_refine.training.algorithms.wgan import gradient_penalty
from ebm_refine.training.common.averages import follow
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.updates import Watched

# Weight of half the squared distance between G(z) and the same point revised, in units of the data's present width, beside the
# generator's loss in the game; and the share of the steps after which it counts.
COOPERATION, COOPERATES_FROM = 0.1, 0.7
# Of the generated points that a log ratio learns from, at most so many for each of data in a batch; the rest is weight.
MOST_FAKES = 4


def train_gan(
    networks: dict[str, nn.Module], recipe: PlaneRecipe, levels: NoiseLevels, data: Tensor, seed: int, run: Run | None = None
) -> Watched:
    """Vanilla: train "generator" and "discriminator" in place on `data` (N, 2); "average" follows the generator's weights.

    "discriminator" takes three numbers: a noisy point, and `levels.coordinate` of its noise. A level counts in the generator's
    loss as much as it is wide, because D's slope goes with the inverse: every level then moves points alike. Gives a Progress
    every 200 steps and at the end; `run` saves it at every thousandth.
    """
    adams, parts = _players(networks, recipe)

    def update(step: int) -> dict[str, Tensor]:
        source = source_of(seed, step + 1, "cpu")
        _set_rates(adams, recipe, step)
        numbers = _round(networks, adams, recipe, levels, data, step, source)
        follow(networks["average"], networks["generator"], recipe.average_decay, step)
        return numbers

    return watched(parts, recipe, update, run)


def train_wgan(networks: dict[str, nn.Module], recipe: PlaneRecipe, data: Tensor, seed: int, run: Run | None = None) -> Watched:
    """WGAN-GP: train "generator" and the critic "discriminator" in place on `data` (N, 2); "average" follows the generator."""
    generator, critic = networks["generator"], networks["discriminator"]
    adams, parts = _players(networks, recipe)

    def update(step: int) -> dict[str, Tensor]:
        source = source_of(seed, step + 1, "cpu")
        _set_rates(adams, recipe, step)
        for _ in range(recipe.critic_steps):
            with torch.no_grad():
                fake = generator(_latents(generator, recipe.batch_size, source))
            real = batch_of(data, recipe.batch_size, source)
            loss_d = update_of(adams["adam_d"], _critic_loss(critic, real, fake, recipe.penalty, source))
        fake = generator(_latents(generator, recipe.batch_size, source))
        loss_g = update_of(adams["adam_g"], -_judged(critic, fake).mean())
        follow(networks["average"], generator, recipe.average_decay, step)
        return {"loss_d": loss_d, "loss_g": loss_g}

    return watched(parts, recipe, update, run)


def _players(networks: dict[str, nn.Module], recipe: PlaneRecipe) -> tuple[dict[str, torch.optim.Adam], dict[str, Any]]:
    """The optimisers of "generator" and "discriminator", and all that a run saves."""
    adams = {"adam_g": adam_of(networks["generator"], recipe), "adam_d": adam_of(networks["discriminator"], recipe)}
    return adams, {**networks, **adams}


def _set_rates(adams: dict[str, torch.optim.Adam], recipe: PlaneRecipe, step: int) -> None:
    set_rates((adams["adam_d"],), recipe, step)
    set_rates((adams["adam_g"],), recipe._replace(rate=recipe.rate * recipe.generator_share), step)


def train_joint(
    networks: dict[str, nn.Module],
    recipe: PlaneRecipe,
    levels: NoiseLevels,
    energy_recipe: PlaneRecipe,
    chains: EnergyRecipe,
    blur: Blur,
    data: Tensor,
    seed: int,
    run: Run | None = None,
) -> Watched:
    """Vanilla beside "energy": train all three in place on `data` (N, 2); "average" and "average_energy" follow.

    The game is that of `train_gan`, by `recipe`; the energy learns by `energy_recipe`, of as many steps. Every step revises
    points G(z) by the Langevin steps that `chains` describes. The energy takes them as negatives, beside its own persistent
    chains. From `COOPERATES_FROM` of the steps on the generator also learns to give what its points became: earlier it would
    fix the weights of modes before the game has found them.
    """
    generator, energy = networks["generator"], networks["energy"]
    adams, parts = _players(networks, recipe)
    adam_e = adam_of(energy, energy_recipe)
    buffer = plane_chains(energy_recipe, chains, seed)
    parts = {**parts, "adam_e": adam_e, "chains": buffer}

    def update(step: int) -> dict[str, Tensor]:
        source = source_of(seed, step + 1, "cpu")
        _set_rates(adams, recipe, step)
        set_rates((adam_e,), energy_recipe, step)
        scale = blur.at(step, recipe.steps)
        plain = generator(_latents(generator, energy_recipe.batch_size, source))
        noise = scale * torch.randn(plain.shape, generator=source)
        revised = run_chains(energy, plain.detach() + noise, chains._replace(eps=chains.eps + scale**2 / 2), source)
        numbers = energy_update(energy, adam_e, buffer, chains, blur, data, energy_recipe, step, source, revised)
        square = blur.width**2 + scale**2
        follows = (plain + noise - revised).square().sum(1).mean() / (2 * square)
        cooperates = step >= COOPERATES_FROM * recipe.steps
        game = _round(networks, adams, recipe, levels, data, step, source, follows if cooperates else None)
        follow(networks["average"], generator, recipe.average_decay, step)
        follow(networks["average_energy"], energy, recipe.average_decay, step)
        return {**game, **numbers}

    return watched(parts, recipe, update, run)


def _round(
    networks: dict[str, nn.Module],
    adams: dict[str, torch.optim.Adam],
    recipe: PlaneRecipe,
    levels: NoiseLevels,
    data: Tensor,
    step: int,
    source: torch.Generator,
    follows: Tensor | None = None,
) -> dict[str, Tensor]:
    """One update of D and one of G on points with noise of many levels. `follows`, a scalar, joins the generator's loss."""
    generator, discriminator = networks["generator"], networks["discriminator"]
    deviations = levels.draw(step, recipe.steps, recipe.batch_size, source)

    def seen(points: Tensor) -> Tensor:
        noisy = points + deviations * torch.randn(points.shape, generator=source)
        return torch.cat([noisy, levels.coordinate(deviations)], dim=1)

    with torch.no_grad():
        fake = seen(generator(_latents(generator, recipe.batch_size, source)))
    real = seen(batch_of(data, recipe.batch_size, source))
    loss_d = update_of(adams["adam_d"], _discriminator_loss(discriminator, real, fake))
    on_fake = _judged(discriminator, seen(generator(_latents(generator, recipe.batch_size, source))))
    loss_g = (deviations[:, 0] * F.softplus(-on_fake)).mean()
    together = loss_g if follows is None else loss_g + deviations.mean() * COOPERATION * follows
    update_of(adams["adam_g"], together)
    return {"loss_d": loss_d, "loss_g": loss_g.detach() / deviations.mean()}


def train_ratio(
    networks: dict[str, nn.Module], recipe: PlaneRecipe, data: Tensor, seed: int, run: Run | None = None, odds: int = 1
) -> Watched:
    """Teach "ratio" log p_data / p_gen of `data` (N, 2) and the frozen "generator", by noise-contrastive estimation.

    Gutmann and Hyvärinen 2012 (JMLR 13, 307-361), with `odds` generated points for each of data. At 1 this is a
    discriminator's loss: a mode that the generator hardly reaches counts in it as little as the generator's points there, and
    its weight is learned last. More find it sooner, and also how rare the generator is in the data's tails: peaks of the ratio
    which rejection pays for.

    "ratio" follows the weights of a copy that learns: the noise of single updates, at which a rejection sampler would take its
    bound, averages out.
    """
    generator, ratio = networks["generator"], networks["ratio"]
    learner = copy.deepcopy(ratio)
    adam = adam_of(learner, recipe)
    parts = {"ratio": ratio, "learner": learner, "adam": adam}

    def update(step: int) -> dict[str, Tensor]:
        source = source_of(seed, step + 1, "cpu")
        set_rates((adam,), recipe, step)
        with torch.no_grad():
            fake = generator(_latents(generator, min(odds, MOST_FAKES) * recipe.batch_size, source))
        real = batch_of(data, recipe.batch_size, source)
        on_real, on_fake = learner(torch.cat([real, fake])).split([len(real), len(fake)])
        of_data = F.softplus(math.log(odds) - on_real).mean()
        of_fakes = F.softplus(on_fake - math.log(odds)).mean()
        loss = update_of(adam, of_data + odds * of_fakes)
        follow(ratio, learner, recipe.average_decay, step)
        return {"cross_entropy": loss / (1 + odds)}

    return watched(parts, recipe, update, run)


def _discriminator_loss(network: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    on_real, on_fake = network(torch.cat([real, fake])).chunk(2)
    return F.softplus(-on_real).mean() + F.softplus(on_fake).mean()


def _critic_loss(network: nn.Module, real: Tensor, fake: Tensor, penalty: float, source: torch.Generator) -> Tensor:
    on_real, on_fake = network(torch.cat([real, fake])).chunk(2)
    return on_fake.mean() - on_real.mean() + penalty * gradient_penalty(network, real, fake, source)


def _judged(discriminator: nn.Module, fake: Tensor) -> Tensor:
    """Its scores, through which a gradient reaches the points but not its weights."""
    discriminator.requires_grad_(False)
    on_fake = discriminator(fake)
    discriminator.requires_grad_(True)
    return on_fake


def _latents(generator: nn.Module, count: int, source: torch.Generator) -> Tensor:
    return torch.randn(count, generator.latent, generator=source)  # type: ignore[call-overload]
