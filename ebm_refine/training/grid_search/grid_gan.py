"""One point of the published grid: train its fully connected networks for a fixed number of batches, and score their digits.

As published (arXiv 1609.03126, section 4.1 and appendix): batch norm and ReLU in every hidden layer of both networks, images in
[-1, 1], Tanh at G's end, initial weights N(0, 0.002) in D and N(0, 0.02) in G, biases 0; an EBGAN's D is an autoencoder whose
energy is the norm |x - Dec(Enc(x))|, margin 10, pulling-away weight 0.1. Where the paper is silent, ours: 100 normal latents,
batches of 128, dropout 0.5, Adam with beta1 = 0.5, SGD without momentum, a linear decoder.
"""

import hashlib
import json
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.data.images import to_unit
from ebm_refine.training.algorithms.autoencoder_losses import PULLING_AWAY_WEIGHT, generator_loss, margin_loss, pulling_away
from ebm_refine.training.algorithms.gan import autocast_bf16, epoch_batch
from ebm_refine.training.grid_search.search_space import Setting

LATENT, SHAPE = 100, (1, 28, 28)
PIXELS = 28 * 28
MARGIN = 10.0
DROPOUT = 0.5
BETA1 = 0.5
DEVIATION_G, DEVIATION_D = 0.02, 0.002
SCORE_CHUNK = 500


class Budget(NamedTuple):
    """What one trial may spend: `batches` of `batch_size` digits to train on, and `num_images` generated ones for its score."""

    batches: int
    batch_size: int = 128
    num_images: int = 1000


class Autoencoder(nn.Module):
    """D of an EBGAN: images (B, 784), float -> energies (B,) and codes (B, size)."""

    def __init__(self, encoder: nn.Sequential, decoder: nn.Linear):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        codes = self.encoder(images)
        return (self.decoder(codes).float() - images.float()).norm(dim=1), codes.float()


def build_generator(setting: Setting) -> nn.Sequential:
    """Latents (B, 100) -> images (B, 784) in [-1, 1]."""
    hidden = _hidden(LATENT, setting.size_g, setting.layers_g - 1, 0.0)
    generator = nn.Sequential(*hidden, nn.Linear(setting.size_g, PIXELS), nn.Tanh())
    return _initialised(generator, DEVIATION_G)


def build_discriminator(setting: Setting) -> nn.Module:
    """A logit (B, 1) of images (B, 784), or an `Autoencoder`."""
    hidden = _hidden(PIXELS, setting.size_d, setting.layers_d - 1, DROPOUT if setting.dropout_d else 0.0)
    if setting.family == "gan":
        return _initialised(nn.Sequential(*hidden, nn.Linear(setting.size_d, 1)), DEVIATION_D)
    return _initialised(Autoencoder(nn.Sequential(*hidden), nn.Linear(setting.size_d, PIXELS)), DEVIATION_D)


def train_setting(setting: Setting, budget: Budget, digits: Tensor, seed: int) -> nn.Sequential:
    """A generator trained on `digits` (N, 1, 28, 28) uint8, in eval mode; on one machine decided by the arguments to the bit.

    The same fakes serve both steps: D's, then G's against the updated D.
    """
    torch.manual_seed(own_seed(setting, seed))
    generator, discriminator = build_generator(setting), build_discriminator(setting)
    optimiser_g = _optimiser(setting.optim_g, generator, setting.rate)
    optimiser_d = _optimiser(setting.optim_d, discriminator, setting.rate)
    for batch in range(budget.batches):
        real = to_unit(epoch_batch(digits, budget.batch_size, seed, batch)).flatten(1)
        latents = torch.randn(budget.batch_size, LATENT)
        with autocast_bf16("cpu"):
            fake = generator(latents)
            loss_d = _loss_d(setting.family, discriminator, real, fake.detach())
        optimiser_d.zero_grad(set_to_none=True)
        loss_d.backward()
        optimiser_d.step()

        discriminator.requires_grad_(False)
        with autocast_bf16("cpu"):
            loss_g = _loss_g(setting.family, discriminator, fake)
        optimiser_g.zero_grad(set_to_none=True)
        loss_g.backward()
        optimiser_g.step()
        discriminator.requires_grad_(True)
    return generator.eval()


@torch.no_grad()
def generated(generator: nn.Module, count: int, seed: int) -> Tensor:
    """`count` digits (count, 1, 28, 28) uint8 of a generator in eval mode; a pixel that is not finite is black."""
    source = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, LATENT, generator=source)
    images = torch.cat([generator(part) for part in latents.split(SCORE_CHUNK)])
    return images.nan_to_num(-1.0).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).view(-1, *SHAPE)


def own_seed(setting: Setting, seed: int) -> int:
    """The seed of one trial, of its own for each setting."""
    text = json.dumps([*setting, seed])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _loss_d(family: str, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    if family == "gan":
        return F.softplus(-discriminator(real).float()).mean() + F.softplus(discriminator(fake).float()).mean()
    return margin_loss(discriminator(real)[0], discriminator(fake)[0], MARGIN)


def _loss_g(family: str, discriminator: nn.Module, fake: Tensor) -> Tensor:
    if family == "gan":
        return F.softplus(-discriminator(fake).float()).mean()
    energies, codes = discriminator(fake)
    loss = generator_loss(energies)
    return loss + PULLING_AWAY_WEIGHT * pulling_away(codes) if family == "ebgan-pt" else loss


def _hidden(size_in: int, size: int, layers: int, dropout: float) -> list[nn.Module]:
    found: list[nn.Module] = []
    for _ in range(layers):
        found += [nn.Linear(size_in, size), nn.BatchNorm1d(size), nn.ReLU()]
        if dropout:
            found.append(nn.Dropout(dropout))
        size_in = size
    return found


def _initialised(network: Any, deviation: float) -> Any:
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, deviation)
            nn.init.zeros_(module.bias)
    return network


def _optimiser(name: str, network: nn.Module, rate: float) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, fused=True)
    return torch.optim.Adam(network.parameters(), lr=rate, betas=(BETA1, 0.999), fused=True)
