"""Train a class-conditional GAN pair: one or several D steps a G step, two averages of G; then D alone.

The game is that of Miyato and Koyama 2018 (arXiv 1802.05637) with differentiable augmentation (Zhao et al. 2020,
arXiv 2006.10738). In the second phase D is trained on with cross-entropy against the frozen generator that ships: a logit of
the hinge loss is no log ratio, and D was trained against another generator (`training.algorithms.discriminator_alone`).
"""

import copy
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.utils import save_image

from ebm_refine.data.images import Images, to_unit
from ebm_refine.errors import InputError
from ebm_refine.models.networks.conditional_dcgan import ConditionalDCGANGenerator
from ebm_refine.models.networks.conditional_resnet import ConditionalResNetGenerator
from ebm_refine.training.algorithms import gan
from ebm_refine.training.algorithms.discriminator_alone import AloneRecipe, Batch, Measured, fake_batch, joined, train_alone
from ebm_refine.training.algorithms.gan import autocast_bf16, restarted_rate
from ebm_refine.training.common.augment import ALL_POLICIES, Augmentation, augment
from ebm_refine.training.common.resumable import Run, epoch_order, to_device
from ebm_refine.training.common.updates import Updates
from ebm_refine.utils.atomic_io import replacing

Distance = Callable[[nn.Module], float]
ConditionalGenerator = ConditionalResNetGenerator | ConditionalDCGANGenerator


class Losses(NamedTuple):
    """Of D, from its logits (B,) on real and on fake images; of G, from D's logits on its images."""

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor], Tensor]


LOSSES = {
    "hinge": Losses(lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda fake: -fake.mean()),
    "cross-entropy": Losses(
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(), lambda fake: F.softplus(-fake).mean()
    ),
}


class ConditionalGANRecipe(NamedTuple):
    """Adam for both networks; both rates fall linearly to zero over the whole run.

    With `restart_at` > 0 they first fall to zero over so many steps, and go on from there as a fall over the whole run has
    them at that step: a warm restart (Loshchilov and Hutter 2017, arXiv 1608.03983, with linear falls).

    `steps` counts updates of G; each comes after `d_steps` of D, on `batch_size` real images each. `loss` is "hinge" (with
    spectral norms as published) or "cross-entropy" (non-saturating for G, with the spectral norms of `gan.add_spectral_norm`,
    which a discriminator without residual blocks needs). Every `measure_every` steps the distances of all averages of G
    (`average_decays`) are taken; the state is saved every `save_every` steps.
    """

    steps: int
    restart_at: int = 0
    batch_size: int = 64
    d_steps: int = 2
    rate_g: float = 2e-4
    rate_d: float = 2e-4
    loss: str = "hinge"
    betas: tuple[float, float] = (0.0, 0.9)
    average_decays: tuple[float, ...] = (0.999, 0.9999)
    augmentation: Augmentation = ALL_POLICIES
    measure_every: int = 500
    save_every: int = 50


def rate_at(step: int, recipe: ConditionalGANRecipe) -> float:
    """The share of `rate_g` and `rate_d` at a step, counted from 0: in (0, 1]."""
    return restarted_rate(step, recipe.restart_at, recipe.steps, 1.0)


def train_conditional_gan(
    generator: ConditionalGenerator,
    discriminator: nn.Module,
    recipe: ConditionalGANRecipe,
    train: Images,
    run: Run,
    seed: int,
    device: str,
    distance: Distance,
) -> dict[str, Any]:
    """First phase. `distance(generator)` is the holdout distance of its samples.

    Returns {"generator", "discriminator"} state dicts at the lowest `distance` of any average, with {"step", "decay",
    "distance"}. A killed run goes on from its last saved state, to the same bits.
    """
    torch.manual_seed(seed)
    for network in (generator, discriminator):
        to_device(network, device)
        network.train()
    if recipe.loss == "hinge":
        add_spectral_norm(discriminator)
    else:
        gan.add_spectral_norm(discriminator)
    adam_g = torch.optim.Adam(generator.parameters(), lr=recipe.rate_g, betas=recipe.betas)
    adam_d = torch.optim.Adam(discriminator.parameters(), lr=recipe.rate_d, betas=recipe.betas)
    averages = {
        f"average {decay}": AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True).eval()
        for decay in recipe.average_decays
    }
    parts: dict[str, Any] = {"generator": generator, "discriminator": discriminator, "adam_g": adam_g, "adam_d": adam_d}
    parts |= averages
    updates = Updates(run, parts, recipe.steps, "GAN", best=None)

    started = time.monotonic()
    for number in updates:
        rate = rate_at(number, recipe)
        adam_g.param_groups[0]["lr"], adam_d.param_groups[0]["lr"] = recipe.rate_g * rate, recipe.rate_d * rate
        losses = _update(generator, discriminator, adam_g, adam_d, recipe, train, number, seed, device)
        for average in averages.values():
            average.update_parameters(generator)
        step = number + 1
        if updates.due(step, recipe.measure_every):
            best = updates.extra["best"]
            measured = {decay: distance(averages[f"average {decay}"].module) for decay in recipe.average_decays}
            lowest = min(measured, key=lambda decay: measured[decay])
            shown = averages[f"average {lowest}"].module
            if best is None or not measured[lowest] >= best["distance"]:  # so that a NaN never stays best
                updates.extra["best"] = {
                    "generator": copy.deepcopy(shown.state_dict()),
                    "discriminator": copy.deepcopy(discriminator.state_dict()),
                    "step": step,
                    "decay": lowest,
                    "distance": measured[lowest],
                }
            run.log(
                phase="gan",
                step=step,
                real_images=step * recipe.d_steps * recipe.batch_size,
                **{name: float(value.detach()) for name, value in losses.items()},
                **{f"holdout_distance_{decay}": value for decay, value in measured.items()},
                images_per_second=round(
                    (step - updates.first) * recipe.d_steps * recipe.batch_size / (time.monotonic() - started), 1
                ),
            )
            draw_classes(shown, run, f"samples-{step:06d}.png", device)
        if updates.due(step, recipe.save_every):
            updates.save(step)
    assert updates.extra["best"] is not None
    return updates.extra["best"]


def _update(
    generator: ConditionalGenerator,
    discriminator: nn.Module,
    adam_g: torch.optim.Optimizer,
    adam_d: torch.optim.Optimizer,
    recipe: ConditionalGANRecipe,
    train: Images,
    step: int,
    seed: int,
    device: str,
) -> dict[str, Tensor]:
    """`d_steps` updates of D and one of G, whose fakes are those of the last one of D; scalars to log."""
    losses = LOSSES[recipe.loss]
    for turn in range(recipe.d_steps):
        real = real_batch(train, recipe.batch_size, seed, step * recipe.d_steps + turn, device)
        with autocast_bf16(device), torch.set_grad_enabled(turn == recipe.d_steps - 1):
            fake = fake_batch(generator, recipe.batch_size, device)
        with autocast_bf16(device):
            both = torch.cat([augment(part, recipe.augmentation) for part in (real.images, fake.images.detach())])
            on_real, on_fake = discriminator(both, *joined(real.labels, fake.labels)).float().chunk(2)
            loss_d = losses.d(on_real, on_fake)
        adam_d.zero_grad(set_to_none=True)
        loss_d.backward()
        adam_d.step()

    discriminator.requires_grad_(False)
    with autocast_bf16(device):
        loss_g = losses.g(discriminator(augment(fake.images, recipe.augmentation), fake.labels).float())
    adam_g.zero_grad(set_to_none=True)
    loss_g.backward()
    adam_g.step()
    discriminator.requires_grad_(True)
    return {"loss_d": loss_d, "loss_g": loss_g, "logit_real": on_real.mean(), "logit_fake": on_fake.mean()}


def train_conditional_discriminator_alone(
    generator: ConditionalGenerator,
    discriminator: nn.Module,
    recipe: AloneRecipe,
    train: Images,
    holdout: Images,
    run: Run,
    seed: int,
    device: str,
) -> dict[str, float]:
    """Second phase: `train_alone`; fakes have uniform labels, as the data do, so that r is log p_data(x, y) / p_gen(x, y)."""

    def draw(step: int) -> tuple[Batch, Batch]:
        return real_batch(train, recipe.batch_size, seed + 1, step, device), fake_batch(generator, recipe.batch_size, device)

    measured = Measured(holdout, first_of(train, len(holdout.pixels)))
    return train_alone(generator, discriminator, recipe, draw, measured, run, seed, device)


def real_batch(train: Images, batch_size: int, seed: int, batch: int, device: str) -> Batch:
    """The batch numbered `batch` since the beginning: whole batches of epochs, each epoch in an order of its own."""
    epoch, batch_in_epoch = divmod(batch, len(train.pixels) // batch_size)
    chosen = epoch_order(len(train.pixels), seed, epoch)[batch_in_epoch * batch_size :][:batch_size]
    images = to_unit(train.pixels[chosen]).contiguous(memory_format=torch.channels_last)
    return Batch(images.to(device), labels_of(train)[chosen].to(device))


def first_of(images: Images, count: int) -> Images:
    """The first `count` images with their labels."""
    return Images(images.pixels[:count], labels_of(images)[:count])


def labels_of(images: Images) -> Tensor:
    """Labels (N,) int64. Raises InputError where the data set has none."""
    if images.labels is None:
        raise InputError("a class-conditional pair needs labels, and this data set has none")
    return images.labels


def add_spectral_norm(network: nn.Module) -> None:
    """Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957) of every convolution and linear layer, as published.

    No gain as in `gan.add_spectral_norm`: the skip connections keep the signal's size.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            parametrizations.spectral_norm(module)


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Orthogonal weights (Brock et al. 2019, arXiv 1809.11096) and zero biases of convolutions and linear layers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def draw_classes(generator: Any, run: Run, name: str, device: str) -> None:
    """A picture in the run's folder: a row a class, in each the same eight latents."""
    source = torch.Generator().manual_seed(0)
    latents = torch.randn(8, generator.latent, generator=source).repeat(generator.classes, 1).to(device)
    labels = torch.arange(generator.classes).repeat_interleave(8).to(device)
    with autocast_bf16(device):
        images = generator(latents, labels).float().cpu()
    with replacing(run.folder / name) as temporary:
        save_image(images, temporary, format="png", normalize=True, value_range=(-1, 1))
