"""Conditional laws of an energy: missing pixels given the seen ones, and a clean image given a noisy one.

Both follow from E(x) alone, since Z cancels: p(x_missing | x_seen) is proportional to exp(-E(x_seen, x_missing)), and
p(x | noisy) to exp(-E(x)) N(noisy; x, sigma^2 I). Each is an energy for any of the samplers.
"""

import torch
from torch import Tensor

from ebm_refine.samplers.base import Energy
from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.tasks import masks


class Completion:
    """E of one image as a function of its missing pixels, the seen ones held.

    Positions are the missing pixels alone, (B, M) float32, so no sampler can touch the others: `whole` gives images (B, *shape)
    that equal `image` to the bit wherever it was seen. Chains begin in uniform noise.
    """

    def __init__(self, energy: Energy, image: Tensor, missing: Tensor):
        """image: `energy.shape`, in the range of the data; missing: bool, broadcastable to that shape.

        Raises InputError where all or none of the image is missing.
        """
        self.inner = energy
        self.image = image
        self.missing = missing.expand(image.shape)
        masks.check(self.missing)
        self.shape: tuple[int, ...] = (int(self.missing.sum()),)
        self.bounds = energy.bounds

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        low, high = self.bounds
        return low + (high - low) * draws.uniform(self.shape, stream)

    def whole(self, position: Tensor) -> Tensor:
        """The images (B, *shape) of missing pixels (B, M)."""
        images = self.image.expand(len(position), *self.image.shape).clone()
        images[:, self.missing] = position
        return images

    def energy(self, position: Tensor) -> Tensor:
        return self.inner.energy(self.whole(position))

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        energy, grad = self.inner.energy_and_grad(self.whole(position))
        return energy, grad[:, self.missing]


class Denoising:
    """E(x) + T |x - noisy|^2 / (2 sigma^2): the law of a clean image given one with Gaussian noise of width `sigma`.

    Positions are images (B, *shape). A sampler at temperature T takes exp(-E / T) for the law of clean images; the same
    `temperature` is to be given here, as the noise of the observation does not grow with it. Chains begin at `noisy` itself.
    """

    def __init__(self, energy: Energy, noisy: Tensor, sigma: float, temperature: float = 1.0):
        self.inner, self.noisy, self.sigma, self.temperature = energy, noisy, sigma, temperature
        self.shape, self.bounds = energy.shape, energy.bounds

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        return self.noisy.clamp(*self.bounds).repeat(len(draws.index), *[1] * self.noisy.dim())

    def energy(self, position: Tensor) -> Tensor:
        return self.inner.energy(position) + self._misfit(position)

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        energy, grad = self.inner.energy_and_grad(position)
        return energy + self._misfit(position), grad + self._weight() * (position - self.noisy)

    def _misfit(self, position: Tensor) -> Tensor:
        return self._weight() / 2 * (position - self.noisy).square().flatten(1).sum(dim=1)

    def _weight(self) -> float:
        return self.temperature / self.sigma**2


def add_noise(image: Tensor, sigma: float, seed: int, bounds: tuple[float, float]) -> Tensor:
    """`image` with Gaussian noise of width `sigma`, cut to the range of the data; the same for the same seed."""
    draws = Draws(seed, torch.zeros(1, dtype=torch.int64, device=image.device), 0)
    noise = draws.normal(tuple(image.shape), Stream.PROPOSAL)[0]
    return (image + sigma * noise).clamp(*bounds)
