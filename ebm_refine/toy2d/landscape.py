"""The energy of a model of points over a window of the plane, and the field that moves particles there.

Two windows: "data", where the points are, and "latent", where the chains of a pair with two latents run.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ebm_refine.energies.targets import EnergyTarget, LatentTarget, MixtureTarget, target_of
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points, law_of
from ebm_refine.parameters import shorten

LATENT_BOUNDS = (-3.5, 3.5)


class Landscape(NamedTuple):
    """`energy` (S, S) float32 at the middles of S x S equal squares of the window `bounds` x `bounds`, row 0 lowest, up to a
    constant; `field` (F, F, 2) float32, minus its gradient at those of F x F squares. `quantity` says what energy it is.
    """

    window: str
    quantity: str
    bounds: tuple[float, float]
    energy: Tensor
    field: Tensor


def windows(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The regions in which a model can be shown. Raises InputError for models that are not of points in the plane."""
    config = checkpoint.config
    if not is_points(config) or tuple(config["data"]["shape"]) != (2,):
        raise InputError(f"model {checkpoint.name!r} does not make points in the plane; choose a toy model")
    latent = law_of(config) == "pair" and config["prior"] == {"name": "normal", "dim": 2}
    return ("data", "latent") if latent else ("data",)


def landscape(
    checkpoint: Checkpoint, window: str, ratio: str, beta: float = 1.0, resolution: int = 96, arrows: int = 20
) -> Landscape:
    """What moves the chains of a model of points, seen through a window.

    `ratio` and `beta` are those of the run, read of pairs alone: through "latent" the energy of a pair's latents, through
    "data" minus beta times its log ratio, since the density of a trained generator is not known. A generator known in closed
    form, and a model with an energy of its own, show that of the points. Raises InputError for a window that the model lacks.
    """
    present = windows(checkpoint)
    if window not in present:
        raise InputError(f"window must be one of {', '.join(present)} for model {checkpoint.name!r}; got {shorten(window)}")
    target, quantity = target_of(checkpoint, ratio, beta), "energy E(z) of latents" if window == "latent" else "energy E(x)"
    low, high = LATENT_BOUNDS if window == "latent" else checkpoint.config["data"]["range"]
    if window == "data" and isinstance(target, LatentTarget) and not isinstance(target, MixtureTarget):
        target, quantity = (
            EnergyTarget(_Negative(target.ratio, beta), (2,), (low, high), points=True),
            "minus the log ratio r(x)",
        )
    energy = target.energy(_middles(low, high, resolution)).reshape(resolution, resolution)
    _, grad = target.energy_and_grad(_middles(low, high, arrows))
    return Landscape(window, quantity, (low, high), energy, -grad.reshape(arrows, arrows, 2))


class _Negative(nn.Module):
    def __init__(self, ratio: nn.Module, beta: float):
        super().__init__()
        self.ratio, self.beta = ratio, beta

    def forward(self, points: Tensor) -> Tensor:
        return -self.beta * self.ratio(points)


def _middles(low: float, high: float, count: int) -> Tensor:
    """The middles (count^2, 2) of the window's squares, row by row from the lowest; x runs fastest."""
    side = low + (torch.arange(count) + 0.5) * (high - low) / count
    y, x = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)
