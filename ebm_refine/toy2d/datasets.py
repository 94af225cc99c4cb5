"""Data sets of points in the plane, each with its density in closed form.

All four are Gaussian mixtures: of separate components (25 Gaussians, ring of 8), or of components strung so densely along a
curve that they are the curve blurred by noise (two moons, swiss roll). Scalings of the grid, the ring and the roll are those of
the toy experiments of Gulrajani et al. 2017 (arXiv 1704.00028); everything lies within the box [-BOX, BOX]^2.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.models.networks.mixture import log_density
from ebm_refine.parameters import shorten

BOX = 2.5
# Components along a curve are at most about one width apart: the ripple of their sum is then below 1e-8 of it.
MOON_COMPONENTS, ROLL_COMPONENTS = 128, 512
MOON_NOISE, MOON_CENTRE = 0.1, (0.5, 0.25)
ROLL_NOISE, ROLL_SCALE = 0.25, 7.5


class Mixture(NamedTuple):
    """Isotropic Gaussians of one `width` around `centres` (K, 2) float32, with `weights` (K,) that sum to 1.

    `modes` (K,) int64: the mode to which each component belongs, numbered from 0; the components of a curve share one.
    """

    centres: Tensor
    width: float
    weights: Tensor
    modes: Tensor

    @property
    def num_modes(self) -> int:
        return int(self.modes.max()) + 1

    @property
    def mode_weights(self) -> Tensor:
        """(num_modes,) float64: the share of each mode."""
        shares = torch.zeros(self.num_modes, dtype=torch.float64).index_add(0, self.modes, self.weights.double())
        return shares / shares.sum()

    def log_density(self, points: Tensor) -> Tensor:
        """log p at `points` (B, 2), as (B,); differentiable."""
        return log_density(points, self.centres.to(points.device), self.weights.to(points.device), self.width)

    def sample(self, count: int, seed: int = 0) -> Tensor:
        """`count` independent points (N, 2) float32, by an ordinary generator."""
        source = torch.Generator().manual_seed(seed)
        which = torch.multinomial(self.weights, count, replacement=True, generator=source)
        return self.centres[which] + self.width * torch.randn(count, 2, generator=source)


def moons() -> Mixture:
    """scikit-learn's two moons with noise 0.1, moved to have their middle at the origin."""
    angle = (torch.arange(MOON_COMPONENTS) + 0.5) * (math.pi / MOON_COMPONENTS)
    outer = torch.stack([angle.cos(), angle.sin()], dim=1)
    inner = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    centres = torch.cat([outer, inner]) - torch.tensor(MOON_CENTRE)
    return _mixture(centres, MOON_NOISE, torch.arange(2).repeat_interleave(MOON_COMPONENTS))


def swiss() -> Mixture:
    """Coordinates 0 and 2 of scikit-learn's swiss roll with noise 0.25, over 7.5: one mode."""
    share = (torch.arange(ROLL_COMPONENTS) + 0.5) / ROLL_COMPONENTS
    angle = 1.5 * math.pi * (1 + 2 * share)
    centres = torch.stack([angle * angle.cos(), angle * angle.sin()], dim=1) / ROLL_SCALE
    return _mixture(centres, ROLL_NOISE / ROLL_SCALE, torch.zeros(ROLL_COMPONENTS, dtype=torch.int64))


def grid25() -> Mixture:
    """25 Gaussians on the grid {-4, -2, 0, 2, 4}^2 with deviation 0.05, over 2.828."""
    return _mixture(torch.cartesian_prod(*[torch.linspace(-4, 4, 5)] * 2) / 2.828, 0.05 / 2.828, torch.arange(25))


def ring8() -> Mixture:
    """Eight Gaussians on a circle of radius 2 with deviation 0.02, over 1.414."""
    angle = torch.arange(8) * (math.pi / 4)
    return _mixture(2 * torch.stack([angle.cos(), angle.sin()], dim=1) / 1.414, 0.02 / 1.414, torch.arange(8))


DATASETS: dict[str, Callable[[], Mixture]] = {"moons": moons, "swiss": swiss, "grid25": grid25, "ring8": ring8}
# The kinds of models that learn each of them; a model is called toy-DATA-FAMILY.
FAMILIES = {
    "gan": "vanilla GAN",
    "wgan": "WGAN-GP",
    "ebm": "energy-based model",
    "gan-ebm": "GAN with an energy-based model",
}
TITLES = {"moons": "two moons", "swiss": "swiss roll", "grid25": "25 Gaussians", "ring8": "ring of 8 Gaussians"}


@cache
def law(dataset: str) -> Mixture:
    """The density of a data set by name. Raises InputError for an unknown one."""
    if dataset not in DATASETS:
        raise InputError(f"data set must be one of {', '.join(DATASETS)}; got {shorten(dataset)}")
    return DATASETS[dataset]()


def load_points(dataset: str, count: int, seed: int = 0) -> Tensor:
    """`count` points (N, 2) float32 of a data set, from scikit-learn where it has it. Raises InputError for an unknown one."""
    mixture = law(dataset)
    if dataset == "moons":
        return _moons(count, seed)
    if dataset == "swiss":
        from sklearn.datasets import make_swiss_roll

        roll = make_swiss_roll(count, noise=ROLL_NOISE, random_state=seed)[0][:, [0, 2]] / ROLL_SCALE
        return torch.from_numpy(roll).float()
    return mixture.sample(count, seed)


def deficient(dataset: str) -> Mixture:
    """A generator's law that is wrong in its weights alone: the data's modes, weighted 1, 2, 3 and 4 in turn.

    Its optimal discriminator, log p_data - log p_gen, is known in closed form and bounded.
    """
    mixture = law(dataset)
    weights = mixture.weights * (1 + mixture.modes % 4)
    return mixture._replace(weights=weights / weights.sum())


def _moons(count: int, seed: int) -> Tensor:
    from sklearn.datasets import make_moons

    # Its angles are evenly spaced; a random twentieth of many is as good as independent points.
    many = make_moons(20 * count, noise=MOON_NOISE, random_state=seed)[0][:count]
    return torch.from_numpy(many - np.array(MOON_CENTRE)).float()


def _mixture(centres: Tensor, width: float, modes: Tensor) -> Mixture:
    return Mixture(centres, width, torch.full((len(centres),), 1 / len(centres)), modes)
