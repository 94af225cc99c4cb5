"""Train a GAN whose discriminator is an autoencoder: EBGAN, with or without its pulling-away term, BEGAN, and MAGAN.

One loop for the four, as they differ in little: D's loss has a margin m or a weight k, fixed or controlled; G's is D(G(z)).
`autoencoder_losses` names the papers.

D has batch norm, so what it says of an image depends in training on the batch, and in use on running statistics. D therefore
always sees real and generated images in one batch, in G's step too: there is one function, and running statistics of half real
and half generated images are its own. Before D ships they are taken anew against the averaged generator (`settle`).
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from ebm_refine.data.images import to_unit
from ebm_refine.energies.autoencoder_gan import CURVE
from ebm_refine.models.networks.autoencoder import AutoencoderDiscriminator
from ebm_refine.models.networks.dcgan import DCGANGenerator
from ebm_refine.training.algorithms.autoencoder_losses import (
    PULLING_AWAY_WEIGHT,
    began_convergence,
    began_loss,
    generator_loss,
    margin_loss,
    next_k,
    next_margin,
    pulling_away,
)
from ebm_refine.training.algorithms.gan import autocast_bf16, begin, epoch_batch, falling_rate, set_rates, train_to_best
from ebm_refine.training.common.resumable import Run

SETTLING_BATCHES = 200


class AutoencoderRecipe(NamedTuple):
    """Adam for both networks, one D step a G step; both rates fall linearly to zero over the last `falling_share` of the steps.

    `family` one of `energy_gans.CONTROLS`. Before the game come `pretraining_steps` of the autoencoder alone, from which
    MAGAN's margin comes; `margin` m is EBGAN's, in D's unit. `gamma` is BEGAN's balance L(G(z)) / L(x). `pulling_weight` is
    that of the pulling-away term, of "ebgan-pt" alone. The curves have a point
    every `report_every` steps, a mean over them.
    """

    steps: int
    family: str
    margin: float = 10.0
    pulling_weight: float = PULLING_AWAY_WEIGHT
    gamma: float = 0.5
    pretraining_steps: int = 0
    batch_size: int = 64
    rate_g: float = 1e-3
    rate_d: float = 1e-3
    beta1: float = 0.5
    falling_share: float = 0.3
    average_decay: float = 0.999
    measure_every: int = 500
    report_every: int = 100


class Control:
    """What steers D's loss, margin or k, and the record of it: state that goes into the run's and comes back to the bit."""

    def __init__(self, recipe: AutoencoderRecipe, steps_an_epoch: int):
        self.recipe, self.steps_an_epoch = recipe, steps_an_epoch
        self.value = recipe.margin if recipe.family.startswith("ebgan") else 0.0
        self.fake_before = math.inf
        self.epoch = {"real": 0.0, "fake": 0.0, "count": 0}
        self.since_told = {"real": 0.0, "fake": 0.0, "cosine": 0.0, "count": 0}
        self.curve: list[list[float]] = []

    def observe(self, step: int, real: float, fake: float, cosine: float) -> None:
        """Take in the mean energies of the batch of `step`, counted from 1, and move what is to be moved."""
        if self.recipe.family == "began":
            self.value = next_k(self.value, real, fake, self.recipe.gamma)
        _add(self.epoch, real=real, fake=fake)
        if step % self.steps_an_epoch == 0:
            mean_real, mean_fake = (self.epoch[name] / self.epoch["count"] for name in ("real", "fake"))
            if self.recipe.family == "magan":
                self.value = next_margin(self.value, mean_real, mean_fake, self.fake_before)
            self.fake_before = mean_fake
            self.epoch = dict.fromkeys(self.epoch, 0)
        _add(self.since_told, real=real, fake=fake, cosine=cosine)
        if step % self.recipe.report_every == 0:
            count = self.since_told["count"]
            mean = {name: self.since_told[name] / count for name in ("real", "fake", "cosine")}
            convergence = began_convergence(mean["real"], mean["fake"], self.recipe.gamma)
            self.curve.append([step, mean["real"], mean["fake"], self.value, convergence, mean["cosine"]])
            self.since_told = dict.fromkeys(self.since_told, 0)

    def state_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("value", "fake_before", "epoch", "since_told")}
        return {
            **values,
            "epoch": dict(self.epoch),
            "since_told": dict(self.since_told),
            "curve": [list(r) for r in self.curve],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def _add(sums: dict[str, float], **values: float) -> None:
    for name, value in values.items():
        sums[name] += value
    sums["count"] += 1


def train_autoencoder_gan(
    generator: DCGANGenerator,
    discriminator: AutoencoderDiscriminator,
    recipe: AutoencoderRecipe,
    train: Tensor,
    run: Run,
    seed: int,
    device: str,
    distance: Any,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train a pair on `train` (N, C, H, W) uint8; `distance(generator)` is the holdout distance of its samples.

    Returns the best state by `distance`, as `training.gan.train_to_best` does, with D as it stood then, and the curves: (P,)
    float32 by name of CURVE, `control` being the margin or k. A resumed run equals an uninterrupted one to the bit.
    """
    begin((generator, discriminator), seed, device)
    adam_g = torch.optim.Adam(generator.parameters(), lr=recipe.rate_g, betas=(recipe.beta1, 0.999), fused=True)
    adam_d = torch.optim.Adam(discriminator.parameters(), lr=recipe.rate_d, betas=(recipe.beta1, 0.999), fused=True)
    control = Control(recipe, max(len(train) // recipe.batch_size, 1))
    reached = pretrained(generator, discriminator, adam_d, recipe, train, run, seed, device)
    if recipe.family == "magan":
        control.value = reached

    def update(step: int) -> dict[str, Tensor]:
        real = to_unit(epoch_batch(train, recipe.batch_size, seed, step)).to(device)
        set_rates({adam_g: recipe.rate_g, adam_d: recipe.rate_d}, falling_rate(step, recipe.steps, recipe.falling_share))
        latents = torch.randn(recipe.batch_size, generator.latent).to(device)
        with autocast_bf16(device):
            fake = generator(latents)
            on_real, on_fake = discriminator(torch.cat([real, fake.detach()])).chunk(2)
        if recipe.family == "began":
            loss_d = began_loss(on_real, on_fake, control.value)
        else:
            loss_d = margin_loss(on_real, on_fake, control.value)
        adam_d.zero_grad(set_to_none=True)
        loss_d.backward()
        adam_d.step()

        discriminator.requires_grad_(False)
        with autocast_bf16(device):
            energies, codes = discriminator.energy_and_code(torch.cat([real, fake]))
        loss_g, cosine = generator_loss(energies.chunk(2)[1]), pulling_away(codes.chunk(2)[1].float())
        pulled = loss_g + recipe.pulling_weight * cosine if recipe.family == "ebgan-pt" else loss_g
        adam_g.zero_grad(set_to_none=True)
        pulled.backward()
        adam_g.step()
        discriminator.requires_grad_(True)
        averages = {"energy_real": on_real.mean(), "energy_fake": on_fake.mean(), "code_cosine": cosine.detach()}
        control.observe(step + 1, *(float(value.detach()) for value in averages.values()))
        return {"loss_d": loss_d, "loss_g": loss_g, **averages, "control": torch.tensor(control.value)}

    parts = {"generator": generator, "discriminator": discriminator, "adam_g": adam_g, "adam_d": adam_d, "control": control}
    best = train_to_best(parts, update, recipe, run, device, distance)
    points = torch.tensor(control.curve, dtype=torch.float32).reshape(-1, len(CURVE))
    return best, {name: column.contiguous() for name, column in zip(CURVE, points.T, strict=True)}


def pretrained(
    generator: DCGANGenerator,
    discriminator: AutoencoderDiscriminator,
    adam: torch.optim.Adam,
    recipe: AutoencoderRecipe,
    train: Tensor,
    run: Run,
    seed: int,
    device: str,
) -> float:
    """Train the autoencoder alone, `pretraining_steps` of it, on real images; returns mean D(real) then, MAGAN's first margin.

    Only MAGAN's paper asks for it, but from weights N(0, 0.002) an autoencoder gives the same image whatever it is given, and
    a generator that is trained beside it matches that image and stays there: seen here for 600 batches.

    The batches hold untrained G's images as well, for the batch norms' sake; D is asked nothing of them, since at a margin of
    0 their loss is 0. A run that has begun its game is not pretrained again: its state holds everything.
    """
    if run.state_file.exists():
        return 0.0  # overwritten by the saved margin
    for step in range(recipe.pretraining_steps):
        real = to_unit(epoch_batch(train, recipe.batch_size, seed + 1, step)).to(device)
        with torch.no_grad():
            fake = generator(torch.randn(recipe.batch_size, generator.latent).to(device))
        on_real, on_fake = discriminator(torch.cat([real, fake])).chunk(2)
        loss = margin_loss(on_real, on_fake, 0.0)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    margin = mean_energy(discriminator, train[:5000], device)
    discriminator.train()
    run.log(phase="pretraining", step=recipe.pretraining_steps, margin=margin)
    return margin


@torch.no_grad()
def mean_energy(discriminator: AutoencoderDiscriminator, pixels: Tensor, device: str) -> float:
    """Mean D over images (N, C, H, W) uint8, in eval mode, in which the network is left."""
    discriminator.eval()
    return float(torch.cat([discriminator(to_unit(part).to(device)).cpu() for part in pixels.split(500)]).mean())


@torch.no_grad()
def settle(
    generator: DCGANGenerator, discriminator: AutoencoderDiscriminator, train: Tensor, batch_size: int, seed: int, device: str
) -> None:
    """Take D's batch-norm statistics anew, over many batches of half real and half generated images, and leave it in eval mode.

    Those of training are of the last few batches, and of the generator that was trained, not of the averaged one.
    """
    source = torch.Generator().manual_seed(seed + 2)

    def batches() -> Iterator[Tensor]:
        for step in range(SETTLING_BATCHES):
            real = to_unit(epoch_batch(train, batch_size, seed + 2, step)).to(device)
            yield torch.cat([real, generator(torch.randn(batch_size, generator.latent, generator=source).to(device))])

    generator.eval()
    discriminator.train()
    update_bn(batches(), discriminator)
    discriminator.eval()
