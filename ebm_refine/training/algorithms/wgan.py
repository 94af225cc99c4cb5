"""Train a WGAN-GP pair: a critic with a gradient penalty, averaged generator; then the critic alone against that generator.

Gulrajani et al. 2017, "Improved training of Wasserstein GANs" (arXiv 1704.00028). The critic's score is no log ratio: its scale
is set by the penalty, and its offset by nothing. Calibration on held-out images makes one of it
(`ebm_refine.energies.density_ratio`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ebm_refine.data.images import to_unit
from ebm_refine.models.networks.dcgan import DCGANGenerator
from ebm_refine.training.algorithms.gan import autocast_bf16, begin, epoch_batch, falling_rate, set_rates, train_to_best
from ebm_refine.training.common.augment import Augmentation, augment
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.stopping import Stopping, train_to_lowest

BATCH = 500


class WGANRecipe(NamedTuple):
    """`critic_steps` Adam steps of the critic for each of the generator; rates fall linearly over the last `falling_share`.

    Published: 5 critic steps, both rates 1e-4, betas (0, 0.9), penalty 10, batches of 64. `steps` counts the generator's.
    """

    steps: int
    batch_size: int = 64
    critic_steps: int = 5
    rate_g: float = 1e-4
    rate_d: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.9)
    penalty: float = 10.0
    falling_share: float = 0.2
    average_decay: float = 0.999
    measure_every: int = 1000
    alone_steps: int = 6000
    alone_every: int = 500
    alone_patience: int = 3


def train_wgan(
    generator: DCGANGenerator,
    critic: nn.Module,
    recipe: WGANRecipe,
    train: Tensor,
    run: Run,
    seed: int,
    device: str,
    distance: Callable[[DCGANGenerator], float],
) -> dict[str, Any]:
    """First phase, with the arguments and the result of `training.gan.train_gan`; "discriminator" is the critic."""
    begin((generator, critic), seed, device)
    adam_g = torch.optim.Adam(generator.parameters(), lr=recipe.rate_g, betas=recipe.betas)
    adam_d = torch.optim.Adam(critic.parameters(), lr=recipe.rate_d, betas=recipe.betas)

    def update(step: int) -> dict[str, Tensor]:
        set_rates({adam_g: recipe.rate_g, adam_d: recipe.rate_d}, falling_rate(step, recipe.steps, recipe.falling_share))
        for turn in range(recipe.critic_steps):
            pixels = epoch_batch(train, recipe.batch_size, seed, step * recipe.critic_steps + turn)
            loss_d, penalty = _critic_step(generator, critic, adam_d, pixels, recipe.penalty, device)
        critic.requires_grad_(False)
        with autocast_bf16(device):
            loss_g = -critic(generator(torch.randn(recipe.batch_size, generator.latent).to(device))).float().mean()
        adam_g.zero_grad(set_to_none=True)
        loss_g.backward()
        adam_g.step()
        critic.requires_grad_(True)
        return {"loss_d": loss_d, "penalty": penalty, "loss_g": loss_g}

    parts = {"generator": generator, "discriminator": critic, "adam_g": adam_g, "adam_d": adam_d}
    return train_to_best(parts, update, recipe, run, device, distance)


def train_critic_alone(
    generator: DCGANGenerator,
    critic: nn.Module,
    recipe: WGANRecipe,
    train: Tensor,
    holdout: Tensor,
    run: Run,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Second phase: the critic against the frozen `generator` until its loss on the holdout stops falling.

    It is changed in place to its best state. Returns {"alone_step", "alone_steps", "holdout_critic_loss", "train_critic_loss"}.
    """
    torch.manual_seed(seed + 1)
    generator.eval().requires_grad_(False)
    adam = torch.optim.Adam(critic.parameters(), lr=recipe.rate_d, betas=recipe.betas)

    def update(step: int) -> None:
        pixels = train[torch.randint(len(train), (recipe.batch_size,))]
        _critic_step(generator, critic, adam, pixels, recipe.penalty, device)

    def measure() -> dict[str, float]:
        on_holdout = critic_loss(generator, critic, holdout, recipe.penalty, seed, device)
        on_train = critic_loss(generator, critic, train[: len(holdout)], recipe.penalty, seed, device)
        return {"holdout_critic_loss": on_holdout, "train_critic_loss": on_train}

    stopping = Stopping(recipe.alone_steps, recipe.alone_every, recipe.alone_patience)
    parts = {"critic": critic, "adam": adam}
    best = train_to_lowest(parts, "critic", update, measure, stopping, run, "critic alone")
    critic.load_state_dict(best["weights"])
    return {"alone_step": best["step"], "alone_steps": best["steps_run"], **best["measured"]}


def critic_loss(generator: DCGANGenerator, critic: nn.Module, real: Tensor, penalty: float, seed: int, device: str) -> float:
    """E D(fake) - E D(real) + penalty over `real` (N, C, H, W) uint8 and as many fakes, the same at every call."""
    source = torch.Generator().manual_seed(seed)
    total = 0.0
    for pixels in real.split(BATCH):
        images = to_unit(pixels).to(device)
        with torch.no_grad():
            fake = generator(torch.randn(len(pixels), generator.latent, generator=source).to(device))
            difference = critic(fake).mean() - critic(images).mean()
        total += len(pixels) * float(difference + penalty * gradient_penalty(critic, images, fake, source).detach())
    return total / len(real)


def _critic_step(
    generator: DCGANGenerator, critic: nn.Module, adam: torch.optim.Adam, pixels: Tensor, weight: float, device: str
) -> tuple[Tensor, Tensor]:
    """One step on real `pixels` (B, C, H, W) uint8, mirrored at random, and B fakes. Returns the loss and the penalty."""
    real = augment(to_unit(pixels).to(device), Augmentation(mirror=True))
    with autocast_bf16(device):  # all but the penalty: that is a difference of small numbers, and is left in float32
        with torch.no_grad():
            fake = generator(torch.randn(len(pixels), generator.latent).to(device))
        on_real, on_fake = critic(torch.cat([real, fake])).float().chunk(2)
    loss, penalty = on_fake.mean() - on_real.mean(), gradient_penalty(critic, real, fake.float())
    adam.zero_grad(set_to_none=True)
    (loss + weight * penalty).backward()
    adam.step()
    return loss, penalty


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, source: torch.Generator | None = None) -> Tensor:
    """E (|grad critic(x)| - 1)^2, a scalar, at points x drawn uniformly between pairs of `real` and `fake` (B, d…).

    Gulrajani et al. 2017, "Improved training of Wasserstein GANs" (arXiv 1704.00028). Differentiable in the critic's weights.
    """
    share = torch.rand(len(real), *[1] * (real.dim() - 1), generator=source).to(real.device)
    between = torch.lerp(real.detach(), fake.detach(), share).requires_grad_()
    (grad,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (grad.flatten(1).norm(dim=1) - 1).square().mean()
