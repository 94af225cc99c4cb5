"""The law of latents: standard normal, uniform on a box, or a law of one's own.

Every sampler works in unbounded coordinates. A latent that is uniform on [-1, 1] is therefore carried as a standard normal w,
z = 2 Phi(w) - 1 = erf(w / sqrt 2) in each coordinate with Phi the normal distribution function. The prior energy is |w|^2 / 2
in place of a box with walls, the law of z is the same, and every method works as it is.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn


def uniform_latents(position: Tensor) -> Tensor:
    """Latents z (B, d) in [-1, 1] of positions w (B, d); uniform where w is standard normal."""
    return torch.erf(position * math.sqrt(0.5))


class OfUniform(nn.Module):
    """A generator of uniform latents as one of standard normal positions; labels, where there are any, pass through."""

    def __init__(self, generator: nn.Module):
        super().__init__()
        self.generator = generator
        self.takes_labels = getattr(generator, "takes_labels", False)

    def forward(self, position: Tensor, *labels: Tensor) -> Tensor:
        return self.generator(uniform_latents(position), *labels)


def of_normal(generator: nn.Module, prior: dict[str, Any]) -> nn.Module:
    """The generator as a function of positions that are standard normal a priori; `prior` is the entry of the config."""
    return OfUniform(generator) if prior["name"] == "uniform" else generator
