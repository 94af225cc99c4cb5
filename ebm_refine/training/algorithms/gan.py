"""Train a GAN pair: non-saturating loss, spectrally normalised discriminator, averaged generator.

Then comes D alone (`training.algorithms.discriminator_alone`).
"""

import copy
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torchvision.utils import save_image

from ebm_refine.data.images import to_unit
from ebm_refine.models.networks.dcgan import DCGANGenerator
from ebm_refine.training.common.augment import Augmentation, augment
from ebm_refine.training.common.averages import follow
from ebm_refine.training.common.resumable import Run, epoch_order, to_device
from ebm_refine.training.common.updates import Updates
from ebm_refine.utils.atomic_io import replacing
from ebm_refine.utils.devices import has_bfloat16

SPECTRAL_GAIN = 2.5


class Schedule(Protocol):
    """What the loop reads of a recipe."""

    @property
    def steps(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def average_decay(self) -> float: ...
    @property
    def measure_every(self) -> int: ...


class GANRecipe(NamedTuple):
    """Adam for both networks, one D step a G step; both rates fall linearly to zero over the last `falling_share` of the steps.

    With `restart_at` > 0 they fall so over the first so many steps, and go on from there as over the whole run: a warm restart
    (Loshchilov and Hutter 2017, arXiv 1608.03983, with linear falls).

    Every `measure_every` steps the averaged generator's distance is taken.
    """

    steps: int
    restart_at: int = 0
    batch_size: int = 64
    rate_g: float = 2e-4
    rate_d: float = 2e-4
    falling_share: float = 0.2
    beta1: float = 0.5
    average_decay: float = 0.999
    augmentation: Augmentation = Augmentation(mirror=True, shift=0.125)
    measure_every: int = 1000
    alone_steps: int = 6000
    alone_every: int = 500
    alone_patience: int = 10


def train_gan(
    generator: DCGANGenerator,
    discriminator: nn.Module,
    recipe: GANRecipe,
    train: Tensor,
    run: Run,
    seed: int,
    device: str,
    distance: Callable[[DCGANGenerator], float],
) -> dict[str, Any]:
    """First phase. `train` (N, C, H, W) uint8; `distance(generator)` is the holdout distance of its samples.

    Returns {"generator", "discriminator"} state dicts of the best state by `distance`, with {"step", "distance"}. State is
    saved at every measurement; a killed run goes on from the last one.
    """
    begin((generator, discriminator), seed, device)
    add_spectral_norm(discriminator)
    adam_g = torch.optim.Adam(generator.parameters(), lr=recipe.rate_g, betas=(recipe.beta1, 0.999))
    adam_d = torch.optim.Adam(discriminator.parameters(), lr=recipe.rate_d, betas=(recipe.beta1, 0.999))

    def update(step: int) -> dict[str, Tensor]:
        real = to_unit(epoch_batch(train, recipe.batch_size, seed, step)).to(device)
        share = restarted_rate(step, recipe.restart_at, recipe.steps, recipe.falling_share)
        set_rates({adam_g: recipe.rate_g, adam_d: recipe.rate_d}, share)
        latents = torch.randn(recipe.batch_size, generator.latent).to(device)
        with autocast_bf16(device):
            fake = generator(latents)
            both = augment(torch.cat([real, fake.detach()]), recipe.augmentation)
            on_real, on_fake = discriminator(both).float().chunk(2)
            loss_d = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        adam_d.zero_grad(set_to_none=True)
        loss_d.backward()
        adam_d.step()

        # The same fakes serve both steps: one generator forward saved, the gradient is taken at the updated D.
        discriminator.requires_grad_(False)
        with autocast_bf16(device):
            loss_g = F.softplus(-discriminator(augment(fake, recipe.augmentation)).float()).mean()
        adam_g.zero_grad(set_to_none=True)
        loss_g.backward()
        adam_g.step()
        discriminator.requires_grad_(True)
        return {"loss_d": loss_d, "loss_g": loss_g, "logit_real": on_real.mean(), "logit_fake": on_fake.mean()}

    parts = {"generator": generator, "discriminator": discriminator, "adam_g": adam_g, "adam_d": adam_d}
    return train_to_best(parts, update, recipe, run, device, distance)


def begin(networks: Iterable[nn.Module], seed: int, device: str) -> None:
    """What every game begins with: the seed of its random numbers, and its networks on the device and in train mode."""
    torch.manual_seed(seed)
    for network in networks:
        to_device(network, device)
        network.train()


def set_rates(rates: dict[torch.optim.Optimizer, float], share: float) -> None:
    """Let each optimiser's rate be `share` of the one it began at."""
    for optimizer, rate in rates.items():
        optimizer.param_groups[0]["lr"] = rate * share


def train_to_best(
    parts: dict[str, Any],
    update: Callable[[int], dict[str, Tensor]],
    recipe: Schedule,
    run: Run,
    device: str,
    distance: Callable[[DCGANGenerator], float],
) -> dict[str, Any]:
    """The loop around a GAN's updates: average, measure, draw, save; and go on where a run was cut.

    parts: "generator", "discriminator" and whatever else the updates change, with its state. `update(step)` does one of them
    and gives scalars to log. Returns the state dicts of all networks at the averaged generator's lowest `distance`, that one
    as "generator", with {"step", "distance"}. A resumed run equals an uninterrupted one to the bit.
    """
    generator = parts["generator"]
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    parts = {**parts, "average": average}
    updates = Updates(run, parts, recipe.steps, "GAN", best=None)
    started = time.monotonic()
    for number in updates:
        losses = update(number)
        step = number + 1
        follow(average, generator, recipe.average_decay, step)
        if updates.due(step, recipe.measure_every):
            measured, best = distance(average), updates.extra["best"]
            if best is None or not measured >= best["distance"]:  # so that a NaN never stays best
                weights = {
                    name: copy.deepcopy(part.state_dict()) for name, part in parts.items() if isinstance(part, nn.Module)
                }
                weights["generator"] = copy.deepcopy(average.state_dict())
                updates.extra["best"] = {**weights, "step": step, "distance": measured}
            run.log(
                phase="gan",
                step=step,
                **{name: float(value.detach()) for name, value in losses.items()},
                holdout_distance=measured,
                images_per_second=round((step - updates.first) * recipe.batch_size / (time.monotonic() - started), 1),
            )
            draw_samples(average, run, f"samples-{step:06d}.png", device)
            updates.save(step)
    assert updates.extra["best"] is not None
    return updates.extra["best"]


def epoch_batch(train: Tensor, batch_size: int, seed: int, batch: int) -> Tensor:
    """The rows of the batch numbered `batch` since the beginning: whole batches of epochs, each in an order of its own."""
    epoch, batch_in_epoch = divmod(batch, len(train) // batch_size)
    chosen = epoch_order(len(train), seed, epoch)[batch_in_epoch * batch_size :][:batch_size]
    return train[chosen]


def falling_rate(step: int, steps: int, share: float) -> float:
    """1, and over the last `share` of the steps linearly down to 0."""
    return min(1.0, (steps - step) / (share * steps))


def restarted_rate(step: int, restart_at: int, steps: int, share: float) -> float:
    """`falling_rate` over the first `restart_at` of the steps, where that is not 0, and then as over the whole run."""
    return falling_rate(step, restart_at if step < restart_at else steps, share)


def add_spectral_norm(network: nn.Module) -> None:
    """Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957) of every convolution but the last, times a fixed gain.

    At gain 1 each layer shrinks its signal, natural images lying far from its first singular direction: measured on this shape,
    hidden units have a deviation of 0.05 and the logit moves so slowly that G outruns D (loss at chance for 2,000 steps). The
    last convolution is left free: the scale of the logit has to be D's own, as it stands for a log ratio.
    """
    *body, _head = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for module in body:
        parametrizations.spectral_norm(module)
        parametrize.register_parametrization(module, "weight", _Gain())


class _Gain(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return SPECTRAL_GAIN * weight


def bake_spectral_norm(network: nn.Module) -> None:
    """Replace each normalised weight by its present value; the network computes the same without power iterations."""
    network.eval()
    for module in network.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


@torch.no_grad()
def autocast_bf16(device: str) -> torch.autocast:
    """Autocast to bf16 on `device` where that is native, and no cast elsewhere: oneDNN's emulation is 30 times slower."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=has_bfloat16(device))


@torch.no_grad()
def draw_samples(generator: DCGANGenerator, run: Run, name: str, device: str) -> None:
    latents = torch.randn(64, generator.latent, generator=torch.Generator().manual_seed(0)).to(device)
    with replacing(run.folder / name) as temporary:
        save_image(generator(latents).cpu(), temporary, format="png", normalize=True, value_range=(-1, 1))
