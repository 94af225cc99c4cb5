"""Conditional laws of an energy: missing pixels given the seen ones, and a clean image given a noisy one.

Both follow from E(x) alone, since Z cancels: p(x_missing | x_seen) is proportional to exp(-E(x_seen, x_missing)), and
p(x | noisy) to exp(-E(x)) N(noisy; x, sigma^2 I). Each is an energy for any of the samplers.
"""

from typing import Any

import torch
from torch import Tensor

from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.tasks import masks
from ebm_refine.tasks.derived import Derived


class Completion(Derived):
    """E of one image as a function of its missing pixels, the seen ones held.

    Positions are the missing pixels alone, (B, M) float32, so no sampler can touch the others: `whole` gives images (B, *shape)
    that equal `image` to the bit wherever it was seen. Chains begin in uniform noise.
    """

    def __init__(self, energy: Any, image: Tensor, missing: Tensor):
        """image: `energy.shape`, in the range of the data; missing: bool, broadcastable to that shape.

        Raises InputError where all or none of the image is missing.
        """
        self.image = image
        self.missing = missing.expand(image.shape)
        masks.check(self.missing)
        # Indices, not a Boolean mask: that would make the device wait for Python at every step.
        self.indices = self.missing.flatten().nonzero()[:, 0]
        super().__init__(energy, (len(self.indices),))

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        low, high = self.bounds
        return low + (high - low) * draws.uniform(self.shape, stream)

    def whole(self, position: Tensor) -> Tensor:
        """The images (B, *shape) of missing pixels (B, M)."""
        images = self.image.flatten().repeat(len(position), 1)
        images[:, self.indices] = position
        return images.unflatten(1, self.image.shape)

    def energy(self, position: Tensor) -> Tensor:
        return self.inner.energy(self.whole(position))

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        energy, grad = self.inner.energy_and_grad(self.whole(position))
        return energy, grad.flatten(1)[:, self.indices]


class Denoising(Derived):
    """E(x) + T |x - noisy|^2 / (2 sigma^2): the law of a clean image given one with Gaussian noise of width `sigma`.

    Positions are images (B, *shape). A sampler at temperature T takes exp(-E / T) for the law of clean images; the same
    `temperature` is to be given here, as the noise of the observation does not grow with it. Chains begin at `noisy` itself.
    """

    def __init__(self, energy: Any, noisy: Tensor, sigma: float, temperature: float = 1.0):
        super().__init__(energy)
        self.noisy, self.sigma, self.temperature = noisy, sigma, temperature

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
