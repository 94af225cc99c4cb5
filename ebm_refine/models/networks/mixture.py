"""Gaussian mixtures in the plane as networks, for models that are known in closed form.

Their numbers are buffers, so they are stored and loaded like weights, and are given by `filled`.
"""

import math

import torch
from torch import Tensor, nn


def log_density(points: Tensor, centres: Tensor, weights: Tensor, width: Tensor | float) -> Tensor:
    """log p (B,) at `points` (B, 2) of isotropic Gaussians around `centres` (K, 2) with `weights` (K,); differentiable."""
    variance = torch.as_tensor(width, dtype=points.dtype, device=points.device).square()
    squares = (points[:, None] - centres).square().sum(dim=2)
    return (weights.log() - squares / (2 * variance)).logsumexp(dim=1) - (2 * math.pi * variance).log()


class _Components(nn.Module):
    """One mixture's numbers: `centres` (K, 2), `weights` (K,), `width` ()."""

    centres: Tensor
    weights: Tensor
    width: Tensor

    def __init__(self, components: int):
        super().__init__()
        self.register_buffer("centres", torch.zeros(components, 2))
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("width", torch.ones(()))

    def filled(self, centres: Tensor, weights: Tensor, width: float) -> None:
        for own, value in ((self.centres, centres), (self.weights, weights), (self.width, torch.tensor(width))):
            own.copy_(value)

    def log_density(self, points: Tensor) -> Tensor:
        return log_density(points, self.centres, self.weights, self.width)


class MixtureGenerator(nn.Module):
    """A generator whose prior is the mixture itself: points (B, 2) -> the same points."""

    latent = 2

    def __init__(self, components: int):
        super().__init__()
        self.law = _Components(components)

    def forward(self, points: Tensor) -> Tensor:
        return points


class MixtureLogRatio(nn.Module):
    """The optimal discriminator's logit: points (B, 2) -> log p_data - log p_gen (B,), both mixtures."""

    def __init__(self, data_components: int, generator_components: int):
        super().__init__()
        self.data, self.generator = _Components(data_components), _Components(generator_components)

    def forward(self, points: Tensor) -> Tensor:
        return self.data.log_density(points) - self.generator.log_density(points)
